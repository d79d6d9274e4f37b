"""Transfer by the command line: whole jobs, killed anywhere and run again, tables, and refusals before any work."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.data import mini
from tests.conftest import surroundings, write_picture

VOC = ("experiment=table6_zf5_full_chosen", "tier=smoke", "transfer.sides=[224,256]")
CALTECH = ("experiment=table7_zf5_crop", "tier=smoke")
RUNS = Path("results", "smoke")


def start(folder: Path, smoke_data: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = surroundings(smoke_data)
    command = [sys.executable, "-m", "spprepro", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def record(folder: Path, job: str) -> dict:
    return json.loads((folder / RUNS / job / "seed0" / "record.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, smoke_data) -> Path:
    """A folder in which both jobs, and before them the network that they need, have run."""
    folder = tmp_path_factory.mktemp("finished")
    for job in (VOC, CALTECH):
        process = start(folder, smoke_data, *job)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return folder


@pytest.fixture
def network(finished, tmp_path) -> Path:
    """A folder that has the network only; that of `cli`."""
    shutil.copytree(finished / "results", tmp_path / "results", ignore=shutil.ignore_patterns("table[67]*"))
    return tmp_path


@pytest.mark.slow  # trains a network and runs two jobs, each starts Python and torch: about 30 s
def test_voc_gives_every_layer_and_tells_how_the_side_was_chosen(finished):
    kept = record(finished, "table6_zf5_full_chosen")
    assert kept["status"] == "smoke" and kept["needs"] == ["table1_zf5_multisize"]
    for layer in ("pool", "spp", "fc6", "fc7"):
        metric = kept["metrics"][f"{layer}_map"]
        assert 0 <= metric["value"] <= 100 and (metric["unit"], metric["n"]) == ("%", 8)
    data = kept["data"]
    assert (data["name"], data["train"], data["test"], data["classes"]) == ("mini", 8, 8, 20)
    tried = data["map_on_val"]
    assert set(tried) == {"224", "256"} and tried[str(data["side"])] == max(tried.values())
    folder = finished / RUNS / "table6_zf5_full_chosen" / "seed0"
    assert set(outcomes.read_replicates(folder)) == set(kept["metrics"])
    assert np.load(folder / "predictions.npz")["fc7"].shape == (8, 20)
    assert not (folder / "features").exists()


@pytest.mark.slow  # see above: it needs the finished jobs
def test_caltech_gives_every_layer_with_its_spread_over_the_splits(finished):
    kept = record(finished, "table7_zf5_crop")
    for layer in ("conv4", "conv5", "pool", "spp", "fc6", "fc7"):
        assert 0 <= kept["metrics"][f"{layer}_accuracy"]["value"] <= 100
        assert kept["metrics"][f"{layer}_accuracy_std"]["value"] >= 0
    data = kept["data"]
    assert (data["train"], data["classes"], data["test_of_a_split"]) == (63, 21, 21)
    assert 21 < data["test"] <= 42  # two splits of one image a class
    assert {metric["n"] for metric in kept["metrics"].values()} == {data["test"]}
    assert data["c"]["fc7"] == 1.0


@pytest.mark.slow  # starts Python and torch twice: about 20 s
@pytest.mark.parametrize(
    ("job", "name", "there"),
    [
        (VOC, "table6_zf5_full_chosen", "features/test_*/pool_scores.npz"),
        (CALTECH, "table7_zf5_crop", "features/all_224/about.json"),
    ],
)
def test_killed_and_again_gives_the_same_numbers(finished, network, cli, smoke_data, job, name, there):
    process = start(network, smoke_data, *job)
    folder, deadline = network / RUNS / name / "seed0", time.monotonic() + 120
    while not list(folder.glob(there)):
        assert process.poll() is None and time.monotonic() < deadline, f"no {there} to kill after"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and not (folder / "record.json").exists()
    done = cli(*job)
    assert done.returncode == 0, done.stderr
    ours, theirs = record(network, name), record(finished, name)
    assert ours["metrics"] == theirs["metrics"] and ours["data"]["fingerprint"] == theirs["data"]["fingerprint"]


@pytest.mark.slow  # starts Python and torch: about 8 s, and needs the finished jobs
def test_several_c_are_chosen_on_the_training_side(network, cli):
    done = cli(*CALTECH, "transfer.c=[0.1,1,10]", "transfer.layers=[spp]", "name=several")
    assert done.returncode == 0, done.stderr
    chosen = record(network, "several")["data"]["c"]["spp"]  # of each split
    assert len(chosen) == 2 and set(chosen) <= {0.1, 1.0, 10.0}
    done = cli(*VOC, "transfer.c=[0.1,1]", "transfer.layers=[spp]", "name=several_voc")
    assert done.returncode == 0, done.stderr
    assert record(network, "several_voc")["data"]["c"]["spp"] in (0.1, 1.0)


def voc_without_a_list(folder: Path) -> str:
    """A VOC folder without the classification list of cats, and with an image listed twice."""
    amounts = mini.Amounts(voc_trainval=4, voc_test=2)
    root = mini.generate(folder / "voc", part="voc", seed=0, amounts=amounts, workers=1)
    lists = root / "VOC2007" / "ImageSets" / "Main"
    (lists / "cat_trainval.txt").unlink()
    test = (lists / "test.txt").read_text()
    (lists / "test.txt").write_text(test + test.splitlines()[0] + "\n")
    return str(root / "VOC2007")


def caltech_with_few_images(folder: Path) -> str:
    """Two classes, one with too few images to train on 3 and test one."""
    for name, count in (("ant", 4), ("crab", 3)):
        for i in range(count):
            write_picture(folder / "101" / name / f"image_{i + 1:04d}.jpg", 30, 40, seed=10 * len(name) + i)
    return str(folder / "101")


@pytest.mark.slow  # each starts Python: up to 8 s on a busy machine
def test_all_faults_of_a_folder_are_named_before_anything_is_trained(cli, tmp_path):
    done = cli(*VOC, f"voc.root={voc_without_a_list(tmp_path)}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cat_trainval.txt: not found" in done.stderr and "is there 2 times; keep one" in done.stderr
    done = cli(*CALTECH, f"caltech.root={caltech_with_few_images(tmp_path)}")
    assert done.returncode == 2 and "crab: 3 images, but 3 train and at least one tests" in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow  # each starts Python and torch: about 8 s, longer on a busy machine
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((*VOC, "voc.root=nowhere"), "voc.root: nowhere"),
        ((*CALTECH, "caltech.root=nowhere"), "caltech.root: nowhere"),
        (("experiment=table7_squeezenet_full", "tier=smoke"), "backbone.weights"),
    ],
)
def test_refused_before_any_work(cli, tmp_path, arguments, part):
    done = cli(*arguments)
    assert done.returncode == 2 and part in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.rglob("*.ckpt"))
