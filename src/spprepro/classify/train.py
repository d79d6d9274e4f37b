"""Train a classifier and test it by views: the parts of Lightning put together for one job."""

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from spprepro.classify.evaluate import check_complete
from spprepro.classify.module import Classifier
from spprepro.classify.monitor import Monitor
from spprepro.classify.sizes import size_of_epoch
from spprepro.classify.views import Views, crop_view, full_view, ten_views
from spprepro.config import Config
from spprepro.data.imagenet import Image, Survey
from spprepro.data.kept import kept_folder
from spprepro.data.loader import (
    Batch,
    EpochBatches,
    SizeBatches,
    TestImages,
    TrainImages,
    TrainLoader,
    test_loader,
)
from spprepro.nets.network import Network, initialise
from spprepro.training.checkpoint import AtomicCheckpointIO, Snapshots, newest, refuse_other
from spprepro.training.cpu import set_threads

TEST_BATCH = 8  # ten views each: 80 pictures through the network together


class ImageData(pl.LightningDataModule):
    """The loaders of one job, sharded by rank here (Lightning's own sampler would count test images twice)."""

    def __init__(self, config: Config, survey: Survey) -> None:
        super().__init__()
        self.config, self.survey = config, survey

    def _shard(self) -> dict[str, int]:
        trainer = self.trainer
        return {"rank": trainer.global_rank, "world": trainer.world_size} if trainer else {"rank": 0, "world": 1}

    def train_dataloader(self) -> TrainLoader:
        c, t, d = self.config, self.config.training, self.config.data
        images = TrainImages(
            self.survey.root,
            self.survey.train,
            seed=c.seed,
            crops=d.crops,
            min_side=d.min_side,
            crop=d.crop,
            kept=kept_folder(self.survey.train, d.min_side, d.keep_gib),
        )

        def size_of(epoch: int) -> int:
            return size_of_epoch(t.mode, t.sizes, c.seed, epoch)

        batches = EpochBatches(len(images), t.batch, seed=c.seed, size_of=size_of, **self._shard())
        return TrainLoader(images, batches, workers=d.workers, pin=c.trainer.accelerator == "gpu")

    def val_dataloader(self) -> DataLoader[Batch]:
        look = min(2000, max(128, len(self.survey.train) // 32))  # a glance: a few seconds an epoch at any scale
        choice = np.random.default_rng(0).permutation(len(self.survey.val))[:look]
        return self._test_loader([self.survey.val[i] for i in sorted(choice)])

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._test_loader(self.survey.val)

    def _test_loader(self, images: list[Image]) -> DataLoader[Batch]:
        d = self.config.data
        batches = SizeBatches(images, TEST_BATCH, min_side=d.min_side, **self._shard())
        return test_loader(
            TestImages(self.survey.root, images, min_side=d.min_side),
            batches,
            workers=d.workers,
            pin=self.config.trainer.accelerator == "gpu",
        )


def build_classifier(config: Config, survey: Survey) -> Classifier:
    """The network of a job with its initial weights, wrapped for Lightning."""
    backbone = config.backbone.scaled(config.width)
    levels, t = config.pyramid.levels, config.training
    network = Network(backbone, levels=levels, classes=len(survey.classes), dropout=t.dropout, crop=config.data.crop)
    initialise(network, backbone, method=t.init.method, std=t.init.std, seed=config.seed)
    views: dict[str, Views] = {"ten": ten_views, "crop": crop_view}
    if levels:  # without SPP a network takes crops only
        views["full"] = full_view
    return Classifier(
        network,
        t,
        mean=survey.mean,
        colour=survey.colour,
        channels_last=config.trainer.channels_last,
        views=views,
    )


def build_trainer(config: Config, folder: Path, callbacks: list[pl.Callback], resume_step: int | None) -> pl.Trainer:
    """A Lightning trainer that logs to TensorBoard in the run folder."""
    t = config.trainer
    logger = TensorBoardLogger(folder, name="", version="", purge_step=resume_step)
    return pl.Trainer(
        accelerator=t.accelerator,
        devices=t.devices,
        num_nodes=t.num_nodes,
        precision="bf16-mixed" if t.precision == "bf16" else "32-true",
        max_epochs=config.training.epochs,
        logger=logger,
        callbacks=[*callbacks, RichProgressBar(refresh_rate=5)],
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        deterministic=t.deterministic,
    )


@dataclass(frozen=True)
class Outcome:
    """Scores of every test image by view, (n, classes) each in the order of survey.val, and times in seconds."""

    scores: dict[str, NDArray[np.float32]]
    train_s: float
    test_s: float


def train_and_test(config: Config, survey: Survey, folder: Path) -> Outcome:
    """Train (or go on training) in `folder`, then score every test image."""
    _quiet()
    pl.seed_everything(config.seed, verbose=False)
    module, data = build_classifier(config, survey), ImageData(config, survey)
    snapshots = Snapshots(
        folder / "checkpoints", every=config.training.snapshot_steps, identity=_identity(config, survey)
    )
    checkpoint = newest(snapshots.folder)
    if checkpoint:
        refuse_other(checkpoint, snapshots.identity)
    step = int(checkpoint.name.removeprefix("step-").split(".")[0]) if checkpoint else None
    trainer = build_trainer(config, folder, [snapshots, Monitor(survey.classes)], step)
    set_threads(config.trainer.threads, spare=1)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    train_s, tested = snapshots.elapsed, time.monotonic()
    set_threads(config.trainer.threads)  # testing has no barriers, and waits for the loader anyway
    trainer.test(module, datamodule=data, verbose=False)
    index, scores = module.gathered_scores()
    check_complete(index, len(survey.val))
    return Outcome(scores, train_s, time.monotonic() - tested)


def _identity(config: Config, survey: Survey) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {
        **config.identity(),
        "data fingerprint": survey.fingerprint,
        "trainer.devices x trainer.num_nodes": config.trainer.devices * config.trainer.num_nodes,
    }


def _quiet() -> None:
    """Lightning's tips, and its warnings about what this project does otherwise on purpose."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for message in (
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 with torch 2.14
        "The '.*_dataloader' does not have many workers",  # the worker count is the user's
        "Checkpoint directory .* exists and is not empty",  # that is what resuming looks like
        "The dirpath has changed",
        ".*is smaller than the logging interval",  # small sets have few steps
        "Experiment logs directory .* exists and is not empty",
        "You're resuming from a checkpoint that ended before the epoch ended",  # our loader is stateful
    ):
        warnings.filterwarnings("ignore", message=message)
