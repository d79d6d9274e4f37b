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
from spprepro.classify.views import crop_view
from spprepro.data.decode import centre_crop
from spprepro.data.loader import Batch

PICTURES = 16


class Monitor(pl.Callback):
    """Logs the share of each epoch that training waited for data, and warns when it is over 10 %."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.waited = self.worked = 0.0
        self.mark = 0.0

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
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Pictures with true and predicted classes, once an epoch."""
        logger = trainer.logger
        if batch_idx == 0 and isinstance(logger, TensorBoardLogger) and isinstance(module, Classifier):
            images = batch.images[:PICTURES]
            scores = module.view_scores(images, crop_view).cpu()
            crops = centre_crop(images, module.mean.shape[-1]).cpu()
            pictures = captioned(crops, batch.labels[:PICTURES].cpu(), scores, self.classes)
            logger.experiment.add_images("test/predictions", pictures, trainer.global_step)


def captioned(images: Tensor, labels: Tensor, scores: Tensor, classes: list[str]) -> NDArray[np.uint8]:
    """(N, 3, H, W) uint8 with a bar on top: predicted class and score; green if right, red with the truth if not."""
    pictures = []
    for image, label, score in zip(images, labels.tolist(), scores, strict=True):
        best = int(score.argmax())
        text = f"{classes[best]} {100 * float(score[best]):.0f}%" + ("" if best == label else f" not {classes[label]}")
        picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        picture[:18] = (0, 110, 60) if best == label else (170, 30, 30)
        cv2.putText(picture, text, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
        pictures.append(picture.transpose(2, 0, 1))
    return np.stack(pictures)
