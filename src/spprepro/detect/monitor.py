"""What TensorBoard shows of a finished detector: pictures with detections, precision-recall curves and AP."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from spprepro.average_precision import HIT, MISS, Matches, ap11, curve
from spprepro.data.voc import Split
from spprepro.detect.drawing import draw
from spprepro.detect.evaluate import judge
from spprepro.detect.voc_eval import Detections

PICTURES = 12
ABOVE, MOST = -0.5, 6  # scores that are drawn, as in the released spp_demo.m, and how many in a picture
POINTS = 127  # of a curve; the plugin takes no more


def show(
    folder: Path, split: Split, found: Mapping[str, Detections], pictures: Callable[[int], UInt8[Tensor, "3 h w"]]
) -> None:
    """Writes an event file into the job's folder.

    `detections/<id>`: evenly chosen test images with their best detections over ABOVE, objects dashed; `pr/<class>`,
    `ap/<class>` and `ap/mean` (11-point, in %) of the classes that have objects to find. found: class -> detections of
    one row; pictures: number of an image in the split -> its pixels.
    """
    judged = judge(split, found)
    with SummaryWriter(str(folder)) as writer:
        count = len(split.images)
        for number in np.unique(np.linspace(0, count - 1, min(PICTURES, count)).round().astype(int)).tolist():
            writer.add_image(f"detections/{split.images[number].id}", drawn(split, found, number, pictures(number)), 0)
        aps = {name: 100 * ap11(*curve(matches)) for name, matches in judged.items()}
        for name, matches in judged.items():
            writer.add_scalar(f"ap/{name}", aps[name], 0)
            if len(matches.state):
                writer.add_pr_curve_raw(f"pr/{name}", *points(matches), global_step=0, num_thresholds=POINTS)
        if aps:
            writer.add_scalar("ap/mean", sum(aps.values()) / len(aps), 0)


def best(
    split: Split, found: Mapping[str, Detections], number: int
) -> tuple[Float[ndarray, "n 4"], Int[ndarray, " n"], Float[ndarray, " n"]]:
    """Boxes, labels and scores of the best MOST detections over ABOVE in an image of the split, best first."""
    rows = {name: np.flatnonzero((each.image == number) & (each.score >= ABOVE)) for name, each in found.items()}
    labels = np.concatenate([np.full(len(rows[name]), k) for k, name in enumerate(split.classes)])
    scores = np.concatenate([found[name].score[rows[name]] for name in split.classes])
    boxes = np.concatenate([found[name].boxes[rows[name]] for name in split.classes])
    order = np.argsort(-scores, kind="stable")[:MOST]
    return boxes[order], labels[order], scores[order]


def drawn(
    split: Split, found: Mapping[str, Detections], number: int, picture: UInt8[Tensor, "3 h w"]
) -> UInt8[ndarray, "3 h w"]:
    """An image of the split with its best detections and its objects."""
    return draw(picture, *best(split, found, number), split.classes, split.images[number].boxes)


def points(matches: Matches) -> Shaped[ndarray, "6 points"]:
    """POINTS of a class's curve: those at its hits, evenly thinned, and its end, recall falling as the plugin expects.

    Rows: true and false positives, true negatives (a detector has none: 0), false negatives, precision, recall. The
    plugin numbers the points from 0 to 1 and calls that their thresholds.
    """
    ends = np.append(np.flatnonzero(matches.state == HIT), len(matches.state) - 1)
    chosen = ends[np.linspace(len(ends) - 1, 0, POINTS).round().astype(int)]
    hits, misses = (np.cumsum(matches.state == state)[chosen] for state in (HIT, MISS))
    recall, precision = (np.nan_to_num(values[chosen]) for values in curve(matches))
    return np.stack([hits, misses, np.zeros(POINTS), matches.positives.sum() - hits, precision, recall])
