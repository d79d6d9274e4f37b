"""The schema of a detection job: protocol, windows, fine-tuning, the VOC folder. Part of config.py; no torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["paper", "released"]
Mapping = Literal["tpami", "arxiv_v4", "released", "stride"]
Row = Literal["pool5", "fc6", "ftfc6", "ftfc7", "ftfc7_bb"]


@dataclass(frozen=True)
class Schedule:
    """Fine-tuning: `steps[i]` mini-batches at the rate `rates[i]`, one after the other."""

    rates: list[float]
    steps: list[int]


@dataclass(frozen=True)
class Protocol:
    """What the paper says (section 4, Appendix A), or what the released code does where it differs; conf/protocol."""

    name: Rule = "paper"
    mapping: Mapping = "tpami"  # from a window's corners to cells of the last map
    scale_rule: Rule = "paper"  # which scale a window is taken from
    scales: list[int] = field(default_factory=lambda: [480, 576, 688, 864, 1200])  # the five
    finetune_scale: Literal["best", "random"] = "best"  # the scale of a window in fine-tuning
    flips: bool = False  # fine-tune on mirrored images too
    negatives: Literal["overlap", "cells"] = "overlap"  # dropped: what overlaps another over 70 %, or has its cells
    at_limit: bool = True  # whether an overlap of exactly 0.3 with an object still makes a negative
    ridge: float = 1000.0  # of the box regression
    regress: Literal["before_nms", "after_nms"] = "before_nms"
    finetune: dict[str, Schedule] = field(default_factory=dict)  # by method: spp (fc layers only), rcnn (all layers)


@dataclass(frozen=True)
class Detection:
    """What a detector looks at and what it is tested on; `rows` are those of Table 9."""

    method: Literal["spp", "rcnn"] = "spp"
    scales: list[int] = field(default_factory=lambda: [688])  # shorter sides, in pixels; R-CNN warps the image itself
    rows: list[Row] = field(default_factory=lambda: ["pool5", "fc6", "ftfc6", "ftfc7", "ftfc7_bb"])
    windows: int = 0  # at most so many an image, the first of its list; 0: all
    batch: int = 128  # windows of a mini-batch of fine-tuning, a quarter of them positive
    dropout: float = 0.5
    keep_maps: bool = False  # keep the training images' maps on disk (fp16) while the job runs: 16 MB each at 5 scales
    timed: int = 100  # images of a measurement of times


@dataclass(frozen=True)
class Voc:
    """A VOCdevkit/VOC2007 folder, or (root: null) the generated set in that layout."""

    root: str | None = None
    images: int = 0  # the first so many images of each split; 0: all
    trainval: int = 0  # images of the generated set
    test: int = 0
    seed: int = 0  # of the generator
    unusable: Literal["refuse", "skip"] = "refuse"  # images whose proposal list is empty: stop, or count and report


@dataclass(frozen=True)
class SelectiveSearch:
    """The fast mode of the released code (reference.md 7.3): {HSV, Lab} x thresholds x two ways to merge."""

    method: Literal["selective_search"] = "selective_search"
    thresholds: list[int] = field(default_factory=lambda: [50, 100])  # k of the segmentation, and its least segment
    sigma: float = 0.8  # of the smoothing before it, in pixels
    min_side: int = 20  # windows with a side under it are dropped
    long_side: int = 500  # larger images are searched at this size: the search is quadratic; no VOC image is larger


@dataclass(frozen=True)
class EdgeBoxes:
    """EdgeBoxes with the defaults of its authors (reference.md 7.3), in OpenCV's order; `model` is the user's file."""

    method: Literal["edge_boxes"] = "edge_boxes"
    model: str | None = None
    alpha: float = 0.65
    beta: float = 0.75
    eta: float = 1.0
    min_score: float = 0.01
    max_boxes: int = 10000
    edge_min_mag: float = 0.1
    edge_merge_thr: float = 0.5
    cluster_min_mag: float = 0.5
    max_aspect_ratio: float = 3.0
    min_box_area: float = 1000.0
    gamma: float = 2.0
    kappa: float = 1.5


@dataclass(frozen=True)
class MatFiles:
    """Windows computed elsewhere: for each image set (trainval, test) the MATLAB file that has them."""

    method: Literal["mat"] = "mat"
    files: dict[str, str | None] = field(default_factory=dict)


def faults(detection: Detection, protocol: Protocol, voc: Voc, devices: int) -> Iterator[str]:
    """Values of a detection job that are wrong in range or together; devices: on which it fine-tunes."""
    for key, count in (("detection.windows", detection.windows), ("voc.images", voc.images)):
        if count < 0:
            yield f"{key}: {count} must be 0 (all) or more"
    for key, number in (("detection.batch", detection.batch), ("detection.timed", detection.timed)):
        if number < 1:
            yield f"{key}: {number} must be over 0"
    if detection.batch % (4 * max(devices, 1)):
        share = "a quarter of the windows of each device is positive"
        yield f"detection.batch: {detection.batch} is no multiple of 4 x {devices} (devices); {share}"
    if not 0 <= detection.dropout < 1:
        yield f"detection.dropout: {detection.dropout} must be in [0, 1)"
    for key, scales in (("detection.scales", detection.scales), ("protocol.scales", protocol.scales)):
        if not scales or scales != sorted(set(scales)) or scales[0] < 2:
            yield f"{key}: {scales} must be rising sides in pixels"
    if not detection.rows or len(set(detection.rows)) != len(detection.rows):
        yield f"detection.rows: {detection.rows} must be one or more different rows"
    if "ftfc7_bb" in detection.rows and "ftfc7" not in detection.rows:
        yield "detection.rows: ftfc7_bb moves the windows that ftfc7 found; add ftfc7"
    schedule = protocol.finetune.get(detection.method)
    if schedule is None:
        yield f"protocol.finetune.{detection.method}: missing; give rates and steps"
    elif not schedule.rates or len(schedule.rates) != len(schedule.steps) or min(*schedule.rates, *schedule.steps) <= 0:
        yield f"protocol.finetune.{detection.method}: as many rates as steps are needed, rates and steps over 0"
    if protocol.ridge <= 0:
        yield f"protocol.ridge: {protocol.ridge} must be over 0"
