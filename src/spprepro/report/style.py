"""How all pictures look: SVG without a ground, in mid-tones that stand out from light and dark pages and in print.

Colours are told apart by colour-blind readers (after Okabe and Ito), and never alone: lines and markers differ too.
Same content, same bytes.
"""

import io
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

GREY = "#808080"
BLUE, RED, GREEN, PINK = COLOURS = ("#1f8ac9", "#d55e00", "#009e73", "#cc79a7")
LOOKS = tuple(zip(COLOURS, ("-", "--", "-.", ":"), ("o", "s", "^", "D"), strict=True))
"""Colour, line and marker of the first four of anything."""
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "spprepro",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "image.composite_image": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}


def draw(width: float, height: float, alt: str, paint: Callable[[Figure], None]) -> str:
    """The SVG of a figure of width x height inches that `paint` fills; `alt` says in words what it shows."""
    out = io.StringIO()
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": alt})
    return out.getvalue()


def dress(axis: Any) -> None:
    """A thin grid, and no frame above and at the right."""
    axis.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
