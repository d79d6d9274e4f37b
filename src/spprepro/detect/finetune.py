"""Fine-tuning for detection: 21 classes over windows (section 4.1). SPP-net's trains the fc layers, R-CNN's all.

An epoch of Lightning is a block of mini-batches, whose windows are looked up image by image before it begins.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from spprepro import ranks
from spprepro.config import Trainer
from spprepro.detect.draws import Draw, Pools, draw, mirrored
from spprepro.detect.store import SppStore
from spprepro.detection import Schedule
from spprepro.training.checkpoint import Snapshots, newest, refuse_other
from spprepro.training.cpu import set_threads
from spprepro.training.finite import Finite
from spprepro.training.lightning import fitting

BLOCK = 250  # mini-batches of a block at most
ROOM = 2**31  # bytes of a block's windows at most
MOMENTUM, DECAY = 0.9, 5e-4

Fill = Callable[[Draw], Tensor]
"""The inputs of the windows of a draw, in its order."""


class FineTuner(pl.LightningModule):
    """`network`: inputs of windows -> (n, classes + 1) scores, the background's first."""

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD; biases learn at twice the rate (pascal_finetune_fc_spm_*.prototxt)."""
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in named if not name.endswith("bias")], "weight_decay": DECAY},
            {"params": [p for name, p in named if name.endswith("bias")], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=self.schedule.rates[0], momentum=MOMENTUM)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        ends = np.cumsum(self.schedule.steps)
        rate = self.schedule.rates[min(int(np.searchsorted(ends, self.global_step, "right")), len(ends) - 1)]
        optimizer: Any = self.optimizers()
        for group, factor in zip(optimizer.param_groups, (1, 2), strict=True):
            group["lr"] = factor * rate

    def training_step(self, batch: tuple[Float[Tensor, "n ..."], Int[Tensor, " n"]], batch_idx: int) -> Tensor:
        inputs, labels = batch
        scores = self.network(inputs if inputs.dtype == torch.uint8 else inputs.float()).float()
        loss = F.cross_entropy(scores, labels)
        wrong = scores.detach().argmax(1) != labels
        self.log("finetune/loss", loss, prog_bar=True, batch_size=len(labels))
        for name, rows in (("positives", labels > 0), ("negatives", labels == 0)):
            self.log(f"finetune/error_{name}", 100 * wrong[rows].float().mean(), batch_size=len(labels))
        return loss


class Blocks(pl.LightningDataModule):
    """One block an epoch; goes on within a block after a resume."""

    def __init__(
        self, pools: Pools, fill: Fill, item_bytes: int, steps: int, batch: int, *, seed: int, flips: bool
    ) -> None:
        super().__init__()
        self.pools, self.fill, self.batch, self.seed, self.flips = pools, fill, batch, seed, flips
        self.steps, self.block = steps, max(1, min(BLOCK, ROOM // (batch * item_bytes)))

    @property
    def epochs(self) -> int:
        """Blocks in all; the last may be shorter."""
        return -(-self.steps // self.block)

    def train_dataloader(self) -> "BlockLoader":
        return BlockLoader(self.fill, *self._drawn())

    def images(self, number: int) -> list[int]:
        """The images that the windows of a mini-batch of the block under way are of."""
        drawn, batch = self._drawn()
        found: list[int] = np.unique(drawn.image[number * batch : (number + 1) * batch]).tolist()
        return found

    def _drawn(self) -> tuple[Draw, int]:
        trainer = self.trainer
        epoch, rank, world = (trainer.current_epoch, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        steps, batch = min(self.block, self.steps - epoch * self.block), self.batch // world
        drawn = draw(
            self.pools, seed=self.seed, block=epoch, steps=steps, batch=batch, flips=self.flips, rank=rank, world=world
        )
        return drawn, batch


class BlockLoader:
    """The mini-batches of a block; Lightning keeps its place in the checkpoint."""

    def __init__(self, fill: Fill, drawn: Draw, batch: int) -> None:
        self.fill, self.drawn, self.batch = fill, drawn, batch
        self.start = self.consumed = 0

    def __len__(self) -> int:
        return len(self.drawn.label) // self.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, labels = self.fill(self.drawn), torch.from_numpy(self.drawn.label)
        start, self.start = self.start, 0
        self.consumed = start
        for number in range(start, len(self)):
            rows = slice(number * self.batch, (number + 1) * self.batch)
            self.consumed += 1
            yield inputs[rows], labels[rows]

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.consumed % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["consumed"]


def spp_fill(store: SppStore, *, seed: int, random_scale: bool) -> Fill:
    """Pooled features of drawn windows in fp16, each at the scale that its test would take, or at a random one."""

    def fill(drawn: Draw) -> Tensor:
        features = torch.empty(len(drawn.row), store.features.inputs, dtype=torch.float16)
        scales = np.random.default_rng([seed, int(drawn.row.sum())]).integers(
            len(store.features.scales), size=len(drawn.row)
        )
        for image, mirror, rows in _by_image(drawn):
            size = store.source.size(image)
            boxes = store.source.training_windows(image)[drawn.row[rows]]
            boxes = mirrored(boxes, size[1]) if mirror else boxes
            chosen = scales[rows] if random_scale else None
            pooled, _ = store.features.pool(store.maps(image, mirror), boxes, size, chosen)
            features[torch.from_numpy(rows)] = pooled.features[pooled.inverse].to(torch.float16).cpu()
        return features

    return fill


def crop_fill(store: Any, warp: Callable[[Tensor, Any], Tensor]) -> Fill:
    """Warped windows as uint8 crops; warp(picture, boxes) -> (n, 3, size, size)."""

    def fill(drawn: Draw) -> Tensor:
        crops: Tensor | None = None
        for image, mirror, rows in _by_image(drawn):
            picture, boxes = store.source.picture(image), store.source.training_windows(image)[drawn.row[rows]]
            if mirror:
                picture, boxes = picture.flip(-1), mirrored(boxes, picture.shape[-1])
            warped = warp(picture, boxes)
            crops = warped.new_empty(len(drawn.row), *warped.shape[1:]) if crops is None else crops
            crops[torch.from_numpy(rows)] = warped
        assert crops is not None  # a draw has windows
        return crops

    return fill


def _by_image(drawn: Draw) -> Iterator[tuple[int, bool, Any]]:
    """(image, mirrored, places in the draw) for each picture that was drawn from."""
    keys = drawn.image * 2 + drawn.mirrored
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    for rows in np.split(order, ends):
        yield int(drawn.image[rows[0]]), bool(drawn.mirrored[rows[0]]), rows


def finetune(
    network: nn.Module,
    blocks: Blocks,
    schedule: Schedule,
    trainer_config: Trainer,
    folder: Path,
    *,
    seed: int,
    identity: Mapping[str, Any],
    every: int,
    files: Sequence[Path],
) -> None:
    """Train `network` in place, or go on.

    identity: what must stay the same; files: the image files, for a message. Raises DataError for a loss of NaN.
    """
    pl.seed_everything(seed + ranks.rank(), verbose=False)
    snapshots = Snapshots(folder / "checkpoints" / "finetune", every=every, identity=identity)
    checkpoint = newest(snapshots.folder)
    if checkpoint:
        refuse_other(checkpoint, snapshots.identity)
    step = int(checkpoint.name.removeprefix("step-").split(".")[0]) if checkpoint else None
    finite = Finite(folder, lambda epoch, number: [str(files[image]) for image in blocks.images(number)])
    trainer = fitting(
        trainer_config,
        folder,
        blocks.epochs,
        [finite, snapshots],
        step,
        steps=blocks.steps,
        reload_dataloaders_every_n_epochs=1,
    )
    set_threads(trainer_config.threads)
    trainer.fit(FineTuner(network, schedule), datamodule=blocks, ckpt_path=checkpoint, weights_only=True)
