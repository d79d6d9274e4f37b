"""Score every image of a split with a trained classifier: by the tests of its job, on any number of devices."""

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import RichProgressBar
from torch.utils.data import DataLoader

from spprepro.classify.evaluate import check_complete
from spprepro.classify.module import Classifier
from spprepro.config import Config
from spprepro.data.imagenet import Image
from spprepro.data.loader import SizeBatches, TestBatch, TestImages, test_loader
from spprepro.training.cpu import set_threads

BATCH = 8  # of ten views each: 80 pictures through the network together


def image_loader(
    config: Config, root: Path, images: Sequence[Image], sides: Sequence[int], *, rank: int = 0, world: int = 1
) -> DataLoader[TestBatch]:
    """Every image once, with its shorter side at each of `sides`."""
    return test_loader(
        TestImages(root, images, sides),
        SizeBatches(images, BATCH, sides, rank=rank, world=world),
        workers=config.data.workers,
        pin=config.trainer.accelerator == "gpu",
    )


class _Split(pl.LightningDataModule):
    """The images to score, sharded by rank here (Lightning's own sampler would count some twice)."""

    def __init__(self, config: Config, root: Path, images: Sequence[Image], sides: Sequence[int]) -> None:
        super().__init__()
        self.config, self.root, self.images, self.sides = config, root, images, sides

    def test_dataloader(self) -> DataLoader[TestBatch]:
        shard = {"rank": self.trainer.global_rank, "world": self.trainer.world_size} if self.trainer else {}
        return image_loader(self.config, self.root, self.images, self.sides, **shard)


def score_images(
    config: Config, module: Classifier, root: Path, images: Sequence[Image]
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """(test -> (n, classes) scores in the order of `images`, seconds); `module.viewing` says which tests.

    Converts the network to bf16 for good where the job runs in bf16. Raises DataError unless each image came once.
    """
    quiet()
    started = time.monotonic()
    t = config.trainer
    trainer = pl.Trainer(
        accelerator=t.accelerator,
        devices=t.devices,
        num_nodes=t.num_nodes,
        precision="bf16-mixed" if t.precision == "bf16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        callbacks=[RichProgressBar(refresh_rate=5)],
        use_distributed_sampler=False,
        enable_model_summary=False,
        deterministic=t.deterministic,
    )
    set_threads(t.threads)  # testing has no barriers, and waits for the loader anyway
    trainer.test(module, datamodule=_Split(config, root, images, module.viewing.sides), verbose=False)
    index, scores = module.gathered_scores()
    check_complete(index, len(images))
    return scores, time.monotonic() - started


def quiet() -> None:
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
