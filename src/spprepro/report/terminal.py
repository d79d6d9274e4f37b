"""Tables and claims as plain text, for the end of a run of whole tables."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from spprepro.paper.tables import Head
from spprepro.report.claims import lines
from spprepro.report.sheets import DASH, Sheet, Shown, collect, count, warning

WIDTH = 120


def terminal(results_dir: Path, tier: str, numbers: Sequence[int]) -> str:
    """The tables with these numbers at `tier`, beside the paper's, and the verdicts on their claims.

    At most 120 columns where the table allows: the differences go first. DataError where the tier has no records.
    """
    parts = [_wrap(warning(tier), "")] if warning(tier) else []
    for _, _, sheets in collect(results_dir, [tier], numbers):
        for sheet in sheets:
            parts.append(_table(sheet))
            if sheet.claims:
                parts.append(_claims(sheet))
    return "\n\n".join(parts)


def _table(sheet: Sheet) -> str:
    tried = (_rows(sheet, sheet.columns, differences) for differences in (True, False))
    text = next((text for text in tried if _fits(text)), None) or _blocks(sheet)
    head = f"Table {sheet.table.number}. {sheet.table.title} [tier={sheet.tier}]: {sheet.summary}"
    seeds = sorted({int(cell.seeds) for cell in sheet.cells.values() if cell.seeds and not cell.computed})
    note = f"seeds a cell: {' to '.join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))}" if seeds else ""
    return "\n".join([head, *text, *([note] if note else [])])


def _fits(text: Sequence[str]) -> bool:
    return max(map(len, text)) <= WIDTH


def _blocks(sheet: Sheet) -> list[str]:
    """The table below itself, with as many of its columns at a time as fit."""
    columns = sheet.columns
    for size in range(len(columns), 0, -1):
        blocks = [_rows(sheet, columns[i : i + size], False) for i in range(0, len(columns), size)]
        if all(map(_fits, blocks)) or size == 1:
            break
    return [line for block in blocks for line in (*block, "")][:-1]


def _rows(sheet: Sheet, columns: Sequence[Head], differences: bool) -> list[str]:
    """The lines of these columns of the table, aligned."""
    grid: list[tuple[str, list[str]]] = []
    heads = ["paper", "ours", "diff."] if differences else ["paper", "ours"]
    group = ""
    for row in sheet.rows:
        if not any((row.key, column.key) in sheet.cells for column in columns):  # of other blocks
            continue
        if row.group != group:
            group = row.group
            grid.append((group, []))
        cells = [sheet.cells.get((row.key, column.key)) for column in columns]
        grid.append((f"  {row.label}", [text for cell in cells for text in _cell(cell)[: len(heads)]]))
    table = [("", heads * len(columns)), *grid]
    widths = [max(len(texts[i]) for _, texts in table if texts) for i in range(len(heads) * len(columns))]
    for i, column in enumerate(columns):  # a column's label stands over its two or three
        own = slice(i * len(heads), (i + 1) * len(heads))
        widths[own.stop - 1] += max(0, len(column.label) - sum(widths[own]) - 2 * (len(heads) - 1))
    left = max(len(label) for label, texts in table if texts)
    spans = [sum(widths[i : i + len(heads)]) + 2 * (len(heads) - 1) for i in range(0, len(widths), len(heads))]
    top = " " * left + "".join(f"  {column.label:>{span}}" for column, span in zip(columns, spans, strict=True))
    body = [
        f"{label:<{left}}" + "".join(f"  {t:>{w}}" for t, w in zip(texts, widths, strict=False))
        for label, texts in table
    ]
    return [line.rstrip() for line in (top, *body)]


def _cell(cell: Shown | None) -> tuple[str, str, str]:
    if cell is None:
        return DASH, "", ""
    if cell.state != "run":
        return cell.paper_text, cell.state, ""
    return cell.paper_text, cell.ours_text, cell.difference


def _claims(sheet: Sheet) -> str:
    text = [f"{count(sheet.claims)}."]
    for claim in sheet.claims:
        text.append(_wrap(f"{claim.verdict}: {claim.claim.statement}", "  "))
        text += [_wrap(line, "    ") for line in lines(sheet, claim)]
    return "\n".join(text)


def _wrap(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
