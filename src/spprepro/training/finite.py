"""A loss that is no number stops the training at once, before it spoils a checkpoint."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from spprepro import ranks
from spprepro.errors import DataError
from spprepro.files import write_text

NAME = "not_finite.json"

Pictures = Callable[[int, int], Sequence[str]]
"""(epoch, number of the batch in it) -> the image files of this process's batch."""


class Finite(pl.Callback):
    """Raises DataError on NaN and infinity, with the batch's image files in folder/not_finite.json.

    To be put before the callback that saves checkpoints.
    """

    def __init__(self, folder: Path, pictures: Pictures) -> None:
        self.folder, self.pictures = folder, pictures

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        if torch.isfinite(loss):
            return
        path, pictures = self.folder / NAME, list(self.pictures(trainer.current_epoch, batch_idx))
        where = {"step": trainer.global_step, "epoch": trainer.current_epoch, "rank": ranks.rank()}
        write_text(path, json.dumps({"loss": str(float(loss)), **where, "pictures": pictures}, indent=1))
        raise DataError(
            f"loss: {float(loss)} at step {trainer.global_step}; the {len(pictures)} pictures of that batch are named "
            f"in {path}. Look at them, or lower the learning rate; the same command goes on from the checkpoint before"
        )
