"""The picture of a window's pooling: its cells on the last map, and the pyramid's bins on them. From geometry alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from spprepro import folders
from spprepro.data import layouts
from spprepro.detect.windows import mapping_field, to_cells
from spprepro.files import read_yaml
from spprepro.nets.geometry import Field, bins, map_side
from spprepro.nets.trunks import Backbone
from spprepro.report.style import BLUE, PINK, RED, Drawing, Picture, decoded, draw, outline, show
from spprepro.schema import build

SCALE = 688  # of the single-scale detector
WINDOW = layouts.Task("voc", 0, 1, 53, 53 % len(layouts.CLASSES), f"{layouts.VOC}/JPEGImages/window.jpg")
"""A generated picture with one object, whose box is the window that is shown."""
_INSET = 0.12  # of a cell, between the outlines of bins that share cells


@dataclass(frozen=True)
class _Cells:
    """First and last cell of a window, and where cells lie in the picture, which is `scale` times as large for them."""

    x1: int
    y1: int
    x2: int
    y2: int
    field: Field
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in cells."""
        return self.x2 - self.x1 + 1, self.y2 - self.y1 + 1

    def edge(self, cell: float) -> float:
        """The pixel where a cell's square starts: half a stride before its centre."""
        return (self.field.centre + self.field.stride * (cell - 0.5)) / self.scale

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        """The pixels of the cells from `left` to before `right`, and so on, counted in the window."""
        x = (self.edge(self.x1 + each) for each in (left, right))
        y = (self.edge(self.y1 + each) for each in (top, bottom))
        (x1, x2), (y1, y2) = x, y
        return x1, y1, x2 - 1, y2 - 1


def window() -> Drawing:
    """A window in a generated picture, the cells of ZF-5's last map that it becomes, and the pyramid's bins on them."""
    files = layouts.draw(WINDOW)
    photo = decoded(files[WINDOW.path])
    (annotation,) = (ElementTree.fromstring(content) for path, content in files.items() if path.endswith(".xml"))
    corners = [float(annotation.findtext(f"object/bndbox/{key}", "")) - 1 for key in ("xmin", "ymin", "xmax", "ymax")]
    levels = sorted(_conf("pyramid", "p6321")["levels"])
    cells = _cells(corners, photo.shape[:2])
    wide, high = cells.size

    def paint(figure: Any) -> None:
        grid = figure.add_gridspec(2, 4, width_ratios=(0.9, 0.9, 1.4, 1.4))
        whole = figure.add_subplot(grid[:, :2])
        _part(whole, photo, (0, 0, photo.shape[1], photo.shape[0]))
        outline(whole, corners, color=BLUE, lw=2, label="window")
        outline(whole, cells.box(0, 0, wide, high), color=RED, ls="--", lw=2, label="its cells")
        whole.set_title(f"window, and its {wide} x {high} cells")
        for k, level in enumerate(levels):
            axis = figure.add_subplot(grid[k // 2, 2 + k % 2])
            _part(axis, photo, cells.box(-1, -1, wide + 1, high + 1))
            _pyramid(axis, cells, level)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)

    size = f"{corners[2] - corners[0] + 1:.0f} x {corners[3] - corners[1] + 1:.0f} pixels"
    picture = Picture(
        9,
        Path("plots", "window.svg"),
        "How a window is pooled",
        f"A generated picture, scaled so that its shorter side has {SCALE} pixels. The window becomes those cells of "
        "ZF-5's last map whose receptive fields are centred in it (Appendix A; one every "
        f"{cells.field.stride} pixels of the scaled picture). The pyramid takes each map's maximum over "
        f"{sum(level**2 for level in levels)} bins; some share a row or a column of cells.",
        f"A window of {size} becomes {wide} x {high} cells, which the pyramid pools in "
        f"{', '.join(f'{level} x {level}' for level in levels)} bins, drawn over the picture.",
    )
    return draw(picture, 9.4, 4.1, paint)


def _cells(corners: list[float], shape: tuple[int, ...]) -> _Cells:
    """Those of a window in a picture of this height and width."""
    backbone = build(Backbone, _conf("backbone", "zf5"), "backbone", [])
    mapping = _conf("protocol", "paper")["mapping"]
    field, short = mapping_field(backbone, mapping), min(shape)
    scale = (SCALE - 1) / (short - 1)  # as scale_boxes has it
    height, width = (map_side(backbone, round(side * scale)) for side in shape)
    found = to_cells(np.array([corners]), np.array([0]), short, [SCALE], [(height, width)], field, mapping)
    x1, y1, x2, y2 = found[0].tolist()
    return _Cells(x1, y1, x2, y2, field, scale)


def _part(axis: Any, photo: NDArray[np.uint8], area: tuple[float, ...]) -> None:
    """The part of a photo in the box `area`."""
    left, top, right, bottom = (max(0, int(each)) for each in area)
    part = photo[top:bottom, left:right]
    extent = (left, left + part.shape[1], top + part.shape[0], top)
    show(axis, part, extent)
    axis.spines[:].set_visible(False)


def _pyramid(axis: Any, cells: _Cells, level: int) -> None:
    """Cells as a fine grid, and the bins of a level over them, in two colours like a chessboard."""
    wide, high = cells.size
    x1, y1, x2, y2 = cells.box(0, 0, wide, high)
    thin = {"color": "white", "lw": 0.4, "alpha": 0.6}
    axis.vlines([cells.edge(cells.x1 + k) for k in range(wide + 1)], y1, y2 + 1, **thin)
    axis.hlines([cells.edge(cells.y1 + k) for k in range(high + 1)], x1, x2 + 1, **thin)
    for row, (top, bottom) in enumerate(bins(high, level)):
        for column, (left, right) in enumerate(bins(wide, level)):
            box = cells.box(left + _INSET, top + _INSET, right - _INSET, bottom - _INSET)
            outline(axis, box, color=(PINK, RED)[(row + column) % 2], lw=1.4)
    axis.set_title(f"{level} x {level} bins")


def _conf(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(folders.conf() / group / f"{name}.yaml")
    return content
