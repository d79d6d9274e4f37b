"""Images per second of the training loader against the usual recipe: ImageFolder, PIL, torchvision's transforms.

Both end with a float batch on the device of training that a network could take, so the time of ours includes what the
loader leaves to the device: flip, mean and colour. One epoch goes before the timed ones: it brings the files into
memory and lets each side keep what it keeps between epochs.

With data.cache=raw or jpeg the images come from that copy, and a second record has its speed against the same loader
without any copy.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from spprepro.bench.result import Measurement, Side, finish, now, synchronise, training_device
from spprepro.classify.train import ImageData
from spprepro.config import Config
from spprepro.data.augment import prepare_training
from spprepro.data.imagenet import Survey
from spprepro.data.prepare import prepare
from spprepro.training.cpu import keep_memory, set_threads

REQUIRED = 3.0  # times the peer
CACHE_REQUIRED = 2.0  # times the loader that decodes every file in every epoch
IMAGES, ROUNDS = 1024, 7  # timed in each round of each side, at least

Epoch = Callable[[int], Iterator[Tensor]]  # number of the epoch -> its batches, (N, 3, crop, crop) float


def measure(config: Config) -> None:
    """Ours and the peer in turn, with the same files, batch size and number of workers; leaves the record."""
    started = now()
    keep_memory()
    set_threads(config.trainer.threads, spare=1)
    batch, workers = config.training.batch, config.data.workers
    warm = 2 + workers  # batches until every worker runs
    images, rounds = (batch, 2) if config.tier == "smoke" else (IMAGES, ROUNDS)
    timed = max(-(-images // batch), 4 * workers)
    print(f"preparing data={config.data.name} ...", file=sys.stderr)
    survey = resampled(prepare(config.data), (warm + timed) * batch)
    device = training_device(config)
    data = config.data.name if config.data.name == "mini" else survey.root.name
    sides = [_ours(config, survey, device), _peer(config, survey, device)]
    if config.data.cache:
        plain = replace(config.data, cache=None, keep_gib=0.0)
        sides.append(_ours(replace(config, data=plain), survey, device))
    rates = [[_rate(side(number), warm, device) for side in sides] for number in range(rounds + 1)]
    ours, peer, *uncached = ([row[place] for row in rates[1:]] for place in range(len(sides)))
    form = f"_{config.data.cache}" if config.data.cache else ""
    against = Measurement(
        name=f"input_pipeline{form}",
        ours=Side("this loader, then flip, mean and colour on the device", ours),
        peer=Side("ImageFolder (PIL), torchvision transforms, DataLoader", peer),
        unit="images/s",
        sign=">=",
        limit=REQUIRED,
        amount={"images": rounds * timed * batch},
        settings={
            "data": data,
            "crops": config.data.crops,
            "crop": config.data.crop,
            "batch": batch,
            "keep_gib": config.data.keep_gib,
        },
        started=started,
    )
    if uncached:
        against = replace(against, settings={**against.settings, "cache": config.data.cache, **_pixels(survey)})
        slow = Side("this loader without a copy", uncached[0])
        finish(replace(against, name=f"input_cache{form}", peer=slow, limit=CACHE_REQUIRED), config)
    finish(against, config)


def _pixels(survey: Survey) -> dict[str, float]:
    """What decoding a file takes depends on."""
    return {"median megapixels": round(float(np.median([each.height * each.width for each in survey.train])) / 1e6, 3)}


def resampled(survey: Survey, count: int) -> Survey:
    """`count` training images: drawn from a larger set, or all of a smaller one several times."""
    order = np.random.default_rng(0).permutation(len(survey.train))
    return replace(survey, train=[survey.train[index] for index in np.resize(order, count)])


def _ours(config: Config, survey: Survey, device: torch.device) -> Epoch:
    single = replace(config.training, mode="singlesize", sizes=[config.data.crop])  # the peer knows one size only
    loader = ImageData(replace(config, training=single), survey).train_dataloader()
    mean, directions = torch.from_numpy(survey.mean).to(device), torch.from_numpy(survey.colour).to(device)

    def epoch(number: int) -> Iterator[Tensor]:
        loader.batch_sampler.set_epoch(number)
        for batch in loader:
            on = batch.to(device, non_blocking=True)
            yield prepare_training(on.images, on.flip, on.colour, on.size, mean=mean, directions=directions)

    return epoch


def _peer(config: Config, survey: Survey, device: torch.device) -> Epoch:
    recipe = transforms.Compose(
        [
            transforms.Resize(config.data.min_side),
            transforms.RandomCrop(config.data.crop),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    folder = datasets.ImageFolder(str(survey.root / "train"), recipe)
    folder.samples = [(str(survey.root / image.path), image.label) for image in survey.train]
    workers = config.data.workers
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        folder,
        config.training.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,  # as ours: their start is in neither side's time
        pin_memory=device.type == "cuda",
    )

    def epoch(number: int) -> Iterator[Tensor]:
        for images, _ in loader:
            yield images.to(device, non_blocking=True)

    return epoch


def _rate(batches: Iterator[Tensor], warm: int, device: torch.device) -> float:
    """Images per second after the first `warm` batches, to the end: workers left busy would disturb the other side."""
    count, since = 0, perf_counter()
    for number, images in enumerate(batches, 1):
        if number == warm:
            synchronise(device)
            count, since = 0, perf_counter()
        else:
            count += len(images)
    synchronise(device)
    return count / (perf_counter() - since)
