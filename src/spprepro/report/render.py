"""Tables and a page beside the paper's numbers, from the records alone: same records, same bytes."""

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path, PurePosixPath
from string import Template

from spprepro.files import write_text
from spprepro.paper.tables import Head
from spprepro.records import Found, Record
from spprepro.report import claims, plots, wide
from spprepro.report.sheets import CLAIMS_LEGEND, DASH, LEGEND, Sheet, Shown, collect, count, md, warning

_CSV_COLUMNS = (
    *("table", "tier", "scale", "group", "row", "column", "metric", "unit", "job", "state"),
    *("paper", "paper_gain", "ours", "ours_std", "ours_gain", "seeds", "difference"),
)
GROWTH = "plots/growth.svg"  # in the tier's folder
_FILES = "Made by `python -m spprepro task=report` from the records alone; do not edit."


def report(results_dir: Path, tiers: Sequence[str] | None = None) -> list[Path]:
    """Writes tables, their claims and a page for each tier with records, or for `tiers`; returns the paths.

    Smoke records are left out. Raises DataError where there is nothing to report, or a record is damaged.
    """
    written = []
    for tier, found, sheets in collect(results_dir, tiers):
        folder = results_dir / tier / "tables"
        for sheet in sheets:
            for ending, text in (("md", _markdown(sheet, folder.parent)), ("csv", _csv(sheet))):
                written.append(folder / f"{sheet.table.name}.{ending}")
                write_text(written[-1], text)
            if growth := _growth(sheet):
                written.append(results_dir / tier / GROWTH)
                write_text(written[-1], plots.growth(growth))
        written.append(folder / "claims.csv")
        write_text(written[-1], claims.claims_csv(sheets))
        written.append(results_dir / tier / "report.html")
        write_text(written[-1], _page(tier, sheets, found, results_dir / tier))
    return written


def _growth(sheet: Sheet) -> Path | None:
    """The file that the plot beside Table 9 is drawn from, of the first seed that has it."""
    files = [item.path.with_name(plots.FILE) for item in sheet.used if item.record.experiment == plots.JOB]
    return next((path for path in files if path.is_file()), None) if sheet.table.number == 9 else None


def readme_block(results_dir: Path) -> str:
    """Markdown for a README beside `results_dir`: every tier's judged claims, and what is filled of its tables."""
    parts = []
    for tier, _, sheets in collect(results_dir, None):
        where = f"{results_dir.name}/{tier}"
        if not any(sheet.used for sheet in sheets):
            continue
        parts += [f"### tier={tier} ([page]({where}/report.html))", warning(tier)]
        parts.append(f"{count(claim for sheet in sheets for claim in sheet.claims)}.")
        parts.append(claims.compact(sheets, PurePosixPath(where, "tables")))
        for sheet in (sheet for sheet in sheets if sheet.used):
            table = sheet.table
            name = f"[Table {table.number}]({where}/tables/{table.name}.md)"
            parts.append(f"**{name}. {md(table.title)}**: {sheet.summary}. {md(table.caption)}")
            run = [cell for cell in sheet.cells.values() if cell.state == "run"]
            if all(cell.computed for cell in run):  # the same at every tier: the table itself need not stand here
                printed = [cell for cell in run if cell.paper]
                met, known = sum(cell.paper == cell.ours for cell in printed), sum(cell.known for cell in printed)
                parts.append(f"Computed: {met} of {len(printed)} printed numbers are met; {known} is known to differ.")
            else:
                parts += _markdown_table(sheet, only_run=True)
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(sheet: Sheet, tier_dir: Path) -> str:
    table = sheet.table
    lines = [
        f"# Table {table.number}. {md(table.title)}" + ("" if sheet.tier == "paper" else f" [{sheet.tier}]"),
        f"**{warning(sheet.tier)}**" if warning(sheet.tier) else "",
        f"{md(table.caption)} {sheet.summary}.",
        *_markdown_table(sheet, only_run=False),
        f"[How the times grow with windows and scales](../{GROWTH})" if _growth(sheet) else "",
        LEGEND,
        f"{md(table.protocol)} {md(table.editions)}",
        *claims.markdown(sheet),
        "\n".join(_source_line(item, tier_dir) for item in sheet.used),
        _FILES,
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _source_line(item: Found, tier_dir: Path) -> str:
    name = f"{item.record.experiment}, seed {item.record.seed}"
    facts = "; ".join(f"{key} {text}" for key, text in _facts(item.record).items() if text)
    return f"- [{name}](../{item.path.relative_to(tier_dir).as_posix()}): {md(facts)}"


def _markdown_table(sheet: Sheet, only_run: bool) -> list[str]:
    """The table in one string (and where rows or columns are left out, a second one that says so)."""
    run = {key for key, cell in sheet.cells.items() if cell.state == "run"}
    columns = [c for c in sheet.columns if not only_run or any(c.key == column for _, column in run)]
    rows = [r for r in sheet.rows if not only_run or any(r.key == row for row, _ in run)]
    left_out = len(sheet.cells) - sum((r.key, c.key) in sheet.cells for r in rows for c in columns)
    note = [f"Left out: {left_out} cells, not run or quoted."] if left_out else []
    if len(columns) > wide.MANY:
        head, *lines = wide.markdown(sheet, rows, columns)
        bars = [_bar(head), _bar(["---"] + ["---:"] * len(columns)), *map(_bar, lines)]
        return ["\n".join(bars), *note]
    return ["\n".join(_markdown_lines(sheet, rows, columns)), *note]


def _markdown_lines(sheet: Sheet, rows: Sequence[Head], columns: Sequence[Head]) -> list[str]:
    head = [""]
    for column in columns:
        head += [f"{md(column.label)}: paper", f"ours (tier={sheet.tier})", "difference"]
    lines = [_bar(head), _bar(["---"] + ["---:"] * (len(head) - 1))]
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(_bar([f"**{md(group)}**"] + [""] * (len(head) - 1)))
        cells = [sheet.cells.get((row.key, column.key)) for column in columns]
        lines.append(_bar([md(row.label), *(text for cell in cells for text in _markdown_cell(cell))]))
    return lines


def _markdown_cell(cell: Shown | None) -> tuple[str, str, str]:
    if cell is None:
        return DASH, "", ""
    paper = f"{cell.paper_text} {cell.paper_gain_text}".strip()
    if cell.state != "run":
        return paper, cell.state, ""
    return paper, f"{cell.ours_text}{' ' if cell.ours_gain else ', '}{cell.ours_notes}", cell.difference_text


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(sheet: Sheet) -> str:
    """One line a cell; column names do not depend on the tier, so files can be put together."""
    groups = {row.key: row.group for row in sheet.table.rows}
    scale = "the paper's" if sheet.tier == "paper" else "not the paper's: order only"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for key, shown in sheet.cells.items():
        cell = sheet.table.cells[key]
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


def _page(tier: str, sheets: Sequence[Sheet], found: Sequence[Found], tier_dir: Path) -> str:
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    note = warning(tier)
    run = sum(cell.state == "run" for sheet in sheets for cell in sheet.cells.values())
    verdicts = count(claim for sheet in sheets for claim in sheet.claims)
    links = (f'<a href="#{s.table.name}">Table {s.table.number}</a> <span>{s.summary}</span>' for s in sheets)
    return template.substitute(
        title=f"SPP-net, run again: tier={tier}",
        banner=f'<p class="banner"><b>{escape(tier)}</b> {escape(note)}</p>' if note else "",
        summary=f"{run} cells filled from {len(found)} record{'' if len(found) == 1 else 's'}. {verdicts}.",
        contents="".join(f"<li>{link}</li>" for link in links),
        tables="\n".join(_html_sheet(sheet) for sheet in sheets),
        legend=f'{escape(LEGEND)}</p>\n<p class="note">{escape(CLAIMS_LEGEND)}',
        records="\n".join(_html_record(item, tier_dir) for item in found),
    )


def _html_sheet(sheet: Sheet) -> str:
    table, note = sheet.table, escape(warning(sheet.tier))
    badge = f' <b class="badge" title="{note}">{sheet.tier}</b>' if note else ""
    body = wide.html(sheet, badge) if len(sheet.columns) > wide.MANY else _html_table(sheet, badge)
    plot = f'<p><img src="{GROWTH}" alt="{escape(plots.ALT)}"/></p>\n' if _growth(sheet) else ""
    return (
        f'<section id="{table.name}" class="{"order-only" if note else "paper-scale"}">\n'
        f"<h2>Table {table.number}. {escape(table.title)}</h2>\n"
        f'<p>{escape(table.caption)}</p>\n<p class="note">{sheet.summary}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table {table.number}">{body}</div>\n{plot}'
        f'<p class="note">{escape(table.protocol)} {escape(table.editions)}</p>\n{claims.html(sheet)}</section>'
    )


def _html_table(sheet: Sheet, badge: str) -> str:
    columns = sheet.columns
    heads = "".join(f'<th scope="colgroup" colspan="3">{escape(c.label)}</th>' for c in columns)
    subheads = f'<th scope="col">paper</th><th scope="col">ours{badge}</th><th scope="col">difference</th>'
    body, group = [], ""
    for row in sheet.rows:
        if row.group != group:
            group = row.group
            band = f'<td colspan="{3 * len(columns)}"></td>'
            body.append(f'<tr class="group"><th scope="rowgroup">{escape(group)}</th>{band}</tr>')
        body.append(_html_row(sheet, row))
    return (
        f'<table>\n<thead><tr><td rowspan="2"></td>{heads}</tr>\n<tr>{subheads * len(columns)}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(body)}\n</tbody></table>"
    )


def _html_row(sheet: Sheet, row: Head) -> str:
    cells = "".join(_html_cell(sheet.cells.get((row.key, column.key))) for column in sheet.columns)
    return f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>'


def _html_cell(cell: Shown | None) -> str:
    if cell is None:
        return f'<td class="first none" colspan="3">{DASH}</td>'
    kind = "quoted" if cell.state == "quoted" else "paper"
    paper = f'<td class="first {kind}">{cell.paper_text}<small>{cell.paper_gain_text}</small></td>'
    if cell.state != "run":
        return f'{paper}<td class="none" colspan="2">{cell.state}</td>'
    ours = f'<td class="ours">{cell.ours_text}<small>{cell.ours_notes}</small></td>'
    return f'{paper}{ours}<td class="difference">{cell.difference_text}</td>'


def _html_record(item: Found, tier_dir: Path) -> str:
    record = item.record
    link = escape(item.path.relative_to(tier_dir).as_posix())
    name = f"{escape(record.experiment)}, seed {record.seed}"
    status = record.status if record.status == "ok" else f"{record.status}: fills no cell"
    cells = "".join(f"<td>{escape(text)}</td>" for text in (status, *_facts(record).values()))
    return f'<tr><th scope="row"><a href="{link}">{name}</a></th>{cells}</tr>'
