"""Two sets of records, of two commits or two machines, cell by cell: what differs, and if beyond chance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spprepro import folders, records
from spprepro.errors import DataError
from spprepro.files import csv_text, write_text
from spprepro.paper.evidence import NoOutcomes, Outcomes
from spprepro.paper.filling import test_data
from spprepro.paper.statistics import interval, replicates_interval
from spprepro.paper.tables import load_all
from spprepro.records import Found
from spprepro.report.markdown import bar, md
from spprepro.report.runs import settings
from spprepro.report.sheets import counted

Verdict = Literal["same", "within", "beyond", "not judged"]
VERDICTS: tuple[Verdict, ...] = ("same", "within", "beyond", "not judged")
LEGEND = (
    "difference: b - a, mean over the seeds that both have, with its 95 % interval: a paired bootstrap over the test "
    "images, widened by the spread of the seeds (with one seed it covers the test images alone). same: the number and "
    "every outcome that is kept are; within: the interval holds 0; beyond: it does not (by chance alone one in twenty "
    "would be)."
)
_HEADS = ("tier", "job", "cell", "metric", "a", "b", "difference", "verdict", "why")
_CSV = ("tier", "job", "cell", "metric", "unit", "seeds", "a", "b", "difference", "low", "high", "verdict", "why")
_Job = tuple[str, str]  # tier, name


@dataclass(frozen=True)
class Line:
    """A metric of a job in both sets: means over `seeds`, their difference and its interval (None: not judged)."""

    job: _Job
    cell: str
    metric: str
    unit: str
    digits: int
    seeds: int
    a: float
    b: float
    bounds: tuple[float, float] | None
    verdict: Verdict
    why: str

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands under _HEADS."""
        a, b = (f"{value:.{self.digits}f}" for value in (self.a, self.b))
        difference = f"{self.b - self.a:+.{self.digits}f}"
        if self.bounds:
            difference += f" [{', '.join(f'{bound:+.{self.digits}f}' for bound in self.bounds)}]"
        metric = f"{self.metric}, {self.unit}" if self.unit else self.metric
        return *self.job, self.cell, metric, a, b, difference, self.verdict, self.why


@dataclass(frozen=True)
class Comparison:
    """`settings`: (key, in a, in b) -> the jobs where they differ so; `alone`: the jobs that only a, only b has."""

    a: Path
    b: Path
    lines: Sequence[Line]
    settings: Mapping[tuple[str, str, str], Sequence[_Job]]
    alone: tuple[Sequence[_Job], Sequence[_Job]]

    @property
    def summary(self) -> str:
        jobs, counts = {line.job for line in self.lines}, Counter(line.verdict for line in self.lines)
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in VERDICTS)
        return f"{counted(len(jobs), 'job')} in both, {counted(len(self.lines), 'metric')}: {kinds}."


def compare(a: Path, b: Path) -> Comparison:
    """The records under the results folders `a` and `b`, job by job and metric by metric.

    Raises DataError for a folder without records, damaged records, or where no job with a seed is in both.
    """
    sets = [_by_job(folder) for folder in (a, b)]
    faults = [
        f"{key}={folder}: no records in {folder}/<tier>/<job>/seed<k>/{records.NAME}; name a results folder"
        for key, folder, found in zip("ab", (a, b), sets, strict=True)
        if not found
    ]
    if not faults and not any(sets[0][job].keys() & sets[1][job].keys() for job in sets[0].keys() & sets[1].keys()):
        has = " and ".join(f"{folder} has {_names(list(found))}" for folder, found in zip((a, b), sets, strict=True))
        faults = [f"a={a}, b={b}: no job with the same tier and seed in both: {has}"]
    if faults:
        raise DataError(faults)
    lines: list[Line] = []
    differ: dict[tuple[str, str, str], list[_Job]] = {}
    cells, kept = _cells(), Outcomes()
    for job in sorted(sets[0].keys() & sets[1].keys()):
        seeds = sorted(sets[0][job].keys() & sets[1][job].keys())
        pairs = [(sets[0][job][seed], sets[1][job][seed]) for seed in seeds]
        for key in dict.fromkeys(key for pair in pairs for key in _settings(pair)):
            differ.setdefault(key, []).append(job)
        for metric in pairs[0][0].record.metrics if pairs else ():
            if all(metric in item.record.metrics for pair in pairs for item in pair):
                lines.append(_line(job, metric, pairs, cells.get((job[1], metric), ("", 3)), kept))
    if kept.faults:
        raise DataError(sorted(set(kept.faults)))
    alone = (sorted(sets[0].keys() - sets[1].keys()), sorted(sets[1].keys() - sets[0].keys()))
    return Comparison(a, b, lines, differ, alone)


def _by_job(folder: Path) -> dict[_Job, dict[int, Found]]:
    found: dict[_Job, dict[int, Found]] = {}
    for item in records.find(folder):
        found.setdefault((item.record.tier, item.record.experiment), {})[item.record.seed] = item
    return found


def _cells() -> dict[tuple[str, str], tuple[str, int]]:
    """(job, metric) -> the first cell of the paper's tables that it fills, in words, and its digits."""
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for table in load_all(folders.experiments()):
        rows, columns = ({head.key: head.label for head in heads} for heads in (table.rows, table.columns))
        for cell in table.cells.values():
            name = f"Table {table.number}: {rows[cell.row]}, {columns[cell.column]}"
            found.setdefault((str(cell.job), str(cell.metric)), (name, cell.measure.digits))
    return found


def _line(job: _Job, metric: str, pairs: Sequence[tuple[Found, Found]], cell: tuple[str, int], kept: Outcomes) -> Line:
    values = np.array([[item.record.metrics[metric].value for item in pair] for pair in pairs])
    a, b = values.mean(0)
    bounds, verdict, why = _judged(metric, pairs, values[:, 1] - values[:, 0], kept)
    unit = pairs[0][0].record.metrics[metric].unit
    return Line(job, cell[0], metric, unit, cell[1], len(pairs), float(a), float(b), bounds, verdict, why)


def _judged(
    metric: str, pairs: Sequence[tuple[Found, Found]], change: Any, kept: Outcomes
) -> tuple[tuple[float, float] | None, Verdict, str]:
    """The interval of the change (seeds,), the verdict, and why there is none."""
    tests = {(item.record.metrics[metric].n, *test_data(item)) for pair in pairs for item in pair}
    if len(tests) > 1:
        return None, "not judged", "tested on different images"
    if pairs[0][0].record.metrics[metric].n == 0:  # computed, without data
        return None, "beyond" if change.any() else "same", ""
    try:
        outcomes = [[kept.of(item, metric) for item in pair] for pair in pairs]
    except NoOutcomes as why:
        return None, "not judged" if change.any() else "same", str(why) if change.any() else ""
    bits = {each.dtype for pair in outcomes for each in pair} == {np.dtype(bool)}
    d = np.stack([np.asarray(b, float) - np.asarray(a, float) for a, b in outcomes])
    d = d[:, ~np.isnan(d).any(0)]
    if not change.any() and not d.any():
        return None, "same", ""
    if not bits and (not d.size or np.ptp(d.mean(0)) == 0):
        return None, "not judged", "the same change on every resample of the test images"
    low, high = interval(100.0 * d) if bits else replicates_interval(change, d)
    return (low, high), "within" if low <= 0 <= high else "beyond", ""


def _settings(pair: tuple[Found, Found]) -> list[tuple[str, str, str]]:
    """(key, in a, in b) of all that differs in configuration, code, data and machine."""
    a, b = (_flat(item) for item in pair)
    return [(key, a.get(key, "-"), b.get(key, "-")) for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


def _flat(item: Found) -> dict[str, str]:
    record, config = item.record, settings(item)
    about: dict[str, Any] = {
        "status": record.status,
        "device": record.device,
        "precision": record.precision,
        "deterministic": record.deterministic,
        "git.commit": record.git["commit"][:10],
        "git.dirty": record.git["dirty"],
        **{f"versions.{name}": version for name, version in record.versions.items()},
        **{f"data.{key}": record.data[key] for key in ("name", "fingerprint", "train", "test")},
        **(config.identity() if config else {"config_sha256": record.config_sha256}),
    }
    return {key: str(value) for key, value in about.items()}


def _names(jobs: Sequence[_Job]) -> str:
    shown = [f"{name} (tier={tier})" for tier, name in jobs[:5]]
    return ", ".join(shown) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")


def write(comparison: Comparison, results_dir: Path) -> list[Path]:
    """compare.md and compare.csv in `results_dir`: the former with the metrics that fill a cell, or differ beyond."""
    paths = [results_dir / "compare.md", results_dir / "compare.csv"]
    write_text(paths[0], _markdown(comparison))
    write_text(paths[1], csv_text(_CSV, map(_csv_row, comparison.lines)))
    return paths


def _csv_row(line: Line) -> tuple[object, ...]:
    numbers = (line.a, line.b, line.b - line.a, *(line.bounds or ("", "")))
    return *line.job, line.cell, line.metric, line.unit, line.seeds, *numbers, line.verdict, line.why


def _markdown(c: Comparison) -> str:
    shown = [line for line in c.lines if line.cell or line.verdict == "beyond"]
    parts = [
        f"# {c.b} against {c.a}",
        f"a: {c.a}, b: {c.b}. {c.summary}",
        _table(_HEADS, [line.texts for line in shown]),
    ]
    parts += [LEGEND, "## Settings that differ"]
    rows = [(*key, _names(jobs)) for key, jobs in c.settings.items()]
    parts.append(_table(("setting", "a", "b", "jobs"), rows) if rows else "None.")
    parts += [f"Only in {folder}: {_names(jobs)}." for folder, jobs in zip((c.a, c.b), c.alone, strict=True) if jobs]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map(bar, [heads, ["---"] * len(heads), *([md(text) for text in row] for row in rows)]))


def terminal(c: Comparison) -> str:
    """The summary, what is beyond, and the settings that differ, as plain lines."""
    lines = [f"a: {c.a}", f"b: {c.b}", c.summary]
    for line in c.lines:
        if line.verdict == "beyond":
            tier, job, cell, metric, a, b, difference, *_ = line.texts
            lines.append(
                f"  beyond: {job} (tier={tier}), {metric}{f' ({cell})' if cell else ''}: {a} -> {b}, {difference}"
            )
    lines += [f"  setting {key}: {a} -> {b} in {_names(jobs)}" for (key, a, b), jobs in c.settings.items()]
    lines += [f"  only in {folder}: {_names(jobs)}" for folder, jobs in zip((c.a, c.b), c.alone, strict=True) if jobs]
    return "\n".join(lines)
