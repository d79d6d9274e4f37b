"""Reports of detection: units and digits, tables of many columns, cells filled by name, a table that is all quoted."""

import csv
from pathlib import Path

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.errors import DataError
from spprepro.records import Metric
from spprepro.report import render
from spprepro.report.terminal import WIDTH, terminal
from tests.report.test_claims import claims_csv
from tests.report.test_render import Cells, put

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def run(results: Path, job: str, metrics: dict[str, tuple[float, str]], seed: int = 0) -> None:
    """A record with replicates that vary by a hundredth of each metric, all alike but for a little."""
    draw, own = np.random.default_rng(0), np.random.default_rng(len(job) + seed)
    shared = 0.01 * draw.normal(size=outcomes.RESAMPLES)
    found = {key: Metric(value, unit, 400) for key, (value, unit) in metrics.items()}
    path = put(results, job, 0.0, seed, metrics=found)
    replicates = {
        key: (value * (1 + shared + 0.001 * own.normal(size=len(shared)))).astype(np.float32)
        for key, (value, _) in metrics.items()
    }
    outcomes.write(path.parent, {}, replicates)


def detector(results: Path, job: str, pool5: float, bb: float, seed: int = 0) -> None:
    rows = {"pool5": pool5, "ftfc7": bb - 4, "ftfc7_bb": bb}
    metrics = {f"{row}_map": (value, "%") for row, value in rows.items()}
    metrics |= {f"{row}_ap_{name}": (rows[row] + i - 10, "%") for row in rows for i, name in enumerate(CLASSES)}
    run(results, job, metrics, seed)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    detector(folder, "table9_zf5_1sc", 30.04, 45.0)
    for seed, bb in enumerate((49.0, 51.0)):
        detector(folder, "table9_zf5_5sc", 33.0, bb, seed)
    times = {"spp_1sc_conv_s": (0.0514, "s"), "rcnn_alex5_conv_s": (8.456, "s")}
    run(folder, "table9_times", {**times, "spp_1sc_speedup_alex5": (63.6, "x")})
    render.report(folder)
    return folder


def cells(results: Path, number: int) -> dict[tuple[str, str], dict[str, str]]:
    with (results / "mini" / "tables" / f"table{number:02d}.csv").open(newline="", encoding="utf-8") as file:
        return {(line["row"], line["column"]): line for line in csv.DictReader(file)}


def markdown(results: Path, number: int) -> list[str]:
    return (results / "mini" / "tables" / f"table{number:02d}.md").read_text(encoding="utf-8").splitlines()


def test_each_metric_has_its_own_digits_and_unit(results: Path) -> None:
    found = cells(results, 9)
    for key, texts in {
        ("pool5", "spp_1sc"): ("43.0", "30.0", "-13.0", "%"),
        ("conv", "spp_1sc"): ("0.053", "0.051", "-0.002", "s"),
        ("conv", "rcnn"): ("8.96", "8.46", "-0.50", "s"),
        ("speedup", "spp_1sc"): ("64", "64", "0", "x"),
    }.items():
        assert tuple(found[key][name] for name in ("paper", "ours", "difference", "unit")) == texts
    assert ("speedup", "rcnn") not in found  # the paper prints a dash
    line = next(line for line in markdown(results, 9) if line.startswith("| total | 64"))
    assert line.split(" | ")[1:4] == ["64", "64; 1 seed", "0; +40 better"] and line.endswith("| — |  |  |")


def test_claims_about_means_and_ratios_are_judged_by_replicates(results: Path) -> None:
    found = claims_csv(results)
    pool5 = found["five_scales_beat_one", "pool5.spp_5sc - pool5.spp_1sc"]
    assert (pool5["verdict"], pool5["images"], pool5["seeds"], pool5["ours"]) == ("confirmed", "400", "1", "+3.0")
    ratio = found["features_are_24_times_as_fast", "speedup.spp_1sc"]
    assert (ratio["verdict"], ratio["paper"], ratio["ours"]) == ("confirmed", "64", "64")  # no sign: not a difference
    assert ratio["meaning"] == "times as fast as R-CNN, SPP 1-sc (ZF-5), total"
    assert float(ratio["low"]) < 64 < float(ratio["high"]) and ratio["unit"] == "x" and not ratio["p"]


def test_many_columns_stand_below_one_another(results: Path) -> None:
    lines = markdown(results, 11)
    at = next(i for i, line in enumerate(lines) if line.startswith("| SPP bb (ZF-5): paper | 59.2 | 68.6 |"))
    assert "Ours: 2 seeds, 400 test images." in "\n".join(lines)
    assert lines[at + 1].startswith("| ours (tier=mini) | 50.0 ± 1.4 | 40.0 ± 1.4 |")
    assert lines[at + 2].startswith("| difference | -9.2 | -28.6 |")
    assert next(line for line in lines if line.startswith("| R-CNN bb (ZF-5): paper, not run | 59.2 | 68.4 |"))
    assert next(line for line in lines if line.startswith("| DPM | 33.7 | 33.2 |"))
    table = [line for line in lines if line.startswith("|  | mAP") or line.startswith(("| DPM", "| ours", "| diff"))]
    assert {line.count("|") for line in table} == {23}
    page = Cells((results / "mini" / "report.html").read_text(encoding="utf-8"))
    at = next(i for i, row in enumerate(page.rows) if row and row[0] == "SPP bb (ZF-5) paper")
    assert page.rows[at + 1][:3] == ["ours mini", "50.0 ± 1.4", "40.0 ± 1.4"]
    assert page.rows[at + 2][:3] == ["difference", "-9.2", "-28.6"]
    assert {len(row) for row in page.rows[at : at + 3]} == {22}


def test_a_row_of_many_columns_that_lacks_some_says_which(results: Path) -> None:
    run(results, "table12_combined", {"ftfc7_bb_map": (52.0, "%"), "ftfc7_bb_ap_boat": (40.0, "%")})
    render.report(results)
    line = next(line for line in markdown(results, 12) if line.startswith("| ours (tier=mini), 1 seed"))
    assert line.split(" | ")[1:6] == ["52.0", "not run", "not run", "not run", "40.0"]


def test_cells_filled_by_name_show_once_they_are_filled(results: Path) -> None:
    assert not any("squeezenet" in column for _, column in cells(results, 9))
    summary = f"{3 + 3 + 3} of 37 cells filled"
    for text in (markdown(results, 9), terminal(results, "mini", [9]).splitlines()):
        assert summary in "\n".join(text) and "SPP 1-sc (SqueezeNet)" not in "\n".join(text)
    assert not any("squeezenet" in claim for claim, _ in claims_csv(results))
    detector(results, "table9_squeezenet_1sc", 37.0, 42.0)
    render.report(results)
    found = cells(results, 9)
    assert found["pool5", "squeezenet_1sc"]["ours"] == "37.0" and ("pool5", "squeezenet_5sc") not in found
    claims = claims_csv(results)
    helps = "squeezenet_fine_tuning_and_regression_help"
    assert claims[helps, "ftfc7_bb.squeezenet_1sc - ftfc7.squeezenet_1sc"]["verdict"] == "confirmed"
    assert not any(claim == "squeezenet_five_scales_beat_one" for claim, _ in claims)


def test_the_terminal_shows_wide_tables_in_blocks_that_fit(results: Path) -> None:
    text = terminal(results, "mini", [9, 11, 12])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("\n  SPP bb (ZF-5) ") > 1 and "mbike" in text and "68.0" in text


def test_a_table_that_is_all_quoted_needs_no_records(tmp_path: Path, results: Path) -> None:
    for folder in (tmp_path / "none", results):
        text = terminal(folder, "mini", [13])
        assert "Table 13." in text and "7 quoted" in text and "35.11  quoted" in text and "claims" not in text
    with pytest.raises(DataError, match="no records"):
        terminal(tmp_path / "none", "mini", [12, 13])
    assert "| 2. SPP-net, six models | 35.11 | quoted |  |" in markdown(results, 13)
