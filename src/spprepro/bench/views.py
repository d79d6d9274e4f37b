"""Images per second in 96 views: taken on the feature maps of six scales, against the same crops through the network.

Both start from the same pictures, scaled already, and end with the averaged scores of the same network in the same
precision. A third side is the recipe that one would write at first: PIL crops, ToTensor, Normalize, stock fp32 modules.
What can be gained over crops is bound by arithmetic: the pixels of the crops over those of the images; in the record.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as to

from spprepro.bench.result import Measurement, Side, finish, now, rate, training_device
from spprepro.bench.stock import make_stock
from spprepro.classify.module import Classifier
from spprepro.classify.score import image_loader
from spprepro.classify.train import build_classifier
from spprepro.classify.views import grid, score
from spprepro.config import Config, Views
from spprepro.data.prepare import prepare
from spprepro.nets.geometry import map_side
from spprepro.training.cpu import keep_memory, set_threads

REQUIRED = 5.0  # times the crops
ROUNDS = 7

Scaled = dict[int, Tensor]
"""Shorter side -> (N, 3, H, W) uint8"""
Corners = dict[int, list[tuple[int, int]]]
"""Shorter side -> top left pixels of the crops"""


def measure(config: Config) -> None:
    """The three sides in turn, on the first test pictures of one size; leaves the record."""
    started = now()
    keep_memory()
    set_threads(config.trainer.threads)
    config = replace(config, views=Views(tests=["multiview"], scales=config.views.scales))
    print(f"preparing data={config.data.name} ...", file=sys.stderr)
    survey = prepare(config.data)
    device = training_device(config)
    module, stock = (
        build_classifier(config, len(survey.classes), survey.mean, survey.colour).to(device).eval() for _ in range(2)
    )
    make_stock(stock.network)
    if config.trainer.precision == "bf16":
        module.network.to(torch.bfloat16)
    loader = image_loader(config, survey.root, survey.val, config.views.scales)
    images = max((batch.images for batch in loader), key=lambda images: len(images[config.views.scales[0]]))
    images = {side: pictures.to(device) for side, pictures in images.items()}
    corners = {side: crop_corners(config, module, pictures) for side, pictures in images.items()}
    sides: list[Callable[[], Tensor]] = [
        lambda: score(module.network, _inputs(module), images, module.viewing)["multiview"],
        lambda: crop_scores(module, images, corners),
        lambda: recipe_scores(stock, images, corners),
    ]
    rounds, count = (2 if config.tier == "smoke" else ROUNDS), len(images[config.views.scales[0]])
    with torch.inference_mode():
        rates = [[rate(side, count, device) for side in sides] for _ in range(rounds + 1)]
    ours, crops, recipe = zip(*rates[1:], strict=True)  # the first round warms up
    views = 2 * sum(map(len, corners.values()))
    whole = 2 * sum(pictures.shape[-1] * pictures.shape[-2] for pictures in images.values())
    finish(
        Measurement(
            name="views",
            ours=Side("views on the feature maps of whole images", ours),
            peer=Side("the same crops through the same network", crops),
            unit="images/s",
            sign=">=",
            limit=REQUIRED,
            amount={"images": rounds * count},
            settings={
                "views": views,
                "pixels of the crops over those of the images": round(views * config.data.crop**2 / whole, 2),
                "ratio to PIL crops through stock fp32 modules": round(sum(ours) / sum(recipe), 2),
                "backbone": config.backbone.name,
                "width": config.width,
                "precision": config.trainer.precision,
                "batch": count,
            },
            started=started,
        ),
        config,
    )


def _inputs(module: Classifier) -> Callable[[Tensor], Tensor]:
    dtype = next(module.network.parameters()).dtype
    return lambda images: module.prepare_test(images).to(dtype)


def crop_corners(config: Config, module: Classifier, images: Tensor) -> list[tuple[int, int]]:
    """Top left pixel of the crop that each view on the map stands for."""
    viewing = module.viewing
    height, width = images.shape[-2:]
    rows, columns = grid(height, width, [map_side(config.backbone, pixels) for pixels in (height, width)], viewing)

    def first(cell: int, pixels: int) -> int:
        return min(cell * viewing.stride, pixels - viewing.crop)

    return [(first(y, height), first(x, width)) for y in rows for x in columns]


def crop_scores(module: Classifier, images: Scaled, corners: Corners) -> Tensor:
    """(N, classes) softmax scores averaged over the crops at these corners and those of the mirrored pictures."""
    crop, scores = module.viewing.crop, []
    for side, pictures in images.items():
        both = torch.cat([pictures, pictures.flip(-1)])
        crops = torch.cat([both[..., y : y + crop, x : x + crop] for y, x in corners[side]])
        found = module.network(_inputs(module)(crops)).float().softmax(1)
        scores.append(found.unflatten(0, (-1, len(pictures))))
    return torch.cat(scores).mean(0)


def recipe_scores(module: Classifier, images: Scaled, corners: Corners) -> Tensor:
    """The same with torchvision's transforms on PIL pictures, a picture's crops of one scale as a batch."""
    crop, scores = module.viewing.crop, []
    for number in range(len(next(iter(images.values())))):
        one = []
        for side, pictures in images.items():
            picture = Image.fromarray(pictures[number].permute(1, 2, 0).cpu().numpy())
            crops = [to.crop(view, y, x, crop, crop) for view in (picture, to.hflip(picture)) for y, x in corners[side]]
            tensors = [to.normalize(to.to_tensor(each), [0.5] * 3, [0.25] * 3) for each in crops]
            one.append(module.network(torch.stack(tensors).to(pictures.device)).softmax(1))
        scores.append(torch.cat(one).mean(0))
    return torch.stack(scores)
