"""Average precision of VOC2007 as the devkit computes it (VOCevaldet.m, VOCevalcls.m, xVOCap.m), and its bootstrap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray

_LEVELS = np.arange(11) * 0.1  # recalls of the 11-point AP

HIT, MISS, IGNORED = 1, 0, -1
"""What was found is to be found; is none of it, or found already; is a difficult one, which does not count."""


@dataclass(frozen=True)
class Matches:
    """Detections of a class, or whole images said to show it, best score first, judged.

    It is all that a curve, an AP and a bootstrap over images need.

    image: (n,) number of the image; score: (n,); state: (n,) HIT, MISS or IGNORED; positives: (images,) objects that
    are to be found.
    """

    image: NDArray[np.int64]
    score: NDArray[np.float64]
    state: NDArray[np.int8]
    positives: NDArray[np.int64]


def curve(
    matches: Matches, copies: Int[ndarray, " images"] | None = None
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Recall and precision after each detection; NaN where 0 is divided by 0, as in the devkit.

    copies: how often each image counts, of a bootstrap over images; None: once.
    """
    weight = np.ones(len(matches.positives)) if copies is None else copies
    times = weight[matches.image]
    hits, misses = (np.cumsum(times * (matches.state == state)) for state in (HIT, MISS))
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / (weight @ matches.positives), hits / (hits + misses)


def ap11(recall: Float[ndarray, " n"], precision: Float[ndarray, " n"]) -> float:
    """VOC2007's AP in [0, 1]: mean over t = 0, 0.1 .. 1 of the best precision at a recall >= t, 0 where there is none.

    The thresholds are i * 0.1, as in Octave and numpy: those of 0.3, 0.6 and 0.7 lie one rounding above.
    """
    best = (precision[(recall >= t) & ~np.isnan(precision)] for t in _LEVELS)
    return float(sum(values.max(initial=0) for values in best) / 11)


def ap_area(recall: Float[ndarray, " n"], precision: Float[ndarray, " n"]) -> float:
    """VOC2010's AP in [0, 1]: area under the precision made to fall monotonically; NaN without objects."""
    steps = np.concatenate([[0], recall, [1]])
    heights = np.fmax.accumulate(np.concatenate([[0], precision, [0]])[::-1])[::-1]
    return float(np.diff(steps) @ heights[1:])


def mean_ap(matches: Mapping[str, Matches], copies: Int[ndarray, " images"] | None = None) -> float:
    """Mean of `ap11` over the classes that have objects to find, in [0, 1]; NaN if none has."""
    counts = 1 if copies is None else copies
    scored = [ap11(*curve(each, copies)) for each in matches.values() if (counts * each.positives).any()]
    return sum(scored) / len(scored) if scored else math.nan


def bootstrap_ap11(matches: Matches, copies: Int[ndarray, "resamples images"]) -> Float[ndarray, " resamples"]:
    """`ap11` in [0, 1] with the images counted as often as each row of `copies` says; NaN without objects to find.

    The best precision at a recall is one at a HIT, so that only what scores more than the last HIT is looked at.
    """
    last = int(np.flatnonzero(matches.state == HIT).max(initial=-1))
    state = matches.state[: last + 1]
    counts = state != IGNORED
    image, hit = matches.image[: last + 1][counts], state[counts] == HIT
    found: NDArray[np.float64] = _bootstrap(image, hit, copies, copies @ matches.positives, _LEVELS)
    return found


def _passes(
    image: NDArray[np.int64],
    hit: NDArray[np.bool_],
    copies: NDArray[np.int64],
    positives: NDArray[np.int64],
    levels: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One pass over the detections for each row of `copies`, which has positives[row] objects to find."""
    aps = np.full(len(copies), np.nan)
    for row in range(len(copies)):
        if positives[row] == 0:
            continue
        times = copies[row]
        best = np.zeros(len(levels))  # the best precision while levels[i] <= recall < levels[i + 1]
        hits = misses = level = 0
        for i in range(len(image)):
            count = times[image[i]]
            if not hit[i]:
                misses += count
            elif count > 0:
                hits += count
                while level + 1 < len(levels) and hits / positives[row] >= levels[level + 1]:
                    level += 1
                best[level] = max(best[level], hits / (hits + misses))
        for i in range(len(levels) - 2, -1, -1):
            best[i] = max(best[i], best[i + 1])
        total = 0.0
        for value in best:  # in the order of `ap11`: the same to the bit
            total += value
        aps[row] = total / len(levels)
    return aps


_bootstrap: Any = numba.njit(_passes, nogil=True)


def mean_of_classes(aps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of each resample over the classes that have objects in it; NaN where none has."""
    table = np.stack(aps)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.nansum(table, 0) / (~np.isnan(table)).sum(0)
    return mean
