"""Linear SVMs from the inner products of the images alone: the objective of svm.py, where features are long.

A few thousand images with features of up to 65,000 numbers (a map of conv4) are described by one matrix of inner
products. It is computed once a layer; every class, every split and every C then works on its rows: a step of dual
coordinate descent costs as many operations as there are images, not as there are features, and the best step is known
without looking at any feature. Weights are never formed: a score is a sum over inner products with training images.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Int8
from numpy import ndarray
from numpy.typing import NDArray

from spprepro.training.svm import Objective

_BLOCK = 4096  # numbers of each feature that are turned into float32 together
_CHECK = 32  # steps from one look at the gap to the next
_STEPS = 100  # for each image at most; float32 may not reach the gap
_ROUNDS = 5  # with margins computed anew, as the descent's rounding errors add up


@dataclass(frozen=True)
class GramSvms:
    """SVMs of K classes over n images.

    coefficients: (K, n) dual times label of each image, so that the weights are coefficients @ features; biases: (K,);
    objectives: (K,); gaps: (K,) relative duality gaps: no objective is further than this above its optimum.
    """

    coefficients: NDArray[np.float32]
    biases: NDArray[np.float32]
    objectives: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def scores(self, products: Float[ndarray, "m n"]) -> Float[ndarray, "m k"]:
        """Signed margins of m images by their inner products with the n trained on."""
        found: NDArray[Any] = products @ self.coefficients.T + self.biases
        return found


def inner_products(rows: NDArray[Any], columns: NDArray[Any]) -> Float[ndarray, "n m"]:
    """float32 inner products of the features (n, D) and (m, D), of any floating type, in memory or mapped."""
    total = torch.zeros(len(rows), len(columns))
    for start in range(0, rows.shape[1], _BLOCK):
        part = np.s_[:, start : start + _BLOCK]
        left = torch.from_numpy(rows[part].astype(np.float32))
        right = left if columns is rows else torch.from_numpy(columns[part].astype(np.float32))
        total.addmm_(left, right.T)
    return total.numpy()


def train_gram_svms(
    products: Float[ndarray, "n n"],
    labels: Int8[ndarray, "n k"],
    objective: Objective,
    *,
    gap: float = 1e-3,
    threads: int = 1,
) -> GramSvms:
    """One SVM for each column of `labels`: 1 positive, -1 negative, 0 not among the class's images.

    products: float32 inner products of the images. The result does not depend on `threads`.
    """
    constant = np.float32(objective.bias**2)
    kernel = np.ascontiguousarray(products + constant)  # with the constant feature
    inverse = 1 / kernel.diagonal()  # of the squared lengths: a product is several times faster than a division
    y = np.ascontiguousarray(labels.T.astype(np.float32))
    upper = np.where(y > 0, objective.c * objective.positive, objective.c * np.abs(y)).astype(np.float32)
    duals, margins, measures = np.zeros_like(y), np.zeros_like(y), np.zeros((len(y), 2))
    wanted, left = gap, np.arange(len(y))

    def solve(number: int) -> None:
        _descend(kernel, inverse, y[number], upper[number], duals[number], margins[number], wanted)

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            list(pool.map(solve, left.tolist()))
            signed = duals[left] * y[left]
            margins[left] = signed @ kernel
            loss = (upper[left] * np.maximum(1 - y[left] * margins[left], 0)).sum(1, dtype=np.float64)
            squared = (signed * margins[left]).sum(1, dtype=np.float64)
            primal, dual = squared / 2 + loss, duals[left].sum(1, dtype=np.float64) - squared / 2
            measures[left] = np.stack([primal, (primal - dual) / np.maximum(primal, np.finfo(np.float64).tiny)], 1)
            left, wanted = left[measures[left, 1] > gap], wanted / 2
            if not len(left):
                break
    coefficients = duals * y
    return GramSvms(coefficients, constant * coefficients.sum(1), measures[:, 0], measures[:, 1])


def _descent(kernel: Any, inverse: Any, y: Any, upper: Any, duals: Any, margins: Any, gap: float) -> None:
    """Coordinate descent on one class, in place, until its relative duality gap is `gap`: always the longest step.

    margins: (n,) kernel @ (duals * y), which tells every step and the gap; one step changes it by one row.
    """
    n, one, zero = len(y), np.float32(1), np.float32(0)
    steps = np.empty(n, np.float32)
    for number in range(_STEPS * n):
        if number % _CHECK == 0:
            loss = squared = total = 0.0
            for i in range(n):
                loss += upper[i] * max(one - y[i] * margins[i], zero)
                squared += duals[i] * y[i] * margins[i]
                total += duals[i]
            if squared + loss - total <= gap * (squared / 2 + loss):
                return
        longest = zero
        for i in range(n):
            steps[i] = min(max(duals[i] - (y[i] * margins[i] - one) * inverse[i], zero), upper[i]) - duals[i]
            longest = max(longest, abs(steps[i]))
        if longest == 0:
            return
        row = 0
        while abs(steps[row]) != longest:
            row += 1
        duals[row] += steps[row]
        step = y[row] * steps[row]
        for i in range(n):
            margins[i] += step * kernel[row, i]


# Sums in any order, or they would not use the vector units; NaN and infinity keep their meaning.
_descend = numba.njit(_descent, nogil=True, fastmath={"reassoc", "contract", "nsz"})
