"""Pictures of detectors: what they find in the same images, and precision by recall."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spprepro import folders
from spprepro.data import layouts
from spprepro.records import Found
from spprepro.report.runs import settings
from spprepro.report.sheets import Sheet
from spprepro.report.style import BLUE, GREY, LOOKS, RED, Drawing, Picture, decoded, draw, dress, outline, show
from spprepro.traces import RECALLS, Example, Seen, read_examples, read_precision

RIGHT = 0.5  # overlap with an object of its class from which a detection counts (section 4.2)
_PIXELS = 240  # sides of photos in a drawing, at most


@dataclass(frozen=True)
class Tested:
    """A detector as its column is called, its record, and its findings in the first test images."""

    name: str
    found: Found
    examples: list[Example]


def tested(layers: Sheet, networks: Sheet) -> list[Tested]:
    """The detectors of Table 9, and those R-CNNs that only Table 10 has, which left their findings."""
    columns = [(head.label, head.key, sheet) for sheet in (layers, networks) for head in sheet.columns]
    there: dict[str, Tested] = {}
    for name, column, sheet in columns:
        jobs = {cell.job for cell in sheet.table.cells.values() if cell.column == column}
        for item in sheet.used:
            job = item.record.experiment
            if job in jobs and job not in there and (sheet is layers or "rcnn" in job):
                if examples := read_examples(item.path.parent):
                    there[job] = Tested(name, item, examples)
    return list(there.values())


def side_by_side(detectors: list[Tested], voc_root: str | None = None) -> Iterator[Drawing]:
    """The same images, a row each, with what each detector finds in them, a column each.

    Photos of VOC are drawn only where their folder is given, and then into a file that is not for others.
    """
    ids = [example.id for example in detectors[0].examples] if detectors else []
    detectors = [each for each in detectors if [example.id for example in each.examples] == ids]
    if not ids:
        return
    first, wide = detectors[0], 8.6 / len(detectors)
    photos = [_photo(first.found, example, voc_root) for example in first.examples]
    heights = [min(2.0, wide * example.height / example.width) for example in first.examples]

    def paint(figure: Any) -> None:
        axes = figure.subplots(len(ids), len(detectors), squeeze=False, height_ratios=heights)
        for column, each in zip(axes.T, detectors, strict=True):
            column[0].set_title(each.name)
            for axis, example, photo in zip(column, each.examples, photos, strict=True):
                _findings(axis, example, photo)
        for axis, name in zip(axes[:, 0], ids, strict=True):
            axis.set_ylabel(name)
        handles = [axes[0][0].plot([], [], label=label, **look)[0] for label, look in _BOXES.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)

    missing = " The photos are others': frames of their size; task=report voc.root=DIR draws over them, for you alone."
    of = "VOC 2007" if first.found.record.data["name"] == "voc07" else "the generated set"
    counts = {each.name: [_right(seen) for example in each.examples for seen in example.found] for each in detectors}
    objects = sum(len(example.objects) for example in first.examples)
    said = "; ".join(f"{name}: {sum(each)} right, {len(each) - sum(each)} wrong" for name, each in counts.items())
    picture = Picture(
        9,
        Path("plots", "photos.svg" if voc_root else "detections.svg"),
        "What the detectors find in the same images",
        f"The first {len(ids)} test images of {of}, not chosen by their look: each detector's best boxes, with "
        f"class and score. Right: overlaps an object of its class by {RIGHT:g} or more."
        + ("" if all(photo is not None for photo in photos) else missing),
        f"Boxes that {len(detectors)} detectors find in {len(ids)} test images with {objects} objects. {said}.",
    )
    yield draw(picture, 9.4, sum(heights) + 1.1, paint)


_BOXES: Mapping[str, dict[str, Any]] = {
    "object": {"color": GREY, "linestyle": "--", "linewidth": 1.2},
    "right": {"color": BLUE, "linestyle": "-", "linewidth": 1.6},
    "wrong": {"color": RED, "linestyle": ":", "linewidth": 1.8},
}


def _right(seen: Seen) -> bool:
    return (seen.overlap or 0) >= RIGHT


def _findings(axis: Any, example: Example, photo: NDArray[np.uint8] | None) -> None:
    """One image: objects, and the detections over them, the best on top."""
    axis.set(xlim=(0, example.width), ylim=(example.height, 0), xticks=[], yticks=[], aspect="equal")
    if photo is not None:
        show(axis, photo, (0, example.width, example.height, 0))
    for seen in example.objects:
        if photo is not None:
            outline(axis, seen.box, color="white", linewidth=2.4, alpha=0.7)
        outline(axis, seen.box, **_BOXES["object"] | ({} if photo is None else {"color": "black"}))
    for seen in reversed(example.found):
        look = _BOXES["right" if _right(seen) else "wrong"]
        outline(axis, seen.box, **look)
        axis.text(
            min(max(seen.box[0], 0), 0.7 * example.width),
            max(seen.box[1], 0.07 * example.height),
            f"{seen.name} {seen.score:.2f}",
            color="white",
            fontsize=7,
            va="bottom",
            bbox={"facecolor": look["color"], "edgecolor": "none", "pad": 1},
        )


def _photo(found: Found, example: Example, voc_root: str | None) -> NDArray[np.uint8] | None:
    """An image of the generated set, drawn again as the job had it, or a photo; None if it is not here."""
    config = settings(found)
    if config is None:  # of another version
        return None
    voc = config.voc
    if voc.root is not None:
        path = folders.located(voc_root or "") / "JPEGImages" / f"{example.id}.jpg"
        return _shrunk(decoded(path.read_bytes())) if voc_root and path.is_file() else None
    tasks = layouts.tasks("voc", voc.seed, layouts.Amounts(voc_trainval=voc.trainval, voc_test=voc.test))
    task = next((each for each in tasks if Path(each.path).stem == example.id), None)
    photo = None if task is None else decoded(layouts.draw(task)[task.path])
    if photo is None or photo.shape[:2] != (example.height, example.width):  # another version's pictures
        return None
    return _shrunk(photo)


def _shrunk(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    share = _PIXELS / max(photo.shape)
    return np.asarray(cv2.resize(photo, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)


def precision(detectors: list[Tested]) -> Iterator[Drawing]:
    """Precision against recall, a panel a class, of the detectors tested on the same images as the first."""
    if not detectors:
        return
    data = detectors[0].found.record.data["fingerprint"]
    same = [each for each in detectors if each.found.record.data["fingerprint"] == data][: len(LOOKS)]
    curves = {each.name: read_precision(each.found.path.parent) or [] for each in same}
    names = list(dict.fromkeys(curve.name for each in curves.values() for curve in each))
    means = {name: sum(curve.ap for curve in each) / len(each) for name, each in curves.items() if each}
    if not names:
        return
    rows = -(-len(names) // 5)

    def paint(figure: Any) -> None:
        axes = figure.subplots(rows, 5, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=False):
            for each, look in zip(means, LOOKS, strict=False):
                for curve in curves[each]:
                    if curve.name == name:
                        label = f"{each}, mAP {means[each]:.1f} %"
                        axis.plot(*_bends(curve.precision), **{**look, "marker": "", "label": label})
            axis.set(title=name, xlim=(0, 1), ylim=(0, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            dress(axis)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        axes[5 * (rows - 1) + 2].set_xlabel("recall")
        axes[5 * (rows // 2)].set_ylabel("precision")
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=min(2, len(means)), frameon=False)

    said = "; ".join(f"{name} {mean:.1f} %" for name, mean in means.items())
    ends = []
    for name in means:
        low, high = (pick(curves[name], key=lambda curve: curve.ap) for pick in (min, max))
        ends.append(f"{name} from {low.ap:.1f} % ({low.name}) to {high.ap:.1f} % ({high.name})")
    picture = Picture(
        9,
        Path("plots", "precision.svg"),
        "Precision against recall, by class",
        "Of each detector's last row in its table. The curves are those that AP is read from: the best precision at a "
        "recall or beyond it.",
        f"Precision against recall of {len(means)} detectors for {len(names)} classes. mAP: {said}. "
        f"AP by class: {'; '.join(ends)}.",
    )
    yield draw(picture, 9, 1.3 * rows + 0.9, paint)


def _bends(heights: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points of a curve over RECALLS, without those inside its level parts."""
    last = len(heights) - 1
    kept = [k for k in range(last + 1) if k in (0, last) or not heights[k - 1] == heights[k] == heights[k + 1]]
    return [RECALLS[k] for k in kept], [heights[k] for k in kept]
