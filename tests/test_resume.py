"""Kill the job anywhere: the same command again ends with the same weights, to the bit."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spprepro import records
from tests.conftest import surroundings

ARGUMENTS = ["experiment=table1_zf5_multisize", "tier=smoke", "training.epochs=3", "training.snapshot_steps=2"]
RUN = Path("results", "smoke", "table1_zf5_multisize", "seed0")
# each run starts Python, torch and Lightning anew: about 10 s
pytestmark = pytest.mark.slow


def start(folder, smoke_data, *more):
    environment = surroundings(smoke_data)
    command = [sys.executable, "-m", "spprepro", *ARGUMENTS, *more]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(folder, smoke_data, *more):
    process = start(folder, smoke_data, *more)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return outcome(folder)


def outcome(folder):
    last = folder / RUN / "checkpoints" / "step-00000015.end.ckpt"
    state = torch.load(last, weights_only=True)
    return state["state_dict"], state["optimizer_states"], records.read(folder / RUN / "record.json").metrics


def interrupt(process, path, number):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"no {path.name} to kill after"
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def assert_same(ours, theirs):
    for name, value in theirs[0].items():
        assert torch.equal(ours[0][name], value), name
    for key, state in theirs[1][0]["state"].items():
        assert torch.equal(ours[1][0]["state"][key]["momentum_buffer"], state["momentum_buffer"])
    assert ours[2] == theirs[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, smoke_data):
    return finish(tmp_path_factory.mktemp("undisturbed"), smoke_data)


@pytest.mark.parametrize(
    ("checkpoint", "where"),
    [("step-00000008.ckpt", "in the middle of an epoch"), ("step-00000005.end.ckpt", "at its end")],
)
def test_sigkill_and_again_gives_the_same_weights(tmp_path, smoke_data, undisturbed, checkpoint, where):
    process = start(tmp_path, smoke_data)
    assert interrupt(process, tmp_path / RUN / "checkpoints" / checkpoint, signal.SIGKILL) == -signal.SIGKILL
    assert not (tmp_path / RUN / "record.json").exists()
    assert_same(finish(tmp_path, smoke_data), undisturbed)


def test_sigterm_saves_leaves_with_130_and_resumes(tmp_path, smoke_data, undisturbed):
    process = start(tmp_path, smoke_data)
    assert interrupt(process, tmp_path / RUN / "checkpoints" / "step-00000006.ckpt", signal.SIGTERM) == 130
    assert_same(finish(tmp_path, smoke_data), undisturbed)


def test_worker_count_changes_nothing(tmp_path, smoke_data, undisturbed):
    assert_same(finish(tmp_path, smoke_data, "data.workers=2"), undisturbed)


def test_another_seed_changes_the_weights(tmp_path, smoke_data, undisturbed):
    process = start(tmp_path, smoke_data, "seed=1", "name=other")
    assert process.wait(timeout=300) == 0
    last = tmp_path / "results" / "smoke" / "other" / "seed1" / "checkpoints" / "step-00000015.end.ckpt"
    state = torch.load(last, weights_only=True)["state_dict"]
    assert not torch.equal(state["network.trunk.conv1.weight"], undisturbed[0]["network.trunk.conv1.weight"])
