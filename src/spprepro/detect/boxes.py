"""Boxes: overlap, non-maximum suppression and class-wise regression, as in the released SPP_net and R-CNN.

Boxes are 0-based [x1, y1, x2, y2], both ends inclusive pixels. Overlap and suppression count pixels, so a side has
x2 - x1 + 1 of them; regression takes x2 - x1, as the released code does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torchvision.ops import nms as _nms

_EPS = float(np.finfo(np.float64).eps)  # keeps the side of a box of one pixel from being 0 in regression
_WHITEN = 0.001  # added to the variances of the targets


def areas(boxes: Float[ndarray, "n 4"]) -> Float[ndarray, " n"]:
    """Pixels of each box."""
    found: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return found


def iou(boxes: Float[ndarray, "n 4"], others: Float[ndarray, "m 4"]) -> Float[ndarray, "n m"]:
    """Intersection over union of all pairs, in [0, 1], float64."""
    a, b = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared: NDArray[np.float64] = np.maximum(high - low + 1, 0).prod(2)
    ratio: NDArray[np.float64] = shared / (areas(a)[:, None] + areas(b) - shared)
    return ratio


def nms(boxes: Float[ndarray, "n 4"], scores: Float[ndarray, " n"], overlap: float) -> Int[ndarray, " k"]:
    """Rows kept, best score first: those that no better kept box overlaps by more than `overlap` (exactly that stays).

    Of equal scores the later row comes first, as in the released nms.m. In double precision: overlaps are compared at
    rounding boundaries.
    """
    shifted = np.array(boxes[::-1], np.float64)
    shifted[:, 2:] += 1  # torchvision's sides are x2 - x1
    later_first = np.array(scores[::-1], np.float64)
    kept = _nms(torch.from_numpy(shifted), torch.from_numpy(later_first), overlap).numpy()
    rows: NDArray[np.int64] = len(boxes) - 1 - kept
    return rows


def clip(boxes: Float[ndarray, "n 4"], height: int, width: int) -> Float[ndarray, "n 4"]:
    """The boxes cut to the image, with every corner on a pixel of it."""
    inside: NDArray[Any] = np.clip(boxes, 0, np.array([width - 1, height - 1] * 2, boxes.dtype))
    return inside


def _centres(boxes: Float[ndarray, "n 4"]) -> tuple[Float[ndarray, "n 2"], Float[ndarray, "n 2"]]:
    """Centre and side (x, y) of each box, without the +1."""
    sides = boxes[:, 2:] - boxes[:, :2] + _EPS
    return boxes[:, :2] + 0.5 * sides, sides


def regression_targets(boxes: Float[ndarray, "n 4"], truth: Float[ndarray, "n 4"]) -> Float[ndarray, "n 4"]:
    """What moves each box onto its object: shift of the centre (x, y) in the box's sides, log of the ratio of sides."""
    (centre, sides), (true_centre, true_sides) = _centres(boxes), _centres(truth)
    return np.hstack([(true_centre - centre) / sides, np.log(true_sides / sides)])


def moved(boxes: Float[ndarray, "n 4"], targets: Float[ndarray, "n 4"]) -> Float[ndarray, "n 4"]:
    """The inverse of `regression_targets`: the boxes after their predicted moves, not clipped."""
    centre, sides = _centres(boxes)
    with np.errstate(over="ignore"):  # an absurd prediction gives an infinite box, which clipping makes the image
        centre, half = targets[:, :2] * sides + centre, 0.5 * np.exp(targets[:, 2:]) * sides
    return np.hstack([centre - half, centre + half])


@dataclass(frozen=True)
class BoxRegressor:
    """Ridge regression from features to the targets of one class: (x @ weights[:-1] + weights[-1]) @ colour + mean.

    weights: (D + 1, 4) to whitened targets, the last row is the bias; colour: (4, 4) undoes the whitening; mean: (4,)
    of the targets.
    """

    weights: NDArray[Any]
    colour: NDArray[Any]
    mean: NDArray[Any]


def fit_box_regressor(
    features: Float[ndarray, "n d"], boxes: Float[ndarray, "n 4"], truth: Float[ndarray, "n 4"], ridge: float
) -> BoxRegressor:
    """One class's regressor from its windows' features (scaled to a mean norm of 20), in the features' precision.

    truth: each window's object; ridge: 4000 in SPP-net's release, 1000 in R-CNN's, on the bias too. Without windows the
    regressor moves nothing.
    """
    if not len(features):
        return BoxRegressor(*(np.zeros(shape, features.dtype) for shape in ((features.shape[1] + 1, 4), (4, 4), 4)))
    targets = regression_targets(boxes, truth)
    mean = targets.mean(0)
    targets -= mean
    variances, axes = np.linalg.eigh(targets.T @ targets / len(targets))
    root = np.sqrt(variances + _WHITEN)
    whitened = targets @ (axes / root) @ axes.T
    weights = _ridge(features, whitened.astype(features.dtype), ridge)
    return BoxRegressor(weights, (axes * root @ axes.T).astype(features.dtype), mean.astype(features.dtype))


def _ridge(x: Float[ndarray, "n d"], y: Float[ndarray, "n 4"], ridge: float) -> Float[ndarray, "d+1 4"]:
    """(X'X + ridge I)^-1 X'y with X = [x, 1], by the smaller of the two Gram matrices; x is not copied."""
    count, length = x.shape
    if count <= length:
        gram = x @ x.T + x.dtype.type(1)
        dual = _solve(gram, y, ridge)
        return np.vstack([x.T @ dual, dual.sum(0)])
    gram = np.empty((length + 1, length + 1), x.dtype)
    np.matmul(x.T, x, out=gram[:-1, :-1])
    gram[-1, :-1] = gram[:-1, -1] = x.sum(0)
    gram[-1, -1] = count
    return _solve(gram, np.vstack([x.T @ y, y.sum(0)]), ridge)


def _solve(gram: Float[ndarray, "n n"], y: Float[ndarray, "n 4"], ridge: float) -> Float[ndarray, "n 4"]:
    """(gram + ridge I)^-1 y; overwrites `gram`, which may be a GiB."""
    np.einsum("ii->i", gram)[:] += ridge
    solved: NDArray[Any] = cho_solve(cho_factor(gram.T, lower=True, overwrite_a=True), y)  # .T: LAPACK's order
    return solved
