"""From records to verdicts: which records can judge a claim, their outcomes as effects, and what is missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.errors import DataError
from spprepro.paper import statistics
from spprepro.paper.claims import Claim, Effect, Place, Verdict, together, value
from spprepro.paper.tables import Cell, Table, cells_of, test_data
from spprepro.records import Found

_TOLERANCE = 1e-6  # points: rounding of the mean of up to millions of bits


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
    if evidence.faults:
        raise DataError(sorted(set(evidence.faults)))
    return judged


class _Undecidable(Exception):
    """Why an effect cannot be judged: the verdict that this leaves, and the reason."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict: Verdict = verdict
        self.reason = reason


class _Evidence:
    """The records of one tier and, read once each, the outcomes beside them."""

    def __init__(self, cells: Mapping[Place, Cell], found: Sequence[Found], tier: str) -> None:
        self.cells, self.tier = cells, tier
        self.faults: list[str] = []
        self.jobs: dict[str, dict[int, Found]] = {}
        for item in found:
            if item.record.tier == tier and item.record.status == "ok":
                self.jobs.setdefault(item.record.experiment, {})[item.record.seed] = item
        self.kept: dict[Path, Mapping[str, NDArray[np.bool_]]] = {}

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

        if sources[0][seeds[0]].record.metrics[str(ours[0][1].metric)].n == 0:
            values = summed(lambda item, metric: item.record.metrics[metric].value)
            return statistics.exact(sum(values) / len(values), len(seeds), claim)
        d = np.stack(summed(lambda item, metric: 100.0 * self.wrong(item, metric)))
        two = len(terms) == 2 and sorted(sign for sign, _ in ours) == [-1, 1]
        return statistics.judge(d, claim, two)

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
            names = " and ".join(f"{item.record.experiment} seed {item.record.seed}" for item in alike.values())
            raise _Undecidable("undecided", f"{names} were tested on different images")
        return seeds, sources

    def wrong(self, item: Found, metric: str) -> NDArray[np.bool_]:
        """(n,) which test images the record counts as wrong; raises _Undecidable where it does not say."""
        folder, name = item.path.parent, f"{item.record.experiment} seed {item.record.seed}"
        if folder not in self.kept:
            if not (folder / outcomes.NAME).is_file():
                raise _Undecidable("undecided", f"no per-image outcomes beside the record of {name}")
            try:
                self.kept[folder] = outcomes.read(folder)
            except DataError as error:
                self.faults += error.faults
                self.kept[folder] = {}
        wrong, expected = self.kept[folder].get(metric), item.record.metrics[metric]
        if wrong is None:
            raise _Undecidable("undecided", f"no per-image outcomes of {metric} beside the record of {name}")
        percent = 100.0 * float(wrong.mean()) if len(wrong) else 0.0
        if len(wrong) != expected.n or abs(percent - expected.value) > _TOLERANCE:
            self.faults.append(
                f"{folder / outcomes.NAME}: {metric} is {percent:.6f} % of {len(wrong)} images, but the record says "
                f"{expected.value:.6f} % of {expected.n}; run the job again with overwrite=true"
            )
            raise _Undecidable("undecided", f"the per-image outcomes of {name} are not its record's")
        return wrong
