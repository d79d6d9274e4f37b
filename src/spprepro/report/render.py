"""Tables and a page beside the paper's numbers, from the records alone: same records, same bytes."""

from collections.abc import Container, Sequence
from pathlib import Path

from spprepro.config import Config
from spprepro.files import write_text
from spprepro.report import benches, claims, latex, markdown, values
from spprepro.report.cost import cost
from spprepro.report.page import page
from spprepro.report.pictures import pictures
from spprepro.report.sheets import collect


def report(
    results_dir: Path,
    tiers: Sequence[str] | None = None,
    planned: Sequence[Config] = (),
    changed: Container[int] | None = None,
) -> list[Path]:
    """Writes tables, their claims, pictures and a page for each tier with records, or for `tiers`; returns the paths.

    Beside the measurements of speed, if there are any, their table.
    `planned`: every job at the paper's scale, for the section on what that would cost; without them there is none.
    `changed`: see pictures.
    Smoke and dry records are left out. Raises DataError where there is nothing to report, or a record is damaged.
    """
    written = []
    for tier, found, sheets in collect(results_dir, tiers):
        tier_dir = results_dir / tier
        drawn = pictures(tier_dir, found, sheets, changed)
        written += [tier_dir / picture.path for picture in drawn]
        texts = {Path("tables", "claims.csv"): claims.claims_csv(sheets)}
        for sheet in sheets:
            own = [picture for picture in drawn if picture.section == sheet.table.number]
            name = Path("tables", sheet.table.name)
            texts[name.with_suffix(".md")] = markdown.table(sheet, own, tier_dir)
            texts[name.with_suffix(".csv")] = values.table(sheet)
            texts[name.with_suffix(".tex")] = latex.table(sheet)
        costs = cost(planned, found) if planned else None
        texts[Path("report.html")] = page(tier_dir, found, sheets, drawn, costs)
        for path, text in texts.items():
            written.append(tier_dir / path)
            write_text(written[-1], text)
    if speeds := benches.readme(results_dir):
        written.append(results_dir / "bench" / benches.NAME)
        write_text(written[-1], speeds)
    return written
