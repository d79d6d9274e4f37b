"""Killed at random moments, again and again: the same command ends with the numbers of an undisturbed run."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spprepro import records

RUNS = Path("results", "smoke")


def start(folder, home, arguments, networks=None):
    """`networks`: a folder of runs that a new `folder` begins with."""
    if not folder.exists():
        shutil.copytree(networks, folder / RUNS) if networks else folder.mkdir()
    command = [sys.executable, "-m", "spprepro", "tier=smoke", *arguments]
    environment = {**os.environ, "SPPREPRO_DATA": str(home / "data"), "XDG_CACHE_HOME": str(home / "cache")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*given):
    process = start(*given)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said


def metrics(folder):
    kept = [records.read(path) for path in sorted((folder / RUNS).glob("*/seed0/record.json"))]
    return [(record.experiment, record.metrics, record.data["fingerprint"]) for record in kept]


def assert_kills_change_nothing(tmp_path, kills, arguments, networks=None):
    for folder in ("whole", "timed"):  # the first draws the data set and searches windows, too
        began = time.monotonic()
        finish(tmp_path / folder, tmp_path / "one", arguments, networks)
        whole = time.monotonic() - began
    moments = random.Random(0)
    landed = 0
    for place in range(10 * kills):
        process = start(tmp_path / "killed", tmp_path / "two", arguments, networks)
        try:
            process.wait(moments.uniform(0.1, 0.9) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            landed += 1
        said, _ = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said
        if process.returncode == 0:  # finished between two kills: once more from the start, on the data that is there
            assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
            if landed >= kills:
                return
            (tmp_path / "killed").rename(tmp_path / f"killed_{place}")
    pytest.fail("never got through")


@pytest.mark.slow  # thirty starts of Python and torch, and what each gets done: about 5 minutes
@pytest.mark.timeout(1800)
def test_a_detector_does_not_depend_on_twenty_kills(tmp_path):
    """A network is trained, proposals are searched, fc layers fine-tuned, SVMs mined, a detector tested."""
    assert_kills_change_nothing(tmp_path, 20, ["experiment=table9_zf5_1sc", "training.snapshot_steps=2"])


@pytest.mark.slow  # about fifteen starts of Python and torch, and what each gets done: about 3 minutes
@pytest.mark.timeout(1800)
def test_transfer_does_not_depend_on_ten_kills(tmp_path):
    """Features are extracted, of more images than are noted as done at a time, and SVMs learned on each layer."""
    network, job = "experiment=table1_zf5_multisize", "experiment=table7_zf5_full"
    finish(tmp_path / "network", tmp_path / "one", [network])
    assert_kills_change_nothing(tmp_path, 10, [job, "caltech.per_class=30"], tmp_path / "network" / RUNS)


@pytest.mark.slow  # starts Python ten times: about 20 s
def test_a_report_that_was_killed_leaves_whole_files(tmp_path):
    results = Path(__file__).parents[1] / "results"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "results").mkdir()
    for tier in results.iterdir():
        if (tier / "report.html").is_file():
            (tmp_path / "results" / tier.name).mkdir()
            for record in tier.glob("*/*/*"):
                if record.name in ("record.json", "outcomes.npz", "config.yaml", "growth.csv"):
                    link = tmp_path / "results" / record.relative_to(results)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(record)
    command = [sys.executable, "-m", "spprepro", "task=report"]
    began = time.monotonic()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    whole = time.monotonic() - began
    made = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*") if p.is_file() and not p.is_symlink()}
    moments = random.Random(1)
    for _ in range(8):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.2, 1) * whole)
        process.kill()
        process.wait()
        assert {path: path.read_bytes() for path in made} == made
