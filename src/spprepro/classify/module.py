"""The classifier as Lightning sees it: loss, errors, optimiser, learning rate, and class scores by view."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro.classify.views import Views, crop_view
from spprepro.config import Training
from spprepro.data.augment import prepare_test, prepare_training
from spprepro.data.loader import Batch
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
        channels_last: bool = True,
        views: Mapping[str, Views] | None = None,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout)
        self.training_config = training
        self.views = dict(views or {})
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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """One centre crop on a fixed part of the test images: a curve to look at, never a number to choose by."""
        scores = self.view_scores(batch.images, crop_view)
        error = 100 * (scores.argmax(1) != batch.labels).float().mean()
        loss = F.nll_loss(scores.log(), batch.labels)
        self.log_dict({"val/error": error, "val/loss": loss}, batch_size=len(batch.labels), sync_dist=True)

    def on_test_start(self) -> None:
        self.scores, self.indices = {name: [] for name in self.views}, []
        if self.trainer.precision == "bf16-mixed":  # once, where autocast would convert all weights for every batch
            self.network.to(torch.bfloat16)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.indices.append(batch.index.cpu())
        for name, scores in self.scores_by_view(batch.images, self.views).items():
            self.scores[name].append(scores.cpu())

    def view_scores(self, images: Tensor, views: Views) -> Float[Tensor, "n classes"]:
        """Softmax scores averaged over the views."""
        return self.scores_by_view(images, {"only": views})["only"]

    def scores_by_view(self, images: Tensor, views: Mapping[str, Views]) -> dict[str, Tensor]:
        """The averaged scores (N, classes) of each set of views; a view that two sets share is scored once."""
        cut = {name: make(images, self.mean.shape[-1]) for name, make in views.items()}
        unique = {_place(view): view for parts in cut.values() for view in parts}
        scores: dict[Any, Tensor] = {}
        for size in sorted({view.shape[-2:] for view in unique.values()}):
            same = {place: view for place, view in unique.items() if view.shape[-2:] == size}
            x = prepare_test(torch.cat(list(same.values())), self.mean, self.scale, self.layout)
            parts = self(x).float().softmax(1).split(len(images))
            scores |= dict(zip(same, parts, strict=True))
        return {name: torch.stack([scores[_place(view)] for view in parts]).mean(0) for name, parts in cut.items()}

    def gathered_scores(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """(index, view -> (n, classes)) of every test image, sorted by index, from all devices."""
        mine = (torch.cat(self.indices), {name: torch.cat(parts) for name, parts in self.scores.items()})
        parts: list[Any] = [mine]
        if self.trainer.world_size > 1:
            parts = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, mine)
        index = torch.cat([part[0] for part in parts])
        order = index.argsort()
        scores = {name: torch.cat([part[1][name] for part in parts])[order].numpy() for name in self.views}
        return index[order].numpy(), scores


def _place(view: Tensor) -> tuple[Any, ...]:
    """What tells two views of one batch apart: the same pixels lie in the same place of memory."""
    return view.data_ptr(), view.shape, view.stride()
