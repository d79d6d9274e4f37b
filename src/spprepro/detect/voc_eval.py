"""Detections judged as the VOC2007 devkit judges them (VOCevaldet.m), and its results files.

Detections are evaluated as the devkit evaluates them, from the files: scores with 6 decimals, equal ones in file order.
So write them, read them back, and evaluate these; the files then give the same numbers again, without a network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spprepro.average_precision import HIT, IGNORED, MISS, Matches
from spprepro.data.voc import Split
from spprepro.detect.boxes import iou
from spprepro.errors import DataError
from spprepro.files import write_text

OVERLAP = 0.5  # IoU with an object from which a detection shows it


@dataclass(frozen=True)
class Detections:
    """A class's detections in file order: number of the image in the split, score, 0-based inclusive box."""

    image: NDArray[np.int64]
    score: NDArray[np.float64]
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class Objects:
    """A class's objects in a split of `images` images: number of the image, 0-based inclusive box, difficult or not."""

    images: int
    image: NDArray[np.int64]
    boxes: NDArray[np.float64]
    difficult: NDArray[np.bool_]


def class_objects(split: Split, label: int) -> Objects:
    """The objects of one class in a split."""
    rows = [image.labels == label for image in split.images]
    boxes = [image.boxes[own] for image, own in zip(split.images, rows, strict=True)]
    difficult = [image.difficult[own] for image, own in zip(split.images, rows, strict=True)]
    numbers = np.repeat(np.arange(len(rows)), [len(each) for each in boxes])
    return Objects(len(rows), numbers, np.concatenate(boxes), np.concatenate(difficult))


def match(found: Detections, objects: Objects) -> Matches:
    """Judge detections: each one's object is the first it overlaps most, difficult or found already though it may be.

    With IoU >= OVERLAP the first detection of an object, in the order of scores (stable), is a HIT, later ones are a
    MISS; those of difficult objects are IGNORED.
    """
    order = np.argsort(-found.score, kind="stable")
    image, boxes = found.image[order], found.boxes[order]
    state = np.full(len(order), MISS, np.int8)
    own = np.full(len(order), -1)  # the object each detection overlaps enough
    by_image = np.argsort(image, kind="stable")
    starts = np.searchsorted(image[by_image], np.arange(objects.images + 1))
    for number in np.unique(objects.image):
        rows = by_image[starts[number] : starts[number + 1]]
        if len(rows):
            there = np.flatnonzero(objects.image == number)
            overlaps = iou(boxes[rows], objects.boxes[there])
            best = overlaps.argmax(1)
            enough = overlaps[np.arange(len(rows)), best] >= OVERLAP
            own[rows[enough]] = there[best[enough]]
    objects_found, first = np.unique(own, return_index=True)
    state[first[objects_found >= 0]] = HIT
    matched = np.flatnonzero(own >= 0)
    state[matched[objects.difficult[own[matched]]]] = IGNORED
    positives = np.bincount(objects.image[~objects.difficult], minlength=objects.images)
    return Matches(image, found.score[order], state, positives)


def results_path(folder: Path, split: str, name: str) -> Path:
    """The devkit's name of a class's results file: competition 4, trained on other data too."""
    return folder / f"comp4_det_{split}_{name}.txt"


def write_results(path: Path, ids: Sequence[str], found: Detections) -> None:
    """A line "id score x1 y1 x2 y2" for each detection: 6 decimals of the score, 10 digits of the 1-based box."""
    rows = zip(found.image.tolist(), found.score.tolist(), (found.boxes + 1).tolist(), strict=True)
    lines = (f"{ids[image]} {score:.6f} {' '.join(f'{v:.10g}' for v in box)}\n" for image, score, box in rows)
    write_text(path, "".join(lines))


def read_results(paths: Mapping[str, Path], ids: Sequence[str]) -> dict[str, Detections]:
    """Class -> detections of its results file; raises DataError naming every missing file and wrong line."""
    numbers = {name: number for number, name in enumerate(ids)}
    faults: list[str] = []
    found = {}
    for name, path in paths.items():
        if not path.is_file():
            faults.append(f"{path}: not found; detect the class's objects again")
            continue
        lines = enumerate(path.read_text().splitlines(), 1)
        rows = [_row(path, number, line, numbers, faults) for number, line in lines]
        values = np.array([row for row in rows if row], np.float64).reshape(-1, 6)
        found[name] = Detections(values[:, 0].astype(np.int64), values[:, 1], values[:, 2:] - 1)
    if faults:
        raise DataError(faults)
    return found


def _row(path: Path, number: int, line: str, numbers: Mapping[str, int], faults: list[str]) -> list[float] | None:
    """Image number, score and 1-based box of a line; None, and a fault noted, where it is wrong."""
    name, *words = line.split() or [""]
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 5 or not all(map(math.isfinite, values)):
        fault = 'not "id score x1 y1 x2 y2"'
    elif name not in numbers:
        fault = f"image {name!r} is not in the split"
    elif values[3] < values[1] or values[4] < values[2]:
        fault = "x2 or y2 lies before x1 or y1"
    else:
        return [numbers[name], *values]
    faults.append(f"{path}:{number}: {fault} ({line[:80]!r}); remove the line or write the file again")
    return None
