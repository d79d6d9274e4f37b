"""Whole tables by one command: what is missing runs, what is there does not, faults come before the work."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spprepro.traces import read_confusion, read_curves
from tests.conftest import surroundings

# each command starts Python, torch and Lightning anew: about 10 s
pytestmark = pytest.mark.slow

QUICK = ("tier=smoke", "training.epochs=1", "views.scales=[224,256]")


def metrics(results: Path) -> dict[str, object]:
    paths = sorted(results.glob("smoke/*/seed*/record.json"))
    return {str(path.parent.relative_to(results)): json.loads(path.read_text())["metrics"] for path in paths}


def stamps(results: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in results.glob("smoke/*/seed*/record.json")}


def test_a_table_runs_what_is_missing_and_nothing_that_is_there(cli, tmp_path):
    results = tmp_path / "results"
    done = cli("experiment=table4", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "3 jobs, 3 to run" in done.stderr
    found = metrics(results)
    assert set(found) == {
        f"smoke/{job}/seed0"
        for job in ("table1_overfeat7_multisize", "table4_overfeat7_multiview", "table4_overfeat7_test")
    }
    network = results / "smoke/table1_overfeat7_multisize/seed0"
    assert len(read_curves(network)) == 1 and len(read_confusion(network).classes) == 20
    lines = (results / "smoke/table4_overfeat7_test/seed0/submission.txt").read_text().splitlines()
    assert len(lines) == 20
    assert all(sorted(set(line.split()), key=int) and len(set(line.split())) == 5 for line in lines)
    assert all(1 <= int(label) <= 20 for line in lines for label in line.split())

    events = sorted(results.glob("smoke/*/seed*/events.*.record"))  # what TensorBoard shows of a record
    assert len(events) == len(found)

    before = stamps(results)
    done = cli("experiment=table4", *QUICK)
    assert done.returncode == 0 and "3 jobs, 0 to run" in done.stderr
    assert stamps(results) == before
    assert sorted(results.glob("smoke/*/seed*/events.*.record")) == events

    shutil.rmtree(results / "smoke/table4_overfeat7_multiview")
    done = cli("experiment=table4", *QUICK)
    assert done.returncode == 0 and "3 jobs, 1 to run" in done.stderr
    changed = {path for path, stamp in stamps(results).items() if before.get(path) != stamp}
    assert [Path(path).parts[-3] for path in changed] == ["table4_overfeat7_multiview"]
    assert metrics(results) == found

    done = cli("experiment=table4", *QUICK, "training.dropout=0.4")
    assert done.returncode == 2 and stamps(results).keys() == before.keys()
    assert "training.dropout: 0.4 now" in done.stderr

    for path in (results / "smoke/table1_overfeat7_multisize/seed0/checkpoints").iterdir():
        path.unlink()
    shutil.rmtree(results / "smoke/table4_overfeat7_multiview")
    done = cli("experiment=table4", *QUICK)
    assert done.returncode == 2 and "needs the weights of table1_overfeat7_multisize" in done.stderr
    done = cli("experiment=table4", *QUICK, "overwrite=true")  # which trains it again
    assert done.returncode == 0, done.stderr
    assert metrics(results) == found


def test_layers_are_those_of_table_1_and_need_no_data(cli, tmp_path):
    done = cli("experiment=table1", "tier=smoke", env={"SPPREPRO_DATA": str(tmp_path / "none")})
    assert done.returncode == 0, done.stderr
    found = metrics(tmp_path / "results")
    assert len(found) == 5
    zf5 = found["smoke/table1_zf5_layers/seed0"]
    assert isinstance(zf5, dict) and zf5["conv2_map_before_pool"] == {"value": 26, "unit": "cells", "n": 0}
    assert cli("experiment=table1", "tier=paper").returncode == 0  # no data.root
    done = cli("experiment=table1_convnet5_layers", "tier=smoke", "backbone.layers.conv2.pad=1", "name=other")
    assert done.returncode == 0  # another network under another name is nobody's column
    done = cli("experiment=table1_zf5_layers", "tier=smoke", "backbone.layers.conv3.filters=128", "seed=1")
    assert done.returncode == 2 and "conv3_filters is 128, but Table 1 has 384" in done.stderr


def test_multirun_gives_the_same_records_one_by_one_and_in_parallel(cli, tmp_path):
    jobs = "experiment=table1_convnet5_nospp,table1_overfeat5_singlesize"
    arguments = ("-m", jobs, "seed=0,1", "tier=smoke", "training.epochs=1", "trainer.threads=1", "data.workers=1")
    assert cli(*arguments, "results_dir=basic").returncode == 0
    done = cli(*arguments, "results_dir=joblib", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    found = metrics(tmp_path / "basic")
    assert len(found) == 4 and metrics(tmp_path / "joblib") == found


@pytest.mark.parametrize("surrounded", ["sweep", "Slurm"])
def test_a_job_with_company_waits_for_another_process_that_runs_it(tmp_path, smoke_data, surrounded):
    """A job that needs the network may have taken it up, as after a requeue of the training itself."""
    job, *sweep = ("table1_zf5_nospp", *(["-m"] if surrounded == "sweep" else []))
    lock_file = tmp_path / "results" / "smoke" / job / "seed0" / "run.lock"
    lock_file.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "spprepro", *sweep, f"experiment={job}", *QUICK[:2]]
    environment = surroundings(smoke_data) | ({} if sweep else {"SLURM_JOB_ID": "7"})
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        said = next((line for line in running.stderr if "waiting for" in line), None)
        assert said == f"waiting for {job}, which another process is running\n"
    assert running.communicate(timeout=100) and running.returncode == 0
    assert lock_file.with_name("record.json").is_file()


def test_two_processes_may_test_the_same_network(cli, tmp_path):
    """What they need is there, so neither claims its folder."""
    assert cli("experiment=table1_overfeat7_multisize", *QUICK).returncode == 0
    with (tmp_path / "results/smoke/table1_overfeat7_multisize/seed0/run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cli("experiment=table4_overfeat7_multiview", *QUICK)
    assert done.returncode == 0, done.stderr


def test_a_network_of_other_classes_is_refused_before_anything_is_scored(cli, tree, tmp_path):
    assert cli("experiment=table1_zf5_singlesize", "tier=smoke", "training.epochs=1").returncode == 0
    settings = ("kind=test", "name=other", "models=[table1_zf5_singlesize]", "tier=smoke", "training.epochs=1")
    done = cli(*settings, "data=imagenet", f"data.root={tree}")
    assert done.returncode == 2
    assert "tells 20 classes apart" in done.stderr and "the data has 2 (n01, n02" in done.stderr
    assert not (tmp_path / "results/smoke/other/seed0/record.json").exists()
    shutil.rmtree(tree / "train" / "n02")
    (tree / "train" / "n02").mkdir()
    done = cli("experiment=table1_zf5_nospp", "tier=smoke", "data=imagenet", f"data.root={tree}", "name=empty")
    assert done.returncode == 2 and "n02: holds no image" in done.stderr


def test_a_pyramid_larger_than_the_smallest_map_is_refused_naming_both(cli):
    done = cli("experiment=table1_overfeat7_multisize", "pyramid.levels=[15,1]", "training.epochs=1")
    assert done.returncode == 2
    assert "level 15 is larger than the last map, 14x14 at training size 180 of backbone=overfeat7" in done.stderr


def test_jobs_that_cannot_run_do_not_stop_the_others(cli, tree, tmp_path):
    """A folder without a test split: everything but the jobs on it is done, and they are named."""
    done = cli("experiment=table4", *QUICK, "data=imagenet", f"data.root={tree}", "training.batch=4")
    assert done.returncode == 2
    assert "table4_overfeat7_test:" in done.stderr and "data.split=test needs unlabelled ones there" in done.stderr
    assert len(metrics(tmp_path / "results")) == 2


def test_a_loss_that_is_no_number_stops_the_job_and_names_the_pictures(cli, tmp_path, smoke_data):
    done = cli("experiment=table1_zf5_singlesize", "tier=smoke", "training.lr=1e30")
    assert done.returncode == 2 and "error: loss: nan at step" in done.stderr and "Traceback" not in done.stderr
    folder = tmp_path / "results" / "smoke" / "table1_zf5_singlesize" / "seed0"
    told = json.loads((folder / "not_finite.json").read_text())
    assert len(told["pictures"]) == 8 and all(Path(path).is_file() for path in told["pictures"])
    assert not (folder / "record.json").exists()
