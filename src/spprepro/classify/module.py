"""The classifier as Lightning sees it: loss, errors, optimiser, learning rate, and class scores by test."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro import ranks
from spprepro.classify.views import Viewing, crop_view, score
from spprepro.config import Training
from spprepro.data.augment import prepare_test, prepare_training
from spprepro.data.loader import Batch, TestBatch
from spprepro.training.schedule import drops


class Classifier(pl.LightningModule):
    """A network with the mean image and colour directions of its training set.

    network: (N, 3, H, W) float -> (N, classes); mean: (3, crop, crop); colour: (3, 3).
    """

    mean: Tensor
    colour: Tensor
    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        training: Training,
        *,
        mean: NDArray[np.float32],
        colour: NDArray[np.float32],
        viewing: Viewing,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout)
        self.training_config = training
        self.viewing = viewing
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("colour", torch.from_numpy(colour))
        self.register_buffer("scale", torch.tensor(training.input_scale))
        self.errors: list[float] = []  # training error of each finished epoch, in percent
        self.wrong = self.seen = 0  # in the epoch under way
        self.scores: dict[str, list[Tensor]] = {}
        self.indices: list[Tensor] = []

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        return self.network(x)  # type: ignore[no-any-return]

    # training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD; biases learn at twice the rate without weight decay, as in the released definition and AlexNet's."""
        t = self.training_config
        named = list(self.network.named_parameters())
        weights = [p for name, p in named if name.endswith("weight")]
        biases = [p for name, p in named if name.endswith("bias")]
        groups: list[dict[str, Any]] = [
            {"params": weights, "lr": t.lr, "weight_decay": t.weight_decay},
            {"params": biases, "lr": 2 * t.lr, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=t.lr, momentum=t.momentum)

    def on_train_epoch_start(self) -> None:
        t = self.training_config
        cycle = len(t.sizes) if t.mode == "multisize" else 1
        done = drops(self.errors, t.epochs, latest=t.lr_drops, patience=t.patience, cycle=cycle)
        optimizer = self.optimizers()
        for group, factor in zip(optimizer.param_groups, (1, 2), strict=True):  # type: ignore[union-attr]
            group["lr"] = factor * t.lr / 10**done
        self.log("train/lr", t.lr / 10**done)

    def prepare(self, batch: Batch) -> Float[Tensor, "n 3 s s"]:
        """Network input from a training batch."""
        return prepare_training(
            batch.images,
            batch.flip,
            batch.colour,
            batch.size,
            mean=self.mean,
            directions=self.colour,
            scale=self.scale,
            layout=self.layout,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        scores = self(self.prepare(batch)).float()
        loss = F.cross_entropy(scores, batch.labels)
        self.wrong += int((scores.detach().argmax(1) != batch.labels).sum())
        self.seen += len(batch.labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.labels))
        self.log("train/size", float(batch.size), batch_size=len(batch.labels))
        return loss

    def on_train_epoch_end(self) -> None:
        counts = torch.tensor([self.wrong, self.seen], dtype=torch.float64, device=self.device)
        wrong, seen = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        self.errors.append(100 * wrong / seen)
        self.wrong = self.seen = 0
        self.log("train/error", self.errors[-1], prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = {"errors": self.errors, "wrong": self.wrong, "seen": self.seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["progress"]
        self.errors, self.wrong, self.seen = list(kept["errors"]), kept["wrong"], kept["seen"]

    # testing

    def prepare_test(self, images: Tensor) -> Float[Tensor, "n 3 h w"]:
        """Network input from views of test images."""
        return prepare_test(images, self.mean, self.scale, self.layout)

    def crop_scores(self, images: Tensor) -> Float[Tensor, "n classes"]:
        """Softmax scores of the centre crops."""
        crops = crop_view(images, self.mean.shape[-1])[0]
        return self(self.prepare_test(crops)).float().softmax(1)  # type: ignore[no-any-return]

    def validation_step(self, batch: TestBatch, batch_idx: int) -> None:
        """One centre crop on a fixed part of the test images: a curve to look at, never a number to choose by."""
        (images,) = batch.images.values()
        scores = self.crop_scores(images)
        error = 100 * (scores.argmax(1) != batch.labels).float().mean()
        loss = F.nll_loss(scores.log(), batch.labels)
        self.log_dict({"val/error": error, "val/loss": loss}, batch_size=len(batch.labels), sync_dist=True)

    def on_test_start(self) -> None:
        self.scores, self.indices = {test: [] for test in self.viewing.tests}, []
        if self.trainer.precision == "bf16-mixed":  # once, where autocast would convert all weights for every batch
            self.network.to(torch.bfloat16)

    def test_step(self, batch: TestBatch, batch_idx: int) -> None:
        self.indices.append(batch.index.cpu())
        for test, scores in score(self.network, self.prepare_test, batch.images, self.viewing).items():
            self.scores[test].append(scores.cpu())

    def gathered_scores(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """(index, test -> (n, classes)) of every test image, sorted by index, from all devices."""
        mine = None
        if self.indices:  # there may be fewer batches than processes
            mine = torch.cat(self.indices), {test: torch.cat(parts) for test, parts in self.scores.items()}
        parts = [part for part in ranks.everyone(mine) if part]
        index = torch.cat([part[0] for part in parts])
        order = index.argsort()
        scores = {test: torch.cat([part[1][test] for part in parts])[order].numpy() for test in parts[0][1]}
        return index[order].numpy(), scores
