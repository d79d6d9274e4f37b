"""The polygons that figures of the generated data set are put together from.

A figure lives in a box of about [-1, 1] x [-1, 1], y down, as a list of (polygon (N, 2), tone), painted in
order: tone 0 is the main colour, 1 and 2 are the other two, HOLE cuts through what was painted before.
"""

import numpy as np
import numpy.typing as npt

HOLE = -1

Points = npt.NDArray[np.float64]
Figure = list[tuple[Points, int]]
Rng = np.random.Generator

_CIRCLE = np.stack([np.cos(np.arange(24) * np.pi / 12), np.sin(np.arange(24) * np.pi / 12)], axis=1)


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """Ellipse around (x, y); `turn` in radians."""
    c, s = np.cos(turn), np.sin(turn)
    form = np.array([[rx * c, rx * s], [-ry * s, ry * c]])
    return np.asarray(_CIRCLE @ form + np.array([x, y]), dtype=np.float64)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Upright rectangle between two corners."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def poly(*xy: float) -> Points:
    """Polygon through x, y, x, y ..."""
    return np.array(xy, dtype=float).reshape(-1, 2)


def limb(x0: float, y0: float, x1: float, y1: float, width: float, end: float | None = None) -> Points:
    """Straight limb from (x0, y0) to (x1, y1), tapering from `width` to `end`."""
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    nx, ny = (y0 - y1) / length / 2, (x1 - x0) / length / 2
    w, e = width, width if end is None else end
    return poly(x0 + nx * w, y0 + ny * w, x1 + nx * e, y1 + ny * e, x1 - nx * e, y1 - ny * e, x0 - nx * w, y0 - ny * w)


def wheel(x: float, y: float, r: float, tyre: float) -> Figure:
    """Ring of radius `r` around (x, y), open inside; `tyre` is its thickness over the radius."""
    return [(oval(x, y, r, r), 2), (oval(x, y, r * (1 - tyre), r * (1 - tyre)), HOLE)]
