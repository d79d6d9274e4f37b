"""TensorBoard over records alone, as after a clone, in Chromium: the paper's lines, settings with metrics."""

import re
import shutil

import pytest

from spprepro.report import board
from tests.browser.opening import fits, open_charts, tensorboard
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # Chromium and TensorBoard start


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    results = tmp_path_factory.mktemp("clone") / "results"
    for job in ("table1_zf5_nospp", "table9_times"):
        run = results / "mini" / job / "seed0"
        shutil.copytree(ROOT / "results" / "mini" / job / "seed0", run, ignore=shutil.ignore_patterns("events*"))
        board.show(run)
    with tensorboard(results) as url:
        yield url


def test_charts_hold_ours_and_the_papers_values(address, page, errors):
    open_charts(page, address, "zf5_nospp")
    page.get_by_text(re.compile(r"Table 2\.")).first.wait_for()
    page.get_by_text("Matches (2)").first.wait_for()
    assert fits(page)
    assert errors == []


def test_settings_stand_beside_final_metrics(address, page, errors):
    page.goto(f"{address}#hparams")
    for text in ("training.mode", "final/top1_error", "mini/table9_times/seed0"):
        page.get_by_text(text).first.wait_for(state="attached")
    assert fits(page)
    assert errors == []
