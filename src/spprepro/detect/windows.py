"""From windows of an image to cells of its feature maps: choice of the scale, and Appendix A's mapping (section 4).

Boxes are (N, 4) float64 [x1, y1, x2, y2], pixels from 0, both ends inclusive; cells are (N, 4) int64 in the same order,
from 0, inclusive. The printed formulas and the released code count both from 1; each function says what it follows.
Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spprepro.detection import Mapping, Rule
from spprepro.errors import DataError
from spprepro.nets.geometry import Field, map_side, receptive_field
from spprepro.nets.trunks import Backbone

Boxes = NDArray[np.float64]
Cells = NDArray[np.int64]

SHRINK = 6.5  # scaled pixels the released mapping takes off each side of a window; its layers do not explain it


def check_boxes(boxes: Boxes, height: int, width: int, where: str) -> None:
    """Raise DataError unless each box lies in the image and has an area; `where` names the image and the boxes' source.

    The mapping itself takes any finite box, as the released code does: it clamps to the map. But a box outside the
    image most often means exchanged columns or a box counted from 1, so readers call this.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{where}: boxes of shape {boxes.shape}; they must be (N, 4), x1 y1 x2 y2 a row")
    x1, y1, x2, y2 = boxes.T
    known = np.isfinite(boxes).all(1)
    empty = known & ((x2 < x1) | (y2 < y1))
    outside = known & ~empty & ((x1 < 0) | (y1 < 0) | (x2 > width - 1) | (y2 > height - 1))
    kinds = (
        (~known, "hold NaN or infinity; remove them"),
        (empty, "have no area (x2 < x1 or y2 < y1); is the order x1 y1 x2 y2?"),
        (outside, f"reach outside the {width}x{height} image; are they x1 y1 x2 y2, and counted from 0 by now?"),
    )
    faults = [
        f"{where}: {bad.sum()} of {len(boxes)} boxes {what} (first: row {row}, {boxes[row].tolist()})"
        for bad, what in kinds
        if bad.any()
        for row in [bad.argmax()]
    ]
    if min(height, width) < 2:
        faults.append(f"{where}: an image of {width}x{height} pixels cannot be scaled; remove it")
    if faults:
        raise DataError(faults)


def target_side(backbone: Backbone, rule: Rule) -> int:
    """Pixels of the square that a scaled window is to resemble.

    paper: the training crop, 224; released: the cells of its map times the stride, 13 * 16 = 208 for ZF-5.
    """
    if rule == "paper":
        return backbone.crop
    return map_side(backbone, backbone.crop) * receptive_field(backbone).stride


def best_scale(boxes: Boxes, short_side: int, scales: Sequence[int], side: int, rule: Rule) -> NDArray[np.int64]:
    """(N,) index of each window's scale, the first of equally good ones.

    short_side: of the image, in pixels; scales: shorter sides that it is scaled to; side: see target_side.
    paper: the scaled window's number of pixels is nearest to side^2 (section 4.1). released: the scale is nearest to
    the one that would give side^2, rounded half up (spm_expected_scale.m): linear where the paper is quadratic.
    """
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    offered = np.asarray(scales, np.float64)
    if rule == "paper":
        distance = np.abs(area[:, None] * (offered / short_side) ** 2 - side**2)
    else:
        distance = np.abs(offered - expected_scale(area, short_side, side)[:, None])
    chosen: NDArray[np.int64] = distance.argmin(1)
    return chosen


def expected_scale(area: NDArray[np.float64], short_side: int, side: int) -> NDArray[np.float64]:
    """(N,) scale at which a window of this area (pixels of the image) has side^2; a whole number, halves up."""
    exact = side * short_side / np.sqrt(area)
    return np.where(exact % 1 < 0.5, np.floor(exact), np.ceil(exact))  # floor(exact + 0.5) would round twice


def scale_boxes(boxes: Boxes, short_side: int, scale: NDArray[np.int64] | int) -> Boxes:
    """The windows in pixels of the image scaled to a shorter side of `scale` (one, or one for each window).

    The released code's (x - 1) * (s - 1) / (m - 1) + 1, from 0: first and last pixel of the shorter side stay that.
    """
    scaled: Boxes = boxes * (np.asarray(scale)[..., None] - 1) / (short_side - 1)
    return scaled


def mapping_field(backbone: Backbone, mapping: Mapping) -> Field:
    """Stride, receptive field and centre of cell 0 that `mapping` reckons with.

    tpami's 63 and 75 are those of ZF-5 without conv1's padding: cuda-convnet, where the paper's networks were trained,
    rounds sizes up and needs none for 110 pixels, where the released (Caffe) definition pads by 1. [inferred]
    """
    if mapping == "tpami":
        first, *_ = backbone.layers
        backbone = replace(backbone, layers={**backbone.layers, first: replace(backbone.layers[first], pad=0)})
    return receptive_field(backbone)


def responses(scaled: Boxes, field: Field, mapping: Mapping) -> Cells:
    """(N, 4) first and last cell of windows in scaled pixels; they may lie outside the map, or be reversed.

    tpami (v2 and the journal): cells whose receptive field is centred on one of the window's pixels. As printed, from
    1: floor((x - size/2 - low) / S) + 1 and ceil((x + size/2 - high) / S) - 1, where [low, high] is the field of the
    cell before the first; ZF-5: size 139, S 16, field [-63, 75].
    arxiv_v4: cells centred inside the window and not on its edge, floor(x/S) + 1 and ceil(x/S) - 1; x less the centre
    of cell 0 is the offset that v4 asks for where the padding is not floor(p/2) in every layer.
    released: the cell centred nearest to each corner, after the window shrank by SHRINK pixels on each side.
    stride: x/S rounded down, without any offset.
    """
    low, high = scaled[:, :2], scaled[:, 2:]
    stride, centre = field.stride, field.centre
    if mapping == "tpami":
        first, last = (low - centre - 0.5) / stride + 1, (high - centre + 0.5) / stride - 1
    elif mapping == "arxiv_v4":
        first, last = (low - centre) / stride + 1, (high - centre) / stride - 1
    elif mapping == "released":
        first, last = (low - centre + SHRINK) / stride + 0.5, (high - centre - SHRINK) / stride - 0.5
    else:
        first, last = low / stride, np.floor(high / stride)
    return np.concatenate([np.floor(first), np.ceil(last)], 1).astype(np.int64)


def clamp_cells(found: Cells, map_sizes: NDArray[np.int64]) -> Cells:
    """Cells within each window's map, at least one; map_sizes: (N, 2) height and width of the maps, in cells.

    A reversed window becomes the middle of its ends (rounded down), each axis for itself; then both ends are clamped,
    so that a window outside the map takes the nearest border cell (spm_pool_caffe_mex.cpp).
    """
    first, last = found[:, :2], found[:, 2:]
    middle = (first + last) // 2
    reversed_ = first > last
    ends = np.stack([np.where(reversed_, middle, first), np.where(reversed_, middle, last)], 1)
    return ends.clip(0, map_sizes[:, None, ::-1] - 1).reshape(-1, 4)


def to_cells(
    boxes: Boxes,
    chosen: NDArray[np.int64],
    short_side: int,
    scales: Sequence[int],
    map_sizes: Sequence[tuple[int, int]],
    field: Field,
    mapping: Mapping,
) -> Cells:
    """(N, 4) cells of each window on the map of its scale; chosen: (N,) index into scales and map_sizes (h, w)."""
    scaled = scale_boxes(boxes, short_side, np.asarray(scales)[chosen])
    return clamp_cells(responses(scaled, field, mapping), np.asarray(map_sizes)[chosen])


def distinct(chosen: NDArray[np.int64], cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first, inverse) of the windows with the same cells on the same scale, which have the same features.

    first: (U,) row of the first window of each kind, sorted by scale and then by cells; inverse: (N,) kind of each
    window. With `responses` instead of clamped cells this is the released code's removal of equal negatives.
    """
    keys = np.concatenate([chosen[:, None], cells], 1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)
