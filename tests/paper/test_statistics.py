"""The judgement of one effect: intervals that cover, exact tests, and announcements that come true."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.paper import statistics
from spprepro.paper.claims import Claim

LOWER = Claim("k", "s", "p", (), 0.0, float("inf"), True, frozenset())
CLOSE = Claim("k", "s", "p", (), -1.0, 1.0, False, frozenset())


def images(more: int, fewer: int, n: int) -> NDArray[np.float64]:
    """(1, n): the first network alone is wrong on `more` images, the second alone on `fewer`."""
    d = np.zeros((1, n))
    d[0, :more], d[0, more : more + fewer] = 100, -100
    return d


def seeds_of(k: int, n: int, effect: float, spread: float, chance: np.random.Generator) -> NDArray[np.float64]:
    """(k, n): seeds with normal effects (points); images that are hard for both networks or for one of them."""
    hard = chance.normal(size=n)
    d = np.empty((k, n))
    for row in d:
        shift = (effect + spread * chance.normal()) / 100
        first, second = (hard + 0.5 * chance.normal(size=n) for _ in range(2))
        row[:] = 100.0 * (first > 0.0).astype(float) - 100.0 * (second > 0.0)
        row += 100.0 * (chance.random(n) < shift) if shift > 0 else -100.0 * (chance.random(n) < -shift)
    return d


@pytest.mark.parametrize(
    ("k", "spread", "most"), [(1, 0.0, 0.985), (3, 4.0, 0.985), (5, 2.0, 0.995)], ids=["images", "seeds", "both"]
)
def test_95_percent_intervals_hold_the_truth_about_95_percent_of_the_time(k: int, spread: float, most: float) -> None:
    chance = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        low, high = statistics.interval(seeds_of(k, 400, 3.0, spread, chance))
        hits += low <= 3.0 <= high
    assert 0.92 < hits / 300 < most


def test_few_seeds_widen_the_interval_as_their_spread_demands() -> None:
    d = np.repeat([[1.0], [2.0], [3.0]], 100_000, axis=1)
    low, high = statistics.interval(d)
    half = 4.3027 * 1.0 / 3**0.5  # Student's t with 2 degrees of freedom, by the table
    assert (low, high) == pytest.approx((2 - half, 2 + half), rel=0.01)


def test_mcnemar_by_hand() -> None:
    assert statistics.mcnemar(images(9, 1, 50)[0]) == pytest.approx(2 * (1 + 10 / 2) / 2**10)
    assert statistics.mcnemar(images(1, 9, 500)[0]) == pytest.approx(2 * (1 + 10 / 2) / 2**10)
    assert statistics.mcnemar(images(4, 4, 50)[0]) == 1.0
    assert statistics.mcnemar(images(0, 0, 50)[0]) == 1.0


def test_mcnemar_is_for_one_seed_and_two_networks() -> None:
    one = images(9, 1, 50)
    assert statistics.judge(one, LOWER, two_networks=True).p is not None
    assert statistics.judge(one, LOWER, two_networks=False).p is None
    assert statistics.judge(np.repeat(one, 2, axis=0), LOWER, two_networks=True).p is None


@pytest.mark.parametrize("k", [1, 3])
def test_identical_networks_decide_nothing_however_often_they_are_run(k: int) -> None:
    result = statistics.judge(np.zeros((k, 1000)), LOWER, two_networks=True)
    assert result.value == 0.0 and result.verdict == "undecided"
    assert result.images is None and result.more_seeds is None
    assert result.low < 0 < result.high  # on other images they may differ
    assert -0.5 < result.low and result.high < 0.5


def test_agreement_on_many_images_confirms_closeness_and_on_few_does_not() -> None:
    assert statistics.judge(np.zeros((1, 5000)), CLOSE, two_networks=True).verdict == "confirmed"
    few = statistics.judge(np.zeros((1, 50)), CLOSE, two_networks=True)
    assert few.verdict == "undecided" and few.images is not None and 50 < few.images < 5000


def detector(chance: np.random.Generator, hard: NDArray[np.float64], skill: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """A detection in each image, and one object: images by falling score, and whether each detection is a hit."""
    hits = skill - hard + chance.normal(size=len(hard)) > 0
    return np.argsort(-(hits + 1.5 * chance.normal(size=len(hard)))), hits


def precision(found: tuple[NDArray[Any], NDArray[Any]], copies: NDArray[Any]) -> NDArray[np.float64]:
    """AP (area, %) of `detector` with the images counted as often as each row of `copies` says."""
    order, hits = found
    times = copies[:, order]
    right = np.cumsum(times * hits[order], 1)
    with np.errstate(invalid="ignore"):
        at = right / np.cumsum(times, 1)
    area: NDArray[np.float64] = 100.0 * np.nansum(times * hits[order] * at, 1) / copies.sum(1)
    return area


COPIES = outcomes.resamples(100).astype(np.float32)
ONCE = np.ones((1, 100), np.float32)


def two_detectors(
    chance: np.random.Generator, k: int = 1, spread: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(k,) differences in AP of two detectors on 100 images, (k, 1000) on resamples, and where each sees its own."""
    hard, elsewhere = chance.normal(size=100), chance.normal(size=100)
    values, paired, unpaired = [], [], []
    for _ in range(k):
        shift = spread * chance.normal()
        first, second, other = (detector(chance, h, s) for h, s in ((hard, 0.7 + shift), (hard, 0.3), (elsewhere, 0.3)))
        values.append(precision(first, ONCE)[0] - precision(second, ONCE)[0])
        paired.append(precision(first, COPIES) - precision(second, COPIES))
        unpaired.append(precision(first, COPIES) - precision(other, COPIES[::-1]))
    return np.array(values), np.stack(paired), np.stack(unpaired)


@pytest.fixture(scope="module")
def truth() -> float:
    """The difference in AP that `two_detectors` have on average over sets of 100 images."""
    chance, draws = np.random.default_rng(5), []
    for _ in range(4000):
        hard = chance.normal(size=100)
        first, second = (precision(detector(chance, hard, skill), ONCE)[0] for skill in (0.7, 0.3))
        draws.append(first - second)
    return float(np.mean(draws))


def test_intervals_from_replicates_hold_the_truth_about_95_percent_of_the_time(truth: float) -> None:
    chance, hits = np.random.default_rng(1), 0
    for _ in range(250):
        values, paired, _ = two_detectors(chance)
        low, high = statistics.replicates_interval(values, paired)
        hits += low <= truth <= high
    assert 0.92 < hits / 250 < 0.985


def test_what_seeds_add_to_intervals_from_replicates(truth: float) -> None:
    chance, hits, widths = np.random.default_rng(2), 0, []
    for _ in range(50):
        values, paired, _ = two_detectors(chance, k=3, spread=0.3)
        low, high = statistics.replicates_interval(values, paired)
        hits += low <= truth <= high
        alike = statistics.replicates_interval(np.full(3, values.mean()), paired)
        widths.append((high - low) / (alike[1] - alike[0]))
    assert hits >= 44 and min(widths) >= 0.999 and np.mean(widths) > 1.5


def test_pairing_the_resamples_narrows_the_interval() -> None:
    chance, ratios = np.random.default_rng(3), []
    for _ in range(20):
        values, paired, unpaired = two_detectors(chance)
        (low, high), (lowest, highest) = (statistics.replicates_interval(values, r) for r in (paired, unpaired))
        ratios.append((highest - lowest) / (high - low))
    assert np.mean(ratios) > 1.1


@pytest.mark.parametrize(("k", "effect"), [(1, 0.5), (4, 1.5)])
def test_bits_and_their_own_replicates_give_the_same_judgement(k: int, effect: float) -> None:
    """Errors are means over images, so both ways apply; only the bits' half an image on either side differs."""
    d = seeds_of(k, 600, effect, 0.5, np.random.default_rng(5))
    r = d @ outcomes.resamples(600).T / 600
    bits, replicates = statistics.judge(d, LOWER, False), statistics.judge_replicates(d.mean(1), r, 600, LOWER)
    assert (replicates.value, replicates.n, replicates.seeds) == (pytest.approx(bits.value), 600, k)
    width = bits.high - bits.low
    assert replicates.low == pytest.approx(bits.low, abs=0.05 * width)
    assert replicates.high == pytest.approx(bits.high, abs=0.05 * width)
    assert bits.verdict == replicates.verdict == "undecided"
    announced = {1: (replicates.images, bits.images), 4: (replicates.more_seeds, bits.more_seeds)}[k]
    assert announced[0] == pytest.approx(announced[1], rel=0.1)


@pytest.mark.parametrize(
    ("more", "fewer", "claim", "verdict"),
    [
        (200, 100, LOWER, "confirmed"),
        (100, 200, LOWER, "contradicted"),
        (105, 100, LOWER, "undecided"),
        (10, 12, CLOSE, "confirmed"),
        (200, 100, CLOSE, "contradicted"),
        (100, 200, CLOSE, "contradicted"),
        (120, 100, CLOSE, "undecided"),
    ],
)
def test_verdicts(more: int, fewer: int, claim: Claim, verdict: str) -> None:
    assert statistics.judge(images(more, fewer, 2000), claim, two_networks=True).verdict == verdict


def test_a_computed_effect_is_exact() -> None:
    assert statistics.exact(1.5, 1, LOWER).verdict == "confirmed"
    assert statistics.exact(0.0, 1, LOWER).verdict == "contradicted"
    result = statistics.exact(-0.5, 1, CLOSE)
    assert (result.low, result.high, result.n, result.verdict) == (-0.5, -0.5, 0, "confirmed")


def test_the_same_outcomes_give_the_same_judgement() -> None:
    d = seeds_of(3, 1000, 1.0, 1.0, np.random.default_rng(2))
    assert statistics.judge(d, LOWER, False) == statistics.judge(d.copy(), LOWER, False)


@pytest.mark.parametrize(("claim", "more"), [(LOWER, 110), (CLOSE, 125)])
def test_the_announced_number_of_images_decides(claim: Claim, more: int) -> None:
    first = statistics.judge(images(more, 100, 2000), claim, two_networks=True)
    assert first.verdict == "undecided" and first.images is not None and first.more_seeds is None

    def again(n: int) -> str:
        return statistics.judge(images(round(n * more / 2000), round(n * 0.05), n), claim, True).verdict

    assert again(round(first.images * 0.85)) == "undecided"
    assert again(round(first.images * 1.15)) != "undecided"


def test_the_announced_number_of_seeds_decides() -> None:
    def d(k: int) -> NDArray[np.float64]:
        """k seeds whose effects have exactly mean 1 and deviation 1.5, on images that are right or wrong alike."""
        effects = np.random.default_rng(k).normal(size=k)
        effects = 1.0 + 1.5 * (effects - effects.mean()) / effects.std(ddof=1)
        return np.repeat(effects[:, None], 100_000, axis=1)

    first = statistics.judge(d(4), LOWER, False)
    assert first.verdict == "undecided" and first.more_seeds is not None
    assert first.images is None  # the seeds' spread alone is too large
    assert statistics.judge(d(round(first.more_seeds * 0.75)), LOWER, False).verdict == "undecided"
    assert statistics.judge(d(round(first.more_seeds * 1.25)), LOWER, False).verdict == "confirmed"


def test_seeds_that_agree_leave_images_to_decide() -> None:
    d = np.repeat(images(110, 100, 2000), 3, axis=0)
    result = statistics.judge(d, LOWER, False)
    assert result.verdict == "undecided" and result.images is not None and result.more_seeds is None
