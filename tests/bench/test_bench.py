"""The speed measurements: both run through the command line and leave their record; both sides do the same work."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from spprepro import detecting
from spprepro.bench import detection, rcnn_vs_spp, svm, train_step
from spprepro.bench.input_pipeline import resampled
from spprepro.bench.result import Measurement, Side, finish
from spprepro.bench.train_loop import BareSteps, bare_steps
from spprepro.bench.views import crop_corners, crop_scores
from spprepro.classify.train import ImageData, build_classifier
from spprepro.classify.views import score
from spprepro.config import Config, check
from spprepro.data.loader import whole
from spprepro.data.prepare import prepare
from spprepro.detect.learning import inference
from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.times import Stopwatch
from spprepro.errors import ConfigError
from spprepro.folders import conf
from spprepro.nets.geometry import layer_sizes
from spprepro.training.lightning import fitting

KEYS = {
    "name", "ours", "peer", "unit", "ratio", "ratio_min", "ratio_max", "requirement", "met", "workers", "threads",
    "cpu", "cpu_count", "device", "versions", "git", "command", "started",
}  # fmt: skip


def smoke(*overrides: str) -> Config:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf())):
        raw: Any = OmegaConf.to_container(hydra.compose("config", overrides=["tier=smoke", *overrides]), resolve=True)
    return check(raw)


@pytest.mark.parametrize(
    ("bench", "amount", "unit", "limit"),
    [
        ("input_pipeline", "images", "images/s", ">= 3.0"),
        ("train_loop", "steps", "ms/step", "<= 1.05"),
        ("views", "images", "images/s", ">= 5.0"),
        ("window_pooling", "windows", "windows/s", ">= 5.0"),
        ("svm", "svms", "SVMs/s", ">= 5.0"),
        ("transfer", "svms", "SVMs/s", ">= 4.0"),
    ],
)
def test_command_leaves_a_whole_record(
    cli: Callable[..., Any], tmp_path: Path, bench: str, amount: str, unit: str, limit: str
) -> None:
    done = cli("task=bench", f"bench={bench}", "tier=smoke", "data.workers=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"record: results/bench/{bench}.json"
    assert [path.name for path in (tmp_path / "results" / "bench").iterdir()] == [f"{bench}.json"]
    record = json.loads((tmp_path / "results" / "bench" / f"{bench}.json").read_text())
    assert record.keys() >= KEYS | {amount}
    assert (record["name"], record["unit"], record["requirement"]) == (bench, unit, limit)
    assert record["ours"] > 0 and record["peer"] > 0 and record[amount] > 0 and record["workers"] == 1
    assert record["ratio_min"] <= record["ratio"] <= record["ratio_max"]
    sign, bound = limit.split()
    assert record["met"] == (record["ratio"] >= float(bound) if sign == ">=" else record["ratio"] <= float(bound))
    assert record["command"] == f"python -m spprepro task=bench bench={bench} tier=smoke data.workers=1"
    assert f"required {limit}: {'met' if record['met'] else 'NOT met'}" in done.stdout


@pytest.mark.slow  # a process loads torch and takes a dozen steps: about 15 s on a busy machine
def test_train_step_leaves_a_record_for_each_size(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("task=bench", "bench=train_step", "tier=smoke")
    assert done.returncode == 0, done.stderr
    for size in (224, 180):
        record = json.loads((tmp_path / "results" / "bench" / f"train_step_{size}.json").read_text())
        assert record.keys() >= KEYS | {"images"} and record["unit"] == "images/s"
        assert record["requirement"] == ">= 2.3" and record["met"] == (record["ratio"] >= 2.3)
        assert record["settings"]["size"] == size and record["ours"] > 0 and record["peer"] > 0


def test_a_step_of_stock_modules_learns_the_same() -> None:
    """Without dropout and in the same precision both sides end with the same weights, so they do the same work."""
    config = smoke("training.dropout=0", "training.batch=4")
    sides = [train_step.classifier(config, 5), train_step.stock(config, 5)]
    kinds = {type(module).__name__ for module in sides[1].network.modules()}
    assert not kinds & {"WithinChannelLRN", "SpatialPyramidPooling"} and "AdaptiveMaxPool2d" in kinds
    for size in (224, 180):
        for side in sides:
            step = bare_steps(side, [train_step.batch(config, 5, size)], "fp32", torch.device("cpu"))
            before = [weights.clone() for weights in side.network.parameters()]
            step()
        ours, peer = (list(side.network.parameters()) for side in sides)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, peer, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(before, peer, strict=True))


@pytest.mark.slow  # a process loads torch, and proposals of two images are searched three times: about 20 s
def test_detection_tells_its_parts_beside_the_limit(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("task=bench", "bench=detection", "tier=smoke")
    assert done.returncode == 0, done.stderr
    for name, scales in (("1sc", "688"), ("5sc", "480-576-688-864-1200")):
        record = json.loads((tmp_path / "results" / "bench" / f"detection_{name}.json").read_text())
        assert record.keys() >= KEYS | {"images"} and (record["requirement"], record["met"]) == ("none", None)
        assert (record["settings"]["scales"], record["unit"]) == (scales, "ms/image")
        assert list(record["parts"]) == ["decode", "proposals", "maps", "pooling", "fc", "SVMs", "regression and NMS"]
        assert min(record["parts"].values()) > 0
        whole = sum(value for part, value in record["parts"].items() if part != "proposals")
        assert min(record["rounds"]["ours"]["values"]) < 1.5 * whole
        assert 0 < record["settings"]["different windows"] <= record["settings"]["windows"]
        assert "regression and NMS" in done.stdout and "weights drawn" in record["settings"]["network"]


def test_the_watched_detector_finds_what_the_detector_finds() -> None:
    job = smoke("experiment=table9_zf5_1sc")
    found, weights = detection.detector(job, ["a", "b"])
    picture, boxes = rcnn_vs_spp.draw(0, 40)
    watch = Stopwatch(torch.device("cpu"))
    watched = detection.watching(found, job.detection.scales, watch, torch.device("cpu"))
    with inference(job):
        before = {"decode": 0.5, "proposals": 2.0}
        timed = detection.through(watched, picture, boxes, watch, before=before, rate=1e9)
        ours, theirs = (each.find(picture, boxes, ["ftfc7_bb"])["ftfc7_bb"] for each in (watched, found))
    assert weights == "drawn" and min(timed.parts.values()) > 0 and timed.limit == timed.operations / 1e9
    assert 0.5 < timed.total == pytest.approx(sum(timed.parts.values()) - 2)
    assert sum(len(scores) for _, scores in ours) > 10
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    net = found.features.trunk.backbone
    fc = timed.distinct * (found.features.inputs * net.fc + net.fc**2)
    assert timed.operations == fc + sum(layer.multiply_adds for layer in layer_sizes(net, 688, 918))


def test_a_detector_that_was_trained_is_the_one_that_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = smoke("experiment=table9_zf5_1sc", f"results_dir={tmp_path}")
    monkeypatch.setattr(detecting, "load", lambda config, folder: (config.name, folder))
    kept = tmp_path / "smoke" / job.name / "seed0" / "checkpoints" / "detector.ckpt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert detection.detector(job, ["a"]) == ((job.name, kept.parents[1]), "trained by table9_zf5_1sc")


def test_the_rate_is_that_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((1.0, 3.0))
    monkeypatch.setattr(detection, "perf_counter", lambda: next(clock))
    assert detection.products_rate(10, "bf16", torch.device("cpu")) == detection.PRODUCTS * 10**3 / 2


@pytest.mark.slow  # a process loads torch, and three loaders are timed: about 20 s
def test_a_copy_is_measured_against_the_recipe_and_the_loader_without_it(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    done = cli("task=bench", "bench=input_pipeline", "tier=smoke", "data.workers=1", "data.cache=jpeg")
    assert done.returncode == 0, done.stderr
    for name, limit in (("input_pipeline_jpeg", ">= 3.0"), ("input_cache_jpeg", ">= 2.0")):
        record = json.loads((tmp_path / "results" / "bench" / f"{name}.json").read_text())
        assert (record["name"], record["requirement"], record["settings"]["cache"]) == (name, limit, "jpeg")
        assert record["ours"] > 0 and record["peer"] > 0 and record["settings"]["median megapixels"] > 0


@pytest.mark.slow  # two processes load torch, and a third of the work is at scale 1200: about 25 s on a busy machine
def test_rcnn_against_spp_leaves_a_record_for_one_scale_and_for_five(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("task=bench", "bench=rcnn_vs_spp", "tier=smoke")
    assert done.returncode == 0, done.stderr
    for name, scales, limit in (("1sc", "688", ">= 160.0"), ("5sc", "480-576-688-864-1200", ">= 24.0")):
        record = json.loads((tmp_path / "results" / "bench" / f"rcnn_vs_spp_{name}.json").read_text())
        assert record.keys() >= KEYS | {"images"} and record["name"] == f"rcnn_vs_spp_{name}"
        assert (record["settings"]["scales"], record["requirement"]) == (scales, limit)
        assert record["ours"] > 0 and record["peer"] > 0 and record["met"] == (record["ratio"] >= float(limit[3:]))
        assert 0.1 < record["settings"]["peak GB of testing at five scales"] < 3
        assert f"rcnn_vs_spp_{name}.json" in done.stdout


def test_limits_of_rcnn_against_spp_are_those_of_the_sizes() -> None:
    net = smoke().backbone
    pixels, operations = rcnn_vs_spp.limits(net, 2000, [688])
    assert pixels == pytest.approx(2000 * 224**2 / (688 * 918))
    assert 120 < operations < pixels  # the borders of small maps that no window of a convolution reaches
    assert rcnn_vs_spp.limits(net, 1000, [688])[1] == pytest.approx(operations / 2)


def test_time_of_some_crops_stands_for_all_windows() -> None:
    config = smoke()
    spp = rcnn_vs_spp.spp_features(config, config.backbone.scaled(1 / 16), [96])
    rcnn: Any = RcnnFeatures(None, CropNet(spp.trunk, spp.levels, spp.tuned), 64)  # type: ignore[arg-type]
    seen = []

    def slowly(module: Any, inputs: Any) -> None:
        seen.append(len(inputs[0]))
        time.sleep(0.1)

    rcnn.tuned.trunk.register_forward_pre_hook(slowly)
    with torch.inference_mode():
        found = rcnn_vs_spp.each(rcnn, torch.zeros(6, 3, 64, 64, dtype=torch.uint8), 4, 60, torch.device("cpu"))
    assert seen == [4, 2] and 2.0 <= found.conv < 6 and 0 < found.fc < 2


@pytest.mark.parametrize(
    ("sign", "limit", "ours", "met"),
    [(">=", 3.0, [6.0, 5.9, 9.0], True), (">=", 3.0, [5.9, 5.9, 9.0], False), ("<=", 1.05, [2.1, 2.0, 9.0], True)],
)
def test_verdict_is_that_of_the_median_ratio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sign: Any, limit: float, ours: list[float], met: bool
) -> None:
    measurement = Measurement(
        name="speed",
        ours=Side("ours", ours),
        peer=Side("theirs", [2.0, 2.0, 2.0]),
        unit="m/s",
        sign=sign,
        limit=limit,
        amount={"steps": 3},
        settings={},
        started="now",
    )
    record = json.loads(finish(measurement, replace(smoke(), results_dir=str(tmp_path))).read_text())
    assert record["met"] is met
    assert record["ratio"] == sorted(ours)[1] / 2 and record["ratio_max"] == 4.5
    assert ("NOT met" in capsys.readouterr().out) is not met


def test_both_pipelines_get_as_many_images_as_asked(smoke_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPPREPRO_DATA", str(smoke_data))
    survey = prepare(smoke().data)
    few, many = resampled(survey, 10).train, resampled(survey, 100).train
    assert len(set(few)) == len(few) == 10 and len(many) == 100
    assert set(few) < set(many) == set(survey.train)


@pytest.mark.filterwarnings("ignore")  # what Lightning says about three steps without validation
def test_bare_steps_learn_what_lightning_learns(
    smoke_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout both end with the same weights, so both loops did the same work."""
    monkeypatch.setenv("SPPREPRO_DATA", str(smoke_data))
    config = smoke("training.dropout=0", "training.epochs=1", "training=singlesize", "trainer.deterministic=false")
    survey = prepare(config.data)
    batches = list(ImageData(config, survey).train_dataloader())[:3]
    loader: Any = DataLoader(batches, batch_size=None, collate_fn=whole)  # type: ignore[arg-type]
    count = len(survey.classes)
    bare, ours, untouched = (build_classifier(config, count, survey.mean, survey.colour) for _ in range(3))
    steps = BareSteps(bare_steps(bare, loader, "fp32", torch.device("cpu")), torch.device("cpu"), warm=1)
    fitting(config.trainer, tmp_path, config.training.epochs, [steps], None).fit(ours, train_dataloaders=loader)
    assert len(steps.lightning) == len(steps.bare) == 2 and min(steps.lightning + steps.bare) > 0
    weights = zip(bare.parameters(), ours.parameters(), untouched.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) and not torch.equal(b, c) for a, b, c in weights)


@pytest.mark.parametrize("backbone", ["zf5", "overfeat7"])
def test_both_sides_of_the_views_see_the_same_96_crops(backbone: str) -> None:
    config = smoke(f"backbone={backbone}", "views.tests=[multiview]")
    module = build_classifier(config, 5, np.full((3, 224, 224), 110, np.float32), np.eye(3, dtype=np.float32)).eval()
    small = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    images = {}
    for side in config.views.scales:
        scaled = torch.nn.functional.interpolate(small, size=(side, side * 4 // 3), mode="bicubic", antialias=True)
        images[side] = (scaled * 255).clamp(0, 255).byte()
    corners = {side: crop_corners(config, module, pictures) for side, pictures in images.items()}
    assert 2 * sum(map(len, corners.values())) == 96
    assert all(y + 224 <= side and x + 224 <= side * 4 // 3 for side, found in corners.items() for y, x in found)
    with torch.inference_mode():
        maps = score(module.network, module.prepare_test, images, module.viewing)["multiview"]
        crops = crop_scores(module, images, corners)
    torch.testing.assert_close(maps, crops, rtol=0.05, atol=0.01)  # the padding at the crops' borders differs


def test_rows_of_the_svms_are_as_mining_leaves_them() -> None:
    x, labels = svm.draw(np.random.default_rng(0), 0.3, shrink=10)
    assert x.dtype == np.float32 and x.shape == (600, 409) and (x >= 0).all()
    assert np.linalg.norm(x, axis=1).mean() == pytest.approx(20, rel=1e-5)
    assert 0.28 < (x != 0).mean() < 0.32
    np.testing.assert_array_equal((labels > 0).sum(0), 7)
    np.testing.assert_array_equal((labels < 0).sum(0), 192)
    assert (labels > 0).sum(1).max() == 1 and (labels < 0).sum(1).max() > 5  # negatives are shared
    assert ((labels > 0).any(1) & (labels < 0).any(1)).any()  # also those that are another class's positives


def test_both_sides_of_the_svms_minimise_the_same() -> None:
    x, labels = svm.draw(np.random.default_rng(0), 0.3, shrink=20)
    least = svm.optimum(x, labels)
    for found in (svm.ours(x, labels), svm.peer(x, labels, 1e-6)):
        np.testing.assert_allclose(svm.objectives(x, labels, found), least, rtol=1e-3)
    assert svm.loosest(x, labels, 1.5 * least) > svm.loosest(x, labels, (1 + 1e-4) * least)
    with pytest.raises(RuntimeError, match="misses the objective"):
        svm.loosest(x, labels, 0.9 * least)


def test_svms_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'spprepro\[dev\]'"):
        svm.measure(smoke())
