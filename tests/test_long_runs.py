"""Long runs end as they began: memory stays flat, no file stays open, no worker process stays."""

import gc
import multiprocessing
import os
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from spprepro.classify import train as training
from spprepro.config import Trainer, check
from spprepro.data.imagenet import survey
from spprepro.detect import testing
from tests.conftest import write_picture
from tests.detect.toys import learned, toy
from tests.test_config import compose

GROWTH = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")


def memory() -> dict[str, int]:
    """Process -> bytes in memory, of this one and its workers."""
    gc.collect()
    processes = ["self", *(str(process.pid) for process in multiprocessing.active_children())]
    return {pid: PAGE * int(Path("/proc", pid, "statm").read_text().split()[1]) for pid in processes}


def handles() -> list[str]:
    """The files that this process has open."""
    return sorted(os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())


@pytest.fixture
def nothing_left():
    """No more files and processes after the test than before."""
    gc.collect()
    before = handles()
    yield
    gc.collect()
    assert not multiprocessing.active_children()
    assert handles() == before


def assert_flat(warm: dict[str, int], end: dict[str, int]) -> None:
    lasting = warm.keys() & end.keys()  # workers for a glance at the test images are new each epoch
    assert len(lasting) >= 2 and len(end) <= len(warm)
    growth = {pid: end[pid] / warm[pid] - 1 for pid in lasting}
    assert max(growth.values()) < GROWTH, growth


class Watch(pl.Callback):
    """The memory after some steps of a training."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.seen = steps, {}

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            self.seen[trainer.global_step] = memory()


@pytest.mark.slow  # 2,000 steps through Lightning: about 40 s
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which Linux alone has")
def test_training(tmp_path, monkeypatch, nothing_left):
    for split, pictures in (("train", 200), ("val", 8)):
        for name in ("n01", "n02"):
            for number in range(pictures):
                write_picture(tmp_path / "data" / split / name / f"{name}_{number}.JPEG", 60 + number % 7, 70, number)
    config = check(
        compose(
            "experiment=table1_zf5_multisize", "tier=smoke", "training.epochs=10", "training.batch=2",
            "training.sizes=[64,48]", "pyramid.levels=[2,1]", "data.min_side=64", "data.crop=64", "data.workers=1",
            "training.snapshot_steps=250", "trainer.threads=1",
        )
    )  # fmt: skip
    found, watch, fitting = (
        survey(tmp_path / "data", min_side=64, crop=64, workers=0),
        Watch(500, 1999),
        training.fitting,
    )
    monkeypatch.setattr(
        training,
        "fitting",
        lambda t, folder, epochs, calls, step, **more: fitting(t, folder, epochs, [*calls, watch], step, **more),
    )
    training.train(config, found, tmp_path / "run")
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))) == 2
    assert_flat(watch.seen[500], watch.seen[1999])


@pytest.mark.slow  # 400 pictures through a detector: about 20 s
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which Linux alone has")
def test_detection(tmp_path, monkeypatch, nothing_left):
    numbers, seen, detect = count(), {}, testing.detect

    def watched(*arguments):
        number = next(numbers)
        if number in (100, 399):
            seen[number] = memory()
        return detect(*arguments)

    monkeypatch.setattr(testing, "detect", watched)
    source = toy(tmp_path, count=401, windows=16)
    settings = SimpleNamespace(trainer=Trainer("cpu", threads=1), data=SimpleNamespace(workers=1))
    with torch.inference_mode():
        testing.test(settings, [learned()], source, ["pool5", "ftfc7", "ftfc7_bb"], tmp_path)
    assert_flat(seen[100], seen[399])
