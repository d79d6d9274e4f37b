"""What the command line does with records: the report, its refreshing after a job, the comparison of two sets."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spprepro.composing import at_paper_scale
from spprepro.config import Config
from spprepro.errors import Faults
from spprepro.records import MARKED


def report(config: Config, tiers: Sequence[str] | None = None) -> list[Path]:
    """Tables and pages of all tiers, or of `tiers`, with the cost of the paper's scale; returns the paths."""
    from spprepro.report import render

    return render.report(Path(config.results_dir), tiers, at_paper_scale())


def photos(config: Config) -> Iterator[Path]:
    """Detections over the photos of config.voc.root, which the page does not show: they are others'."""
    from spprepro.report.pictures import with_photos
    from spprepro.report.sheets import collect

    for tier, _, sheets in collect(Path(config.results_dir), None) if config.voc.root else ():
        yield from with_photos(Path(config.results_dir) / tier, sheets, str(config.voc.root))


def refresh(config: Config) -> None:
    """Tables and page of the tier with the new record; another record's fault must not fail this job."""
    if config.tier in MARKED:
        return
    from spprepro.report import render

    changed = (2, 4) if config.kind in ("train", "test") else (9,) if config.detects else ()  # sections with pictures
    try:
        written = render.report(Path(config.results_dir), [config.tier], at_paper_scale(), changed)
        pages = [path for path in written if path.suffix == ".html"]
        print(f"tables beside the paper's: {pages[0]}")
    except Faults as error:
        print(f"the tables are not refreshed: {error}", file=sys.stderr)


def compare(config: Config) -> None:
    """Prints how the records of config.b differ from those of config.a, and writes it to the results folder."""
    from spprepro.report import compare

    found = compare.compare(Path(str(config.a)), Path(str(config.b)))
    print(compare.terminal(found))
    for path in compare.write(found, Path(config.results_dir)):
        print(path)
