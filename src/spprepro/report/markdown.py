"""A sheet as a Markdown file, and what of the results stands in README.md."""

from collections.abc import Sequence
from pathlib import Path

from spprepro.paper.claims import VERDICTS
from spprepro.report import claims
from spprepro.report.grid import Grid, Line, grid
from spprepro.report.runs import runs
from spprepro.report.sheets import LEGEND, Sheet, collect, count, warning
from spprepro.report.style import Picture

_FILES = "Made by `python -m spprepro task=report` from the records alone; do not edit."
KEY_TABLES = (2, 3, 9)  # in full in the README


def md(text: str) -> str:
    """`text` in a cell of a Markdown table, as it is."""
    return text.replace("|", "\\|").replace("*", "\\*")


def table(sheet: Sheet, pictures: Sequence[Picture], tier_dir: Path) -> str:
    """The file tables/tableNN.md: the table, its claims, its pictures and the records behind it."""
    paper = sheet.table
    lines = [
        f"# Table {paper.number}. {md(paper.title)}" + ("" if sheet.tier == "paper" else f" [{sheet.tier}]"),
        f"**{warning(sheet.tier)}**" if warning(sheet.tier) else "",
        f"{md(paper.caption)} {sheet.summary}." + (f" Ours: {sheet.measured_on}." if sheet.measured_on else ""),
        lines_of(grid(sheet), sheet.tier),
        *(f"[{md(picture.title)}](../{picture.path.as_posix()}): {md(picture.caption)}" for picture in pictures),
        LEGEND,
        f"{md(paper.protocol)} {md(paper.editions)}",
        *_claims(sheet),
        "\n".join(
            f"- [{run.name}](../{run.record})"
            + (f" ([config](../{run.config})): " if run.config else ": ")
            + md("; ".join(f"{key} {text}" for key, text in run.facts.items() if text))
            for run in runs(sheet.used, tier_dir)
        ),
        _FILES,
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def lines_of(grid: Grid, tier: str) -> str:
    """The table itself."""
    heads = [""]
    for column in grid.columns:
        heads += [f"{md(column)}: paper", f"ours (tier={tier})", "difference"] if grid.parts else [md(column)]
    lines = [bar(heads), bar(["---"] + ["---:"] * (len(heads) - 1))]
    group = ""
    for line in grid.lines:
        if line.group != group:
            group = line.group
            lines.append(bar([f"**{md(group)}**"] + [""] * (len(heads) - 1)))
        lines.append(bar([_label(line, tier), *(md(str(entry)) for entry in line.entries)]))
    return "\n".join(lines)


def _label(line: Line, tier: str) -> str:
    if line.label == "ours" and line.more:
        return f"ours (tier={tier})" + (f", {line.note}" if line.note else "")
    return md(line.label) + (f": {line.note}" if line.note else "")


def bar(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def _claims(sheet: Sheet) -> list[str]:
    """The blocks under a table; [] without claims."""
    if not sheet.claims:
        return []
    blocks = ["## Claims", f"{count(sheet.claims)}."]
    for claim in claims.shown(sheet):
        rows = [claims.HEADS, tuple("---" for _ in claims.HEADS), *(effect.cells for effect in claim.effects)]
        about = f"{claim.source}; {claim.condition}; {claim.tally}"
        blocks += [
            f"**{claim.verdict}**: {md(claim.statement)} ({md(about)})",
            "\n".join(bar([md(text) for text in row]) for row in rows),
        ]
    return [*blocks, claims.LEGEND]


def readme_block(results_dir: Path) -> str:
    """Markdown for a README beside `results_dir`: for every tier what is filled and judged, and the key tables."""
    parts = []
    for tier, _, sheets in collect(results_dir, None):
        where = f"{results_dir.name}/{tier}"
        if not any(sheet.used for sheet in sheets):
            continue
        total = count(claim for sheet in sheets for claim in sheet.claims)
        parts += [f"### tier={tier}", " ".join(part for part in (warning(tier), f"{total}.") if part)]
        parts.append(f"[The page]({where}/report.html) has every number, the claims one by one, and the pictures.")
        heads = ["paper's table", "what", "cells filled", *VERDICTS]
        begun = [sheet for sheet in sheets if sheet.states["run"] or not sheet.filled]
        rows = [_summary_row(sheet, where) for sheet in begun]
        parts.append("\n".join([bar(heads), bar(["---"] * 2 + ["---:"] * (len(heads) - 2)), *map(bar, rows)]))
        if without := [str(sheet.table.number) for sheet in sheets if sheet not in begun]:
            parts.append(f"Not run at this tier: Table{'s' if len(without) > 1 else ''} {', '.join(without)}.")
        for sheet in (sheet for sheet in sheets if sheet.used and sheet.table.number in KEY_TABLES):
            shown, paper = grid(sheet, only_run=True), sheet.table
            parts.append(f"**Table {paper.number}. {md(paper.title)}**. {md(paper.caption)} Ours: {sheet.measured_on}.")
            parts.append(lines_of(shown, tier))
            if shown.left_out:
                parts.append(f"Left out: {shown.left_out} cells, not run or quoted.")
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _summary_row(sheet: Sheet, where: str) -> list[str]:
    link = f"[Table {sheet.table.number}]({where}/tables/{sheet.table.name}.md)"
    verdicts = [str(sheet.verdicts[verdict]) if sheet.claims else "" for verdict in VERDICTS]
    return [link, md(sheet.table.title), sheet.filled or "quoted", *verdicts]
