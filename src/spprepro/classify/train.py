"""Train a classifier: the parts of Lightning put together for one job."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from spprepro import ranks
from spprepro.classify.module import Classifier
from spprepro.classify.monitor import Monitor
from spprepro.classify.score import image_loader
from spprepro.classify.sizes import size_of_epoch
from spprepro.classify.views import Viewing
from spprepro.config import Config
from spprepro.data.imagenet import Survey
from spprepro.data.kept import kept_as
from spprepro.data.loader import EpochBatches, TestBatch, TrainImages, TrainLoader
from spprepro.nets.geometry import map_side, receptive_field
from spprepro.nets.network import Network, initialise
from spprepro.training.checkpoint import Snapshots, newest, refuse_other
from spprepro.training.cpu import set_threads
from spprepro.training.finite import Finite
from spprepro.training.lightning import fitting

INDEPENDENT = 1_000_003  # seeds apart that nobody uses side by side


class ImageData(pl.LightningDataModule):
    """The loaders of one job, sharded by rank here (Lightning's own sampler would count test images twice)."""

    def __init__(self, config: Config, survey: Survey) -> None:
        super().__init__()
        self.config, self.survey = config, survey

    def train_dataloader(self) -> TrainLoader:
        c, d = self.config, self.config.data
        images = TrainImages(
            self.survey.root,
            self.survey.train,
            seed=c.seed,
            crops=d.crops,
            min_side=d.min_side,
            crop=d.crop,
            kept=kept_as(self.survey.train, d.min_side, d.cache, d.keep_gib),
        )
        return TrainLoader(images, self._batches(), workers=d.workers, pin=c.trainer.accelerator == "gpu")

    def _batches(self) -> EpochBatches:
        c, t = self.config, self.config.training

        def size_of(epoch: int) -> int:
            return size_of_epoch(t.mode, t.sizes, c.seed, epoch)

        count, rank, world = len(self.survey.train), ranks.rank(), ranks.world()
        return EpochBatches(count, t.batch, seed=c.seed, size_of=size_of, rank=rank, world=world)

    def pictures(self, epoch: int, number: int) -> list[str]:
        """The files of a training batch of this process."""
        batches = self._batches()
        batches.set_epoch(epoch)
        keys = next(islice(batches, number, None))
        return [str(self.survey.root / self.survey.train[index].path) for _, index, _ in keys]

    def val_dataloader(self) -> DataLoader[TestBatch]:
        look = min(2000, max(128, len(self.survey.train) // 32))  # a glance: a few seconds an epoch at any scale
        choice = np.random.default_rng(0).permutation(len(self.survey.val))[:look]
        images = [self.survey.val[i] for i in sorted(choice)]
        return image_loader(self.config, self.survey.root, images, [self.config.data.min_side])


def build_classifier(
    config: Config, classes: int, mean: NDArray[np.float32], colour: NDArray[np.float32]
) -> Classifier:
    """The network of a job with its initial weights, wrapped for Lightning."""
    backbone = config.backbone.scaled(config.width)
    levels, t = config.pyramid.levels, config.training
    network = Network(backbone, levels=levels, classes=classes, dropout=t.dropout, crop=config.data.crop)
    initialise(network, backbone, method=t.init.method, std=t.init.std, seed=config.seed + INDEPENDENT * t.init.draw)
    return Classifier(
        network,
        t,
        mean=mean,
        colour=colour,
        viewing=viewing_of(config),
        channels_last=config.trainer.channels_last,
    )


def viewing_of(config: Config) -> Viewing:
    """The tests that a job asks for; a network without SPP takes no full image."""
    backbone, crop = config.backbone, config.data.crop
    return Viewing(
        tests=config.tests,
        scales=config.views.scales,
        side=config.data.min_side,
        crop=crop,
        window=map_side(backbone, crop),
        stride=receptive_field(backbone).stride,
    )


def train(config: Config, survey: Survey, folder: Path) -> tuple[Classifier, float]:
    """Train (or go on training) in `folder`; returns the trained classifier and the seconds it took in all."""
    pl.seed_everything(config.seed + ranks.rank(), verbose=False)  # dropout; weights have a generator of their own
    module = build_classifier(config, len(survey.classes), survey.mean, survey.colour)
    snapshots = Snapshots(
        folder / "checkpoints", every=config.training.snapshot_steps, identity=_identity(config, survey)
    )
    checkpoint = newest(snapshots.folder)
    if checkpoint:
        refuse_other(checkpoint, snapshots.identity)
    step = int(checkpoint.name.removeprefix("step-").split(".")[0]) if checkpoint else None
    data = ImageData(config, survey)
    callbacks = [Finite(folder, data.pictures), snapshots, Monitor(survey.classes)]
    epochs = config.training.epochs
    steps = epochs * (len(survey.train) // config.training.batch)
    trainer = fitting(config.trainer, folder, epochs, callbacks, step, steps=steps)
    set_threads(config.trainer.threads, spare=1)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return module, snapshots.elapsed


def _identity(config: Config, survey: Survey) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {
        **config.identity(),
        "classes of the data and the head": len(survey.classes),
        "data fingerprint": survey.fingerprint,
        "trainer.devices x trainer.num_nodes": config.trainer.devices * config.trainer.num_nodes,
    }
