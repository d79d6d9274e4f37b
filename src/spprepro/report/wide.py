"""Tables of many columns, such as one a class: paper, ours and difference stand below one another, not side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from spprepro.paper.tables import Head
from spprepro.report.sheets import DASH, Sheet, Shown, md

MANY = 6  # columns; three numbers each, side by side, no longer fit on a page beyond


@dataclass(frozen=True)
class Line:
    """A line of a row: kind (paper, quoted, ours, difference), label, note, and by column (text, small text)."""

    kind: str
    label: str
    note: str
    cells: Sequence[tuple[str, str]]


def lines(sheet: Sheet, row: Head, columns: Sequence[Head]) -> list[Line]:
    """The lines of a row: one where nothing of ours was run, else three."""
    cells = [sheet.cells.get((row.key, column.key)) for column in columns]
    states = {cell.state for cell in cells if cell}
    paper = [(cell.paper_text, cell.paper_gain_text) if cell else (DASH, "") for cell in cells]
    if "run" not in states:
        note = "paper, not run" if "not run" in states else ""
        return [Line("quoted" if states == {"quoted"} else "paper", row.label, note, paper)]
    notes = {cell.ours_notes for cell in cells if cell and cell.state == "run"}
    alike = len(notes) == 1
    return [
        Line("paper", row.label, "paper", paper),
        Line("ours", "ours", notes.pop() if alike else "", [_ours(cell, alike) for cell in cells]),
        Line("difference", "difference", "", [(cell.difference_text if cell else "", "") for cell in cells]),
    ]


def _ours(cell: Shown | None, alike: bool) -> tuple[str, str]:
    """Our number, and beside it its deviation and what it was measured on, if that is not `alike` in all the row."""
    if cell is None:
        return "", ""
    if cell.state != "run":
        return cell.state, ""
    deviation = f"± {cell.std}" if cell.std else ""
    return cell.ours, " ".join(text for text in (deviation, "" if alike else cell.ours_notes) if text)


def markdown(sheet: Sheet, rows: Sequence[Head], columns: Sequence[Head]) -> list[list[str]]:
    """The rows of a Markdown table: head, lines, and groups in bold."""
    found = [["", *(md(column.label) for column in columns)]]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            found.append([f"**{md(group)}**", *("" for _ in columns)])
        for line in lines(sheet, row, columns):
            label = f"{md(line.label)} (tier={sheet.tier})" if line.kind == "ours" else md(line.label)
            between = ", " if line.kind == "ours" else ": "
            label += f"{between}{line.note}" if line.note else ""
            found.append([label, *(f"{text} {small}".strip() for text, small in line.cells)])
    return found


def html(sheet: Sheet, badge: str) -> str:
    """The table element; `badge` stands beside every "ours"."""
    heads = "".join(f'<th scope="col">{escape(column.label)}</th>' for column in sheet.columns)
    body, group = [], ""
    for row in sheet.rows:
        if row.group != group:
            group = row.group
            band = f'<td colspan="{len(sheet.columns)}"></td>'
            body.append(f'<tr class="group"><th scope="rowgroup">{escape(group)}</th>{band}</tr>')
        body += [_html_line(line, badge) for line in lines(sheet, row, sheet.columns)]
    rows = "\n".join(body)
    return f'<table class="wide">\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'


def _html_line(line: Line, badge: str) -> str:
    first = line.kind in ("paper", "quoted")
    label = escape(line.label) + (badge if line.kind == "ours" else "")
    note = f" <small>{escape(line.note)}</small>" if line.note else ""
    cells = "".join(
        f'<td class="{line.kind}">{escape(text)}{f"<small>{escape(small)}</small>" if small else ""}</td>'
        for text, small in line.cells
    )
    return f'<tr{"" if first else " class=more"}><th scope="row">{label}{note}</th>{cells}</tr>'
