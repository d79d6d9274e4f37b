"""Several processes as one: the same weights, each image once, an exact resume, one that fails stops all."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spprepro import ranks, records
from spprepro.errors import ConfigError, Interrupted
from tests.conftest import surroundings

TWO = "trainer.devices=2"
JOB = [
    "experiment=table1_zf5_multisize",
    "tier=smoke",
    "trainer.precision=fp32",
    "training.snapshot_steps=2",
    "training.epochs=4",
]
RUN = Path("results", "smoke", "table1_zf5_multisize", "seed0")


def test_one_process_alone_leads_and_waits_for_nobody():
    assert (ranks.rank(), ranks.world(), ranks.leads()) == (0, 1, True)
    ranks.barrier()
    with ranks.one_first():
        pass
    assert ranks.everyone("mine") == ["mine"]


def test_all_processes_get_their_places(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib\n"
        "names = 'RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR'\n"
        f"path = pathlib.Path({str(tmp_path)!r}, os.environ['RANK'])\n"
        "path.write_text(' '.join(os.environ[name] for name in names))\n"
    )
    assert ranks.launch([str(script)], 3, 1) == 0
    assert [(tmp_path / str(k)).read_text() for k in range(3)] == [f"{k} {k} 3 3 127.0.0.1" for k in range(3)]


def test_one_that_fails_stops_the_others(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(2)\ntime.sleep(60)\n")
    started = time.monotonic()
    assert ranks.launch([str(script)], 2, 1) == 2
    assert time.monotonic() - started < 30


def test_a_signal_is_passed_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\nif os.environ['RANK'] == '0': os.kill(os.getppid(), 15)\ntime.sleep(60)\n"
    )
    with pytest.raises(Interrupted, match="SIGTERM"):
        ranks.launch([str(script)], 2, 1)


def test_several_nodes_need_slurm_or_torchrun(monkeypatch):
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    with pytest.raises(ConfigError, match="torchrun --nnodes=2 --nproc-per-node=4"):
        ranks.launch(["script.py"], 4, 2)


def test_other_numbers_of_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    ranks.check_world(2, 1)
    with pytest.raises(ConfigError, match=r"trainer\.devices: 4"):
        ranks.check_world(4, 1)


# the rest starts Python, torch and Lightning several times: 10 to 30 s each


def start(folder, smoke_data, *arguments):
    environment = surroundings(smoke_data)
    return subprocess.Popen(
        [sys.executable, "-m", "spprepro", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder, smoke_data, *arguments):
    process = start(folder, smoke_data, *arguments)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    weights = torch.load(sorted((folder / RUN / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)["state_dict"]
    return weights, records.read(folder / RUN / "record.json").metrics


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, smoke_data):
    return finish(tmp_path_factory.mktemp("two"), smoke_data, *JOB, TWO)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path, smoke_data):
    both = [*JOB, "training.dropout=0"]  # each process has dropout masks of its own
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, metrics = finish(tmp_path / "one", smoke_data, *both)
    two, theirs = finish(tmp_path / "two", smoke_data, *both, TWO)
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=1e-4, atol=1e-6)  # sums in another order, over 20 steps
    assert {key: (m.value, m.n) for key, m in metrics.items()} == {key: (m.value, m.n) for key, m in theirs.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_two_processes_resume_exactly(tmp_path, smoke_data, undisturbed, number, code):
    process = start(tmp_path, smoke_data, *JOB, TWO)
    deadline = time.monotonic() + 120
    while not (tmp_path / RUN / "checkpoints" / "step-00000002.ckpt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(60) == code
    weights, metrics = finish(tmp_path, smoke_data, *JOB, TWO)
    for name, values in undisturbed[0].items():
        assert torch.equal(weights[name], values), name
    assert metrics == undisturbed[1]


@pytest.mark.slow
def test_a_resume_on_other_devices_is_refused_and_torchrun_goes_on(tmp_path, smoke_data, undisturbed):
    process = start(tmp_path, smoke_data, *JOB, TWO)
    while not (tmp_path / RUN / "checkpoints" / "step-00000002.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    process.wait(60)
    alone = start(tmp_path, smoke_data, *JOB)
    text, _ = alone.communicate(timeout=120)
    assert alone.returncode == 2 and "trainer.devices x trainer.num_nodes: 1 now, 2 in the run" in text
    environment = surroundings(smoke_data)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "spprepro"]
    done = subprocess.run([*torchrun, *JOB, TWO], cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert records.read(tmp_path / RUN / "record.json").metrics == undisturbed[1]


@pytest.mark.slow
def test_a_sweep_gives_each_job_its_own_processes(tmp_path, smoke_data):
    process = start(tmp_path, smoke_data, "-m", *JOB, TWO, "seed=1,2")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    for seed in (1, 2):
        assert records.read(tmp_path / RUN.parent / f"seed{seed}" / "record.json").seed == seed
