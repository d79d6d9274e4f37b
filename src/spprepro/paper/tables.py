"""The paper's tables, read from experiments/tableNN.yaml, and the measured numbers that fill their cells.

A table file has `table`, `title`, `caption`, `editions`, `protocol`, `metrics`, `columns` and `rows`. A cell
stands where a row's `printed` names a column. Its `job` and `metric` are the row's, else the column's, and
may contain {row} and {column}; `quoted: true` on either marks what other people measured, which no job fills.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from spprepro.errors import ConfigError, DataError
from spprepro.records import Found

CellId = tuple[str, str]
"""(row key, column key)"""


@dataclass(frozen=True)
class Measure:
    """How a metric is written: unit, digits after the point as the paper prints, which end is better."""

    unit: str
    digits: int
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class Cell:
    """One printed number. `job` and `metric` say what fills it; `job` is None for a number the paper quotes.

    `gain` is the printed improvement over the row `gain_over` in the same column (positive = better).
    """

    row: str
    column: str
    printed: float
    measure: Measure
    metric: str | None
    job: str | None
    gain: float | None
    gain_over: str | None

    @property
    def id(self) -> CellId:
        return self.row, self.column

    @property
    def quoted(self) -> bool:
        return self.job is None


@dataclass(frozen=True)
class Head:
    """A row or a column: its key, its label, and (rows only) the group that it is listed under."""

    key: str
    label: str
    group: str


@dataclass(frozen=True)
class Table:
    """A table as in arXiv v4 and TPAMI. `cells` has no entry where the paper prints a dash."""

    number: int
    title: str
    caption: str
    editions: str
    protocol: str
    columns: tuple[Head, ...]
    rows: tuple[Head, ...]
    cells: Mapping[CellId, Cell]

    @property
    def name(self) -> str:
        """ "table02" and so on: the stem of every file of this table."""
        return f"table{self.number:02d}"

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that fill this table, each once, in the order of the cells."""
        return tuple(dict.fromkeys(cell.job for cell in self.cells.values() if cell.job))


@dataclass(frozen=True)
class Ours:
    """What we measured for one cell: mean over the seeds, sample standard deviation (None for one seed), the
    number `n` of test samples behind each seed's value, and the records that it came from."""

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


def load(path: Path) -> Table:
    """The table in the YAML file `path`; ConfigError lists all that is wrong, with file and key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    reader = _Reader(str(path))
    table = reader.table(raw)
    if table and path.stem != table.name:
        reader.fault("table", f"{table.number} in a file that is not called {table.name}.yaml")
    if reader.faults or table is None:
        raise ConfigError(reader.faults)
    return table


def load_all(folder: Path) -> list[Table]:
    """Every table*.yaml in `folder`, by table number; the faults of all files are raised together."""
    tables, faults = [], []
    for path in sorted(folder.glob("table*.yaml")):
        try:
            tables.append(load(path))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return sorted(tables, key=lambda table: table.number)


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
        if _test_data(item) != _test_data(have[0]):
            faults.append(
                f"{item.path}: measured on other data than {have[0].path} (data.name, fingerprint or test "
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


def _test_data(item: Found) -> tuple[Any, ...]:
    return tuple(item.record.data.get(key) for key in ("name", "fingerprint", "test"))


_Keys = Mapping[str, tuple[type, ...]]
_TEXT, _NUMBER, _MAP, _LIST, _FLAG = (str,), (int, float), (dict,), (list,), (bool,)
_TABLE: _Keys = {
    "table": (int,), "title": _TEXT, "caption": _TEXT, "editions": _TEXT, "protocol": _TEXT,
    "metrics": _MAP, "columns": _LIST, "rows": _LIST,
}  # fmt: skip
_MEASURE: _Keys = {"unit": _TEXT, "digits": (int,), "better": _TEXT}
_COLUMN: _Keys = {"key": _TEXT, "label": _TEXT}
_ROW: _Keys = {**_COLUMN, "printed": _MAP}
_SOURCE: _Keys = {"job": _TEXT, "metric": _TEXT, "quoted": _FLAG}
_GAIN: _Keys = {"over": _TEXT, "printed": _MAP}


class _Reader:
    """Turns one parsed file into a Table and collects what is wrong on the way."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[str] = []

    def fault(self, key: str, what: str) -> None:
        line = f"{self.path}: {key}: {what}"
        if line not in self.faults:
            self.faults.append(line)

    def keys(self, raw: Any, where: str, needed: _Keys, optional: _Keys | None = None) -> bool:
        """Whether `raw` is a mapping with these keys and types and no others."""
        before = len(self.faults)
        known = {**needed, **(optional or {})}
        dot = f"{where}." if where else ""
        if not isinstance(raw, dict):
            self.fault(where or "the file", "is not a mapping")
            return False
        for key in needed:
            if key not in raw:
                self.fault(f"{dot}{key}", "missing")
        for key, value in raw.items():
            if key not in known:
                self.fault(f"{dot}{key}", f"unknown key; known are {', '.join(known)}")
            elif not isinstance(value, known[key]) or (isinstance(value, bool) and bool not in known[key]):
                self.fault(f"{dot}{key}", f"{value!r} is not a {known[key][0].__name__}")
        return len(self.faults) == before

    def table(self, raw: Any) -> Table | None:
        if not self.keys(raw, "", _TABLE):
            return None
        measures = {key: self.measure(value, f"metrics.{key}") for key, value in raw["metrics"].items()}
        columns = self.heads(raw["columns"], "columns", _COLUMN, _SOURCE)
        optional = {"group": _TEXT, "gain": _MAP, **_SOURCE}
        rows = self.heads(raw["rows"], "rows", _ROW, optional)
        cells: dict[CellId, Cell] = {}
        for row in rows.values():
            cells |= self.row(row, columns, rows, measures)
        return Table(
            raw["table"], raw["title"], raw["caption"], raw["editions"], raw["protocol"],
            tuple(Head(key, column["label"], "") for key, column in columns.items()),
            tuple(Head(key, row["label"], row.get("group", "")) for key, row in rows.items()),
            cells,
        )  # fmt: skip

    def measure(self, raw: Any, where: str) -> Measure | None:
        if not self.keys(raw, where, _MEASURE):
            return None
        if raw["better"] not in ("lower", "higher"):
            self.fault(f"{where}.better", f"{raw['better']!r} is not lower or higher")
        if raw["digits"] < 0:
            self.fault(f"{where}.digits", f"{raw['digits']} is below 0")
        return Measure(**raw)

    def heads(self, raw: list[Any], where: str, needed: _Keys, optional: _Keys) -> dict[str, dict[str, Any]]:
        """The good entries of a list of rows or columns, by key."""
        good: dict[str, dict[str, Any]] = {}
        for index, item in enumerate(raw):
            place = f"{where}[{index}]"
            if not self.keys(item, place, needed, optional):
                continue
            if item["key"] in good:
                self.fault(f"{place}.key", f"{item['key']!r} twice")
            good[item["key"]] = item
        return good

    def row(
        self,
        row: dict[str, Any],
        columns: Mapping[str, Any],
        rows: Mapping[str, Any],
        measures: Mapping[str, Any],
    ) -> dict[CellId, Cell]:
        where = f"rows.{row['key']}"
        gain = row.get("gain", {"over": "", "printed": {}})
        if self.keys(gain, f"{where}.gain", _GAIN) and gain["over"] and gain["over"] not in rows:
            self.fault(f"{where}.gain.over", f"{gain['over']!r} is not the key of a row")
        gains = self.numbers(gain.get("printed", {}), f"{where}.gain.printed", columns)
        for key in gains:
            if key not in row["printed"]:
                self.fault(f"{where}.gain.printed.{key}", "a gain where no number is printed")
        cells = {}
        for key, printed in self.numbers(row["printed"], f"{where}.printed", columns).items():
            source = {**{k: v for k, v in columns[key].items() if k in _SOURCE}, **row}
            quoted = row.get("quoted", False) or columns[key].get("quoted", False)
            measure = measures.get(source.get("metric", ""))
            if source.get("metric") not in measures:
                self.fault(f"{where}.metric", f"{source.get('metric')!r} is not under metrics")
            if not quoted and "job" not in source:
                self.fault(f"{where}.job", f"missing for column {key}; name the job, or say quoted: true")
            if measure is None or not (quoted or "job" in source):
                continue
            job, metric = (
                None if quoted else self.expand(source[name], f"{where}.{name}", row["key"], key)
                for name in ("job", "metric")
            )
            over = gain.get("over") if key in gains else None
            cells[row["key"], key] = Cell(row["key"], key, printed, measure, metric, job, gains.get(key), over)
        return cells

    def numbers(self, raw: Any, where: str, columns: Mapping[str, Any]) -> dict[str, float]:
        """Column key -> number, where something is printed (null: the paper prints a dash)."""
        if not isinstance(raw, dict):
            return {}
        good = {}
        for key, value in raw.items():
            if key not in columns:
                self.fault(f"{where}.{key}", f"not a column; columns are {', '.join(columns)}")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                good[key] = float(value)
            elif value is not None:
                self.fault(f"{where}.{key}", f"{value!r} is not a number")
        return good

    def expand(self, pattern: str, where: str, row: str, column: str) -> str:
        """`pattern` with {row} and {column} replaced."""
        text = pattern.replace("{row}", row).replace("{column}", column)
        if not re.fullmatch(r"[A-Za-z0-9_]+", text):
            self.fault(where, f"{pattern!r} gives {text!r}; letters, digits, _ and {{row}}, {{column}} only")
        return text


def departures(table, job, values):  # placeholder until merged
    return []
