"""Milliseconds of detecting in one image, end to end and part by part, beside the limit that arithmetic sets.

The detector is that of Table 9's last row, ftfc7 with box regression, at one scale and at five, on test images of VOC:
the trained one where its job has left it in results_dir, else one with drawn weights, for which the clock has no eye.
The limit is the time that the multiply-adds of its convolutions and of fc6 and fc7 would take at the rate of a product
of two large square matrices, measured beside each image in the same precision with the same threads. Nothing else that
a detector has to do is in the limit; in ours it all is, but for the proposals, which are told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spprepro import detecting, runfolder
from spprepro.bench.rcnn_vs_spp import draw, spp_features
from spprepro.bench.result import Measurement, Side, finish, now, synchronise, training_device
from spprepro.composing import ordered
from spprepro.config import Config
from spprepro.detect import detector as detectors
from spprepro.detect.boxes import BoxRegressor
from spprepro.detect.detector import BB, Detector, Regressors
from spprepro.detect.features import Described, SppFeatures
from spprepro.detect.learning import inference
from spprepro.detect.mining import LayerSvms, feature_scale
from spprepro.detect.proposals import propose
from spprepro.detect.sources import Source
from spprepro.detect.times import LAYER, Stopwatch, describe, drawn_svms
from spprepro.detect.trunk import scaled_size
from spprepro.detect.windows import Boxes
from spprepro.detection import MatFiles, SelectiveSearch
from spprepro.nets.geometry import layer_sizes
from spprepro.pretrained import read_voc
from spprepro.training.cpu import keep_memory, set_threads

JOB = "table9_zf5_1sc"
PRODUCTS = 3  # of matrices, in each round


@dataclass(frozen=True)
class Work:
    """How much is done: images of a round, rounds, side of the square matrices."""

    images: int = 4
    rounds: int = 5
    side: int = 2048


@dataclass
class Round:
    """An entry for each image: seconds of the parts, windows, those that differ, multiply-adds, these a second."""

    parts: list[dict[str, float]] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    distinct: list[int] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def ms(self, part: str) -> float:
        """Milliseconds an image."""
        return 1000 * mean(seconds[part] for seconds in self.parts)

    @property
    def total(self) -> float:
        """Milliseconds an image of all parts but the proposals."""
        return sum(self.ms(part) for part in self.parts[0] if part != "proposals")

    @property
    def limit(self) -> float:
        """Milliseconds an image that the multiply-adds would take."""
        return 1000 * mean(count / rate for count, rate in zip(self.operations, self.rates, strict=True))


class WatchedFeatures(SppFeatures):
    """SppFeatures that tell a watch what they take, and how many different windows the last image had."""

    watch: Stopwatch
    distinct = 0

    def prepare(self, picture: Tensor) -> list[Tensor]:
        with self.watch.part("maps"):
            return super().prepare(picture)

    def pool(self, *args: Any) -> Any:
        with self.watch.part("pooling"):
            return super().pool(*args)

    def describe(self, maps: Sequence[Tensor], boxes: Boxes, size: tuple[int, int], layers: Sequence[str]) -> Described:
        with self.watch.part("described"):
            found = super().describe(maps, boxes, size, layers)
        self.distinct = len(found.layers[LAYER])
        return found


@dataclass(frozen=True)
class WatchedSvms(LayerSvms):
    """SVMs that tell a watch what they take."""

    watch: Stopwatch = field(kw_only=True)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        with self.watch.part("SVMs"):
            return super().scores(features)


def measure(config: Config) -> None:
    """The detector at one scale and at five, image by image, and matrix products; leaves a record for each."""
    started = now()
    job = ordered([JOB])[-1]
    keep_memory()
    set_threads(job.trainer.threads)
    device = training_device(job)
    work = Work(images=2, rounds=2, side=128) if config.tier == "smoke" else Work()
    split = read_voc(job, "test")
    settings = SelectiveSearch() if isinstance(job.proposals, MatFiles) else job.proposals
    watch = Stopwatch(device)
    found, weights = detector(job, split.classes)
    scales = {"1sc": job.detection.scales, "5sc": job.protocol.scales}
    watched = {name: watching(found, own, watch, device) for name, own in scales.items()}
    rounds: dict[str, list[Round]] = {name: [] for name in scales}
    with TemporaryDirectory() as scratch, inference(job):
        for turn in range(work.rounds + 1):
            timed = {name: Round() for name in scales}
            for number in range(min(work.images, len(split.images))):
                watch.seconds.clear()
                with watch.part("decode"):
                    picture = Source(split, {}).picture(number)
                images = [(split.images[number].id, split.path(number))]
                with watch.part("proposals"):  # kept nowhere, so that they are computed
                    boxes = propose(images, settings, Path(scratch) / str(turn))[images[0][0]].astype(np.float64)
                before, rate = dict(watch.seconds), products_rate(work.side, job.trainer.precision, device)
                for name, each in watched.items():
                    parts, operations = through(each, picture, boxes, watch)
                    timed[name].parts.append(before | parts)
                    timed[name].windows.append(len(boxes))
                    timed[name].distinct.append(each.features.distinct)
                    timed[name].operations.append(operations)
                    timed[name].rates.append(rate)
            for name in scales:
                rounds[name].append(timed[name])
    for name, own in scales.items():
        finish(_measurement(job, name, own, rounds[name][1:], weights, work, started), config)  # the first warms up


def detector(job: Config, classes: Sequence[str]) -> tuple[Detector, str]:
    """The job's detector if it is there, else a drawn one; and which."""
    folder = runfolder.path_of(job)
    if (folder / "checkpoints" / detectors.NAME).is_file():
        return detecting.load(job, folder), f"trained by {JOB}"
    features = spp_features(job, job.backbone.scaled(job.width), job.detection.scales)
    picture, boxes = draw(job.seed, 100)
    with inference(job):
        values = describe(features, picture, boxes, Stopwatch(torch.device("cpu"))).layers[LAYER]
    svms = drawn_svms(values.shape[1], len(classes), feature_scale(values.norm(dim=1).tolist()))
    still = BoxRegressor(np.zeros((features.inputs + 1, 4), np.float32), np.eye(4, dtype=np.float32), np.zeros(4))
    regressors = Regressors([still] * len(classes), 1.0)
    return Detector(features, job.protocol, list(classes), {LAYER: svms}, regressors, "pool5"), "drawn"


def watching(found: Detector, scales: Sequence[int], watch: Stopwatch, device: torch.device) -> Detector:
    """The same detector on images of other scales, for the last row alone; it tells the watch what it takes."""
    its: SppFeatures = found.features
    features = WatchedFeatures(its.trunk, its.levels, scales, its.protocol, None, its.tuned, halve=its.halve).eval()
    features.watch = watch
    svms = WatchedSvms(**vars(found.svms[LAYER]), watch=watch)
    return Detector(features.to(device), found.protocol, found.classes, {LAYER: svms}, found.regressors, found.regress)


def through(each: Detector, picture: Tensor, boxes: Boxes, watch: Stopwatch) -> tuple[dict[str, float], int]:
    """An image through the detector: seconds of the parts, and multiply-adds of convolutions, fc6 and fc7."""
    watch.seconds.clear()
    with watch.part("all"):
        each.find(picture, boxes, [BB])
    s, features = watch.seconds, each.features
    parts = {"maps": s["maps"], "pooling": s["pooling"], "fc": s["described"] - s["pooling"], "SVMs": s["SVMs"]}
    parts["regression, NMS"] = s["all"] - sum(parts.values())
    backbone, (height, width) = features.trunk.backbone, picture.shape[1:]
    sizes = [scaled_size(height, width, scale) for scale in features.scales]
    maps = sum(layer.multiply_adds for size in sizes for layer in layer_sizes(backbone, *size))
    return parts, maps + features.distinct * (features.inputs * backbone.fc + backbone.fc**2)


def products_rate(side: int, precision: str, device: torch.device) -> float:
    """Multiply-adds a second of torch.matmul on side x side matrices."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.matmul(a, b)  # warms up
    synchronise(device)
    since = perf_counter()
    for _ in range(PRODUCTS):
        torch.matmul(a, b)
    synchronise(device)
    return PRODUCTS * side**3 / (perf_counter() - since)


def _measurement(
    job: Config, name: str, scales: Sequence[int], rounds: Sequence[Round], weights: str, work: Work, started: str
) -> Measurement:
    first, rate = rounds[0], median(rate for each in rounds for rate in each.rates)
    return Measurement(
        name=f"detection_{name}",
        ours=Side("one image, all but its proposals", [each.total for each in rounds]),
        peer=Side("its convolutions, fc6 and fc7 at the rate of matrix products", [each.limit for each in rounds]),
        unit="ms/image",
        sign="<=",
        limit=None,
        amount={"images": len(rounds) * len(first.parts)},
        settings={
            "network": f"{job.backbone.name} x {job.width:g}, {job.trainer.precision}, weights {weights}",
            "images": "generated, in VOC's layout" if job.voc.root is None else "VOC2007 test",
            "scales": "-".join(map(str, scales)),
            "windows": round(mean(first.windows), 1),
            "different windows": round(mean(first.distinct), 1),
            "multiply-adds of an image, G": round(mean(first.operations) / 1e9, 2),
            "matrices": f"{work.side}x{work.side}, {rate / 1e9:.0f} G multiply-adds/s",
        },
        started=started,
        parts={part: median(each.ms(part) for each in rounds) for part in first.parts[0]},
    )
