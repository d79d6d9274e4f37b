"""Two sets of records: what is the same, what differs within chance and beyond it, and which settings differ."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.errors import DataError
from spprepro.records import Metric
from spprepro.report import compare
from tests.report.test_claims import run
from tests.report.test_detection import detector
from tests.report.test_render import put


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The same job the same, a little and much worse; one job in each alone."""
    a, b = tmp_path / "a", tmp_path / "b"
    for job, wrong in (("nospp", (100, 100)), ("singlesize", (100, 102)), ("multisize", (100, 160))):
        run(a, f"table1_zf5_{job}", wrong[0])
        run(b, f"table1_zf5_{job}", wrong[1])
    run(a, "mine", 10)
    run(b, "table1_zf5_nospp", 90, tier="small")
    return a, b


def lines(found: compare.Comparison) -> dict[tuple[str, str], compare.Line]:
    return {(line.job[1], line.metric): line for line in found.lines}


def test_the_same_a_little_and_much(folders: tuple[Path, Path]) -> None:
    found = compare.compare(*folders)
    by_name = lines(found)
    assert {job for _, job in {line.job for line in found.lines}} == {
        f"table1_zf5_{job}" for job in ("nospp", "singlesize", "multisize")
    }
    verdicts = [by_name[f"table1_zf5_{job}", "top1_error"].verdict for job in ("nospp", "singlesize", "multisize")]
    assert verdicts == ["same", "within", "beyond"]
    much = by_name["table1_zf5_multisize", "top1_error"]
    assert (much.a, much.b, much.cell) == (25.0, 40.0, "Table 2: (c) SPP multi-size trained, ZF-5")
    assert much.bounds and 0 < much.bounds[0] < 15 < much.bounds[1] < 25
    assert found.alone == ([("mini", "mine")], [("small", "table1_zf5_nospp")])


def test_mean_ap_is_compared_by_its_replicates(folders: tuple[Path, Path]) -> None:
    a, b = folders
    detector(a, "table9_zf5_1sc", 40.0, 50.0)
    detector(b, "table9_zf5_1sc", 30.0, 50.0)
    by_name = lines(compare.compare(a, b))
    assert by_name["table9_zf5_1sc", "pool5_map"].verdict == "beyond"
    assert by_name["table9_zf5_1sc", "ftfc7_map"].verdict == "same"


def test_several_seeds_that_scatter_widen_the_interval(tmp_path: Path) -> None:
    for seed, (one, two) in enumerate(((100, 160), (100, 60), (100, 130))):
        run(tmp_path / "a", "table1_zf5_nospp", one, seed)
        run(tmp_path / "b", "table1_zf5_nospp", two, seed)
    line = lines(compare.compare(tmp_path / "a", tmp_path / "b"))["table1_zf5_nospp", "top1_error"]
    assert line.seeds == 3 and line.verdict == "within" and line.b - line.a == pytest.approx(100 * 50 / 3 / 400)


def test_settings_code_data_and_machine_that_differ_are_listed_with_their_jobs(folders: tuple[Path, Path]) -> None:
    a, b = folders
    for job in ("nospp", "singlesize"):
        path = b / "mini" / f"table1_zf5_{job}" / "seed0" / "record.json"
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"device": "cpu x 64", "versions": {"torch": "9.9"}}))
    found = compare.compare(a, b)
    jobs = [("mini", "table1_zf5_nospp"), ("mini", "table1_zf5_singlesize")]
    assert found.settings == {("device", "cpu", "cpu x 64"): jobs, ("versions.torch", "-", "9.9"): jobs}
    text = compare.terminal(found)
    assert "setting device: cpu -> cpu x 64 in table1_zf5_nospp (tier=mini), table1_zf5_singlesize" in text
    assert "beyond: table1_zf5_multisize (tier=mini), top1_error, %" in text and "25.00 -> 40.00, +15.00 [" in text


def test_what_cannot_be_judged_says_why(folders: tuple[Path, Path]) -> None:
    a, b = folders
    put(b, "table1_zf5_nospp", 40.0, data={"name": "mini", "fingerprint": "f2", "train": 2000, "test": 400})
    (b / "mini" / "table1_zf5_singlesize" / "seed0" / outcomes.NAME).unlink()
    by_name = lines(compare.compare(a, b))
    reasons = [by_name[f"table1_zf5_{job}", "top1_error"].why for job in ("nospp", "singlesize")]
    assert reasons[0] == "tested on different images" and reasons[1].startswith("no outcomes")
    assert by_name["table1_zf5_nospp", "top1_error"].verdict == "not judged"


def test_seeds_that_were_tested_on_different_images_are_not_judged(folders: tuple[Path, Path]) -> None:
    data = {"name": "mini", "fingerprint": "f2", "train": 2000, "test": 200}
    for folder in folders:
        path = put(folder, "table1_zf5_nospp", 0, 1, metrics={"top1_error": Metric(25.0, "%", 200)}, data=data)
        outcomes.write(path.parent, {"top1_error": np.arange(200) < 50})
    line = lines(compare.compare(*folders))["table1_zf5_nospp", "top1_error"]
    assert (line.seeds, line.verdict, line.why) == (2, "not judged", "tested on different images")


def test_files_hold_every_metric_in_full_and_the_cells_in_short(folders: tuple[Path, Path], tmp_path: Path) -> None:
    markdown, table = compare.write(compare.compare(*folders), tmp_path / "out")
    with table.open(newline="", encoding="utf-8") as file:
        found = {(line["job"], line["metric"]): line for line in csv.DictReader(file)}
    assert len(found) == 3 * 4 and found["table1_zf5_multisize", "top1_error"]["difference"] == "15.0"
    text = markdown.read_text(encoding="utf-8")
    assert "| mini | table1_zf5_singlesize | Table 2: (b)" in text and "1 in 20" not in text
    assert "Only in" in text and "mine (tier=mini)" in text


def test_folders_without_records_or_without_a_common_job_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        compare.compare(tmp_path / "none", tmp_path / "nothing")
    assert [fault.split(":")[0] for fault in error.value.faults] == [
        f"a={tmp_path / 'none'}",
        f"b={tmp_path / 'nothing'}",
    ]
    run(tmp_path / "c", "another", 10)
    with pytest.raises(DataError, match=r"no job with the same tier and seed in both.*mine.*another"):
        compare.compare(folders[0], tmp_path / "c")


def test_outcomes_of_another_record_are_refused(folders: tuple[Path, Path]) -> None:
    outcomes.write(folders[1] / "mini" / "table1_zf5_nospp" / "seed0", {"top1_error": np.ones(400, bool)})
    with pytest.raises(DataError, match="but the record says"):
        compare.compare(*folders)
