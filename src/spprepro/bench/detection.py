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


@dataclass(frozen=True)
class Timed:
    """An image through a detector: seconds of each part, its windows, those that differ, the multiply-adds.

    rate: multiply-adds a second of the matrix products beside it.
    """

    parts: dict[str, float]
    windows: int
    distinct: int
    operations: int
    rate: float

    @property
    def total(self) -> float:
        """Seconds of all parts but the proposals."""
        return sum(self.parts.values()) - self.parts["proposals"]

    @property
    def limit(self) -> float:
        """Seconds that the multiply-adds would take."""
        return self.operations / self.rate


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
    rounds: dict[str, list[list[Timed]]] = {name: [] for name in scales}
    with TemporaryDirectory() as scratch, inference(job):
        for turn in range(work.rounds + 1):
            for name in scales:
                rounds[name].append([])
            for number, image in enumerate(split.images[: work.images]):
                watch.seconds.clear()
                with watch.part("decode"):
                    picture = Source(split, {}).picture(number)
                with watch.part("proposals"):  # kept by nobody, so that they are computed
                    windows = propose([(image.id, split.path(number))], settings, Path(scratch) / str(turn))[image.id]
                before, rate = dict(watch.seconds), products_rate(work.side, job.trainer.precision, device)
                for name, each in watched.items():
                    boxes = windows.astype(np.float64)
                    rounds[name][-1].append(through(each, picture, boxes, watch, before=before, rate=rate))
    for name, own in scales.items():
        timed = rounds[name][1:]  # the first warms up
        finish(_measurement(job, name, own, timed, weights, work.side, started), config)


def detector(job: Config, classes: Sequence[str]) -> tuple[Detector, str]:
    """The job's detector if it is there, else a drawn one; and which."""
    folder = runfolder.path_of(job)
    if (folder / "checkpoints" / detectors.NAME).is_file():
        return detecting.load(job, folder), f"trained by {JOB}"
    features = spp_features(job, job.backbone.scaled(job.width), job.detection.scales)
    features.halve = job.detection.keep_maps  # as the trained one has it
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


def through(
    each: Detector, picture: Tensor, boxes: Boxes, watch: Stopwatch, *, before: dict[str, float], rate: float
) -> Timed:
    """An image through the detector, after the parts `before`; multiply-adds: of the convolutions, fc6 and fc7."""
    watch.seconds.clear()
    with watch.part("all"):
        each.find(picture, boxes, [BB])
    s, features = watch.seconds, each.features
    parts = {"maps": s["maps"], "pooling": s["pooling"], "fc": s["described"] - s["pooling"], "SVMs": s["SVMs"]}
    parts["regression and NMS"] = s["all"] - sum(parts.values())
    backbone, (height, width) = features.trunk.backbone, picture.shape[1:]
    sizes = [scaled_size(height, width, scale) for scale in features.scales]
    maps = sum(layer.multiply_adds for size in sizes for layer in layer_sizes(backbone, *size))
    fc = features.distinct * (features.inputs * backbone.fc + backbone.fc**2)
    return Timed(before | parts, len(boxes), features.distinct, maps + fc, rate)


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
    job: Config,
    name: str,
    scales: Sequence[int],
    rounds: Sequence[Sequence[Timed]],
    weights: str,
    side: int,
    started: str,
) -> Measurement:
    first, rate = rounds[0], median(timed.rate for each in rounds for timed in each)
    parts = {part: [1000 * mean(timed.parts[part] for timed in each) for each in rounds] for part in first[0].parts}
    return Measurement(
        name=f"detection_{name}",
        ours=Side("one image, all but its proposals", [1000 * mean(timed.total for timed in each) for each in rounds]),
        peer=Side(
            "its convolutions, fc6 and fc7 at the rate of matrix products",
            [1000 * mean(timed.limit for timed in each) for each in rounds],
        ),
        unit="ms/image",
        sign="<=",
        limit=None,
        amount={"images": len(rounds) * len(first)},
        settings={
            "network": f"{job.backbone.name} x {job.width:g}, {job.trainer.precision}, weights {weights}",
            "images": "generated, in VOC's layout" if job.voc.root is None else "VOC2007 test",
            "scales": "-".join(map(str, scales)),
            "windows": round(mean(timed.windows for timed in first), 1),
            "different windows": round(mean(timed.distinct for timed in first), 1),
            "multiply-adds of an image, G": round(mean(timed.operations for timed in first) / 1e9, 2),
            "matrices": f"{side}x{side}, {rate / 1e9:.0f} G multiply-adds/s",
        },
        started=started,
        parts={part: median(values) for part, values in parts.items()},
    )
