"""Features of all images by a Lightning predict job: sharded over devices, each image once, to disk as they come."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spprepro import ranks
from spprepro.config import Config
from spprepro.data.decode import centre_crop, resize_short_side
from spprepro.data.imagenet import Image
from spprepro.data.loader import SizeBatches, TestBatch, TestImages, test_loader
from spprepro.errors import DataError
from spprepro.training.cpu import set_threads
from spprepro.training.lightning import testing
from spprepro.transfer.layers import Layers
from spprepro.transfer.store import Store, create, gather
from spprepro.transfers import View

BATCH = 16
_FEW = 5  # images in a message


class ViewImages(TestImages):
    """One view of each image: the centre crop x crop pixels or the whole of it with its shorter side at `side`, or the
    image warped to crop x crop."""

    def __init__(self, root: Path, images: Sequence[Image], view: View, side: int, crop: int) -> None:
        super().__init__(root, images, [side])
        self.view, self.crop = view, crop

    def scaled(self, image: UInt8[Tensor, "3 h w"], side: int) -> UInt8[Tensor, "3 h2 w2"]:
        if self.view == "warp":
            return F.interpolate(image[None], (self.crop, self.crop), mode="bilinear", antialias=True)[0]
        whole = resize_short_side(image, side)
        return whole if self.view == "full" else centre_crop(whole, self.crop)


def extract(
    config: Config,
    layers: Layers,
    root: Path,
    images: Sequence[Image],
    side: int,
    folder: Path,
    identity: Mapping[str, Any],
) -> Store:
    """The features of the images at one side, kept in `folder`; those that are there already are not made again.

    A shard fills a store of its own beside `folder`, as machines do not see what others write into a mapped file; the
    job copies these together.
    identity: what tells these images from others. Raises DataError where features are not finite, with layer and image.
    """
    t, crop = config.transfer, config.backbone.crop
    with torch.inference_mode():
        lengths = {name: v.shape[1] for name, v in layers(torch.zeros(1, 3, crop, crop, dtype=torch.uint8)).items()}
    about = {**identity, "network": _sha256(layers), "view": t.view, "side": side, "run": config.trainer.precision}
    trainer = testing(config.trainer)
    set_threads(config.trainer.threads)
    source = _Pictures(config, root, images, side)
    own = folder if config.shard is None else folder.with_name(f"{folder.name}_{config.shard}of{config.shards}")
    if ranks.leads():
        create(own, len(images), lengths, t.precision, about)
        if config.shard is None:
            gather(folder, sorted(folder.parent.glob(f"{folder.name}_*of*")))
    ranks.barrier()
    source.store = Store(own)
    source.rows = source.store.missing()
    if config.shard is not None:  # whole batches, so that the features are those of a job alone to the bit
        part = source.batches(np.arange(len(images)), config.shard, config.shards)
        source.rows = np.intersect1d(source.rows, [row for batch in part for row in batch])
    ranks.barrier()  # or another process might have begun to fill it
    if len(source.rows):
        extractor = Extractor(layers, source.store, source.rows)
        trainer.predict(extractor, datamodule=source, return_predictions=False)
        ranks.barrier()
        faults = [
            f"{layer}: not finite in {len(rows)} of {len(images)} images, such as "
            f"{', '.join(str(root / images[row].path) for row in rows[:_FEW])}; train the network again"
            for layer, rows in extractor.spoilt.items()
        ]
        if faults:
            raise DataError(faults)
    return source.store


class Extractor(pl.LightningModule):
    """Writes the features of batches into the store; `rows` are the images' numbers there.

    spoilt: layer -> images whose features are not finite; they are not written.
    """

    def __init__(self, layers: Layers, store: Store, rows: Any) -> None:
        super().__init__()
        self.layers, self.store, self.rows = layers, store, rows
        self.spoilt: dict[str, list[int]] = {}

    def predict_step(self, batch: TestBatch, batch_idx: int) -> None:
        (pixels,) = batch.images.values()
        found = {name: values.cpu().numpy() for name, values in self.layers(pixels).items()}
        rows, whole = self.rows[batch.index.cpu().numpy()], np.ones(len(batch.index), bool)
        for name, values in found.items():
            fine = np.isfinite(values).all(1)
            if not fine.all():
                self.spoilt.setdefault(name, []).extend(rows[~fine].tolist())
            whole &= fine
        self.store.write(rows[whole], {name: values[whole] for name, values in found.items()})

    def on_predict_end(self) -> None:
        self.store.flush()


class _Pictures(pl.LightningDataModule):
    """Views of the images that `store` lacks, those in `rows`, in batches of equal size, sharded by rank here."""

    store: Store
    rows: Any

    def __init__(self, config: Config, root: Path, images: Sequence[Image], side: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than processes
        self.config, self.root, self.images, self.side = config, root, images, side

    def batches(self, rows: Any, rank: int, world: int) -> SizeBatches:
        """Places in `rows`."""
        view, crop = self.config.transfer.view, self.config.backbone.crop
        images = [self.images[row] for row in rows]
        sizes = images if view == "full" else [replace(image, height=crop, width=crop) for image in images]
        return SizeBatches(sizes, BATCH, [self.side], rank=rank, world=world)

    def predict_dataloader(self) -> DataLoader[TestBatch]:
        view, crop = self.config.transfer.view, self.config.backbone.crop
        return test_loader(
            ViewImages(self.root, [self.images[row] for row in self.rows], view, self.side, crop),
            self.batches(self.rows, ranks.rank(), ranks.world()),
            workers=self.config.data.workers,
            pin=self.config.trainer.accelerator == "gpu",
        )


def _sha256(module: nn.Module) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
