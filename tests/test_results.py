"""What results/ holds is what its records give."""

import shutil

from spprepro.report import render
from tests.conftest import ROOT


def test_tables_are_those_of_the_records(tmp_path):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    for path in render.report(tmp_path / "results"):
        kept = ROOT / path.relative_to(tmp_path)
        if path.parent.name == "tables":  # the page has the cost of the paper's scale, too
            assert kept.is_file() and kept.read_bytes() == path.read_bytes(), f"{kept}: stale; run `make report`"
