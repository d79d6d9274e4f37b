"""The pictures of a report, drawn as SVG from what lies beside the records."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spprepro.files import write_text
from spprepro.records import Found
from spprepro.report import plots
from spprepro.report.sheets import Sheet

GROWTH = Path("plots", "growth.svg")


@dataclass(frozen=True)
class Picture:
    """An SVG at `path` (relative to the tier's folder), shown in the section of a paper table, or (None) at the end."""

    section: int | None
    path: Path
    title: str
    caption: str
    alt: str


def pictures(tier_dir: Path, found: Sequence[Found], sheets: Sequence[Sheet]) -> list[Picture]:
    """Draws what the records allow into `tier_dir`, and says where it belongs."""
    files = [item.path.with_name(plots.FILE) for item in found if item.record.experiment == plots.JOB]
    there = next((path for path in files if path.is_file()), None)
    if there is None:
        return []
    write_text(tier_dir / GROWTH, plots.growth(there))
    title = "How the times grow with windows and scales"
    return [Picture(9, GROWTH, title, "The paper's points were measured on a GPU: their ratios compare.", plots.ALT)]
