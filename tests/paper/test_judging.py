"""From records to verdicts: what is paired with what, what cannot be judged and why, and damage that is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spprepro import outcomes, records
from spprepro.errors import DataError
from spprepro.paper.judging import JudgedEffect, judge
from spprepro.paper.tables import Table
from spprepro.records import Metric
from tests.paper.test_claims import with_claim
from tests.paper.test_tables import found, loaded

N = 400


def wrong(*images: int) -> NDArray[np.bool_]:
    """(400,) wrong on these images alone."""
    flags = np.zeros(N, bool)
    flags[list(images)] = True
    return flags


def put(
    results: Path, job: str, flags: NDArray[np.bool_] | float, seed: int = 0, tier: str = "mini", **data: Any
) -> Path:
    """A record of `job` with the error of `flags`, and its outcomes; a plain number: a record without outcomes."""
    about = {"name": "mini", "fingerprint": "f1", "train": 2000, "test": N, **data}
    error = flags if isinstance(flags, float) else 100 * float(flags.mean())
    metric = Metric(error, "%", about["test"])
    record = replace(found(job, error, seed).record, tier=tier, data=about, metrics={"error": metric})
    folder = results / tier / job / f"seed{seed}"
    records.write(record, folder)
    if not isinstance(flags, float):
        outcomes.write(folder, {"error": flags})
    return folder


def effect(results: Path, table: Table, tier: str = "mini") -> JudgedEffect:
    return judge([table], records.find(results), tier, [42])[42][0].effects[0]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Table 42 with the claim a.zf5 - b.alex5 > 0, which job_zf5 and other_b fill."""
    return loaded(tmp_path, with_claim())


def test_images_and_seeds_are_paired(tmp_path: Path, table: Table) -> None:
    results = tmp_path / "results"
    for seed in (0, 1, 2):
        put(results, "job_zf5", wrong(*range(100 + seed)), seed)
        put(results, "other_b", wrong(*range(60 + seed)), seed)
    put(results, "job_zf5", wrong(), 7)  # nothing to pair it with
    judged = effect(results, table)
    assert judged.result is not None
    assert (judged.result.value, judged.result.n, judged.result.seeds) == (10.0, N, 3)
    assert judged.verdict == "confirmed"
    assert 6.5 < judged.result.low < 10 < judged.result.high < 13.5  # unpaired it would be 10 +- 5.5
    assert judged.printed == pytest.approx(0.5) and judged.printed_holds


def test_one_seed_and_two_networks_have_mcnemars_p(tmp_path: Path, table: Table) -> None:
    put(tmp_path / "results", "job_zf5", wrong(*range(9)))
    put(tmp_path / "results", "other_b", wrong(50))
    judged = effect(tmp_path / "results", table)
    assert judged.result is not None and judged.result.p == pytest.approx(2 * (1 + 10 / 2) / 1024)


def test_without_records_it_is_not_run(tmp_path: Path, table: Table) -> None:
    results = tmp_path / "results"
    put(results, "job_zf5", wrong(1))
    put(results, "other_b", wrong(1), tier="small")
    judged = effect(results, table)
    assert judged.verdict == "not run" and "other_b" in judged.reason and "job_zf5" not in judged.reason
    put(results, "other_b", wrong(1), seed=3)
    assert (effect(results, table).verdict, effect(results, table).result) == ("not run", None)
    assert "no seed" in effect(results, table).reason
    without = replace(found("other_b", 1.0, seed=3).record, metrics={})
    records.write(without, results / "mini" / "other_b" / "seed3")
    assert effect(results, table).reason == "no record of other_b with error"


@pytest.mark.parametrize("data", [{"fingerprint": "f2"}, {"split": "test"}, {"test": 200}])
def test_other_images_are_not_compared(tmp_path: Path, table: Table, data: dict[str, Any]) -> None:
    results = tmp_path / "results"
    put(results, "job_zf5", wrong(1))
    put(results, "other_b", wrong(1)[: data.get("test", N)], **data)
    judged = effect(results, table)
    assert judged.verdict == "undecided" and judged.result is None
    assert "different images" in judged.reason and "job_zf5 seed 0 and other_b seed 0" in judged.reason


def test_a_record_without_outcomes_cannot_be_judged(tmp_path: Path, table: Table) -> None:
    put(tmp_path / "results", "job_zf5", 30.0)
    put(tmp_path / "results", "other_b", wrong(1))
    judged = effect(tmp_path / "results", table)
    assert judged.verdict == "undecided" and "no outcomes" in judged.reason and "job_zf5" in judged.reason


def test_outcomes_that_are_not_those_of_the_record_are_refused_together(tmp_path: Path, table: Table) -> None:
    results = tmp_path / "results"
    for seed in (0, 1):
        folder = put(results, "job_zf5", wrong(1), seed)
        outcomes.write(folder, {"error": wrong(1, 2)})
        (put(results, "other_b", wrong(1), seed) / outcomes.NAME).write_bytes(b"damaged")
    with pytest.raises(DataError) as caught:
        effect(results, table)
    assert [line for line in caught.value.faults if "job_zf5/seed0/outcomes.npz" in line and "0.25" in line]
    (results / "mini" / "job_zf5" / "seed0" / outcomes.NAME).unlink()
    outcomes.write(results / "mini" / "job_zf5" / "seed0", {"error": wrong(1)})
    with pytest.raises(DataError, match="other_b/seed0"):
        effect(results, table)


def test_computed_numbers_are_exact_and_need_no_outcomes(tmp_path: Path, table: Table) -> None:
    put(tmp_path / "results", "job_zf5", 30.0, test=0)
    put(tmp_path / "results", "other_b", 29.9, test=0)
    result = effect(tmp_path / "results", table).result
    assert result is not None and (result.verdict, result.n) == ("confirmed", 0)
    assert result.low == result.high == pytest.approx(0.1)


def test_quoted_numbers_are_met_at_the_papers_scale_alone(tmp_path: Path) -> None:
    table = loaded(tmp_path, with_claim(effects=["a.rival - a.zf5"]))  # quoted: 40.5
    results = tmp_path / "results"
    assert effect(results, table).verdict == "not run"
    for tier in ("mini", "paper"):
        put(results, "job_zf5", wrong(*range(120)), tier=tier)
    assert effect(results, table).verdict == "undecided" and "tier=paper only" in effect(results, table).reason
    judged = effect(results, table, "paper")
    assert judged.verdict == "confirmed" and judged.result is not None
    assert judged.result.value == pytest.approx(40.5 - 30.0) and judged.result.p is None


RESAMPLES = outcomes.RESAMPLES


def put_replicated(
    results: Path, job: str, value: float, replicates: NDArray[np.float64] | None, seed: int = 0, tier: str = "mini"
) -> Path:
    """A record of `job` with an error that has replicates and no bits."""
    folder = put(results, job, value, seed, tier)
    outcomes.write(folder, {}, {} if replicates is None else {"error": replicates.astype(np.float32)})
    return folder


def two_that_vary_together() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Replicates of two jobs about 40 and 38: both vary by 2, their difference by 0.3."""
    chance = np.random.default_rng(0)
    shared = 2.0 * chance.normal(size=RESAMPLES)
    return 40.3 + shared, 38.2 + shared + 0.3 * chance.normal(size=RESAMPLES)


def test_replicates_are_paired_by_resample_and_seed(tmp_path: Path, table: Table) -> None:
    first, second = two_that_vary_together()
    results = tmp_path / "results"
    put_replicated(results, "job_zf5", 40.0, first)
    put_replicated(results, "other_b", 38.0, second)
    one = effect(results, table)
    assert one.result is not None and (one.verdict, one.result.n, one.result.seeds) == ("confirmed", N, 1)
    assert one.result.value == pytest.approx(2.0)  # the records' own, not the replicates' mean
    assert (one.result.low, one.result.high) == pytest.approx((2 - 1.96 * 0.3, 2 + 1.96 * 0.3), abs=0.08)
    assert one.result.p is None
    for seed, value in ((1, 41.5), (2, 38.5)):
        put_replicated(results, "job_zf5", value, first, seed)
        put_replicated(results, "other_b", 38.0, second, seed)
    three = effect(results, table).result
    assert three is not None and three.seeds == 3 and three.value == pytest.approx(2.0)
    half = 4.3027 * 1.5 / 3**0.5  # the seeds' part alone
    assert three.high - three.low > 2 * half > 2 * (one.result.high - one.result.low)
    assert effect(results, table).verdict == "undecided" and three.more_seeds is not None


def test_what_replicates_announce_follows_their_variance(tmp_path: Path, table: Table) -> None:
    first, second = two_that_vary_together()
    put_replicated(tmp_path / "results", "job_zf5", 38.1, first)
    put_replicated(tmp_path / "results", "other_b", 38.0, second)
    result = effect(tmp_path / "results", table).result
    assert result is not None and result.verdict == "undecided" and result.images is not None
    assert result.images == pytest.approx(N * (1.96 * 0.3 / 0.1) ** 2, rel=0.1)


def test_resamples_without_a_value_are_left_out_while_they_are_few(tmp_path: Path, table: Table) -> None:
    first, second = two_that_vary_together()
    first[::5] = np.nan
    put_replicated(tmp_path / "results", "job_zf5", 40.0, first)
    put_replicated(tmp_path / "results", "other_b", 38.0, second)
    assert effect(tmp_path / "results", table).verdict == "confirmed"
    second[1::2] = np.nan
    put_replicated(tmp_path / "results", "other_b", 38.0, second)
    judged = effect(tmp_path / "results", table)
    assert judged.verdict == "undecided" and judged.result is None and "most resamples" in judged.reason


def test_what_replicates_cannot_judge_is_undecided_and_says_why(tmp_path: Path, table: Table) -> None:
    first, _ = two_that_vary_together()
    results = tmp_path / "results"
    put_replicated(results, "job_zf5", 40.0, first)
    put(results, "other_b", wrong(1))
    assert effect(results, table).verdict == "undecided" and "counted by image" in effect(results, table).reason
    put_replicated(results, "other_b", 38.0, None)
    assert effect(results, table).reason == "no outcomes of error beside the record of other_b seed 0"
    put_replicated(results, "other_b", 40.0, first)
    assert "the same on every resample" in effect(results, table).reason  # as two that find nothing are


def test_replicates_that_are_not_those_of_the_record_are_refused(tmp_path: Path, table: Table) -> None:
    first, second = two_that_vary_together()
    put_replicated(tmp_path / "results", "job_zf5", 40.0, first / 100)  # fractions, say
    put_replicated(tmp_path / "results", "other_b", 38.0, second)
    with pytest.raises(DataError, match=r"job_zf5/seed0/outcomes\.npz: error is 0\.\d+ to 0\.\d+ .* says 40\.0"):
        effect(tmp_path / "results", table)
