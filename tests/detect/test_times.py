"""Times of SPP-net and R-CNN: what is booked where, ratios of means and their replicates, the growth's file."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spprepro import outcomes
from spprepro.detect import times
from spprepro.detect.features import SppFeatures
from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.sources import Source
from spprepro.detection import Protocol
from spprepro.folders import experiments
from spprepro.paper.tables import load
from tests.detect.toys import CLASSES, spp, toy

SETTING = times.Setting(Protocol(), CLASSES, torch.device("cpu"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return toy(tmp_path_factory.mktemp("toy"), count=2, windows=24)


def rcnn_of(features: SppFeatures, size: int = 96) -> RcnnFeatures:
    return RcnnFeatures(None, CropNet(features.trunk, features.levels, features.tuned), size).eval()  # type: ignore[arg-type]


def means(method: str, conv: list[float], fc: list[float]) -> dict[str, dict[str, np.ndarray]]:
    return {method: {"conv": np.array(conv), "fc": np.array(fc), "other": np.zeros(len(conv))}}


@pytest.mark.parametrize("method", ["spp", "rcnn"])
def test_timed_features_are_those_of_the_detector(source: Source, method: str) -> None:
    features: Any = spp([96, 128])
    features = features if method == "spp" else rcnn_of(features)
    picture, boxes = source.picture(1), source.windows(1)
    watch = times.Stopwatch(torch.device("cpu"))
    with torch.inference_mode():
        found = times.describe(features, picture, boxes, watch)
        prepared = features.prepare(picture)
        plain = features.describe(prepared, boxes, (picture.shape[1], picture.shape[2]), [times.LAYER])
    torch.testing.assert_close(found.layers[times.LAYER], plain.layers[times.LAYER])
    np.testing.assert_array_equal(found.inverse, plain.inverse)
    assert watch.seconds.keys() == ({"conv", "fc"} if method == "spp" else {"conv", "fc", "other"})
    assert min(watch.seconds.values()) > 0


def test_every_image_is_timed_with_every_method_in_turn(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    one = spp([96])
    methods = {"spp_1sc": one, "spp_5sc": times.with_scales(one, [96, 112]), "rcnn_zf5": rcnn_of(one)}
    seen: list[tuple[str, tuple[int, ...], int]] = []
    describe = times.describe

    def watched(features: Any, picture: torch.Tensor, boxes: Any, watch: times.Stopwatch) -> Any:
        (name,) = (name for name, own in methods.items() if own is features)
        seen.append((name, tuple(picture.shape), len(boxes)))
        return describe(features, picture, boxes, watch)

    monkeypatch.setattr(times, "describe", watched)
    with torch.inference_mode():
        found = times.measure(methods, source, SETTING)
    each = [
        (name, (3, *source.size(number)), len(source.windows(number)))
        for number in (0, 0, 1)  # the first warms up
        for name in methods
    ]
    assert seen == each
    assert {(part, len(column), column.min() > 0) for parts in found.values() for part, column in parts.items()} == {
        (part, 2, True) for part in times.PARTS
    }
    assert methods["spp_5sc"].tuned is one.tuned


def test_nms_has_its_full_work(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    scores: list[np.ndarray] = []
    detect = times.detect

    def watched(detectors: Any, picture: Any, boxes: Any, rows: Any) -> Any:
        described = detectors[0].features.described
        scores.append(detectors[0].svms[times.LAYER].scores(described.layers[times.LAYER].numpy())[described.inverse])
        return detect(detectors, picture, boxes, rows)

    monkeypatch.setattr(times, "detect", watched)
    with torch.inference_mode():
        times.measure({"spp_1sc": spp([96])}, source, SETTING)
    assert (np.concatenate(scores) > -1.5).mean() > 0.9


def test_speedups_are_ratios_of_means_with_paired_replicates() -> None:
    seconds = means("spp_1sc", [1, 3], [1, 1]) | means("rcnn_alex5", [10, 50], [2, 4])
    metrics, replicates = times.evaluate(seconds)
    assert metrics["spp_1sc_conv_s"] == times.Metric(2.0, "s", 2) and metrics["rcnn_alex5_total_s"].value == 33
    assert metrics["spp_1sc_conv_speedup_alex5"].value == 15
    assert metrics["spp_1sc_speedup_alex5"] == times.Metric(11.0, "x", 2)
    first = outcomes.resamples(2) @ [1, 0]
    speedup = replicates["spp_1sc_conv_speedup_alex5"]
    assert speedup.shape == (outcomes.RESAMPLES,) and replicates.keys() == metrics.keys()
    np.testing.assert_allclose(speedup[first == 2], 10, rtol=1e-6)  # the first image alone
    np.testing.assert_allclose(speedup[first == 0], 50 / 3, rtol=1e-6)
    np.testing.assert_allclose(speedup[first == 1], 15, rtol=1e-6)


def test_metrics_are_those_that_the_tables_ask_for() -> None:
    seconds = {}
    for method in ("spp_1sc", "spp_5sc", "rcnn_alex5", "rcnn_zf5"):
        seconds |= means(method, [1, 2], [1, 2])
    metrics, _ = times.evaluate(seconds)
    cells = [cell for n in (9, 10) for cell in load(experiments() / f"table{n:02d}.yaml").cells.values()]
    asked = {str(cell.metric): cell.measure.unit for cell in cells if cell.job == "table9_times" and not cell.quoted}
    assert len(asked) > 15 and {key: metrics[key].unit for key in asked} == asked


def test_growth_has_windows_as_far_as_they_go_and_all_scales(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "COUNTS", (6, 12, 24, 48))
    one = spp([96])
    with torch.inference_mode():
        text = times.grow(one, rcnn_of(one), [64, 96, 128], source, SETTING, most=12)
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["against"], row["method"], int(row["windows"]), int(row["scales"])) for row in rows] == [
        ("windows", "spp", 6, 1),
        ("windows", "rcnn_zf5", 6, 1),
        ("windows", "spp", 12, 1),
        ("windows", "rcnn_zf5", 12, 1),
        ("windows", "spp", 24, 1),
        ("scales", "spp", 24, 1),
        ("scales", "spp", 24, 2),
        ("scales", "spp", 24, 3),
    ]
    assert all(float(row["conv_s"]) > 0 and float(row["fc_s"]) > 0 for row in rows)


@pytest.mark.slow  # trains two networks, computes proposals of two images: about 20 s
def test_job_leaves_a_record_replicates_and_the_growth(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("experiment=table9_times", "tier=smoke", "training.epochs=1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results/smoke/table9_times/seed0"
    record = json.loads((folder / "record.json").read_text())
    assert record["needs"] == ["table1_zf5_singlesize", "table9_alex5_nospp"]
    data = record["data"]
    assert (data["train"], data["test"]) == (0, 2) and 0 < data["windows"] <= 60 and "fc6" in data["booked"]
    replicates = outcomes.read_replicates(folder)
    assert replicates.keys() == record["metrics"].keys() and outcomes.read(folder) == {}
    assert all(metric["n"] == 2 and metric["value"] > 0 for metric in record["metrics"].values())
    assert (folder / times.GROWTH).read_text().startswith(",".join(times.GROWTH_COLUMNS))
