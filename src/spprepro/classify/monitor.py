"""What TensorBoard shows beside losses and errors: the data-wait share and pictures with predictions."""

import time
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from spprepro.classify.module import Classifier
from spprepro.data.decode import centre_crop
from spprepro.data.loader import TestBatch

PICTURES = 12


class Monitor(pl.Callback):
    """Logs the share of each epoch that training waited for data, and pictures with what the network makes of them."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.waited = self.worked = 0.0
        self.mark = 0.0
        self.shown: list[tuple[Tensor, int, Tensor]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.waited = self.worked = 0.0
        self.mark = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        self.waited += now - self.mark
        self.mark = now

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self.worked += now - self.mark
        self.mark = now

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        share = self.waited / max(self.waited + self.worked, 1e-9)
        module.log("train/data_wait_share", share)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: TestBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The first picture of evenly spread batches, with its scores: test images are sorted by class."""
        step = max(1, int(trainer.num_val_batches[0]) // PICTURES)
        if isinstance(module, Classifier) and batch_idx % step == 0 and len(self.shown) < PICTURES:
            image = next(iter(batch.images.values()))[:1]
            crop = centre_crop(image, module.mean.shape[-1])[0].cpu()
            self.shown.append((crop, int(batch.labels[0]), module.crop_scores(image)[0].cpu()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Pictures with true and predicted classes, once an epoch."""
        if isinstance(trainer.logger, TensorBoardLogger) and self.shown:
            pictures = [captioned(*shown, self.classes) for shown in self.shown]
            trainer.logger.experiment.add_image("test/predictions", grid(pictures), trainer.global_step)
        self.shown = []


def grid(pictures: list[NDArray[np.uint8]], columns: int = 4) -> NDArray[np.uint8]:
    """(3, H, W) pictures of one size in rows of `columns`, the last row filled up with white."""
    blank = np.full_like(pictures[0], 255)
    padded = pictures + [blank] * (-len(pictures) % columns)
    rows = [np.concatenate(padded[i : i + columns], 2) for i in range(0, len(padded), columns)]
    return np.concatenate(rows, 1)


def captioned(image: Tensor, label: int, scores: Tensor, classes: list[str]) -> NDArray[np.uint8]:
    """(3, H, W) uint8 with a bar on top: predicted class and score; green if right, red with the truth if not."""
    best = int(scores.argmax())
    text = f"{classes[best]} {100 * float(scores[best]):.0f}%" + ("" if best == label else f" not {classes[label]}")
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    picture[:18] = (0, 110, 60) if best == label else (170, 30, 30)
    cv2.putText(picture, text, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return picture.transpose(2, 0, 1)
