"""Batches for training and testing. Epoch, image and size travel with the index, so nothing depends on workers.

A training key is (epoch, index, size): every random choice is a function of (seed, epoch, index). That is multi-size
training, exact resume and independence of the worker count in one (after timm's scheduled sampler).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from spprepro.data.decode import decode, resize_short_side, short_side_size
from spprepro.data.imagenet import Image
from spprepro.data.kept import Kept, KeptImages
from spprepro.data.processes import start_method

Key = tuple[int, int, int]  # epoch, index, size


@dataclass
class Batch:
    """images: (N, 3, H, W) uint8; labels, index: (N,) int64; flip: (N,) bool; colour: (N, 3); size: pixels."""

    images: Tensor
    labels: Tensor
    index: Tensor
    flip: Tensor
    colour: Tensor
    size: int

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        moved = {key: v.to(device, non_blocking=non_blocking) for key, v in vars(self).items() if key != "size"}
        return Batch(**moved, size=self.size)

    def pin_memory(self) -> "Batch":
        return Batch(**{key: v.pin_memory() for key, v in vars(self).items() if key != "size"}, size=self.size)


def pixels_last(count: int, height: int, width: int) -> Tensor:
    """An empty (N, 3, H, W) uint8 batch in the layout that decoders write and convolutions read, channels last."""
    return torch.empty(count, 3, height, width, dtype=torch.uint8, memory_format=torch.channels_last)


@dataclass
class TestBatch:
    """images: shorter side in pixels -> (N, 3, H, W) uint8, the same pictures at each; labels, index: (N,) int64."""

    __test__ = False  # not a pytest class

    images: dict[int, Tensor]
    labels: Tensor
    index: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "TestBatch":
        return self._mapped(lambda v: v.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "TestBatch":
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "TestBatch":
        images = {side: change(pictures) for side, pictures in self.images.items()}
        return TestBatch(images, change(self.labels), change(self.index))


class TrainImages(Dataset[Batch]):
    """Crops of the training images, uint8; flip and colour are drawn here and applied on the device."""

    def __init__(
        self,
        root: Path,
        images: Sequence[Image],
        *,
        seed: int,
        crops: Literal["corners", "random"],
        min_side: int,
        crop: int,
        kept: Kept | None = None,
    ) -> None:
        self.seed, self.crops, self.crop = seed, crops, crop
        self.images = KeptImages(root, images, min_side=min_side, kept=kept)
        self.labels = np.array([image.label for image in images])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[Key]) -> Batch:
        images = pixels_last(len(keys), self.crop, self.crop)
        flips, colours = [], []
        for place, (epoch, index, _) in enumerate(keys):
            draw = np.random.default_rng((self.seed, epoch, index))
            image = self.images[index]
            top, left = self._corner(draw, *image.shape[-2:])
            images[place] = image[:, top : top + self.crop, left : left + self.crop]
            flips.append(draw.random() < 0.5)
            colours.append(draw.normal(0, 0.1, 3))
        index_of = torch.tensor([index for _, index, _ in keys])
        labels = torch.from_numpy(self.labels[index_of.numpy()])
        colour = torch.from_numpy(np.array(colours, np.float32))
        return Batch(images, labels, index_of, torch.tensor(flips), colour, keys[0][2])

    def _corner(self, draw: np.random.Generator, height: int, width: int) -> tuple[int, int]:
        """Top left of the crop: anywhere, or (section 3.1) the centre or a corner of the entire image."""
        free_y, free_x = height - self.crop, width - self.crop
        if self.crops == "random":
            return int(draw.integers(free_y + 1)), int(draw.integers(free_x + 1))
        places = ((free_y // 2, free_x // 2), (0, 0), (0, free_x), (free_y, 0), (free_y, free_x))
        return places[int(draw.integers(5))]


class TestImages(Dataset[TestBatch]):
    """Whole test images with the shorter side at each of `sides`, uint8; views are cut on the device."""

    __test__ = False  # not a pytest class

    def __init__(self, root: Path, images: Sequence[Image], sides: Sequence[int]) -> None:
        self.root, self.sides = str(root), tuple(sides)
        self.paths = np.array([image.path for image in images])
        self.labels = np.array([image.label for image in images])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, indices: list[int]) -> TestBatch:
        decoded = [decode(Path(self.root, self.paths[i])) for i in indices]
        scaled = {side: self._stacked([self.scaled(image, side) for image in decoded]) for side in self.sides}
        return TestBatch(scaled, torch.from_numpy(self.labels[indices]), torch.tensor(indices))

    def scaled(self, image: Tensor, side: int) -> Tensor:
        """(3, H, W) uint8 as it is seen at a side."""
        return resize_short_side(image, side)

    @staticmethod
    def _stacked(images: list[Tensor]) -> Tensor:
        out = pixels_last(len(images), *images[0].shape[-2:])
        torch.stack(images, out=out)
        return out


class EpochBatches(Sampler[list[Key]]):
    """Batches of training keys: a permutation for each epoch, one size an epoch, sharded by rank; drops the rest."""

    def __init__(
        self, count: int, batch: int, *, seed: int, size_of: Callable[[int], int], rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch, self.seed, self.size_of = count, batch, seed, size_of
        self.rank, self.world = rank, world
        self.epoch = self.start = 0
        self.sampler = self  # Lightning sets the epoch on batch_sampler.sampler only

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        size, share = self.size_of(self.epoch), self.batch // self.world
        start, self.start = self.start, 0
        for number in range(start, len(self)):
            first = number * self.batch + self.rank * share
            yield [(self.epoch, int(index), size) for index in order[first : first + share]]


class SizeBatches(Sampler[list[int]]):
    """Batches of test images that have the same size at each of `sides`, sharded by rank; each image once."""

    def __init__(
        self, images: Sequence[Image], batch: int, sides: Sequence[int], *, rank: int = 0, world: int = 1
    ) -> None:
        groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for index, image in enumerate(images):
            sizes = tuple(short_side_size(image.height, image.width, side) for side in sides)
            groups.setdefault(sizes, []).append(index)
        batches = [group[i : i + batch] for _, group in sorted(groups.items()) for i in range(0, len(group), batch)]
        self.batches = batches[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def whole(batch: Any) -> Any:
    """The datasets hand over batches; nothing is left to collate."""
    return batch


class TrainLoader(DataLoader[Batch]):
    """A loader whose place in the epoch goes into the checkpoint (Lightning calls state_dict), without replay."""

    batch_sampler: EpochBatches

    def __init__(self, images: TrainImages, batches: EpochBatches, *, workers: int, pin: bool) -> None:
        super().__init__(
            images,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=whole,
            pin_memory=pin,
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(0),  # keeps iter() from drawing on the global generator
            prefetch_factor=4 if workers else None,
            multiprocessing_context=start_method(workers),
        )
        self.consumed = 0

    def __iter__(self) -> Any:
        self.consumed = self.batch_sampler.start
        for batch in super().__iter__():
            self.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.consumed % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.start = state["consumed"]


def test_loader(images: TestImages, batches: SizeBatches, *, workers: int, pin: bool) -> DataLoader[TestBatch]:
    """Every test image once, in batches of equal size."""
    ahead = max(2, 16 // len(images.sides))  # batches a worker decodes in advance: many small ones or a few large ones
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=whole,
        pin_memory=pin,
        prefetch_factor=ahead if workers else None,
        multiprocessing_context=start_method(workers),
    )
