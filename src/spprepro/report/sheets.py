"""What the report shows: the tables of one tier with our numbers as text, their claims judged, the records behind them.

Every number becomes text here, once, so that Markdown, CSV, HTML and terminal agree to the digit; a difference is that
of the two numbers as shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from spprepro import folders, records
from spprepro.errors import DataError
from spprepro.paper.claims import VERDICTS, Place
from spprepro.paper.filling import Ours, fill
from spprepro.paper.judging import JudgedClaim, judge
from spprepro.paper.tables import Cell, CellId, Head, Table, cells_of, load_all
from spprepro.records import Found
from spprepro.report.margins import NO_MARGIN, Margin, margins

_SCALES = {
    "mini": "generated classes, narrower networks",
    "small": "a small set of real photos, narrower networks",
}
DASH = "—"
LEGEND = (
    "ours: mean over seeds ± sample standard deviation; in brackets the gain over the row that the paper "
    "compares with; difference: ours - paper (known: the note under the table says why); better, worse: than a claim "
    "about the cell needs, by so much; inside, outside: of the range that it allows (of several claims, the least "
    "favourable); not run: no finished record; quoted: no job measures it; computed: follows from the layers, without "
    "data; —: not printed."
)


@dataclass(frozen=True)
class Shown:
    """A cell as text. `state` is "run", "not run" or "quoted"; what does not apply is ""."""

    state: str
    paper: str
    paper_gain: str = ""
    ours: str = ""
    std: str = ""
    ours_gain: str = ""
    seeds: str = ""
    images: str = ""
    computed: bool = False
    difference: str = ""
    known: bool = False
    margin: Margin = NO_MARGIN
    job: str = ""

    @property
    def paper_text(self) -> str:
        return self.paper or DASH

    @property
    def paper_gain_text(self) -> str:
        return f"({self.paper_gain})" if self.paper_gain else ""

    @property
    def ours_text(self) -> str:
        return f"{self.ours} ± {self.std}" if self.std else self.ours

    @property
    def ours_gain_text(self) -> str:
        return f"({self.ours_gain})" if self.ours_gain else ""

    @property
    def seeds_text(self) -> str:
        return "computed" if self.computed else counted(int(self.seeds), "seed")

    @property
    def difference_text(self) -> str:
        return f"{self.difference} (known)" if self.known else self.difference


@dataclass(frozen=True)
class Sheet:
    """A table of the paper with our numbers at one tier; `used` are the records that fill it.

    `cells`, `columns`, `rows` and `claims` are without those that are filled by name only, where no record does.
    `all_cells` are those of every table, for claims that speak of another, and `labels` say how to call each: table,
    group, column and row.
    """

    table: Table
    tier: str
    cells: Mapping[CellId, Shown]
    used: Sequence[Found]
    claims: Sequence[JudgedClaim]
    all_cells: Mapping[Place, Cell]
    labels: Mapping[Place, tuple[str, str, str, str]]

    @property
    def columns(self) -> list[Head]:
        shown = {column for _, column in self.cells}
        return [column for column in self.table.columns if column.key in shown]

    @property
    def rows(self) -> list[Head]:
        shown = {row for row, _ in self.cells}
        return [row for row in self.table.rows if row.key in shown]

    @property
    def states(self) -> Counter[str]:
        """How many cells are run, not run and quoted."""
        return Counter(cell.state for cell in self.cells.values())

    @property
    def summary(self) -> str:
        """How many of the cells that a job can fill are filled."""
        parts = [f"{self.filled} cells filled"] if self.filled else []
        return ", ".join(parts + ([f"{self.states['quoted']} quoted"] if self.states["quoted"] else []))

    @property
    def filled(self) -> str:
        """ "3 of 28", of the cells that a job can fill; "" where there are none."""
        run, ours = self.states["run"], self.states["run"] + self.states["not run"]
        return f"{run} of {ours}" if ours else ""

    @property
    def verdicts(self) -> Counter[str]:
        """How many claims have each verdict."""
        return Counter(claim.verdict for claim in self.claims)

    @property
    def seeds_alike(self) -> bool:
        """Whether all our numbers are of as many seeds, or all computed: then `measured_on` says it for all."""
        return len({cell.seeds_text for cell in self.cells.values() if cell.state == "run"}) < 2

    @property
    def measured_on(self) -> str:
        """On how many seeds and test images our numbers are: "1 to 3 seeds, 400 test images"; "" without numbers."""
        run = [cell for cell in self.cells.values() if cell.state == "run"]
        if not run or all(cell.computed for cell in run):
            return "computed" if run else ""
        counts = [
            sorted({int(getattr(cell, what)) for cell in run if not cell.computed}) for what in ("seeds", "images")
        ]
        seeds, images = (" to ".join(f"{n:,}" for n in dict.fromkeys((each[0], each[-1]))) for each in counts)
        return f"{seeds} seed{'' if seeds == '1' else 's'}, {images} test images"


def counted(number: int, what: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def count(claims: Iterable[JudgedClaim]) -> str:
    """ "12 claims: 3 confirmed, 1 contradicted, 5 undecided, 3 not run"; "" without claims."""
    verdicts = [claim.verdict for claim in claims]
    kinds = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    return f"{counted(len(verdicts), 'claim')}: {kinds}" if verdicts else ""


def collect(
    results_dir: Path, tiers: Sequence[str] | None, numbers: Sequence[int] | None = None
) -> list[tuple[str, list[Found], list[Sheet]]]:
    """(tier, its records, its sheets) for each tier that can be reported; the tables are all, or those in `numbers`.

    Records of smoke and dry are left out. Raises DataError where there is nothing to report (and of `numbers` any table
    has cells for records to fill), or a record is damaged.
    """
    wanted = [tier for tier in records.TIERS if tier not in records.MARKED and (tiers is None or tier in tiers)]
    tables = load_all(folders.experiments())
    found = {tier: records.find(results_dir, tier) for tier in wanted}
    if numbers is not None and not any(table.jobs for table in tables if table.number in numbers):
        return [(tier, have, _sheets(tables, have, tier, numbers)) for tier, have in found.items()]
    empty = [tier for tier in tiers or () if not found.get(tier)]
    if empty or not any(found.values()):
        of = f" of tier {', '.join(empty)} that can be reported" if empty else ""
        first = "python -m spprepro experiment=table1_zf5_multisize"
        raise DataError(f"{results_dir}: no records{of}; run `{first}`, or name their folder: results_dir=DIR")
    return [(tier, have, _sheets(tables, have, tier, numbers)) for tier, have in found.items() if have]


def warning(tier: str) -> str:
    """What a reader must know before comparing; "" at the paper's scale."""
    if tier == "paper":
        return ""
    return (
        f"Not the paper's scale (tier={tier}: {_SCALES[tier]}): "
        "our numbers are comparable with the paper's only in order, not in level."
    )


def _sheets(tables: list[Table], found: list[Found], tier: str, numbers: Sequence[int] | None) -> list[Sheet]:
    wanted = [table for table in tables if numbers is None or table.number in numbers]
    claims = judge(tables, found, tier, [table.number for table in wanted])
    cells, labels = cells_of(tables), _labels(tables)
    sheets = []
    for table in wanted:
        ours = fill(table, found, tier)
        sources = {path for filled in ours.values() if filled for path in filled.sources}
        used = [item for item in found if item.path in sources]
        needed = margins(table.number, claims[table.number], cells)
        shown = {
            key: _shown(cell, ours, needed.get(key, NO_MARGIN))
            for key, cell in table.cells.items()
            if ours.get(key) is not None or not cell.by_name
        }
        told = [
            claim
            for claim in claims[table.number]
            if any(e.result for e in claim.effects) or not _by_name(claim, cells)
        ]
        sheets.append(Sheet(table, tier, shown, used, told, cells, labels))
    return sheets


def _by_name(claim: JudgedClaim, cells: Mapping[Place, Cell]) -> bool:
    """Whether it is about cells that are filled by name only."""
    return any(cells[place].by_name for _, place in claim.claim.effects[0].terms)


def _labels(tables: list[Table]) -> dict[Place, tuple[str, str, str, str]]:
    """Each cell's table, group, column and row in words."""
    labels = {}
    for table in tables:
        columns = {column.key: column.label for column in table.columns}
        for row in table.rows:
            for key, column in columns.items():
                labels[Place(table.number, row.key, key)] = (f"Table {table.number}", row.group, column, row.label)
    return labels


def _shown(cell: Cell, ours: Mapping[CellId, Ours | None], margin: Margin) -> Shown:
    """The only place where a cell's numbers become text: as many digits as the paper prints."""
    digits = cell.measure.digits
    paper = "" if cell.printed is None else f"{cell.printed:.{digits}f}"
    paper_gain = "" if cell.gain is None else f"{cell.gain:.{digits}f}"
    if cell.quoted:
        return Shown("quoted", str(cell.printed), paper_gain)  # some are printed with fewer digits
    mine = ours[cell.id]
    if mine is None:
        return Shown("not run", paper, paper_gain)
    computed = mine.n == 0
    text = f"{mine.mean:.{digits}f}"
    over = ours.get((cell.gain_over, cell.column)) if cell.gain_over else None
    gain = Decimal(f"{over.mean:.{digits}f}") - Decimal(text) if over else None
    if gain is not None and cell.measure.better == "higher":
        gain = -gain
    difference = Decimal(text) - Decimal(paper) if paper else None
    return Shown(
        state="run",
        paper=paper,
        paper_gain=paper_gain,
        ours=text,
        std="" if mine.std is None or computed else f"{mine.std:.{digits}f}",
        ours_gain="" if gain is None else f"{gain:f}",
        seeds=str(len(mine.seeds)),
        images=str(mine.n),
        computed=computed,
        difference="" if difference is None else f"{difference:+f}" if difference else f"{difference:f}",
        known=cell.instead is not None and Decimal(f"{cell.instead:.{digits}f}") == Decimal(text),
        margin=margin,
        job=str(cell.job),
    )
