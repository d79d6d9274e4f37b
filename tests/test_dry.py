"""tier=dry is tier=paper but for amounts; its run, its table, its disk space."""

import re
from dataclasses import replace

import hydra
import numpy as np
import pytest

from spprepro import dry, folders, records
from spprepro.classify.sizes import size_of_epoch
from spprepro.composing import at_paper_scale, names_of_all, ordered
from spprepro.config import Config
from spprepro.runfolder import path_of

AMOUNTS = {
    "training.epochs", "training.batch", "data.name", "data.workers", "data.amounts.imagenet_train",
    "data.amounts.imagenet_val", "data.amounts.imagenet_test", "detection.timed", "voc.trainval", "voc.test",
    "transfer.splits", "transfer.train", "transfer.test", "caltech.per_class", "protocol.finetune.spp.steps",
    "protocol.finetune.rcnn.steps",
}  # fmt: skip


@pytest.fixture(scope="module")
def jobs() -> list[Config]:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        return ordered(names_of_all(), overrides=["tier=dry"])


def test_every_job_of_every_table_is_the_papers_but_for_amounts(jobs):
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        papers = at_paper_scale()
    assert [job.name for job in jobs] == [paper.name for paper in papers] and len(jobs) > 40
    for job, paper in zip(jobs, papers, strict=True):
        assert set(dry.cut(paper, job)) == AMOUNTS, job.name
        assert (job.tier, job.width, job.backbone.fc, job.trainer.precision) == ("dry", 1, 4096, "fp32")
        assert (job.data.crops, job.detection.windows, job.protocol.name) == ("corners", 0, "paper")


def test_a_training_takes_two_steps_and_multi_size_both_sizes(jobs):
    trained = [job for job in jobs if job.kind == "train"]
    assert {job.training.mode for job in trained} == {"nospp", "singlesize", "multisize", "randomsize"}
    for job in trained:
        t = job.training
        assert t.epochs * (job.data.amounts.imagenet_train // t.batch) == 2, job.name
        if t.mode == "multisize":
            assert [size_of_epoch(t.mode, t.sizes, 0, epoch) for epoch in range(t.epochs)] == [224, 180]


def test_fine_tuning_takes_a_step_at_each_of_the_papers_rates(jobs):
    for job in jobs:
        for schedule in job.protocol.finetune.values():
            assert schedule.steps == [1] * len(schedule.rates) and len(schedule.rates) >= 2


def test_a_difference_is_told_by_key(jobs):
    job = jobs[-1]
    other = replace(job, width=0.5, results_dir="elsewhere", trainer=replace(job.trainer, precision="bf16"))
    assert dry.cut(job, other) == {"width": (1, 0.5), "trainer.precision": ("fp32", "bf16")}


@pytest.mark.slow  # composes every job of every table: about 10 s
def test_a_run_ends_with_what_was_cut_and_a_line_a_job(cli, tmp_path):
    done = cli("experiment=table1", "tier=dry")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "results" / "dry" / dry.NAME).read_text()
    assert done.stdout.endswith(text) and "5 of 5 jobs done" in text
    assert any(line.split() == ["training.batch", "128", "->", "32"] for line in text.splitlines())
    (line,) = [line for line in text.splitlines() if line.startswith("table1_overfeat7_layers")]
    assert "137.0 M" in line
    assert not list((tmp_path / "results").glob("dry/*.html"))  # nothing to compare with the paper


@pytest.mark.slow  # a training of ZF-5 at full width: about 30 s
def test_a_training_runs_at_full_width_with_1000_classes(cli, tmp_path, jobs):
    done = cli("experiment=table1_zf5_multisize", "tier=dry", "training.batch=4", "trainer.threads=1")
    assert done.returncode == 0, done.stderr
    (item,) = records.find(tmp_path / "results", "dry")
    assert (item.record.status, item.record.data["classes"]) == ("smoke", 1000) and item.record.data["peak_gib"] > 1
    ours = [replace(job, results_dir=str(tmp_path / "results")) for job in jobs if job.name == item.record.experiment]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        text = dry.write(ours).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("table1_zf5_multisize")]
    before, after = re.search(r" 77.0 M +1000 +128 -> 32 +224 180 +2 +([\d.]+) -> ([\d.]+) ", line).groups()
    assert float(before) > 0.9 * np.log(1000) and np.isfinite(float(after))  # untrained: no better than chance


def test_only_weights_that_a_job_still_needs_stay(tmp_path, jobs):
    by_name = {job.name: replace(job, results_dir=str(tmp_path)) for job in jobs}
    network, detector = by_name["table1_zf5_singlesize"], by_name["table9_zf5_1sc"]
    for job in (network, detector):
        folder = path_of(job) / "checkpoints"
        folder.mkdir(parents=True)
        for name in ("step-00000001.end.ckpt", "step-00000002.end.ckpt"):
            (folder / name).touch()
            (folder / f"{name}.sha256").touch()
    (path_of(network) / records.NAME).touch()

    def left():
        return sorted(path.name for path in (path_of(network) / "checkpoints").iterdir())

    dry.lighten([network, detector])
    assert left() == ["step-00000002.end.ckpt", "step-00000002.end.ckpt.sha256"]
    (path_of(detector) / records.NAME).touch()
    dry.lighten([network, detector])
    assert left() == [] and not list((path_of(detector) / "checkpoints").iterdir())
