"""Times of Tables 9 and 10: SPP-net and R-CNN on the same images and windows, in one run, image by image in turn.

What is booked where, in seconds an image:

    conv   SPP-net: scaling the image, its convolutions at every scale. R-CNN: convolutions, last pooling of all crops.
    fc     SPP-net: mapping windows to cells, pyramid pooling, fc6 and fc7 (once for windows with the same cells).
           R-CNN: fc6 and fc7.
    total  conv + fc, as in the paper, where 0.053 + 0.089 = 0.142.
    other  SPP-net: scores of the SVMs, NMS. R-CNN: the same, and before it cutting and warping windows on the CPU. No
           part of the total: Caffe's times are those of a network, and so R-CNN does not pay for its warping there.

Decoding and proposals, which both methods need alike, are in none of them (the paper: "excludes proposals").
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from spprepro import outcomes
from spprepro.detect.detector import Detector, detect
from spprepro.detect.features import Described, SppFeatures
from spprepro.detect.mining import NORM, LayerSvms, feature_scale
from spprepro.detect.rcnn import BATCH, RcnnFeatures
from spprepro.detect.sources import Source
from spprepro.detect.windows import Boxes
from spprepro.detection import Protocol
from spprepro.files import csv_text
from spprepro.records import Metric

LAYER = "ftfc7"  # up to which the networks run, and the row of the SVMs behind them
PARTS = ("conv", "fc", "other")
SPREAD = 0.2  # of scores around the margin, -1: what trained SVMs give most windows
COUNTS = (100, 200, 500, 1000, 2000)  # windows of the growth
GROWTH_IMAGES = 3
GROWTH = "growth.csv"
GROWTH_COLUMNS = ("against", "method", "windows", "scales", "conv_s", "fc_s")
BOOKED = (
    "conv: scaling and convolutions; fc: SPP-net's pooling, fc6, fc7; total: both; other: warping (R-CNN), SVMs, NMS; "
    "in none: decoding, proposals"
)

Features = SppFeatures | RcnnFeatures
Column = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What the SVMs and NMS behind the features need, and where the networks run."""

    protocol: Protocol
    classes: Sequence[str]
    device: torch.device


class Stopwatch:
    """Seconds by part. It waits for the device before and after a part, so that the time is not that of the calls."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what happens inside to `name`."""
        self._wait()
        since = perf_counter()
        yield
        self._wait()
        self.seconds[name] += perf_counter() - since

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def describe(features: Features, picture: Tensor, boxes: Boxes, watch: Stopwatch) -> Described:
    """LAYER of all windows, as the features themselves make it, with the time of each part."""
    if isinstance(features, SppFeatures):
        with watch.part("conv"):
            maps = features.prepare(picture)
        with watch.part("fc"):
            return features.describe(maps, boxes, (picture.shape[1], picture.shape[2]), [LAYER])
    found = []
    crops = features.crops(picture, boxes)
    while True:
        with watch.part("other"):
            batch = next(crops, None)
        if batch is None:
            break
        with watch.part("conv"):
            pooled = features.conv(batch, [LAYER])
        with watch.part("fc"):
            found.append(features.fc(pooled, [LAYER])[LAYER])
    each = np.arange(len(boxes))
    return Described({LAYER: torch.cat(found)}, each, each)


@dataclass(frozen=True)
class _Given:
    """Features that are there already, so that what a detector makes of them is timed alone."""

    described: Described

    def prepare(self, picture: Tensor) -> Tensor:
        return picture

    def describe(self, *_: Any) -> Described:
        return self.described


def drawn_svms(length: int, classes: int, scale: float) -> LayerSvms:
    """SVMs that serve a clock as well as learned ones: nearly all windows score over the detector's threshold.

    So NMS has its full work, as with trained SVMs. length: of the features; scale: see mining.feature_scale.
    """
    weights = np.random.default_rng(0).normal(0, SPREAD / NORM, (classes, length)).astype(np.float32)
    return LayerSvms(weights, np.full(classes, -1, np.float32), scale)


def judge(described: Described, picture: Tensor, boxes: Boxes, setting: Setting, watch: Stopwatch) -> None:
    """SVMs on the features, and NMS."""
    values = described.layers[LAYER]
    svms = drawn_svms(values.shape[1], len(setting.classes), feature_scale(values.norm(dim=1).cpu().tolist()))
    judging = Detector(_Given(described), setting.protocol, list(setting.classes), {LAYER: svms}, None, "pool5")
    with watch.part("other"):
        detect([judging], picture, boxes, [LAYER])


def measure(methods: Mapping[str, Features], source: Source, setting: Setting) -> dict[str, dict[str, Column]]:
    """Method -> part -> (n,) seconds of each image of `source` with all its windows, the methods in turn on each.

    To be called in inference mode and the precision to be measured. The first image warms up before it is timed; every
    image needs a window.
    """
    found = {method: {part: np.zeros(len(source)) for part in PARTS} for method in methods}
    picture, boxes = source.picture(0), source.windows(0)
    for features in methods.values():  # R-CNN's batches are alike; those of SPP-net are as large as the image
        few = boxes[:BATCH] if isinstance(features, RcnnFeatures) else boxes
        watch = Stopwatch(setting.device)
        judge(describe(features, picture, few, watch), picture, few, setting, watch)
    for number in track(range(len(source)), "times", console=Console(stderr=True)):
        picture, boxes = source.picture(number), source.windows(number)
        for method, features in methods.items():
            watch = Stopwatch(setting.device)
            judge(describe(features, picture, boxes, watch), picture, boxes, setting, watch)
            for part in PARTS:
                found[method][part][number] = watch.seconds[part]
    return found


def evaluate(
    seconds: Mapping[str, Mapping[str, Column]],
) -> tuple[dict[str, Metric], dict[str, NDArray[np.float32]]]:
    """Metrics of Tables 9 and 10, means and ratios of means, each with its bootstrap replicates over the images.

    seconds: of `measure`; SPP-net's methods are named spp_*, R-CNN's rcnn_<network>.
    """
    columns = {
        method: {"conv": p["conv"], "fc": p["fc"], "total": p["conv"] + p["fc"], "other": p["other"]}
        for method, p in seconds.items()
    }
    (count,) = {len(column) for parts in columns.values() for column in parts.values()}
    copies = outcomes.resamples(count) / count
    metrics: dict[str, Metric] = {}
    replicates: dict[str, NDArray[np.float32]] = {}
    for method, parts in columns.items():
        for part, column in parts.items():
            key = f"{method}_{part}_s"
            metrics[key] = Metric(float(column.mean()), "s", count)
            replicates[key] = (copies @ column).astype(np.float32)
    for slow in (method for method in columns if method.startswith("rcnn_")):
        for fast in (method for method in columns if method.startswith("spp_")):
            for part, name in (("total", "speedup"), ("conv", "conv_speedup")):
                ours, theirs = columns[fast][part], columns[slow][part]
                key = f"{fast}_{name}_{slow.removeprefix('rcnn_')}"
                metrics[key] = Metric(float(theirs.mean() / ours.mean()), "x", count)
                replicates[key] = ((copies @ theirs) / (copies @ ours)).astype(np.float32)
    return metrics, replicates


def grow(
    spp: SppFeatures, rcnn: RcnnFeatures, scales: Sequence[int], source: Source, setting: Setting, most: int
) -> str:
    """The text of growth.csv: seconds against the number of windows, then (SPP-net) against that of the scales.

    Means over the GROWTH_IMAGES images with the most windows, where they have as many. scales: of SPP-net; the more of
    them, the farther from its own one scale. most: windows up to which R-CNN, too, is timed.
    """
    by_windows = sorted(range(len(source)), key=lambda number: -len(source.windows(number)))[:GROWTH_IMAGES]
    images = [(source.picture(number), source.windows(number)) for number in by_windows]
    rows: list[tuple[str, str, int, int, float, float]] = []
    for count in COUNTS:
        some = [(picture, boxes[:count]) for picture, boxes in images if len(boxes) >= count]
        for method, features in (("spp", spp), ("rcnn_zf5", rcnn)):
            if some and (method == "spp" or count <= most):
                rows.append(("windows", method, count, 1, *_means(features, some, setting.device)))
    (own,) = spp.scales
    near = sorted(scales, key=lambda scale: abs(log(scale / own)))
    windows = round(float(np.mean([len(boxes) for _, boxes in images])))
    for count in range(1, len(near) + 1):
        several = with_scales(spp, sorted(near[:count]))
        rows.append(("scales", "spp", windows, count, *_means(several, images, setting.device)))
    return csv_text(GROWTH_COLUMNS, ((*row[:4], f"{row[4]:.6f}", f"{row[5]:.6f}") for row in rows))


def with_scales(spp: SppFeatures, scales: Sequence[int]) -> SppFeatures:
    """The same network on images of other scales; its weights are shared."""
    return SppFeatures(spp.trunk, spp.levels, scales, spp.protocol, spp.plain, spp.tuned, halve=spp.halve).eval()


def _means(features: Features, images: Sequence[tuple[Tensor, Boxes]], device: torch.device) -> tuple[float, float]:
    """Seconds an image of conv and of fc, the first image once more before the clock runs."""
    picture, boxes = images[0]
    describe(features, picture, boxes if isinstance(features, SppFeatures) else boxes[:BATCH], Stopwatch(device))
    watch = Stopwatch(device)
    for picture, boxes in images:
        describe(features, picture, boxes, watch)
    return watch.seconds["conv"] / len(images), watch.seconds["fc"] / len(images)
