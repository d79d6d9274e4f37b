"""A sweep on a real Slurm of one machine: one array, the needing waits for the needed, a requeued job goes on, and the
tasks of an array share windows and features."""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from spprepro.transfer.store import Store
from tests.conftest import surroundings

HERE = Path(__file__).parent
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
JOBS = ("table1_zf5_singlesize", "table9_zf5_1sc")
QUICK = ("tier=smoke", "training.epochs=3", "training.snapshot_steps=2")
CPU = ("trainer.accelerator=cpu", "trainer.deterministic=false")
SWEEP = ("-m", "trainer=slurm", *CPU, "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1")
pytestmark = [
    pytest.mark.slow,  # starts Slurm, and Python with torch twelve times: about two minutes
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}; apt-get install slurm-wlm munge"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons are started as root"),
    pytest.mark.skipif(
        find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="pip install 'spprepro[slurm]'"
    ),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(["bash", HERE / "start.sh", folder], capture_output=True, text=True, timeout=90)
    if started.returncode:
        pytest.skip(f"Slurm does not start here: {started.stderr[-300:]}")
    yield {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["bash", HERE / "stop.sh", folder], check=True)


def outcome(folder, job):
    record = json.loads((folder / "results" / "smoke" / job / "seed0" / "record.json").read_text())
    return record["metrics"], record["needs"], record["config_sha256"]


def test_an_array_of_jobs_with_a_requeue_gives_what_one_machine_gives(slurm, tmp_path, smoke_data):
    (tmp_path / "alone").mkdir()
    (tmp_path / "array").mkdir()
    command = [sys.executable, "-m", "spprepro", *QUICK]
    alone = subprocess.run(
        [*command, f"experiment={JOBS[1]}"],
        cwd=tmp_path / "alone",
        env=surroundings(smoke_data),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert alone.returncode == 0, alone.stderr
    sweep = subprocess.Popen(
        [*command, *SWEEP, f"experiment={','.join(JOBS)}"],
        cwd=tmp_path / "array",
        env={**surroundings(smoke_data), **slurm},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    trained = tmp_path / "array" / "results" / "smoke" / JOBS[0] / "seed0"
    deadline = time.monotonic() + 200
    while not list((trained / "checkpoints").glob("*.ckpt")):
        assert sweep.poll() is None and time.monotonic() < deadline, sweep.communicate()[0]
        time.sleep(0.005)
    environment = {**os.environ, **slurm}
    queue = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], env=environment, capture_output=True, text=True)
    numbers = sorted(queue.stdout.split())
    assert len({number.partition("_")[0] for number in numbers}) == 1 and len(numbers) == 2, "one array of two"
    subprocess.run(["scontrol", "requeue", numbers[0]], env=environment, check=True)
    state = ["squeue", "-h", "-r", "-j", numbers[0], "-o", "%t"]
    while subprocess.run(state, env=environment, capture_output=True, text=True).stdout.strip() != "PD":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    soon = ["scontrol", "update", f"JobId={numbers[0]}", "StartTime=now"]  # Slurm would wait two minutes
    subprocess.run(soon, env=environment, check=True)
    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, said
    for job in JOBS:
        assert outcome(tmp_path / "array", job) == outcome(tmp_path / "alone", job)


def test_an_array_shares_the_windows_and_features_of_jobs(slurm, tmp_path, smoke_data):
    environment = {**surroundings(smoke_data), "XDG_CACHE_HOME": str(tmp_path / "cache"), **slurm}
    command = [sys.executable, "-m", "spprepro", *QUICK, "experiment=table6_zf5_full,table9_zf5_1sc"]
    shards = [*SWEEP, "shard=range(2)", "shards=2"]
    done = subprocess.run(
        [*command, *shards], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    arrays = {path.name.partition("_")[0] for path in (tmp_path / "results" / ".sweep").rglob("*_result.pkl")}
    assert len(arrays) == 1, "one array"
    assert len(list((tmp_path / "cache" / "spprepro" / "proposals").rglob("*.npz"))) == 16
    features = tmp_path / "results" / "smoke" / "table6_zf5_full" / "seed0" / "features"
    for part in ("trainval", "test"):
        stores = [Store(features / f"{part}_224_{shard}of2") for shard in (0, 1)]
        assert not set(stores[0].missing()) & set(stores[1].missing())
        assert all(0 < len(store.missing()) < 8 for store in stores)
