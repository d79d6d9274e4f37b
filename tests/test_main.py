"""The command line as users meet it: speed of the answers, exit codes, every experiment of conf/."""

import json
import re
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spprepro import folders, records
from tests.conftest import surroundings
from tests.report.test_claims import run

EXPERIMENTS = sorted(path.stem for path in (folders.conf() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("arguments", [["--help"], ["task=validate", "experiment=table1_zf5_multisize"]])
def test_help_and_validation_answer_within_two_seconds(cli, arguments):
    cli(*arguments)  # the first start compiles bytecode
    taken = []
    for _ in range(3):
        started = time.monotonic()
        done = cli(*arguments)
        taken.append(time.monotonic() - started)
        assert done.returncode == 0, done.stderr
    assert min(taken) < 2


def test_validation_loads_no_torch(cli):
    done = cli("task=validate", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported and "torch" not in imported


def test_all_faults_at_once_exit_2_and_no_traceback(cli):
    done = cli("trainig.lr=1", "+training.foo=2", "backbone=zf6", "seed=x", "training.epochs=-1")
    assert done.returncode == 2
    keys = [line.split(":")[1].strip() for line in done.stderr.splitlines()]
    assert sorted(keys) == ["backbone", "seed", "training.foo", "trainig"] or set(keys) >= {
        "backbone",
        "seed",
        "trainig",
    }
    assert "choose one of alex5, alexnet, convnet5" in done.stderr and "did you mean training?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("seed=0,1", "add -m"),
        ("training.lr=", "training.lr"),
        ("training.sizes=[224", "cannot be read"),
        ("experiment=tabel1", "choose one of"),
        ("data=imagenet", "data.root"),
        ("task=tran", "choose one of run"),
        ("+experiment=table1_zf5_nospp", "without +"),
        ("width=${nothing}", "nothing"),
    ],
)
def test_single_faults_say_what_to_do(cli, argument, part):
    done = cli(argument)
    assert done.returncode == 2
    assert part in done.stderr and "Traceback" not in done.stderr


def test_wrong_data_folder_exits_2_with_its_path(cli, tmp_path):
    done = cli("tier=smoke", "data=imagenet", "data.root=nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


def assert_curves(folder):
    """TensorBoard has a training's curves and its pictures with predictions."""
    events = EventAccumulator(str(folder)).Reload().Tags()
    curves = {"loss", "error", "lr", "size", "data_wait_share"}
    assert {f"train/{curve}" for curve in curves} | {"val/error", "val/loss"} <= set(events["scalars"])
    assert events["images"] == ["test/predictions"]


@pytest.mark.slow  # trains and tests through Lightning in a process of its own, about 10 s
def test_a_job_leaves_record_scores_and_curves_and_returns_at_once_the_second_time(cli, tmp_path):
    done = cli("experiment=table1_zf5_multisize", "tier=smoke")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "results" / "smoke" / "table1_zf5_multisize" / "seed0" / "record.json"
    assert done.stdout.splitlines()[-1] == f"record: {path.relative_to(tmp_path)}"
    record = records.read(path)
    assert_curves(path.parent)
    again = cli("experiment=table1_zf5_multisize", "tier=smoke")
    assert again.returncode == 0 and json.loads(path.read_text())["started"] == record.started


@pytest.mark.slow  # trains and tests every network of every table: about 100 s
def test_every_experiment_runs_at_smoke(cli, tmp_path):
    done = cli("experiment=all", "tier=smoke")
    assert done.returncode == 0, done.stderr
    found = {path.parent.parent.name: path for path in (tmp_path / "results").glob("smoke/*/seed0/record.json")}
    by_name = {name for name in EXPERIMENTS if re.search("squeezenet|caffe", name)}  # they need a file of weights
    assert (
        set(found) == {name for name in EXPERIMENTS if name != "all" and not re.fullmatch(r"table\d+", name)} - by_name
    )
    for name, path in found.items():
        record = records.read(path)
        assert (record.status, record.experiment) == ("smoke", name)
        if name.endswith("_layers"):
            continue
        kind = yaml.safe_load((path.parent / "config.yaml").read_text())["kind"]
        if kind in ("detect", "combine", "times", "transfer"):
            assert record.metrics and all(metric.n == record.data["test"] for metric in record.metrics.values())
            continue
        standard = {"ten", "crop"} | (set() if "nospp" in name else {"full"})
        views = {
            "table4_overfeat7_multiview": {"ten_maps", "multiview", "multiview_full"},
            "table4_overfeat7_test": {"multiview_full"},
            "table5_ensemble": {"ten"},
        }.get(name, standard)
        with np.load(path.parent / "predictions.npz", allow_pickle=False) as kept:
            assert {key for key in kept.files if key.startswith("scores__")} == {f"scores__{view}" for view in views}
            for view in views:
                np.testing.assert_allclose(kept[f"scores__{view}"].astype(float).sum(1), 1, atol=1e-2)
                prefix = "" if view == "ten" else f"{view}_"
                assert record.metrics[f"{prefix}top1_error"].n == len(kept["labels"]) == 20
        if views == standard:
            assert_curves(path.parent)
    again = cli("experiment=all", "tier=smoke")
    assert again.returncode == 0 and f"{len(found)} jobs, 0 to run" in again.stderr


@pytest.mark.slow  # as above
def test_run_folder_belongs_to_one_configuration(cli):
    assert cli("tier=smoke", "name=mine").returncode == 0
    done = cli("tier=smoke", "name=mine", "training.lr=0.5")
    assert done.returncode == 2
    assert "training.lr: 0.5 now" in done.stderr and "overwrite=true" in done.stderr


@pytest.mark.slow  # as above
def test_multirun_runs_each_seed(cli, tmp_path):
    done = cli("-m", "tier=smoke", "experiment=table1_zf5_nospp", "seed=0,1", "training.epochs=1")
    assert done.returncode == 0, done.stderr
    found = records.find(tmp_path / "results", "smoke")
    assert [(item.record.experiment, item.record.seed) for item in found] == [
        ("table1_zf5_nospp", 0),
        ("table1_zf5_nospp", 1),
    ]


def test_a_file_that_is_no_yaml_is_named_without_a_traceback(cli, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text("name: [one\nkind: train\n")
    done = cli("--config-dir", str(tmp_path), "experiment=broken", "task=validate")
    assert done.returncode == 2
    assert "broken.yaml" in done.stderr and "line" in done.stderr
    assert "Traceback" not in done.stderr


def test_jobs_of_a_config_dir_may_need_one_another(cli, tmp_path):
    (tmp_path / "experiment").mkdir()
    jobs = {"own": "name: own\n", "both": "name: both\nkind: test\nmodels: [own, table1_zf5_singlesize]\n"}
    for name, text in jobs.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    done = cli("--config-dir", str(tmp_path), "experiment=both", "task=validate")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["own,", "table1_zf5_singlesize,", "both,"]


def limited(megabytes):
    """Runs in the new process: no file may grow larger, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(megabytes * 2**20),) * 2)


@pytest.mark.slow  # starts Python, torch and Lightning twice: about 15 s
def test_a_full_disk_is_one_message_and_nothing_is_lost(cli, tmp_path, smoke_data):
    job = ["experiment=table1_zf5_singlesize", "tier=smoke"]
    environment = surroundings(smoke_data)
    done = subprocess.run(
        [sys.executable, "-m", "spprepro", *job],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: limited(1),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large; make room" in line and "the same command" in line
    folder = tmp_path / "results" / "smoke" / "table1_zf5_singlesize" / "seed0"
    assert not list(folder.rglob("*.ckpt")) and not list(folder.rglob("*.tmp"))
    assert cli(*job).returncode == 0


def test_a_folder_that_cannot_be_written_is_one_message(cli, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    done = cli("experiment=table1_zf5_layers", "tier=smoke")
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert "error: " in done.stderr and "results" in done.stderr


def test_two_sets_of_records_are_compared_and_faults_are_plain(cli, tmp_path):
    for name, wrong in (("one", 100), ("two", 160)):
        run(tmp_path / name, "table1_zf5_nospp", wrong)
    done = cli("task=compare", "a=one", "b=two", "results_dir=both")
    assert done.returncode == 0, done.stderr
    assert "1 job in both, 4 metrics: 0 same, 0 within, 4 beyond" in done.stdout
    assert (tmp_path / "both" / "compare.md").is_file() and (tmp_path / "both" / "compare.csv").is_file()
    done = cli("task=compare", "a=none", "b=nothing")
    assert done.returncode == 2 and done.stderr.count("no records") == 2 and "Traceback" not in done.stderr
