"""How all pictures look: SVG without a ground, in mid-tones that stand out from light and dark pages and in print.

Colours are told apart by colour-blind readers (after Okabe and Ito), and never alone: lines and markers differ too.
Same content, same bytes.
"""

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

GREY = "#808080"
BLUE, RED, GREEN, PINK = "#1f8ac9", "#d55e00", "#009e73", "#cc79a7"
LOOKS: tuple[dict[str, Any], ...] = tuple(
    {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1.4}
    for colour, line, marker in (
        (BLUE, "-", "o"),
        (RED, "--", "s"),
        (GREEN, "-.", "^"),
        (PINK, ":", "D"),
        (GREY, (0, (4, 1, 1, 1, 1, 1)), "v"),
    )
)
"""The first five of anything."""
_QUALITY = 70  # JPEG, of photos in a drawing
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "spprepro",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "image.composite_image": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}


@dataclass(frozen=True)
class Picture:
    """An SVG at `path` (relative to the tier's folder), shown in the section of a paper table."""

    section: int
    path: Path
    title: str
    caption: str
    alt: str


Drawing = tuple[Picture, Callable[[], str]]
"""And what draws its SVG."""


def draw(picture: Picture, width: float, height: float, paint: Callable[[Figure], None]) -> Drawing:
    """With a figure of width x height inches that `paint` fills, when it is wanted."""
    return picture, lambda: _svg(picture.alt, (width, height), paint)


def _svg(title: str, inches: tuple[float, float], paint: Callable[[Figure], None]) -> str:
    out = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Title": title}
    with rc_context(_STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        paint(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axis in figure.axes:  # the layout's solver differs in the last bits from one time to the next
            axis.set_position(Bbox(axis.get_position(original=True).get_points().round(4)))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return re.sub(r"data:image/png;base64,\s*([^\"]+)", _as_jpeg, out.getvalue())


def dress(axis: Any) -> None:
    """A thin grid, and no frame above and at the right."""
    axis.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def outline(axis: Any, box: Sequence[float], **look: Any) -> None:
    """A box [x1, y1, x2, y2] whose ends are inclusive pixels."""
    x1, y1, x2, y2 = box
    axis.plot([x1, x2 + 1, x2 + 1, x1, x1], [y1, y1, y2 + 1, y2 + 1, y1], **look)


def show(axis: Any, photo: NDArray[np.uint8], extent: Sequence[float]) -> None:
    """A photo where the axis reaches from `extent` [left, right, bottom, top], without ticks."""
    axis.imshow(photo, extent=extent, interpolation="none")
    axis.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])


def decoded(content: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of an image file's content; without torch, which a report does not wait for."""
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _as_jpeg(found: re.Match[str]) -> str:
    """A photo that matplotlib has embedded as PNG, in a fifth of the bytes."""
    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB").save(out, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
