"""From records to verdicts: which records can judge a claim, their outcomes as effects, and what is missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.errors import DataError
from spprepro.paper import statistics
from spprepro.paper.claims import Claim, Effect, Place, Verdict, together, value
from spprepro.paper.evidence import NoOutcomes, Outcomes, name_of
from spprepro.paper.filling import test_data
from spprepro.paper.tables import Cell, Table, cells_of
from spprepro.records import Found

_DEFINED = 0.5  # share of the resamples on which an effect must have a value to be judged by them


@dataclass(frozen=True)
class JudgedEffect:
    """An effect beside the paper's. `result` is None where it could not be judged; `reason` then says why."""

    effect: Effect
    printed: float | None
    printed_holds: bool | None
    verdict: Verdict
    reason: str
    result: statistics.Result | None


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with the verdict on it and on each of its effects."""

    claim: Claim
    verdict: Verdict
    effects: tuple[JudgedEffect, ...]


def judge(
    tables: Sequence[Table], found: Sequence[Found], tier: str, numbers: Iterable[int]
) -> dict[int, tuple[JudgedClaim, ...]]:
    """Table number -> its claims, judged by the finished records of `tier`, for each of `numbers`.

    `tables` are all of them: claims speak of other tables' cells. Raises DataError where a record's outcomes do not
    give its metrics, or are damaged; all such faults together.
    """
    evidence = _Evidence(cells_of(tables), found, tier)
    wanted = set(numbers)
    judged = {
        table.number: tuple(evidence.claim(claim) for claim in table.claims)
        for table in tables
        if table.number in wanted
    }
    if evidence.outcomes.faults:
        raise DataError(sorted(set(evidence.outcomes.faults)))
    return judged


class _Undecidable(Exception):
    """Why an effect cannot be judged: the verdict that this leaves, and the reason."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict: Verdict = verdict
        self.reason = reason


class _Evidence:
    """The records of one tier and the outcomes beside them."""

    def __init__(self, cells: Mapping[Place, Cell], found: Sequence[Found], tier: str) -> None:
        self.cells, self.tier = cells, tier
        self.outcomes = Outcomes()
        self.jobs: dict[str, dict[int, Found]] = {}
        for item in found:
            if item.record.tier == tier and item.record.status == "ok":
                self.jobs.setdefault(item.record.experiment, {})[item.record.seed] = item

    def claim(self, claim: Claim) -> JudgedClaim:
        effects = tuple(self.effect(effect, claim) for effect in claim.effects)
        return JudgedClaim(claim, together(judged.verdict for judged in effects), effects)

    def effect(self, effect: Effect, claim: Claim) -> JudgedEffect:
        printed = value(effect, lambda place: self.cells[place].printed)
        holds = None if printed is None else claim.holds(printed)
        try:
            result = self.result(effect, claim)
        except _Undecidable as why:
            return JudgedEffect(effect, printed, holds, why.verdict, why.reason, None)
        return JudgedEffect(effect, printed, holds, result.verdict, "", result)

    def result(self, effect: Effect, claim: Claim) -> statistics.Result:
        """The effect as the records have it; raises _Undecidable."""
        terms = [(sign, self.cells[place]) for sign, place in effect.terms]
        ours = [(sign, cell) for sign, cell in terms if not cell.quoted]
        seeds, sources = self.paired([cell for _, cell in ours])
        if len(ours) < len(terms) and self.tier != "paper":
            raise _Undecidable("undecided", "compares with a quoted number, so it is judged at tier=paper only")
        quoted = sum(sign * (cell.printed or 0.0) for sign, cell in terms if cell.quoted)

        def summed(of: Callable[[Found, str], Any]) -> list[Any]:
            """The effect of each seed, where `of` gives a record's number, or numbers, for a metric."""
            pairs = [(sign, str(cell.metric), have) for (sign, cell), have in zip(ours, sources, strict=True)]
            return [quoted + sum(sign * of(have[seed], metric) for sign, metric, have in pairs) for seed in seeds]

        values = summed(lambda item, metric: item.record.metrics[metric].value)
        n = sources[0][seeds[0]].record.metrics[str(ours[0][1].metric)].n
        if n == 0:
            return statistics.exact(sum(values) / len(values), len(seeds), claim)
        try:
            kept = {
                (have[seed].path, cell.metric): self.outcomes.of(have[seed], str(cell.metric))
                for seed in seeds
                for (_, cell), have in zip(ours, sources, strict=True)
            }
        except NoOutcomes as why:
            raise _Undecidable("undecided", str(why)) from why
        if len({part.dtype for part in kept.values()}) > 1:
            raise _Undecidable("undecided", "adds errors counted by image and metrics that have replicates alone")
        bits = next(iter(kept.values())).dtype == np.bool_
        d = np.stack(summed(lambda item, metric: (100.0 if bits else 1.0) * kept[item.path, metric]))
        if not bits:
            return self.by_replicates(np.array(values), d, n, claim)
        two = len(terms) == 2 and sorted(sign for sign, _ in ours) == [-1, 1]
        return statistics.judge(d, claim, two)

    def by_replicates(
        self, values: NDArray[np.float64], r: NDArray[np.float64], n: int, claim: Claim
    ) -> statistics.Result:
        """The effect from the records' own `values` (seeds,) and the replicates `r` (seeds, resamples)."""
        defined = ~np.isnan(r).any(0)
        if defined.mean() < _DEFINED:
            raise _Undecidable("undecided", "without a value on most resamples of the test images: too few objects")
        r = r[:, defined]
        if np.ptp(r.mean(0)) == 0:  # an interval of width 0 would deny that they may differ on other images
            raise _Undecidable("undecided", "the same on every resample of the test images, so it cannot be judged")
        return statistics.judge_replicates(values, r, n, claim)

    def paired(self, cells: Sequence[Cell]) -> tuple[list[int], list[Mapping[int, Found]]]:
        """The seeds that the records of all `cells` have, and for each cell its records by seed."""
        sources: list[Mapping[int, Found]] = []
        missing: list[str] = []
        for cell in cells:
            records = self.jobs.get(str(cell.job), {}).items()
            have = {seed: item for seed, item in records if cell.metric in item.record.metrics}
            sources.append(have)
            if not have:
                missing.append(f"{cell.job} with {cell.metric}" if records else str(cell.job))
        if missing:
            raise _Undecidable("not run", f"no record of {', '.join(dict.fromkeys(missing))}")
        seeds = sorted(set.intersection(*(set(have) for have in sources)))
        if not seeds:
            raise _Undecidable("not run", f"no seed that {' and '.join(str(cell.job) for cell in cells)} all have")
        alike: dict[tuple[Any, ...], Found] = {}
        for cell, source in zip(cells, sources, strict=True):
            for seed in seeds:
                n = source[seed].record.metrics[str(cell.metric)].n
                alike.setdefault((n, *test_data(source[seed])), source[seed])
        if len(alike) > 1:
            names = " and ".join(map(name_of, alike.values()))
            raise _Undecidable("undecided", f"{names} were tested on different images")
        return seeds, sources
