"""Detection by the command line: a whole job, killed anywhere and run again, a look at a picture, and refusals."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from spprepro import detecting
from spprepro.config import check
from spprepro.data.voc import CLASSES
from spprepro.detect.detector import Detector, save
from spprepro.errors import ConfigError, DataError
from spprepro.traces import read_examples, read_precision
from tests.conftest import surroundings, write_picture
from tests.test_config import compose

JOB = ("experiment=table9_zf5_1sc", "tier=smoke")
RUN = Path("results", "smoke", "table9_zf5_1sc", "seed0")
ROWS = ("pool5", "fc6", "ftfc6", "ftfc7", "ftfc7_bb")


def start(folder: Path, smoke_data: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = surroundings(smoke_data)
    command = [sys.executable, "-m", "spprepro", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def record(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, smoke_data) -> Path:
    """A folder in which the job, and before it the network that it needs, have run."""
    folder = tmp_path_factory.mktemp("finished")
    process = start(folder, smoke_data, *JOB)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return folder


@pytest.fixture
def network(finished, tmp_path) -> Path:
    """A folder that has the network only; that of `cli`."""
    shutil.copytree(finished / "results", tmp_path / "results", ignore=shutil.ignore_patterns("table9*"))
    return tmp_path


@pytest.fixture
def detector(finished, tmp_path) -> Path:
    """A folder that has the detector too; that of `cli`."""
    shutil.copytree(finished / "results", tmp_path / "results")
    return tmp_path


@pytest.mark.slow  # trains a network and a detector: about 25 s
def test_a_job_gives_every_row_of_the_table(finished):
    kept = record(finished / RUN)
    assert kept["status"] == "smoke" and kept["needs"] == ["table1_zf5_singlesize"]
    for row in ROWS:
        assert 0 <= kept["metrics"][f"{row}_map"]["value"] <= 100
        assert kept["metrics"][f"{row}_map"]["unit"] == "%" and kept["metrics"][f"{row}_map"]["n"] == 8
    data = kept["data"]
    assert (data["name"], data["train"], data["test"], data["classes"]) == ("mini", 8, 8, 20)
    assert 0 < data["windows"] <= 8 * 60 and set(data["negatives"]) == set(ROWS) - {"ftfc7_bb"}
    assert (finished / RUN / "checkpoints" / "detector.ckpt").is_file()
    assert not (finished / RUN / "learning").exists()
    assert len(read_examples(finished / RUN)) == 4
    aps = {f"ftfc7_bb_ap_{each.name}": each.ap for each in read_precision(finished / RUN)}
    assert aps and all(kept["metrics"][key]["value"] == pytest.approx(ap, abs=1e-4) for key, ap in aps.items())


@pytest.mark.slow  # starts Python, torch and Lightning, five scales: about 15 s
def test_the_released_protocol_at_five_scales(network, cli):
    scales = "detection.scales=[480,576,688,874,1200]"
    done = cli(*JOB, "protocol=released", scales, "name=five")
    assert done.returncode == 0, done.stderr
    kept = record(network / "results/smoke/five/seed0")["metrics"]
    assert all(f"{row}_map" in kept for row in ROWS)


@pytest.mark.slow  # starts Python and torch three times: about 30 s
@pytest.mark.parametrize(
    ("there", "stage"),
    [
        ("learning/*/pairs.npy", "when learning SVMs"),
        ("found/*/000000.npz", "after testing"),
    ],
)
def test_killed_and_again_gives_the_same_numbers(finished, network, cli, smoke_data, there, stage):
    process = start(network, smoke_data, *JOB)
    deadline = time.monotonic() + 120
    while not list((network / RUN).glob(there)):
        assert process.poll() is None and time.monotonic() < deadline, f"no {there} to kill after"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and not (network / RUN / "record.json").exists()
    done = cli(*JOB)
    assert done.returncode == 0, done.stderr
    ours, theirs = record(network / RUN), record(finished / RUN)
    assert ours["metrics"] == theirs["metrics"]
    assert ours["data"]["train_fingerprint"] == theirs["data"]["train_fingerprint"]


@pytest.mark.slow  # starts Python and torch twice: about 15 s
def test_a_look_at_one_picture(detector, cli):
    write_picture(detector / "street.jpg", 200, 260, seed=3)
    done = cli("task=detect", "models=[table9_zf5_1sc]", "image=street.jpg", "tier=smoke")
    assert done.returncode == 0, done.stderr
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("picture: ")]
    drawn = np.asarray(Image.open(detector / line.removeprefix("picture: ")))
    assert drawn.shape == (200, 260, 3)
    boxes = [text for text in done.stdout.splitlines() if " at x " in text]
    assert boxes or "nothing scores over" in done.stdout


def test_a_detector_is_put_together_as_it_was_learned(tmp_path):
    """Whatever protocol and scales a later command names, as a look at a picture may name none."""
    learned = check(compose(*JOB, "protocol=released", "detection.scales=[480,576]"))
    features = detecting.features_of(learned, detecting._empty(learned))
    save(Detector(features, learned.protocol, list(CLASSES), {}, None, "pool5"), tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(learned)))
    found = detecting.load(check(compose(*JOB)), tmp_path)
    assert found.protocol == learned.protocol and found.features.scales == [480, 576]


def test_detectors_without_a_common_row_are_refused_before_the_test(tmp_path, monkeypatch):
    config, rows = check(compose("experiment=table12_combined", "tier=smoke")), iter((["pool5"], ["ftfc7"]))
    monkeypatch.setattr(detecting, "ordered", lambda names: [config])
    monkeypatch.setattr(detecting, "load", lambda job, folder: SimpleNamespace(rows=next(rows)))
    with pytest.raises(DataError, match="table12_zf5_second have none of"):
        detecting.combine_job(config, tmp_path)


def test_jobs_that_make_no_detector_are_refused_by_kind(tmp_path):
    network = check(compose("experiment=table1_zf5_singlesize", "tier=smoke"))
    with pytest.raises(ConfigError, match="table1_zf5_singlesize is of kind=train"):
        detecting.load(network, tmp_path)
    with pytest.raises(ConfigError, match="task=reeval: takes one job"):
        detecting.evaluate_again(network)


@pytest.mark.slow  # starts Python and torch: about 8 s, and needs the finished job
def test_the_numbers_again_from_the_results_files(detector, cli):
    done = cli("task=reeval", *JOB)
    assert done.returncode == 0, done.stderr
    kept = record(detector / RUN)["metrics"]
    for row in ROWS:
        value = f"{kept[f'{row}_map']['value']:.2f}"
        assert f"{row}_map: {value} % of 8 images, {value} in the record" in done.stdout


@pytest.mark.slow  # each starts Python and torch: about 8 s, longer on a busy machine
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("task=detect", "models=[table9_zf5_1sc]", "image=nowhere.jpg", "tier=smoke"), "image: nowhere.jpg"),
        (("task=detect", "models=[table9_zf5_1sc]", "tier=smoke"), "task=detect needs both"),
        (("experiment=table9_zf5_1sc", "tier=small", "data.root=x"), "voc.root: this tier detects on VOC07"),
        (("experiment=table9_squeezenet_1sc", "tier=smoke"), "backbone.weights"),
        (("experiment=table9_squeezenet_1sc", "tier=smoke", "backbone.weights=none.pth"), "none.pth"),
        ((*JOB, "proposals=edge_boxes"), "proposals.model"),
        ((*JOB, "proposals=mat"), "proposals.files"),
        ((*JOB, "voc.root=nowhere"), "voc.root: nowhere"),
    ],
)
def test_refused_before_any_work(cli, tmp_path, arguments, part):
    done = cli(*arguments)
    assert done.returncode == 2 and part in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))  # nothing was trained
