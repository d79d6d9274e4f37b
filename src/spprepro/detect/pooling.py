"""Pyramid pooling of all windows of an image at once (section 4.1), to the bit adaptive max pooling of each.

Three observations make it fast. A bin of any size is the union of four overlapping rectangles with sides of a power of
two, and the maxima of all such rectangles are a table, built by doubling. Windows share many of their bins: each
different one is looked up once, for many channels at a time. And where n divides m, the bins of level n are unions of
those of level m: {6, 3, 2, 1} needs the 6x6 bins only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spprepro.detect.windows import Cells, distinct

SCRATCH = 48 * 2**20  # bytes of tables and bins at a time, beside the result; more channels at once are no faster
BINS, WINDOWS = 2048, 128  # handled at a time, so that what lies between two steps stays in the cache

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Pooled:
    """Features of an image's windows; those with the same cells on the same scale have one row in common.

    features: (U, C * sum(n*n)); inverse: (N,) int64, the row of each window, so features[inverse] has one for each.
    """

    features: Tensor
    inverse: Tensor


def pool_image(maps: Sequence[Tensor], chosen: Index, cells: Cells, levels: Sequence[int]) -> Pooled:
    """Pool each window from the map of its scale: maps (C, h, w), one a scale; chosen: (N,) index into them.

    Features as of `pool_windows`. Raises ValueError as it does, or for a scale without map.
    """
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(maps):
        raise ValueError(f"scales {chosen.min()} to {chosen.max()} are chosen of {len(maps)} maps")
    first, inverse = distinct(chosen, cells)
    features = _empty(maps[0], len(first), levels)
    ends = np.searchsorted(chosen[first], np.arange(len(maps) + 1)).tolist()  # distinct sorts by scale
    for feature_map, a, b in zip(maps, ends[:-1], ends[1:], strict=True):
        _pool_into(features[a:b], feature_map, cells[first[a:b]], levels)
    return Pooled(features, torch.from_numpy(inverse).to(features.device))


def pool_windows(feature_map: Tensor, cells: Cells, levels: Sequence[int]) -> Tensor:
    """(C, h, w) and (N, 4) inclusive cells x1 y1 x2 y2 -> (N, C * sum(n*n)), in the map's precision, without gradient.

    Levels in the given order, each flattened as (C, n, n). The true maximum: the released kernel's starts at 0, which
    makes a difference before a ReLU only. Raises ValueError for cells that are reversed or not on the map.
    """
    features = _empty(feature_map, len(cells), levels)
    _pool_into(features, feature_map, cells, levels)
    return features


def _empty(feature_map: Tensor, windows: int, levels: Sequence[int]) -> Tensor:
    if not levels or min(levels) < 1:
        raise ValueError(f"pyramid levels {list(levels)}: give at least one, each over 0")
    return feature_map.new_empty(windows, len(feature_map) * sum(n * n for n in levels))


@torch.no_grad()
def _pool_into(out: Tensor, feature_map: Tensor, cells: Cells, levels: Sequence[int]) -> None:
    """Pool the windows into the rows of `out`, some channels at a time."""
    channels, height, width = feature_map.shape
    if not ((cells[:, :2] >= 0) & (cells[:, :2] <= cells[:, 2:]) & (cells[:, 2:] < (width, height))).all():
        raise ValueError(f"window cells must be in order and on the map of {height}x{width}; see windows.clamp_cells")
    if not len(cells):
        return
    plan = _plan(cells, height, width, levels, feature_map.device)
    cell_bytes = (plan.rows * plan.columns * height * width + len(plan.corners[0])) * feature_map.element_size()
    step = -(-channels // -(-channels * cell_bytes // SCRATCH))  # equal parts
    for first in range(0, channels, step):
        part = feature_map[first : first + step]
        _write(out, _look_up(_table(part, plan), plan.corners), plan, levels, first, channels)


@dataclass(frozen=True)
class _Plan:
    """Which bins there are, and where their maxima are found.

    rows, columns: the powers of two that the table has for each axis; corners: four (K,) rows of the flattened table,
    one for each corner of a bin; members: for each level that is looked up, (N * n * n,) numbers of its bins.
    """

    rows: int
    columns: int
    corners: list[Tensor]
    members: dict[int, Tensor]


def _plan(cells: Cells, height: int, width: int, levels: Sequence[int], device: torch.device) -> _Plan:
    looked_up = [n for n in levels if not any(m > n and m % n == 0 for m in levels)]
    spans = {n: (*_spans(cells[:, 1], cells[:, 3], n), *_spans(cells[:, 0], cells[:, 2], n)) for n in looked_up}
    tallest, widest = (max(int(span[axis].max()) for span in spans.values()) for axis in (1, 3))
    kinds = (height, tallest + 1, width, widest + 1)  # a bin is top, height, left, width
    keys = {
        n: np.ravel_multi_index((top[:, :, None], high[:, :, None], left[:, None], wide[:, None]), kinds).ravel()
        for n, (top, high, left, wide) in spans.items()
    }
    used = np.zeros(int(np.prod(kinds)), bool)
    for key in keys.values():
        used[key] = True
    number = np.cumsum(used) - 1
    top, high, left, wide = np.unravel_index(np.flatnonzero(used), kinds)
    power = np.frexp(np.arange(max(tallest, widest) + 1))[1].astype(np.int64) - 1  # floor(log2)
    rows, columns = int(power[tallest]) + 1, int(power[widest]) + 1
    start = (power[high] * columns + power[wide]) * height
    corners = [
        torch.from_numpy((start + y) * width + x).to(device)
        for y in (top, top + high - (1 << power[high]))
        for x in (left, left + wide - (1 << power[wide]))
    ]
    return _Plan(rows, columns, corners, {n: torch.from_numpy(number[key]).to(device) for n, key in keys.items()})


def _spans(first: Index, last: Index, n: int) -> tuple[Index, Index]:
    """(N, n) first cell and length of the bins of one axis, those of nets.geometry.bins."""
    step, length = np.arange(n), (last - first + 1)[:, None]
    start = step * length // n
    return first[:, None] + start, -(-(step + 1) * length // n) - start


def _table(part: Tensor, plan: _Plan) -> Tensor:
    """(rows * columns * h * w, c): for powers a, b and each cell, the maxima over 2^a x 2^b cells to the lower right.

    Where such a rectangle leaves the map there is nothing of use, and nothing asks for it.
    """
    channels, height, width = part.shape
    table = part.new_empty(plan.rows, plan.columns, height, width, channels)
    table[0, 0] = part.permute(1, 2, 0)
    for b in range(1, plan.columns):
        half, before = 1 << (b - 1), table[0, b - 1]
        torch.maximum(before[:, :-half], before[:, half:], out=table[0, b, :, :-half])
    for a in range(1, plan.rows):
        half, before = 1 << (a - 1), table[a - 1]
        torch.maximum(before[:, :-half], before[:, half:], out=table[a, :, :-half])
    return table.flatten(0, 3)


def _look_up(table: Tensor, corners: list[Tensor]) -> Tensor:
    """(K, c): the maximum over the four rows of the table that make up each bin."""
    count, channels = len(corners[0]), table.shape[1]
    bins, other = table.new_empty(count, channels), table.new_empty(min(BINS, count), channels)
    for a in range(0, count, BINS):
        found = bins[a : a + BINS]
        torch.index_select(table, 0, corners[0][a : a + BINS], out=found)
        for corner in corners[1:]:
            torch.index_select(table, 0, corner[a : a + BINS], out=other[: len(found)])
            torch.maximum(found, other[: len(found)], out=found)
    return bins


def _write(out: Tensor, bins: Tensor, plan: _Plan, levels: Sequence[int], first: int, channels: int) -> None:
    """Put the levels of channels `first` and on into the rows of `out`, which have `channels` in all."""
    part = bins.shape[1]
    for a in range(0, len(out), WINDOWS):
        rows = out[a : a + WINDOWS]
        maps: dict[int, Tensor] = {}
        for n in sorted(levels, reverse=True):
            if n in plan.members:
                members = plan.members[n][a * n * n : (a + WINDOWS) * n * n]
                maps[n] = bins.index_select(0, members).view(len(rows), n, n, part)
            else:
                maps[n] = _coarser(maps[min(m for m in maps if m % n == 0)], n)
        at = 0
        for n in levels:
            start = at + first * n * n
            rows[:, start : start + part * n * n].view(len(rows), part, n * n).copy_(maps[n].flatten(1, 2).mT)
            at += channels * n * n


def _coarser(finer: Tensor, n: int) -> Tensor:
    """(N, m, m, c) -> (N, n, n, c), m a multiple of n: maxima of neighbouring bins.

    Pairwise, as torch's amax over axes that are not the last takes far longer.
    """
    count, m, _, channels = finer.shape
    tall = _maximum(list(finer.view(count, n, m // n, m, channels).unbind(2)))
    return _maximum(list(tall.view(count, n, n, m // n, channels).unbind(3)))


def _maximum(tensors: list[Tensor]) -> Tensor:
    result = tensors[0]
    for each in tensors[1:]:
        result = torch.maximum(result, each)
    return result
