"""A sheet as CSV, for other programs: one line a cell."""

from spprepro.files import csv_text
from spprepro.report.sheets import Sheet

_COLUMNS = (
    *("table", "tier", "scale", "group", "row", "column", "metric", "unit", "job", "state"),
    *("paper", "paper_gain", "ours", "ours_std", "ours_gain", "seeds", "images", "difference"),
    *("claim_margin", "claim_word"),
)


def table(sheet: Sheet) -> str:
    """The file tables/tableNN.csv; column names do not depend on the tier, so files can be put together."""
    groups = {row.key: row.group for row in sheet.table.rows}
    scale = "the paper's" if sheet.tier == "paper" else "not the paper's: order only"
    rows = []
    for key, shown in sheet.cells.items():
        cell = sheet.table.cells[key]
        where = (sheet.table.number, sheet.tier, scale, groups[cell.row], cell.row, cell.column)
        what = (cell.metric, cell.measure.unit, cell.job, shown.state, shown.paper, shown.paper_gain)
        ours = (shown.ours, shown.std, shown.ours_gain, shown.seeds, shown.images, shown.difference)
        rows.append([*where, *what, *ours, *shown.margin])
    return csv_text(_COLUMNS, rows)
