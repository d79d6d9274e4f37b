"""Detections drawn on a picture: a box and a labelled bar in the colour of its class."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

_COLOURS = bytes.fromhex(
    "ff3300 ccccff 990033 663366 009966 0066cc 0000ff ff9999 cc0099 0033cc "
    "99ff99 0099cc 339900 cc33ff 00ff00 cc99ff ff0066 993300 cccc66 00cccc"
)
"""RGB of 20 classes, as far apart as they can be for normal, red-blind and green-blind sight (Machado et al. 2009)."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEAST = 0.33  # scale of the font at which it can still be read

Canvas = NDArray[np.uint8]  # (h, w, 3)
Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2, both ends inclusive


def colour(label: int) -> Colour:
    """The RGB of a class; from the 21st on they come again."""
    red, green, blue = _COLOURS[3 * (label % 20) :][:3]
    return red, green, blue


def draw(
    picture: UInt8[Tensor, "3 h w"],
    boxes: Float[ndarray, "n 4"],
    labels: Int[ndarray, " n"],
    scores: Float[ndarray, " n"],
    classes: Sequence[str],
    truth: Float[ndarray, "m 4"] | None = None,
) -> UInt8[ndarray, "3 h w"]:
    """A copy of an RGB picture with 0-based inclusive boxes, each with "class score" in a bar; the best score on top.

    truth: boxes of the objects, dashed in white and black. Lines and letters grow with the picture; bars stay inside
    it, and in a picture too small for them say the class only, or are left out.
    """
    canvas = np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy()).copy()
    height, width = canvas.shape[:2]
    line = max(2, round(min(height, width) / 200))
    if truth is not None:
        _dash(canvas, [_pixels(box, height, width) for box in truth], line)
    corners = [_pixels(box, height, width) for box in boxes]
    colours = [colour(int(label)) for label in labels]
    order = np.argsort(scores, kind="stable").tolist()
    for number in order:
        _outline(canvas, corners[number], colours[number], line)
    bars: dict[int, tuple[_Bar, Rectangle]] = {}
    for number in reversed(order):  # the best score has the first choice of a place
        name = classes[int(labels[number])]
        bar = _fitting((f"{name} {scores[number]:.2f}", name), height, width)
        if bar is not None:
            bars[number] = bar, _place(bar, corners[number], canvas.shape, [place for _, place in bars.values()])
    for number, (bar, place) in reversed(bars.items()):
        _write(canvas, bar, place, colours[number])
    return canvas.transpose(2, 0, 1)


@dataclass(frozen=True)
class _Bar:
    """A text, the scale and weight of its letters, the bar's sides, its margin, and what hangs below the line."""

    text: str
    scale: float
    weight: int
    width: int
    height: int
    margin: int
    base: int


def _pixels(box: Float[ndarray, "4"], height: int, width: int) -> Rectangle:
    """The box's corners on pixels of the picture."""
    x1, y1, x2, y2 = np.clip(np.rint(box), 0, (width - 1, height - 1) * 2).astype(int).tolist()
    return x1, y1, x2, y2


def _ink(own: Colour) -> Colour:
    """Black or white, whichever the colour sets off."""
    return (0, 0, 0) if np.dot(own, (0.299, 0.587, 0.114)) > 125 else (255, 255, 255)


def _outline(canvas: Canvas, box: Rectangle, own: Colour, line: int) -> None:
    """The box with an edge that keeps it visible where the picture has its colour."""
    cv2.rectangle(canvas, box[:2], box[2:], _ink(own), line + 2)
    cv2.rectangle(canvas, box[:2], box[2:], own, line)


def _dash(canvas: Canvas, boxes: Sequence[Rectangle], line: int) -> None:
    """Boxes in dashes of white and black."""
    lines = np.zeros(canvas.shape[:2], np.uint8)
    for box in boxes:
        cv2.rectangle(lines, box[:2], box[2:], 1, line)
    y, x = np.nonzero(lines)
    canvas[y, x] = np.where((x + y) // (5 * line) % 2, 0, 255)[:, None]


def _fitting(texts: Sequence[str], height: int, width: int) -> _Bar | None:
    """A bar with the first text that fits into the picture; letters become smaller before the next one is tried."""
    wanted = max(_LEAST, min(height, width) / 700)
    for text in texts:
        for scale in (wanted, 0.75 * wanted, _LEAST):
            weight, margin = max(1, round(1.3 * scale)), round(1 + 3 * scale)
            wide = cv2.getTextSize(text, _FONT, scale, weight)[0][0] + 2 * margin
            (_, high), base = cv2.getTextSize("Ag", _FONT, scale, weight)  # bars of one height, whatever the letters
            bar = _Bar(text, scale, weight, wide, high + base + margin, margin, base)
            if scale >= _LEAST and bar.width <= width and bar.height <= height:
                return bar
    return None


def _place(bar: _Bar, box: Rectangle, shape: tuple[int, ...], taken: Sequence[Rectangle]) -> Rectangle:
    """Where the bar covers least of other bars: above, in or below the box, left or right; always in the picture."""
    x1, y1, x2, y2 = box
    places = [(x, y) for y in (y1 - bar.height, y1, y2 - bar.height, y2 + 1) for x in (x1, x2 - bar.width)]

    def inside(x: int, y: int) -> Rectangle:
        x, y = max(0, min(x, shape[1] - bar.width)), max(0, min(y, shape[0] - bar.height))
        return x, y, x + bar.width - 1, y + bar.height - 1

    return min((inside(*each) for each in places), key=lambda place: sum(_shared(place, other) for other in taken))


def _shared(a: Rectangle, b: Rectangle) -> int:
    """Pixels that two rectangles have in common."""
    sides = [min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis]) + 1 for axis in (0, 1)]
    return max(sides[0], 0) * max(sides[1], 0)


def _write(canvas: Canvas, bar: _Bar, place: Rectangle, own: Colour) -> None:
    """The filled bar with its text."""
    cv2.rectangle(canvas, place[:2], place[2:], own, cv2.FILLED)
    start = (place[0] + bar.margin, place[3] - bar.base - bar.margin // 2)
    cv2.putText(canvas, bar.text, start, _FONT, bar.scale, _ink(own), bar.weight, cv2.LINE_AA)
