"""How sure an effect is: interval, test and verdict from a few seeds' outcomes of the test images.

An effect of error rates is d[s, i], in points: for seed s and image i the signed sum over the cells of 100 * wrong.
An effect of other metrics (mAP, seconds, ratios) is known by its replicates r[s, b]: the signed sum over the cells of
their values on bootstrap resample b of the test images. All cells see the same images and resamples and the same seeds,
so what images and seeds have in common cancels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from spprepro.paper.claims import Claim, Verdict

DRAWS = 10_000
LEVEL = 0.95
_POINTS = 100.0  # one image that is wrong in one network alone, in points before the mean
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Result:
    """One effect as measured: its value and 95 % interval, over `n` test images and `seeds` seeds (n = 0: computed).

    `p`: McNemar's two-sided mid-p, for one seed and two networks, else None. `images` and `more_seeds`: the number of
    test images (with these seeds) and of seeds (with these images) at which an undecided effect would be decided if it
    stays as measured; None where no number would, or it cannot be told.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int
    verdict: Verdict
    p: float | None = None
    images: int | None = None
    more_seeds: int | None = None


def exact(value: float, seeds: int, claim: Claim) -> Result:
    """An effect that is computed, not measured: an interval of width 0 that always decides."""
    return Result(value, value, value, 0, seeds, "confirmed" if claim.holds(value) else "contradicted")


def judge(d: NDArray[np.float64], claim: Claim, two_networks: bool) -> Result:
    """What `d` (seeds, images), in points of error, says about one effect of `claim`.

    `two_networks`: each row of d is 100 * (wrong in one network - wrong in the other), which McNemar's test needs.
    """
    k, n = d.shape
    low, high = interval(d)
    value = float(d.mean())
    verdict = _verdict(low, high, claim)
    p = mcnemar(d[0]) if k == 1 and two_networks else None
    images, seeds = (None, None) if verdict != "undecided" else needed(d, _distance(value, claim))
    return Result(value, low, high, n, k, verdict, p, images, seeds)


def judge_replicates(values: NDArray[np.float64], r: NDArray[np.float64], n: int, claim: Claim) -> Result:
    """What replicates say about one effect of `claim`.

    `values` (seeds,): the effect on the `n` test images as they are; `r` (seeds, resamples): on resamples of them.
    """
    low, high = replicates_interval(values, r)
    value = float(values.mean())
    verdict = _verdict(low, high, claim)
    images, seeds = None, None
    if verdict == "undecided":
        images, seeds = needed_by_replicates(values, r, n, _distance(value, claim))
    return Result(value, low, high, n, len(values), verdict, None, images, seeds)


def interval(d: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of `d` (seeds, images): a paired bootstrap over images, plus the spread of the seeds.

    The images are resampled, all networks and seeds together. The few seeds are not (resampling 3 would understate
    their variance by a third): they add deviations of scale s / sqrt(k), t-distributed with k - 1 degrees of freedom.
    With one seed the interval covers the choice of the test images alone. The same `d` gives the same interval.
    """
    n = d.shape[1]
    weighted, weights = _distribution(d)
    chance = np.random.default_rng(0)
    draws = chance.multinomial(n, weights, DRAWS) @ weighted / n + (d.mean() - weights @ weighted)
    return _widened(draws, d.mean(1), chance)


def replicates_interval(values: NDArray[np.float64], r: NDArray[np.float64]) -> tuple[float, float]:
    """The same interval from the effect `values` (seeds,) and its replicates `r` (seeds, resamples).

    Replicates of AP lie a little off the AP of the images as they are (a copy of an image ties with it), so their
    deviations from their own mean are what counts.
    """
    means = r.mean(0)
    draws = np.resize(means - means.mean(), DRAWS) + values.mean()
    return _widened(draws, values, np.random.default_rng(0))


def _widened(
    draws: NDArray[np.float64], values: NDArray[np.float64], chance: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of (DRAWS,) draws over images, widened by the spread of the seeds' `values` (seeds,)."""
    k = len(values)
    if k > 1:
        # one draw from each of DRAWS equal parts: the tails of t are too heavy for free draws
        deviations = stats.t.ppf((np.arange(DRAWS) + 0.5) / DRAWS, k - 1)
        draws = draws + chance.permutation(deviations) * values.std(ddof=1) / math.sqrt(k)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mcnemar(d: NDArray[np.float64]) -> float:
    """McNemar's two-sided mid-p of two networks being equally good; the exact p is too strict (Fagerland et al., 2013).

    `d` (images,) is over 0 where only the first is wrong, under 0 where only the second is. 1 where they never differ.
    """
    first, second = int((d > 0).sum()), int((d < 0).sum())
    fewer, differ = min(first, second), first + second
    tail = stats.binom.cdf(fewer, differ, 0.5) - stats.binom.pmf(fewer, differ, 0.5) / 2
    return min(1.0, 2 * float(tail)) if differ else 1.0


def needed(d: NDArray[np.float64], distance: float) -> tuple[int | None, int | None]:
    """(test images with these seeds, seeds with these images) at which the interval would be `distance` to either side.

    Normal images and t-distributed seeds, their widths added as squares. Each is more than there is now. None where no
    number (or more than 1000 seeds) would do; from one seed the seeds' spread, and so their number, cannot be told.
    """
    weighted, weights = _distribution(d)
    image_variance = float(weights @ weighted**2 - (weights @ weighted) ** 2)
    noise = float(d.var(axis=0, ddof=1).mean()) if len(d) > 1 else 0.0
    return _needed(d.mean(1), d.shape[1], image_variance, noise, distance)


def needed_by_replicates(
    values: NDArray[np.float64], r: NDArray[np.float64], n: int, distance: float
) -> tuple[int | None, int | None]:
    """The same from replicates: one image's variance is n times that of the replicates, as for a mean."""
    off = r - r.mean(1, keepdims=True)
    noise = n * float(off.var(axis=0, ddof=1).mean()) if len(r) > 1 else 0.0
    return _needed(values, n, n * float(off.mean(0).var()), noise, distance)


def _needed(
    values: NDArray[np.float64], n: int, image_variance: float, noise: float, distance: float
) -> tuple[int | None, int | None]:
    """`values` (seeds,): the effect; variance of one image of the mean over the seeds; noise: of one image from seed
    to seed, the part that more seeds average out."""
    k = len(values)
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    if k == 1:
        return (max(n + 1, math.ceil(z**2 * image_variance / distance**2)) if distance > 0 else None), None
    seed_variance = float(values.var(ddof=1))
    room = distance**2 - float(stats.t.ppf((1 + LEVEL) / 2, k - 1)) ** 2 * seed_variance / k
    images = max(n + 1, math.ceil(z**2 * image_variance / room)) if room > 0 else None
    more = np.arange(k + 1, _MOST_SEEDS + 1)
    squares = stats.t.ppf((1 + LEVEL) / 2, more - 1) ** 2 * seed_variance / more
    squares += z**2 * (max(0.0, image_variance - noise / k) + noise / more) / n
    enough = more[squares < distance**2]
    return images, int(enough[0]) if len(enough) else None


def _distribution(d: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct values of the images' mean over the seeds, and their probabilities.

    Half an image is added on either side (Agresti and Min, 2005): networks that never differ on the images at hand may
    differ on others, and an interval of width 0 would deny that.
    """
    values, counts = np.unique(d.mean(0), return_counts=True)
    values = np.concatenate([values, [-_POINTS, _POINTS]])
    counts = np.concatenate([counts, [0.5, 0.5]])
    return values, counts / counts.sum()


def _verdict(low: float, high: float, claim: Claim) -> Verdict:
    """All of the interval as claimed: confirmed; none of it: contradicted."""
    if claim.holds(low) and claim.holds(high):
        return "confirmed"
    return "contradicted" if high < claim.low or low > claim.high else "undecided"


def _distance(value: float, claim: Claim) -> float:
    """From the effect to the nearest bound: the half width at which the interval would decide."""
    return min(abs(value - bound) for bound in (claim.low, claim.high))
