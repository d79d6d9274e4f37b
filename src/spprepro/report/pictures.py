"""The pictures of a report, drawn as SVG from what lies beside the records."""

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from spprepro.files import write_text
from spprepro.records import Found
from spprepro.report import classifiers, detectors, plots, pooled
from spprepro.report.sheets import Sheet
from spprepro.report.style import Drawing, Picture


def pictures(
    tier_dir: Path, found: Sequence[Found], sheets: Sequence[Sheet], changed: Container[int] | None = None
) -> list[Picture]:
    """Draws what the records allow into `tier_dir`, from the sheets of all tables; raises DataError for damaged traces.

    Those of other sections than `changed` are left as they are where they are there: drawing takes seconds.
    """
    shown = []
    for picture, svg in _drawings(found, {sheet.table.number: sheet for sheet in sheets}):
        if changed is None or picture.section in changed or not (tier_dir / picture.path).exists():
            write_text(tier_dir / picture.path, svg())
        shown.append(picture)
    return shown


def with_photos(tier_dir: Path, sheets: Sequence[Sheet], voc_root: str) -> Iterator[Path]:
    """Draws the detections over the photos in the folder `voc_root`, for the reader alone; yields the path."""
    by_number = {sheet.table.number: sheet for sheet in sheets}
    tested = detectors.tested(by_number[9], by_number[10])
    if any(each.found.record.data["name"] == "voc07" for each in tested):
        for picture, svg in detectors.side_by_side(tested, voc_root):
            write_text(tier_dir / picture.path, svg())
            yield tier_dir / picture.path


def _drawings(found: Sequence[Found], sheets: dict[int, Sheet]) -> Iterator[Drawing]:
    yield from classifiers.curves(sheets[2])
    yield from classifiers.confusion(sheets[2])
    yield from classifiers.views(sheets, found)
    tested = detectors.tested(sheets[9], sheets[10])
    yield from detectors.side_by_side(tested)
    yield from detectors.precision(tested)
    if tested:
        yield pooled.window()
    yield from plots.growth(found)
