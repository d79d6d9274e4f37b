"""What a detector leaves for the report's pictures: precision by recall, and what it finds in a few test images."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spprepro import traces
from spprepro.average_precision import Matches, ap11, curve
from spprepro.data.voc import Split
from spprepro.detect.boxes import iou
from spprepro.detect.evaluate import judge
from spprepro.detect.monitor import best
from spprepro.detect.voc_eval import Detections
from spprepro.traces import RECALLS, ClassCurve, Example, Seen

FIRST = 4  # images of the split: the same for every detector tested on it, or on its beginning


def trace(folder: Path, split: Split, found: Mapping[str, Detections]) -> None:
    """Writes precision_recall.csv, of the classes that have objects to find, and examples.json, of the FIRST images.

    found: class -> detections of one row.
    """
    traces.write_precision(folder, [_curve(name, matches) for name, matches in judge(split, found).items()])
    traces.write_examples(folder, list(_examples(split, found)))


def _curve(name: str, matches: Matches) -> ClassCurve:
    recall, precision = curve(matches)
    known = ~np.isnan(precision)
    heights = [float(precision[known & (recall >= level)].max(initial=0)) for level in RECALLS]
    return ClassCurve(name, int(matches.positives.sum()), 100 * ap11(recall, precision), tuple(heights))


def _examples(split: Split, found: Mapping[str, Detections]) -> Iterator[Example]:
    for number, image in enumerate(split.images[:FIRST]):
        boxes, labels, scores = best(split, found, number)
        same = labels[:, None] == image.labels
        overlaps = np.where(same, iou(boxes, image.boxes), 0).max(1, initial=0).round(3)
        marks = zip(scores.round(3).tolist(), overlaps.tolist(), strict=True)
        yield Example(
            image.id,
            image.width,
            image.height,
            tuple(Seen(split.classes[k], _plain(box)) for k, box in zip(image.labels, image.boxes, strict=True)),
            tuple(Seen(split.classes[k], _plain(b), *m) for k, b, m in zip(labels, boxes, marks, strict=True)),
        )


def _plain(box: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(box.round(1).tolist())
