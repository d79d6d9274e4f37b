"""Convolutions of an image with 2,000 windows: once for the whole image (SPP-net) against once a window (R-CNN).

Full-width network with random weights in fp32, the same for both; the picture has VOC's most usual size. SPP-net's time
holds the scaling of the image. R-CNN is given its crops already warped, in the batches that suit it best, and a part of
them stands for all: its time is proportional to their number. Two records: at one scale, and at five.

The requirement is the paper's claim (section 4.3): convolution costs 1/160 at one scale and 1/24 at five. Beside it
stand the limit that pixels alone set, the ratio of multiply-adds, the ratio of the whole time (with pooling, fc6 and
fc7 of all windows), and the peak memory of testing one image at five scales, which has a process of its own.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spprepro.bench import window_pooling
from spprepro.bench.result import Measurement, Side, finish, now, synchronise, training_device
from spprepro.config import Config
from spprepro.detect.detector import Detector
from spprepro.detect.features import SppFeatures
from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.times import LAYER, drawn_svms
from spprepro.detect.trunk import Head, scaled
from spprepro.detect.windows import Boxes
from spprepro.errors import ConfigError
from spprepro.nets.geometry import head_inputs, layer_sizes
from spprepro.nets.network import Network, initialise
from spprepro.nets.pixels import trunk_of
from spprepro.nets.trunks import Backbone
from spprepro.training.cpu import keep_memory, peak_bytes, set_threads

REQUIRED = {"1sc": 160.0, "5sc": 24.0}
MEMORY_LIMIT = 3.0  # GB
HEIGHT, WIDTH = 375, 500  # pixels of the picture
ONE_SCALE = 688  # section 4.1
CLASSES = 20


@dataclass(frozen=True)
class Work:
    """How much is done: windows of the image, crops that are timed for them, batches to choose from, rounds."""

    backbone: Backbone
    windows: int = 2000
    crops: int = 192
    batches: tuple[int, ...] = (32, 64)
    rounds: int = 5


@dataclass(frozen=True)
class Seconds:
    """Of one image: its convolutions, and what follows up to fc7."""

    conv: float
    fc: float


def measure(config: Config) -> None:
    """SPP-net at one scale, at five, and R-CNN in turn; leaves two records."""
    started = now()
    if not config.pyramid.levels:
        raise ConfigError("pyramid.levels: empty; bench=rcnn_vs_spp needs a pyramid, e.g. pyramid=p6321")
    smoke = Work(config.backbone.scaled(1 / 16), windows=60, crops=8, batches=(4, 8), rounds=2)
    work = smoke if config.tier == "smoke" else Work(config.backbone)
    # in a new process, and before this one grows: where there is no /proc a child's peak starts from its parent's
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        memory = pool.submit(peak_memory, config, work).result()
    keep_memory()
    set_threads(config.trainer.threads)
    device = training_device(config)
    scales = {"1sc": [ONE_SCALE], "5sc": config.protocol.scales}
    spp = {name: spp_features(config, work.backbone, own).to(device) for name, own in scales.items()}
    one = spp["1sc"]
    rcnn = RcnnFeatures(None, CropNet(one.trunk, one.levels, one.tuned), work.backbone.crop).eval()  # type: ignore[arg-type]
    picture, boxes = draw(config.seed, work.windows)
    crops = torch.from_numpy(
        np.random.default_rng(config.seed).integers(0, 256, (work.crops, rcnn.size, rcnn.size, 3), np.uint8)
    ).permute(0, 3, 1, 2)
    ours: dict[str, list[Seconds]] = {name: [] for name in spp}
    peer: list[Seconds] = []
    with torch.inference_mode():
        for features in spp.values():  # warms up
            whole(features, picture, boxes, device)
        each(rcnn, crops[: max(work.batches)], max(work.batches), work.windows, device)
        batch = min(work.batches, key=lambda size: each(rcnn, crops, size, work.windows, device).conv)
        for _ in range(work.rounds):
            for name, features in spp.items():
                ours[name].append(whole(features, picture, boxes, device))
            peer.append(each(rcnn, crops, batch, work.windows, device))
    for name, own in scales.items():
        finish(_measurement(work, name, own, (ours[name], peer), batch, memory, started), config)


def spp_features(config: Config, backbone: Backbone, scales: Sequence[int]) -> SppFeatures:
    """Random weights, the same whatever the scales."""
    levels = config.pyramid.levels
    network = Network(backbone, levels=levels, classes=2, crop=backbone.crop)
    initialise(network, backbone, method="he", std=0.01, seed=config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    head = Head(head_inputs(backbone, levels, backbone.crop), backbone.fc, CLASSES + 1, 0.5, generator)
    trunk = trunk_of(network, backbone, 1 / 64)
    return SppFeatures(trunk, levels, scales, config.protocol, None, head, halve=False).eval()


def draw(seed: int, windows: int) -> tuple[Tensor, Boxes]:
    """A picture (3, HEIGHT, WIDTH) of noise, and windows in it, nearly as selective search's."""
    rng = np.random.default_rng(seed)
    picture = torch.from_numpy(rng.integers(0, 256, (3, HEIGHT, WIDTH), np.uint8))
    factor = min(HEIGHT / window_pooling.HEIGHT, WIDTH / window_pooling.WIDTH)
    return picture, np.floor(window_pooling.draw_windows(rng, windows) * factor)


def whole(features: SppFeatures, picture: Tensor, boxes: Boxes, device: torch.device) -> Seconds:
    """SPP-net on one image with all its windows."""
    times = [perf_counter()]
    maps = features.prepare(picture)
    synchronise(device)
    times.append(perf_counter())
    features.describe(maps, boxes, (HEIGHT, WIDTH), [LAYER])
    synchronise(device)
    times.append(perf_counter())
    return Seconds(times[1] - times[0], times[2] - times[1])


def each(features: RcnnFeatures, crops: Tensor, batch: int, windows: int, device: torch.device) -> Seconds:
    """R-CNN on `windows` windows, as long as it takes for these crops, `batch` at a time, times windows / crops."""
    net: Any = features.tuned
    conv = fc = 0.0
    for part in torch.split(crops, batch):
        times = [perf_counter()]
        last = net.trunk(part)
        synchronise(device)
        times.append(perf_counter())
        features.fc({"ftpool5": net.pool(last)}, [LAYER])
        synchronise(device)
        times.append(perf_counter())
        conv, fc = conv + times[1] - times[0], fc + times[2] - times[1]
    return Seconds(conv * windows / len(crops), fc * windows / len(crops))


def peak_memory(config: Config, work: Work) -> float:
    """GB at most in this process after testing one image at five scales: features, SVMs of 20 classes, NMS."""
    keep_memory()
    set_threads(config.trainer.threads)
    device = training_device(config)
    picture, boxes = draw(config.seed, work.windows)
    svms = drawn_svms(work.backbone.fc, CLASSES, 1.0)
    features = spp_features(config, work.backbone, config.protocol.scales).to(device)
    names = [str(label) for label in range(CLASSES)]
    with torch.inference_mode():
        Detector(features, config.protocol, names, {LAYER: svms}, None, "pool5").find(picture, boxes, [LAYER])
    return peak_bytes() / 1e9


def limits(backbone: Backbone, windows: int, scales: Sequence[int]) -> tuple[float, float]:
    """R-CNN's share of the work over SPP-net's: pixels that go in, and multiply-adds of the convolutions."""
    picture, crop = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), backbone.crop
    sizes = [tuple(scaled(picture, scale).shape[1:]) for scale in scales]

    def operations(height: int, width: int) -> int:
        return sum(layer.multiply_adds for layer in layer_sizes(backbone, height, width))

    pixels = windows * crop**2 / sum(height * width for height, width in sizes)
    return pixels, windows * operations(crop, crop) / sum(operations(height, width) for height, width in sizes)


def _measurement(
    work: Work,
    name: str,
    scales: Sequence[int],
    sides: tuple[Sequence[Seconds], Sequence[Seconds]],
    batch: int,
    memory: float,
    started: str,
) -> Measurement:
    ours, peer = sides
    pixels, operations = limits(work.backbone, work.windows, scales)
    total = median((b.conv + b.fc) / (a.conv + a.fc) for a, b in zip(ours, peer, strict=True))
    return Measurement(
        name=f"rcnn_vs_spp_{name}",
        ours=Side("SPP-net: the whole image", [3600 / seconds.conv for seconds in ours]),
        peer=Side("R-CNN: every window", [3600 / seconds.conv for seconds in peer]),
        unit="images/h",
        sign=">=",
        limit=REQUIRED[name],
        amount={"images": work.rounds},
        settings={
            "network": f"{work.backbone.name}, fp32, random weights",
            "image": f"{WIDTH}x{HEIGHT}",
            "scales": "-".join(map(str, scales)),
            "windows": work.windows,
            "R-CNN": f"{work.crops} crops timed, batches of {batch}; times {work.windows}/{work.crops}",
            "limit by pixels": round(pixels, 1),
            "ratio of multiply-adds": round(operations, 1),
            "ratio of total time": round(total, 1),
            "seconds": " ".join(
                f"{side} {median(s.conv for s in own):.3f}+{median(s.fc for s in own):.3f}"
                for side, own in (("SPP-net", ours), ("R-CNN", peer))
            )
            + " (convolution+fc)",
            "peak GB of testing at five scales": round(memory, 2),
            "peak": f"{'under' if memory < MEMORY_LIMIT else 'NOT under'} {MEMORY_LIMIT:g} GB",
        },
        started=started,
    )
