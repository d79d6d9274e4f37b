"""A sheet as lines of texts, in the one layout that Markdown, LaTeX and HTML share.

Paper, ours and difference stand side by side, or, in tables of many columns such as one a class, below one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spprepro.paper.tables import Head
from spprepro.report.sheets import DASH, Sheet, Shown

MANY = 6  # columns; three numbers each, side by side, no longer fit on a page beyond
PARTS = ("paper", "ours", "difference")
Kind = Literal["paper", "quoted", "ours", "difference", "none"]


@dataclass(frozen=True)
class Entry:
    """What stands in one place: the number, what belongs to it in small print, and for ours the job behind it."""

    kind: Kind
    text: str
    small: str = ""
    job: str = ""

    def __str__(self) -> str:
        between = "" if not self.small else " " if self.small[0] == "(" else "; " if self.text else ""
        return self.text + between + self.small


@dataclass(frozen=True)
class Line:
    """A line: the group it is listed under, its label and note. `more`: it belongs to the line above."""

    group: str
    label: str
    note: str
    entries: Sequence[Entry]
    more: bool = False

    @property
    def quoted(self) -> bool:
        """Whether nothing of ours can stand here."""
        kinds = {entry.kind for entry in self.entries}
        return "quoted" in kinds and kinds <= {"quoted", "none"}


@dataclass(frozen=True)
class Grid:
    """The lines under `columns`; `parts` are what each column is made of (empty: below one another)."""

    columns: Sequence[str]
    parts: Sequence[str]
    lines: Sequence[Line]
    left_out: int


def grid(sheet: Sheet, only_run: bool = False) -> Grid:
    """The sheet's lines; `only_run`: without the rows and columns that have no number of ours."""
    run = {key for key, cell in sheet.cells.items() if cell.state == "run"}
    columns = [c for c in sheet.columns if not only_run or any(c.key == column for _, column in run)]
    rows = [r for r in sheet.rows if not only_run or any(r.key == row for row, _ in run)]
    left_out = len(sheet.cells) - sum((r.key, c.key) in sheet.cells for r in rows for c in columns)
    stacked = len(columns) > MANY
    lines = [line for row in rows for line in (_stacked if stacked else _side_by_side)(sheet, row, columns)]
    return Grid([column.label for column in columns], () if stacked else PARTS, lines, left_out)


def _side_by_side(sheet: Sheet, row: Head, columns: Sequence[Head]) -> list[Line]:
    cells = [sheet.cells.get((row.key, column.key)) for column in columns]
    three = [(_paper(cell), _ours(cell, not sheet.seeds_alike), _difference(cell)) for cell in cells]
    return [Line(row.group, row.label, "", [entry for entries in three for entry in entries])]


def _stacked(sheet: Sheet, row: Head, columns: Sequence[Head]) -> list[Line]:
    """One line where nothing of ours was run, else three."""
    cells = [sheet.cells.get((row.key, column.key)) for column in columns]
    run = [cell for cell in cells if cell and cell.state == "run"]
    paper = [_paper(cell) for cell in cells]
    if not run:
        note = "paper, not run" if any(cell and cell.state == "not run" for cell in cells) else ""
        return [Line(row.group, row.label, note, paper)]
    seeds = {cell.seeds_text for cell in run}
    note = "" if sheet.seeds_alike or len(seeds) > 1 else next(iter(seeds))
    ours = [_ours(cell, len(seeds) > 1) for cell in cells]
    return [
        Line(row.group, row.label, "paper", paper),
        Line(row.group, "ours", note, ours, more=True),
        Line(row.group, "difference", "", [_difference(cell) for cell in cells], more=True),
    ]


def _paper(cell: Shown | None) -> Entry:
    if cell is None:
        return Entry("none", DASH)
    return Entry("quoted" if cell.state == "quoted" else "paper", cell.paper_text, cell.paper_gain_text)


def _ours(cell: Shown | None, with_seeds: bool) -> Entry:
    if cell is None or cell.state != "run":
        return Entry("none", cell.state if cell else "")
    parts = (cell.ours_gain_text, cell.seeds_text if with_seeds else "")
    return Entry("ours", cell.ours_text, ", ".join(part for part in parts if part), cell.job)


def _difference(cell: Shown | None) -> Entry:
    if cell is None or cell.state != "run":
        return Entry("none", "")
    return Entry("difference", cell.difference_text, cell.margin.text)
