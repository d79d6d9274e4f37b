"""TensorBoard's event file of a record: our and the paper's numbers as lines, settings, never a job's failure."""

import re
import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from spprepro import folders
from spprepro.paper.tables import load
from spprepro.report import board
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path):
    """run(job): a folder with the committed record and configuration of a job."""

    def copied(job):
        folder = tmp_path / "results" / "mini" / job / "seed0"
        folder.mkdir(parents=True)
        for name in ("record.json", "config.yaml"):
            shutil.copy(ROOT / "results" / "mini" / job / "seed0" / name, folder)
        return folder

    return copied


def shown(folder):
    board.show(folder)
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def hparams(events, name):
    return HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)


def test_ours_and_the_papers_number_run_from_the_first_to_the_last_step(run):
    events = shown(run("table1_zf5_multisize"))
    cells = load(folders.experiments() / "table02.yaml").cells.values()
    printed = {c.metric: c.printed for c in cells if c.job == "table1_zf5_multisize"}
    paper = events.Scalars("table02/top1_error/paper")
    assert [(p.step, pytest.approx(p.value)) for p in paper] == [
        (0, printed["top1_error"]),
        (749, printed["top1_error"]),  # 6 epochs of 125 batches
    ]
    ours = events.Scalars("table02/top1_error/ours")
    assert [p.step for p in ours] == [0, 749]
    assert ours[-1].value == events.Scalars("final/top1_error")[-1].value == pytest.approx(20.075)


def test_showing_again_leaves_one_file_with_the_same_points(run):
    folder = run("table1_zf5_nospp")
    first, again = shown(folder), shown(folder)
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert len(again.Scalars("final/top1_error")) == len(first.Scalars("final/top1_error")) == 1


def test_each_chart_finds_numbers_and_only_those_of_its_table(run):
    jobs = ("table1_zf5_multisize", "table9_times", "table9_zf5_1sc", "table9_alex5_rcnn", "table9_zf5_5sc")
    all_events = [shown(run(job)) for job in jobs]
    tags = {tag for events in all_events for tag in events.Tags()["scalars"]}
    assert not any("_ap_" in tag for tag in tags)
    layouts = {events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0] for events in all_events}
    assert len(layouts) == 1  # or TensorBoard would merge them
    for category in Layout.FromString(layouts.pop()).category:
        if not category.title.startswith(("Table 3.", "Table 9.")):
            continue
        for chart in category.chart:
            found = {tag for pattern in chart.multiline.tag for tag in tags if re.match(pattern, tag)}
            number = int(category.title[6])
            metric = chart.title.partition(" ")[0]
            assert found == {f"table0{number}/{metric}/ours", f"table0{number}/{metric}/paper"}


def test_hparams_hold_what_the_job_uses_and_columns_for_all(run):
    events = shown(run("table9_zf5_1sc"))
    start = hparams(events, "session_start_info").session_start_info.hparams
    assert start["experiment"].string_value == "table9_zf5_1sc"
    assert start["detection.scales"].string_value == "688"
    assert "training.lr" not in start
    columns = hparams(events, "experiment").experiment
    metrics = {metric.name.tag for metric in columns.metric_infos}
    assert {"final/top1_error", "final/ftfc7_bb_map"} <= metrics
    assert {"training.lr", *start} <= {info.name for info in columns.hparam_infos}


def test_a_job_that_trains_nothing_is_shown(run):
    events = shown(run("table5_ensemble"))
    assert [p.step for p in events.Scalars("table05/top5_error/paper")] == [0, 1]
    assert hparams(events, "session_start_info").session_start_info.hparams["kind"].string_value == "test"


def test_a_damaged_record_is_told_and_fails_nothing(run, capsys):
    folder = run("table5_ensemble")
    (folder / "record.json").write_text("{")
    board.show(folder)
    assert "TensorBoard does not show" in capsys.readouterr().err
    assert not list(folder.glob("events*"))
