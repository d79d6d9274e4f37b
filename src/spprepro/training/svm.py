"""Linear SVMs of many classes over shared features: L2-regularised hinge loss, solved to a stated gap.

For each class, with y = +1 or -1, w the weights, b = bias * (one more weight):

    1/2 |w|^2 + 1/2 (b / bias)^2 + c * (positive * sum over y = 1 of hinge + sum over y = -1 of hinge)

This is what liblinear's `-s 3 -c C -w1 POSITIVE -B BIAS` minimises (R-CNN's and SPP-net's detectors, spp_train.m), but
liblinear, and scikit-learn over it, copy the features for each class into lists of (index, value). Here dual coordinate
descent with liblinear's shrinking (Hsieh et al., ICML 2008) runs on the features as they lie in memory, compiled by
numba; classes run in threads. It goes on until the relative duality gap says that the objective is reached, and starts
from the duals of an earlier solution where there is one, as in hard negative mining.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Int8
from numpy import ndarray
from numpy.typing import NDArray

from spprepro.errors import DataError

_FIRST, _TIGHTER = 0.03, 0.1  # first tolerance of the projected gradients, and its factor while a gap is too wide
_PASSES = 1000  # over the rows, at one tolerance; liblinear's limit


@dataclass(frozen=True)
class Objective:
    """c: price of a violated margin; positive: its factor for positives; bias: the constant feature. See the module."""

    c: float
    positive: float = 1.0
    bias: float = 1.0


RCNN = Objective(c=0.001, positive=2.0, bias=10.0)
"""R-CNN's and SPP-net's detectors; features scaled to a mean norm of 20."""
PLAIN = Objective(c=1.0)
"""The paper's classification on VOC2007 and Caltech-101; features of norm 1."""


@dataclass(frozen=True)
class Svms:
    """SVMs of K classes over D features.

    weights: (K, D); biases: (K,); duals: (K, n) of the rows trained on, in [0, c], or [0, c * positive] for positives;
    objectives: (K,); gaps: (K,) relative duality gaps: no objective is further than this above its optimum.
    """

    weights: NDArray[Any]
    biases: NDArray[Any]
    duals: NDArray[Any]
    objectives: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def scores(self, features: Float[ndarray, "n d"]) -> Float[ndarray, "n k"]:
        """Signed margins: positive where a class is recognised."""
        found: NDArray[Any] = features @ self.weights.T + self.biases
        return found


def train_svms(
    features: Float[ndarray, "n d"],
    labels: Int8[ndarray, "n k"],
    objective: Objective,
    *,
    gap: float = 1e-3,
    threads: int = 1,
    start: Float[ndarray, "k n"] | None = None,
) -> Svms:
    """One SVM for each column of `labels`: 1 positive, -1 negative, 0 not among the class's rows.

    features: float32 or float64, which is also the precision of the result (float32 cannot reach gaps under 1e-5);
    start: duals of an earlier solution, 0 for rows that were not in it. The result does not depend on `threads`.
    Raises DataError for features that are not finite.
    """
    x = np.ascontiguousarray(features)
    problem = _Problem(x, np.ascontiguousarray(labels.T.astype(x.dtype)), objective)
    if not np.isfinite(problem.squares).all():
        count = int((~np.isfinite(problem.squares)).sum())
        raise DataError(f"features: {count} of {len(x)} rows hold NaN, infinity or overflow; train the network again")
    shape = problem.upper.shape
    duals = np.zeros(shape, x.dtype) if start is None else np.clip(start, 0, problem.upper).astype(x.dtype)
    weights, measures = problem.weights(duals), np.zeros((len(duals), 2))
    tolerance, left = _FIRST, np.arange(len(duals))
    with ThreadPoolExecutor(threads) as pool:
        while len(left) and tolerance > 100 * np.finfo(x.dtype).eps:
            solve = partial(problem.solve, weights=weights, duals=duals, tolerance=tolerance)
            list(pool.map(solve, left.tolist()))
            weights[left] = problem.weights(duals, left)  # anew: the descent's rounding errors add up
            measures[left] = problem.measure(weights, duals, left)
            left = left[measures[left, 1] > gap]
            tolerance *= _TIGHTER
    biases = weights[:, -1] * x.dtype.type(objective.bias**2)
    return Svms(weights[:, :-1].copy(), biases, duals, measures[:, 0], measures[:, 1])


class _Problem:
    """The dual problems: duals a in [0, upper], weights = sum of a * y * [x, 1], where b = bias^2 * the last weight."""

    def __init__(self, x: Float[ndarray, "n d"], y: Float[ndarray, "k n"], objective: Objective) -> None:
        self.x, self.y, self.constant = x, y, objective.bias**2
        self.squares = np.einsum("ij,ij->i", x, x) + x.dtype.type(self.constant)
        self.upper = np.where(y > 0, objective.c * objective.positive, objective.c * np.abs(y)).astype(x.dtype)

    def weights(
        self, duals: Float[ndarray, "k n"], classes: NDArray[np.int64] | slice = slice(None)
    ) -> Float[ndarray, "m d+1"]:
        """The weights that belong to the duals of these classes."""
        signed = duals[classes] * self.y[classes]
        return np.hstack([signed @ self.x, signed.sum(1, keepdims=True)])

    def solve(
        self, number: int, weights: Float[ndarray, "k d+1"], duals: Float[ndarray, "k n"], tolerance: float
    ) -> None:
        """Improve one class's weights and duals, in place."""
        rows = np.flatnonzero(self.y[number])
        y, upper = self.y[number], self.upper[number]
        _descend(self.x, y, upper, self.squares, self.constant, rows, weights[number], duals[number], tolerance, number)

    def measure(
        self, weights: Float[ndarray, "k d+1"], duals: Float[ndarray, "k n"], classes: NDArray[np.int64]
    ) -> Float[ndarray, "m 2"]:
        """Objective and relative duality gap of these classes."""
        w, y = weights[classes], self.y[classes]
        margins = y * (w[:, :-1] @ self.x.T + self.constant * w[:, -1:])
        loss = (self.upper[classes] * np.maximum(1 - margins, 0)).sum(1, dtype=np.float64)
        squared = (w.astype(np.float64) ** 2) @ np.array([1.0] * (w.shape[1] - 1) + [self.constant])
        primal, dual = squared / 2 + loss, duals[classes].sum(1, dtype=np.float64) - squared / 2
        return np.stack([primal, (primal - dual) / np.maximum(primal, np.finfo(np.float64).tiny)], 1)


def _descent(
    x: Any,
    y: Any,
    upper: Any,
    squares: Any,
    constant: float,
    rows: Any,
    weights: Any,
    duals: Any,
    tolerance: float,
    seed: int,
) -> None:
    """Coordinate descent over `rows`, which it reorders; updates weights (d + 1,) and duals (n,).

    It ends when all projected gradients are within `tolerance` of one another, or after _PASSES. Rows whose dual rests
    at a bound, with a gradient beyond those of the last pass, are left out until then.
    """
    length, active = x.shape[1], len(rows)
    highest, lowest = np.inf, -np.inf
    state = np.uint64(2 * seed + 1)
    for _ in range(_PASSES):
        for i in range(active):
            state ^= state << np.uint64(13)  # Marsaglia's xorshift64
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            j = i + np.int64(state % np.uint64(active - i))
            rows[i], rows[j] = rows[j], rows[i]
        high, low, i = -np.inf, np.inf, 0
        while i < active:
            row = rows[i]
            score = constant * weights[length]
            total = x.dtype.type(0)
            for k in range(length):
                total += weights[k] * x[row, k]
            gradient = y[row] * (score + total) - 1
            projected, dual = gradient, duals[row]
            if dual <= 0 or dual >= upper[row]:
                outward = gradient if dual <= 0 else -gradient
                if outward > (highest if dual <= 0 else -lowest):
                    active -= 1
                    rows[i], rows[active] = rows[active], rows[i]
                    continue
                if outward > 0:
                    projected = 0.0
            high, low = max(high, projected), min(low, projected)
            if projected != 0:
                duals[row] = min(max(dual - gradient / squares[row], 0), upper[row])
                step = y[row] * (duals[row] - dual)
                for k in range(length):
                    weights[k] += step * x[row, k]
                weights[length] += step
            i += 1
        if high - low <= tolerance:
            if active == len(rows):
                return
            active, highest, lowest = len(rows), np.inf, -np.inf
        else:
            highest, lowest = high if high > 0 else np.inf, low if low < 0 else -np.inf


# Sums in any order, or they would not use the vector units; NaN and infinity keep their meaning.
_descend = numba.njit(_descent, nogil=True, fastmath={"reassoc", "contract", "nsz"})
