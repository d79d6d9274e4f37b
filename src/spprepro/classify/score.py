"""Score every image of a split with a trained classifier: by the tests of its job, on any number of devices."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from spprepro import ranks
from spprepro.classify.evaluate import check_complete
from spprepro.classify.module import Classifier
from spprepro.config import Config
from spprepro.data.imagenet import Image
from spprepro.data.loader import SizeBatches, TestBatch, TestImages, test_loader
from spprepro.training.cpu import set_threads
from spprepro.training.lightning import testing

BATCH = 8  # of ten views each: 80 pictures through the network together


def image_loader(config: Config, root: Path, images: Sequence[Image], sides: Sequence[int]) -> DataLoader[TestBatch]:
    """This process's share of the images, each with its shorter side at each of `sides`."""
    return test_loader(
        TestImages(root, images, sides),
        SizeBatches(images, BATCH, sides, rank=ranks.rank(), world=ranks.world()),
        workers=config.data.workers,
        pin=config.trainer.accelerator == "gpu",
    )


class _Split(pl.LightningDataModule):
    """The images to score, sharded by rank here (Lightning's own sampler would count some twice)."""

    def __init__(self, config: Config, root: Path, images: Sequence[Image], sides: Sequence[int]) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than processes
        self.config, self.root, self.images, self.sides = config, root, images, sides

    def test_dataloader(self) -> DataLoader[TestBatch]:
        return image_loader(self.config, self.root, self.images, self.sides)


def score_images(
    config: Config, module: Classifier, root: Path, images: Sequence[Image]
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """(test -> (n, classes) scores in the order of `images`, seconds); `module.viewing` says which tests.

    Converts the network to bf16 for good where the job runs in bf16. Raises DataError unless each image came once.
    """
    started = time.monotonic()
    trainer = testing(config.trainer)
    set_threads(config.trainer.threads)  # testing has no barriers, and waits for the loader anyway
    trainer.test(module, datamodule=_Split(config, root, images, module.viewing.sides), verbose=False)
    index, scores = module.gathered_scores()
    check_complete(index, len(images))
    return scores, time.monotonic() - started
