"""The paper's tables, read from experiments/tableNN.yaml, and the measured numbers that fill their cells.

A table file has `table`, `title`, `caption`, `editions`, `protocol`, `metrics`, `columns`, `rows` and `claims`.
A cell stands where a row's `printed` names a column, or its `unprinted` (ours alone: the paper prints nothing there).
Its `job` and `metric` are the row's, else the column's; a row may give them as one text or by column, and both may
contain {row} and {column}. `quoted: true` on either marks what other people measured, which no job fills. `instead`
gives, by column, what ours is known to be where the printed number is not to be met; the table's protocol says why.
`by_name: true` on a row or a column marks unprinted cells whose jobs run only when asked for by name: they fill their
cells, but the jobs of the table, which experiment=tableN runs, do not include them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from spprepro.errors import ConfigError
from spprepro.files import read_yaml
from spprepro.paper.claims import Claim, Place, read_claims
from spprepro.paper.reader import FLAG, LIST, MAP, TEXT, Keys, Reader

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
    """One number. `job` and `metric` say what fills it; `job` is None for a number the paper quotes.

    `printed` is None where the paper prints nothing. `instead` is what ours is known to be where that is another.
    `gain` is the printed improvement over the row `gain_over` in the same column (positive = better). `by_name`: its
    job runs only when asked for by name.
    """

    row: str
    column: str
    printed: float | None
    measure: Measure
    metric: str | None
    job: str | None
    gain: float | None
    gain_over: str | None
    instead: float | None
    by_name: bool

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
    """A table as in arXiv v4 and TPAMI. `cells` has no entry where the paper prints a dash and we measure nothing."""

    number: int
    title: str
    caption: str
    editions: str
    protocol: str
    columns: tuple[Head, ...]
    rows: tuple[Head, ...]
    cells: Mapping[CellId, Cell]
    claims: tuple[Claim, ...]

    @property
    def name(self) -> str:
        """ "table02" and so on: the stem of every file of this table."""
        return f"table{self.number:02d}"

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that fill this table, but for those that run by name only, each once, in the order of the cells."""
        return tuple(dict.fromkeys(cell.job for cell in self.cells.values() if cell.job and not cell.by_name))


def load(path: Path) -> Table:
    """The table in the YAML file `path`; ConfigError lists all that is wrong, with file and key."""
    try:
        raw = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    reader = Reader(str(path))
    table = _table(reader, raw)
    if table and path.stem != table.name:
        reader.fault("table", f"{table.number} in a file that is not called {table.name}.yaml")
    if table:
        _check_claims(reader, table, {table.number: table})
    if reader.faults or table is None:
        raise ConfigError(reader.faults)
    return table


def load_all(folder: Path) -> list[Table]:
    """Every table*.yaml in `folder`, by table number; the faults of all files are raised together.

    Here, and not in `load`, claims about cells of other tables are checked.
    """
    tables, faults = {}, []
    for path in sorted(folder.glob("table*.yaml")):
        try:
            table = load(path)
            tables[table.number] = table
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    for table in tables.values():
        reader = Reader(str(folder / f"{table.name}.yaml"))
        numbers = {place.table for claim in table.claims for effect in claim.effects for _, place in effect.terms}
        for other in sorted(numbers - set(tables)):
            reader.fault("claims", f"speak of table {other}, which has no file beside this one")
        _check_claims(reader, table, tables)
        faults += reader.faults
    if faults:
        raise ConfigError(faults)
    return [tables[number] for number in sorted(tables)]


def cells_of(tables: Iterable[Table]) -> dict[Place, Cell]:
    """Every cell of these tables, where a claim finds it."""
    return {Place(table.number, *key): cell for table in tables for key, cell in table.cells.items()}


_TABLE: Keys = {
    "table": (int,), "title": TEXT, "caption": TEXT, "editions": TEXT, "protocol": TEXT,
    "metrics": MAP, "columns": LIST, "rows": LIST,
}  # fmt: skip
_MEASURE: Keys = {"unit": TEXT, "digits": (int,), "better": TEXT}
_HEAD: Keys = {"key": TEXT, "label": TEXT}
_SOURCE: Keys = {"job": TEXT, "metric": TEXT, "quoted": FLAG, "by_name": FLAG}
_ROW: Keys = {
    "group": TEXT, "printed": MAP, "unprinted": LIST, "instead": MAP, "gain": MAP,
    "job": (str, dict), "metric": (str, dict), "quoted": FLAG, "by_name": FLAG,
}  # fmt: skip
_GAIN: Keys = {"over": TEXT, "printed": MAP}
_Raw = Mapping[str, Any]


def _table(reader: Reader, raw: Any) -> Table | None:
    if not reader.keys(raw, "", _TABLE, {"claims": LIST}):
        return None
    measures = {key: _measure(reader, value, f"metrics.{key}") for key, value in raw["metrics"].items()}
    columns = reader.keyed(raw["columns"], "columns", _HEAD, _SOURCE)
    rows = reader.keyed(raw["rows"], "rows", _HEAD, _ROW)
    cells: dict[CellId, Cell] = {}
    for row in rows.values():
        cells |= _row(reader, row, columns, rows, measures)
    return Table(
        raw["table"], raw["title"], raw["caption"], raw["editions"], raw["protocol"],
        tuple(Head(key, column["label"], "") for key, column in columns.items()),
        tuple(Head(key, row["label"], row.get("group", "")) for key, row in rows.items()),
        cells,
        read_claims(reader, raw.get("claims", []), raw["table"]),
    )  # fmt: skip


def _measure(reader: Reader, raw: Any, where: str) -> Measure | None:
    if not reader.keys(raw, where, _MEASURE):
        return None
    if raw["better"] not in ("lower", "higher"):
        reader.fault(f"{where}.better", f"{raw['better']!r} is not lower or higher")
    if raw["digits"] < 0:
        reader.fault(f"{where}.digits", f"{raw['digits']} is below 0")
    return Measure(**raw)


def _row(reader: Reader, row: _Raw, columns: _Raw, rows: _Raw, measures: _Raw) -> dict[CellId, Cell]:
    """The row's cells, in the order of the columns."""
    where = f"rows.{row['key']}"
    printed = reader.numbers(row.get("printed", {}), f"{where}.printed", columns)
    unprinted = reader.names(row.get("unprinted", []), f"{where}.unprinted")
    if not row.get("printed") and not unprinted:
        reader.fault(f"{where}.printed", "missing, and nothing under unprinted: the row has no cell")
    for key in unprinted:
        if key not in columns:
            reader.fault(f"{where}.unprinted", f"{key!r} is not a column; columns are {', '.join(columns)}")
        elif key in row.get("printed", {}):
            reader.fault(f"{where}.unprinted", f"{key!r} is under printed too")
        elif row.get("quoted") or columns[key].get("quoted"):
            reader.fault(f"{where}.unprinted", f"{key!r} is quoted, so nobody would fill it")
    instead = reader.numbers(row.get("instead", {}), f"{where}.instead", columns)
    for key, number in instead.items():
        if key not in printed or number == printed[key] or row.get("quoted") or columns[key].get("quoted"):
            reader.fault(f"{where}.instead.{key}", "stands only beside another printed number that a job of ours fills")
    for name in ("job", "metric"):
        for key in row[name] if isinstance(row.get(name), dict) else ():
            if key not in printed and key not in unprinted:
                reader.fault(f"{where}.{name}.{key}", "the row has no cell there")
    gains, over = _gains(reader, row, columns, rows)
    cells = {}
    for key in (key for key in columns if key in printed or key in unprinted):
        by_name = row.get("by_name", False) or columns[key].get("by_name", False)
        if by_name and key in printed:
            reader.fault(f"{where}.printed.{key}", "by_name is for cells of ours alone; list it under unprinted")
        source = _source(reader, row, columns[key], measures)
        if source is not None:
            job, metric, measure = source
            gain = gains.get(key)
            cells[row["key"], key] = Cell(
                row["key"], key, printed.get(key), measure, metric, job, gain,
                over if gain is not None else None, instead.get(key), by_name,
            )  # fmt: skip
    return cells


def _gains(reader: Reader, row: _Raw, columns: _Raw, rows: _Raw) -> tuple[dict[str, float], str]:
    """The row's printed gains by column, and the row that they are over."""
    where, gain = f"rows.{row['key']}.gain", row.get("gain", {"over": "", "printed": {}})
    if reader.keys(gain, where, _GAIN) and gain["over"] and gain["over"] not in rows:
        reader.fault(f"{where}.over", f"{gain['over']!r} is not the key of a row")
    gains = reader.numbers(gain.get("printed", {}), f"{where}.printed", columns)
    for key in gains:
        if key not in row.get("printed", {}):
            reader.fault(f"{where}.printed.{key}", "a gain where no number is printed")
    return gains, gain.get("over", "")


def _source(reader: Reader, row: _Raw, column: _Raw, measures: _Raw) -> tuple[str | None, str | None, Measure] | None:
    """What fills the row's cell in `column`: job and metric (None where it is quoted), and how it is written."""
    where = f"rows.{row['key']}"
    quoted = row.get("quoted", False) or column.get("quoted", False)
    found: dict[str, str] = {}
    for name in ("job", "metric"):
        given = row.get(name)
        if isinstance(given, dict):
            given = given.get(column["key"])
        given = column.get(name) if given is None else given
        if isinstance(given, str):
            found[name] = reader.expand(given, f"{where}.{name}", row["key"], column["key"])
        elif given is not None:
            reader.fault(f"{where}.{name}.{column['key']}", f"{given!r} is not a str")
    metric, job = found.get("metric"), found.get("job")
    measure: Measure | None = measures.get(metric or "")
    if metric not in measures:
        reader.fault(f"{where}.metric", f"{metric!r} is not under metrics (column {column['key']})")
    if not quoted and job is None:
        reader.fault(f"{where}.job", f"missing for column {column['key']}; name the job, or say quoted: true")
    if measure is None or not (quoted or job):
        return None
    return (None, None, measure) if quoted else (job, metric, measure)


def _check_claims(reader: Reader, table: Table, tables: Mapping[int, Table]) -> None:
    """Every cell that a claim names is there, one of each effect is ours, and no effect adds different units.

    A claim speaks of cells that are filled by name in all its effects or in none: else it would wait for jobs that no
    table runs. Only cells of `tables` are checked.
    """
    cells = cells_of(tables.values())
    for claim in table.claims:
        where = f"claims.{claim.key}.effects"
        whole = [[cells[p] for _, p in e.terms] for e in claim.effects if all(p in cells for _, p in e.terms)]
        if len({any(cell.by_name for cell in effect) for effect in whole}) > 1:
            reader.fault(where, "some have cells that are filled by name only and some have none; make two claims")
        for effect in claim.effects:
            known = [place for _, place in effect.terms if place.table in tables]
            for place in known:
                if place not in cells:
                    reader.fault(where, f"{effect.text!r}: table {place.table} has no cell {place.row}.{place.column}")
            if known and all(place in cells and cells[place].quoted for place in known):
                reader.fault(where, f"{effect.text!r}: all quoted, so nothing of ours could judge it")
            units = {cells[place].measure.unit for place in known if place in cells}
            if len(units) > 1:
                reader.fault(where, f"{effect.text!r} adds numbers in {' and '.join(map(repr, sorted(units)))}")
