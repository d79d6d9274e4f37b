"""Our numbers in the cells of the paper's tables: means over the records of each cell's job."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spprepro.errors import DataError
from spprepro.paper.tables import Cell, CellId, Table
from spprepro.records import Found


@dataclass(frozen=True)
class Ours:
    """What we measured for one cell: mean over the seeds, sample standard deviation (None for one seed), the
    number `n` of test samples behind each seed's value (0: computed), and the records that it came from."""

    mean: float
    std: float | None
    seeds: tuple[int, ...]
    n: int
    sources: tuple[Path, ...]


def fill(table: Table, found: Sequence[Found], tier: str) -> dict[CellId, Ours | None]:
    """Our number for every cell that is not quoted; None where no record has it.

    Only records of `tier` with status "ok" count; smoke and partial records never do. Raises DataError where
    the records of a cell do not measure the same thing: another unit than the table's, different test data.
    """
    usable = [item for item in found if item.record.tier == tier and item.record.status == "ok"]
    faults: list[str] = []
    ours = {
        cell.id: _ours(cell, [item for item in usable if item.record.experiment == cell.job], faults)
        for cell in table.cells.values()
        if not cell.quoted
    }
    if faults:
        raise DataError(list(dict.fromkeys(faults)))
    return ours


def _ours(cell: Cell, found: Iterable[Found], faults: list[str]) -> Ours | None:
    """The mean over those records that have the cell's metric."""
    have = [item for item in found if cell.metric in item.record.metrics]
    if not have or cell.metric is None:
        return None
    metrics = [item.record.metrics[cell.metric] for item in have]
    for item, metric in zip(have, metrics, strict=True):
        if metric.unit != cell.measure.unit:
            faults.append(
                f"{item.path}: metrics.{cell.metric} is in {metric.unit!r}, but the table's cell in "
                f"{cell.measure.unit!r}; correct the unit in the experiments file or run the job again"
            )
        if test_data(item) != test_data(have[0]):
            faults.append(
                f"{item.path}: measured on other data than {have[0].path} (data.name, fingerprint, split or test "
                "differ), so no mean can be taken; run the older job again or move its record away"
            )
    values = [metric.value for metric in metrics]
    return Ours(
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        seeds=tuple(item.record.seed for item in have),
        n=metrics[0].n,
        sources=tuple(item.path for item in have),
    )


def test_data(item: Found) -> tuple[Any, ...]:
    """What two records must have in common for their numbers to be about the same test."""
    return tuple(item.record.data.get(key) for key in ("name", "fingerprint", "split", "test"))
