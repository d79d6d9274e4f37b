"""TensorBoard over a finished job, in Chromium: the paper's lines, settings with metrics, pictures."""

import re

import pytest

from tests.browser.opening import fits, open_charts, tensorboard
from tests.conftest import command

pytestmark = pytest.mark.slow  # a job runs, then Chromium and TensorBoard start


@pytest.fixture(scope="module")
def address(smoke_data, tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("job")
    done = command(folder, smoke_data, "experiment=table1_zf5_nospp", "tier=smoke", "training.epochs=1")
    assert done.returncode == 0, done.stderr
    with tensorboard(folder / "results") as url:
        yield url


def test_charts_hold_our_and_the_papers_values(address, page, errors):
    open_charts(page, address, "smoke")
    assert page.get_by_text("Table 2.").is_visible()
    page.get_by_text(re.compile(r"Matches \(2\)")).first.wait_for()
    assert fits(page)
    assert errors == []


def test_settings_stand_beside_final_metrics(address, page, errors):
    page.goto(f"{address}#hparams")
    page.get_by_text("final/top1_error").first.wait_for(state="attached")
    page.get_by_text("smoke/table1_zf5_nospp/seed0").first.wait_for(state="attached")
    assert fits(page)
    assert errors == []


def test_pictures_with_predictions(address, page, errors):
    page.goto(f"{address}#images")
    page.get_by_text("test/predictions").first.wait_for(state="attached")
    assert fits(page)
    assert errors == []
