"""The views of test images and their class scores, averaged after softmax (sections 3.1.2 to 3.1.4).

Three tests cut pixels: ten crops, one crop, the full image. The others take their views on the feature maps: a 224x224
view is a window of the map as large as the map of a 224x224 crop, at the cell whose crop starts nearest to the view's
corner; the trunk sees each scaled image once, and once mirrored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spprepro.config import ON_MAPS, Test
from spprepro.data.decode import centre_crop
from spprepro.nets.network import Network

Prepare = Callable[[Tensor], Tensor]
"""(N, 3, h, w) uint8 -> network input"""
TEN = ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2))  # of the 3 x 3 places: the centre and the four corners


@dataclass(frozen=True)
class Viewing:
    """What to score and how: `side` is the shorter side of all tests but multiview, whose views are taken at `scales`.

    window: cells of the map of a crop x crop view; stride: pixels from cell to cell.
    """

    tests: Sequence[Test]
    scales: Sequence[int]
    side: int
    crop: int
    window: int
    stride: int

    @property
    def sides(self) -> list[int]:
        """Every shorter side at which the images are needed."""
        return sorted({self.side, *(self.scales if any(test in ON_MAPS for test in self.tests) else ())})


def crop_view(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """The centre crop (Table 3, "1 crop")."""
    return [centre_crop(images, crop)]


def full_view(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """The whole image at its own aspect (Table 3, "1 full")."""
    return [images]


def ten_views(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """Centre and the four corners of the whole image, then the same flipped (Table 2)."""
    crops = [centre_crop(images, crop)]
    crops += [images[..., rows, columns] for rows in _ends(crop) for columns in _ends(crop)]
    return crops + [view.flip(-1) for view in crops]


def _ends(crop: int) -> tuple[slice, slice]:
    return slice(None, crop), slice(-crop, None)


CUTS: dict[str, Callable[[Tensor, int], list[Tensor]]] = {"ten": ten_views, "crop": crop_view, "full": full_view}


def score(network: nn.Module, prepare: Prepare, images: dict[int, Tensor], viewing: Viewing) -> dict[str, Tensor]:
    """Test -> (N, classes) softmax scores averaged over its views; `images` by shorter side."""
    cuts: dict[str, list[Tensor]] = {
        test: CUTS[test](images[viewing.side], viewing.crop) for test in viewing.tests if test in CUTS
    }
    scores = _score_cuts(network, prepare, cuts) if cuts else {}
    if any(test in ON_MAPS for test in viewing.tests):
        assert isinstance(network, Network)
        scores |= _score_maps(network, prepare, images, viewing)
    return {test: scores[test] for test in viewing.tests}


def _score_cuts(network: nn.Module, prepare: Prepare, cuts: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """The averaged scores of each set of views; a view that two sets share is scored once."""
    unique = {_place(view): view for views in cuts.values() for view in views}
    scores: dict[Any, Tensor] = {}
    for size in sorted({view.shape[-2:] for view in unique.values()}):
        same = {place: view for place, view in unique.items() if view.shape[-2:] == size}
        x = prepare(torch.cat(list(same.values())))
        parts = network(x).float().softmax(1).split(len(x) // len(same))
        scores |= dict(zip(same, parts, strict=True))
    return {name: torch.stack([scores[_place(view)] for view in views]).mean(0) for name, views in cuts.items()}


def _place(view: Tensor) -> tuple[Any, ...]:
    """What tells two views of one batch apart: the same pixels lie in the same place of memory."""
    return view.data_ptr(), view.shape, view.stride()


def places(side: int, cells: int, viewing: Viewing) -> list[int]:
    """First cell of the views along an axis of `side` pixels and `cells` cells: start, middle, end.

    A view that starts at pixel p begins at the cell p / stride, rounded: the crop of that cell starts nearest to p.
    """
    free = side - viewing.crop
    return [min(round(pixel / viewing.stride), cells - viewing.window) for pixel in (0, free / 2, free)]


def grid(height: int, width: int, cells: Sequence[int], viewing: Viewing) -> tuple[list[int], list[int]]:
    """First cells of the rows and the columns of a picture's views; `cells`: height and width of its map.

    3 x 3 places; where the shorter side is the crop's, as at scale 224, one row or column of three.
    """
    rows, columns = places(height, cells[0], viewing), places(width, cells[1], viewing)
    if min(height, width) == viewing.crop:
        return (rows[:1], columns) if height <= width else (rows, columns[:1])
    return rows, columns


def window_scores(
    network: Network, maps: Float[Tensor, "n c h w"], rows: Sequence[int], columns: Sequence[int], window: int
) -> Float[Tensor, "p n k"]:
    """(rows x columns, N, classes) softmax scores of the windows that start at these cells, row by row."""
    windows = [maps[..., y : y + window, x : x + window] for y in rows for x in columns]
    scores: Tensor = network.head(network.pool(torch.cat(windows)))
    return torch.stack(scores.float().softmax(1).chunk(len(windows)))


def _score_maps(
    network: Network, prepare: Prepare, images: dict[int, Tensor], viewing: Viewing
) -> dict[str, Float[Tensor, "n k"]]:
    views: list[Tensor] = []
    ten: list[Tensor] = []
    full: list[Tensor] = []
    for side in viewing.sides:
        pictures = images[side]
        maps = network.trunk(prepare(torch.cat([pictures, pictures.flip(-1)])))
        height, width = pictures.shape[-2:]
        rows, columns = grid(height, width, maps.shape[-2:], viewing)
        found = window_scores(network, maps, rows, columns, viewing.window)  # (places, 2N, classes)
        if side in viewing.scales:
            views += found.chunk(2, 1)
        if side == viewing.side:
            last = len(rows) - 1, len(columns) - 1
            corners = [found[min(y, last[0]) * len(columns) + min(x, last[1])] for y, x in TEN]
            ten += [half for corner in corners for half in corner.chunk(2)]
            if "multiview_full" in viewing.tests:
                full += network.head(network.pool(maps)).float().softmax(1)[None].chunk(2, 1)
    return {
        "ten_maps": torch.stack(ten).mean(0),
        "multiview": torch.cat(views).mean(0),
        "multiview_full": torch.cat(views + full).mean(0),
    }
