"""TensorBoard in Chromium: of records alone, as after a clone, the paper's lines and settings with metrics; of jobs
that ran here, pictures and precision-recall curves."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from spprepro.classify.monitor import Monitor
from spprepro.detect.monitor import show
from spprepro.report import board
from tests.browser.opening import fits, open_charts, tensorboard
from tests.conftest import ROOT
from tests.detect.detections import guessed
from tests.detect.toys import toy

pytestmark = pytest.mark.slow  # Chromium and TensorBoard start


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    results = tmp_path_factory.mktemp("clone") / "results"
    runs = {job: results / "mini" / job / "seed0" for job in ("table1_zf5_nospp", "table9_times", "table9_zf5_1sc")}
    for job, run in runs.items():
        shutil.copytree(ROOT / "results" / "mini" / job / "seed0", run, ignore=shutil.ignore_patterns("events*"))
        board.show(run)
    source = toy(tmp_path_factory.mktemp("toy"))
    show(runs["table9_zf5_1sc"], source.split, guessed(source.split, 0), source.picture)
    predict(runs["table1_zf5_nospp"])
    with tensorboard(results) as url:
        yield url


def predict(run):
    """A network's answers to two pictures, as its training leaves them."""
    monitor, logger = Monitor(["cat", "dog"]), TensorBoardLogger(run, name="", version="")
    crop = torch.full((3, 60, 80), 7, dtype=torch.uint8)
    monitor.shown = [(crop, label, torch.tensor([0.1, 0.9])) for label in (0, 1)]
    monitor.on_validation_epoch_end(SimpleNamespace(logger=logger, global_step=5), None)
    logger.finalize("success")


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


@pytest.mark.parametrize(
    ("tag", "run"), [("detections/000000", "table9_zf5_1sc"), ("test/predictions", "table1_zf5_nospp")]
)
def test_pictures_are_shown(address, page, errors, tag, run):
    page.goto(f"{address}#images")
    shown = page.locator("tf-image-loader", has_text=tag).filter(has_text=run)
    picture = shown.locator("img")
    picture.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth >= 80", arg=picture.element_handle())
    assert fits(page)
    assert errors == []


def test_precision_and_recall_of_each_class_are_drawn(address, page, errors):
    page.goto(f"{address}#pr_curves")
    for name in ("red", "green", "blue"):
        card = page.locator("tf-pr-curve-card", has_text=f"pr/{name}").filter(has_text="table9_zf5_1sc")
        card.get_by_text("is at").wait_for()
        assert len(card.locator("path.line").first.get_attribute("d").split("L")) > 2
    assert fits(page)
    assert errors == []
