"""Tables and a page beside the paper's numbers, from the records alone: same records, same bytes.

Every number becomes text in `_shown`, once, so that Markdown, CSV and HTML agree to the digit; a difference
is that of the two numbers as shown.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from pathlib import Path
from string import Template

from spprepro import folders, records
from spprepro.errors import DataError
from spprepro.files import write_text
from spprepro.paper.tables import Cell, CellId, Head, Ours, Table, fill, load_all
from spprepro.records import Found, Record

_SCALES = {
    "mini": "generated classes, networks at a quarter of the width",
    "small": "a small set of real photos, networks at a quarter of the width",
}
_LEGEND = (
    "ours: mean over seeds ± sample standard deviation; in brackets the gain over the row that the paper "
    "compares with; difference: ours - paper; not run: no finished record; quoted: measured by others."
)
_CSV_COLUMNS = (
    *("table", "tier", "scale", "group", "row", "column", "metric", "unit", "job", "state"),
    *("paper", "paper_gain", "ours", "ours_std", "ours_gain", "seeds", "difference"),
)
_FILES = "Made by `python -m spprepro task=report` from the records alone; do not edit."


@dataclass(frozen=True)
class _Shown:
    """A cell as text. `state` is "run", "not run" or "quoted"; what does not apply is ""."""

    state: str
    paper: str
    paper_gain: str = ""
    ours: str = ""
    std: str = ""
    ours_gain: str = ""
    seeds: str = ""
    difference: str = ""

    @property
    def paper_gain_text(self) -> str:
        return f"({self.paper_gain})" if self.paper_gain else ""

    @property
    def ours_text(self) -> str:
        return f"{self.ours} ± {self.std}" if self.std else self.ours

    @property
    def ours_notes(self) -> str:
        seeds = f"{self.seeds} seed{'' if self.seeds == '1' else 's'}"
        return f"({self.ours_gain}), {seeds}" if self.ours_gain else seeds


@dataclass(frozen=True)
class _Sheet:
    """A table of the paper with our numbers at one tier; `used` are the records that fill it."""

    table: Table
    tier: str
    cells: Mapping[CellId, _Shown]
    used: Sequence[Found]

    @property
    def summary(self) -> str:
        """How many of the cells that a job can fill are filled."""
        states = [cell.state for cell in self.cells.values()]
        text = f"{states.count('run')} of {len(states) - states.count('quoted')} cells filled"
        return text + (f", {states.count('quoted')} quoted" if "quoted" in states else "")


def report(results_dir: Path, tiers: Sequence[str] | None = None) -> list[Path]:
    """Writes tables (Markdown, CSV) and a page for each tier with records, or for `tiers`; returns the paths.

    Smoke records are left out. Raises DataError where there is nothing to report, or a record is damaged.
    """
    written = []
    for tier, found, sheets in _tiers(results_dir, tiers):
        folder = results_dir / tier / "tables"
        for sheet in sheets:
            for ending, text in (("md", _markdown(sheet, folder.parent)), ("csv", _csv(sheet))):
                written.append(folder / f"{sheet.table.name}.{ending}")
                write_text(written[-1], text)
        written.append(results_dir / tier / "report.html")
        write_text(written[-1], _page(tier, sheets, found, results_dir / tier))
    return written


def readme_block(results_dir: Path) -> str:
    """Markdown for a README beside `results_dir`: the filled rows and columns of every tier's tables."""
    parts = []
    for tier, _, sheets in _tiers(results_dir, None):
        where = f"{results_dir.name}/{tier}"
        if not any(sheet.used for sheet in sheets):
            continue
        parts += [f"### tier={tier} ([page]({where}/report.html))", _warning(tier)]
        for sheet in (sheet for sheet in sheets if sheet.used):
            table = sheet.table
            name = f"[Table {table.number}]({where}/tables/{table.name}.md)"
            parts.append(f"**{name}. {_md(table.title)}**: {sheet.summary}. {_md(table.caption)}")
            parts += _markdown_table(sheet, only_run=True)
    return "\n\n".join(part for part in parts if part) + "\n"


def _tiers(results_dir: Path, tiers: Sequence[str] | None) -> list[tuple[str, list[Found], list[_Sheet]]]:
    """(tier, its records, its sheets) for each tier that can be reported."""
    wanted = [tier for tier in records.TIERS if tier != "smoke" and (tiers is None or tier in tiers)]
    tables = load_all(folders.experiments())
    found = {tier: records.find(results_dir, tier) for tier in wanted}
    empty = [tier for tier in tiers or () if not found.get(tier)]
    if empty or not any(found.values()):
        of = f" of tier {', '.join(empty)} that can be reported" if empty else ""
        first = "python -m spprepro experiment=table1_zf5_multisize"
        raise DataError(f"{results_dir}: no records{of}; run `{first}`, or name their folder: results_dir=DIR")
    return [(tier, have, [_sheet(t, have, tier) for t in tables]) for tier, have in found.items() if have]


def _sheet(table: Table, found: list[Found], tier: str) -> _Sheet:
    ours = fill(table, found, tier)
    sources = {path for filled in ours.values() if filled for path in filled.sources}
    used = [item for item in found if item.path in sources]
    return _Sheet(table, tier, {key: _shown(cell, ours) for key, cell in table.cells.items()}, used)


def _shown(cell: Cell, ours: Mapping[CellId, Ours | None]) -> _Shown:
    """The only place where numbers become text: as many digits as the paper prints."""
    digits = cell.measure.digits
    paper = f"{cell.printed:.{digits}f}"
    paper_gain = "" if cell.gain is None else f"{cell.gain:.{digits}f}"
    if cell.quoted:
        return _Shown("quoted", paper, paper_gain)
    mine = ours[cell.id]
    if mine is None:
        return _Shown("not run", paper, paper_gain)
    text = f"{mine.mean:.{digits}f}"
    over = ours.get((cell.gain_over, cell.column)) if cell.gain_over else None
    gain = Decimal(f"{over.mean:.{digits}f}") - Decimal(text) if over else None
    if gain is not None and cell.measure.better == "higher":
        gain = -gain
    difference = Decimal(text) - Decimal(paper)
    return _Shown(
        state="run",
        paper=paper,
        paper_gain=paper_gain,
        ours=text,
        std="" if mine.std is None else f"{mine.std:.{digits}f}",
        ours_gain="" if gain is None else f"{gain:f}",
        seeds=str(len(mine.seeds)),
        difference=f"{difference:+f}" if difference else f"{difference:f}",
    )


def _warning(tier: str) -> str:
    """What a reader must know before comparing; "" at the paper's scale."""
    if tier == "paper":
        return ""
    return (
        f"Not the paper's scale (tier={tier}: {_SCALES[tier]}): "
        "our numbers are comparable with the paper's only in order, not in level."
    )


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _markdown(sheet: _Sheet, tier_dir: Path) -> str:
    table = sheet.table
    lines = [
        f"# Table {table.number}. {_md(table.title)}" + ("" if sheet.tier == "paper" else f" [{sheet.tier}]"),
        f"**{_warning(sheet.tier)}**" if _warning(sheet.tier) else "",
        f"{_md(table.caption)} {sheet.summary}.",
        *_markdown_table(sheet, only_run=False),
        _LEGEND,
        f"{_md(table.protocol)} {_md(table.editions)}",
        "\n".join(_source_line(item, tier_dir) for item in sheet.used),
        _FILES,
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _source_line(item: Found, tier_dir: Path) -> str:
    name = f"{item.record.experiment}, seed {item.record.seed}"
    facts = "; ".join(f"{key} {text}" for key, text in _facts(item.record).items() if text)
    return f"- [{name}](../{item.path.relative_to(tier_dir).as_posix()}): {_md(facts)}"


def _markdown_table(sheet: _Sheet, only_run: bool) -> list[str]:
    """The table in one string (and where rows or columns are left out, a second one that says so)."""
    run = {key for key, cell in sheet.cells.items() if cell.state == "run"}
    columns = [c for c in sheet.table.columns if not only_run or any(c.key == column for _, column in run)]
    rows = [r for r in sheet.table.rows if not only_run or any(r.key == row for row, _ in run)]
    head = [""]
    for column in columns:
        head += [f"{_md(column.label)}: paper", f"ours (tier={sheet.tier})", "difference"]
    lines = [_bar(head), _bar(["---"] + ["---:"] * (len(head) - 1))]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(_bar([f"**{_md(group)}**"] + [""] * (len(head) - 1)))
        cells = [sheet.cells.get((row.key, column.key)) for column in columns]
        lines.append(_bar([_md(row.label), *(text for cell in cells for text in _markdown_cell(cell))]))
    left_out = len(sheet.cells) - sum((r.key, c.key) in sheet.cells for r in rows for c in columns)
    return ["\n".join(lines)] + ([f"Left out: {left_out} cells, not run or quoted."] if left_out else [])


def _markdown_cell(cell: _Shown | None) -> tuple[str, str, str]:
    if cell is None:
        return "-", "", ""
    paper = f"{cell.paper} {cell.paper_gain_text}".strip()
    if cell.state != "run":
        return paper, cell.state, ""
    return paper, f"{cell.ours_text}{' ' if cell.ours_gain else ', '}{cell.ours_notes}", cell.difference


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(sheet: _Sheet) -> str:
    """One line a cell; column names do not depend on the tier, so files can be put together."""
    groups = {row.key: row.group for row in sheet.table.rows}
    scale = "the paper's" if sheet.tier == "paper" else "not the paper's: order only"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for key, cell in sheet.table.cells.items():
        shown = sheet.cells[key]
        where = (sheet.table.number, sheet.tier, scale, groups[cell.row], cell.row, cell.column)
        what = (cell.metric, cell.measure.unit, cell.job, shown.state, shown.paper, shown.paper_gain)
        writer.writerow([*where, *what, shown.ours, shown.std, shown.ours_gain, shown.seeds, shown.difference])
    return file.getvalue()


def _facts(record: Record) -> dict[str, str]:
    """What else a reader needs to judge a record: label -> text."""
    amounts = (f"{key} {value}" for key, value in record.data.items() if key not in ("name", "fingerprint"))
    seconds = round(record.wall_s)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    wall = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds % 60:02d} s"
    return {
        "data": f"{record.data['name']} ({', '.join(amounts)})",
        "fingerprint": str(record.data["fingerprint"])[:10],
        "run on": f"{record.device}, {record.precision}",
        "time": wall,
        "commit": record.git["commit"][:10] + (" + uncommitted changes" if record.git["dirty"] else ""),
        "overrides": " ".join(f"{key}={value}" for key, value in record.overrides.items()),
    }


def _page(tier: str, sheets: Sequence[_Sheet], found: Sequence[Found], tier_dir: Path) -> str:
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    warning = _warning(tier)
    run = sum(cell.state == "run" for sheet in sheets for cell in sheet.cells.values())
    links = (f'<a href="#{s.table.name}">Table {s.table.number}</a> <span>{s.summary}</span>' for s in sheets)
    return template.substitute(
        title=f"SPP-net, run again: tier={tier}",
        banner=f'<p class="banner"><b>{escape(tier)}</b> {escape(warning)}</p>' if warning else "",
        summary=f"{run} cells filled from {len(found)} record{'' if len(found) == 1 else 's'}.",
        contents="".join(f"<li>{link}</li>" for link in links),
        tables="\n".join(_html_sheet(sheet) for sheet in sheets),
        legend=escape(_LEGEND),
        records="\n".join(_html_record(item, tier_dir) for item in found),
    )


def _html_sheet(sheet: _Sheet) -> str:
    table, warning = sheet.table, escape(_warning(sheet.tier))
    badge = f' <b class="badge" title="{warning}">{sheet.tier}</b>' if warning else ""
    heads = "".join(f'<th scope="colgroup" colspan="3">{escape(c.label)}</th>' for c in table.columns)
    subheads = f'<th scope="col">paper</th><th scope="col">ours{badge}</th><th scope="col">difference</th>'
    body, group = [], ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            band = f'<td colspan="{3 * len(table.columns)}"></td>'
            body.append(f'<tr class="group"><th scope="rowgroup">{escape(group)}</th>{band}</tr>')
        body.append(_html_row(sheet, row))
    return (
        f'<section id="{table.name}" class="{"order-only" if warning else "paper-scale"}">\n'
        f"<h2>Table {table.number}. {escape(table.title)}</h2>\n"
        f'<p>{escape(table.caption)}</p>\n<p class="note">{sheet.summary}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table {table.number}"><table>\n'
        f'<thead><tr><td rowspan="2"></td>{heads}</tr>\n<tr>{subheads * len(table.columns)}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(body)}\n</tbody></table></div>\n"
        f'<p class="note">{escape(table.protocol)} {escape(table.editions)}</p>\n</section>'
    )


def _html_row(sheet: _Sheet, row: Head) -> str:
    cells = "".join(_html_cell(sheet.cells.get((row.key, column.key))) for column in sheet.table.columns)
    return f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>'


def _html_cell(cell: _Shown | None) -> str:
    if cell is None:
        return '<td class="first none" colspan="3">-</td>'
    kind = "quoted" if cell.state == "quoted" else "paper"
    paper = f'<td class="first {kind}">{cell.paper}<small>{cell.paper_gain_text}</small></td>'
    if cell.state != "run":
        return f'{paper}<td class="none" colspan="2">{cell.state}</td>'
    ours = f'<td class="ours">{cell.ours_text}<small>{cell.ours_notes}</small></td>'
    return f'{paper}{ours}<td class="difference">{cell.difference}</td>'


def _html_record(item: Found, tier_dir: Path) -> str:
    record = item.record
    link = escape(item.path.relative_to(tier_dir).as_posix())
    name = f"{escape(record.experiment)}, seed {record.seed}"
    status = record.status if record.status == "ok" else f"{record.status}: fills no cell"
    cells = "".join(f"<td>{escape(text)}</td>" for text in (status, *_facts(record).values()))
    return f'<tr><th scope="row"><a href="{link}">{name}</a></th>{cells}</tr>'
