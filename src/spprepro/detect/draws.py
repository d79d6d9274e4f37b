"""Which windows fine-tuning sees: blocks of mini-batches, a quarter of them positive (section 4.1, spp_finetune_voc.m).

A block is drawn from as many images, in random order, as hold ten times the windows it needs; so only part of the
images have to be looked at for it. Every draw is a function of (seed, block, rank).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spprepro.detect.sources import BACKGROUND, POSITIVE, Source, overlaps
from spprepro.errors import DataError

RICH = 10  # times the windows of a block that its images hold, if there are as many
SHARE = 4  # one window in so many is positive


@dataclass(frozen=True)
class Pools:
    """For each image the rows of its training windows that may be drawn.

    positives: rows with an overlap of at least 0.5 with an object; labels: its class, from 1; negatives: rows with an
    overlap in [0.1, 0.5).
    """

    positives: list[NDArray[np.int64]]
    labels: list[NDArray[np.int64]]
    negatives: list[NDArray[np.int64]]


@dataclass(frozen=True)
class Draw:
    """Windows of a block, in the order of its mini-batches; each array is (steps * batch,).

    image: number in the split; mirrored: whether it is seen mirrored; row: of its training windows; label: 0 for a
    negative, else the class from 1.
    """

    image: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    row: NDArray[np.int64]
    label: NDArray[np.int64]


def pools(source: Source) -> Pools:
    """The pools of a training source; raises DataError where nothing could be drawn."""
    found = Pools([], [], [])
    for number in range(len(source)):
        beside = overlaps(source, number)
        rows = np.flatnonzero(beside.best >= POSITIVE)
        found.positives.append(rows)
        found.labels.append(source.split.images[number].labels[beside.object[rows]] + 1)
        found.negatives.append(np.flatnonzero((beside.best >= BACKGROUND) & (beside.best < POSITIVE)))
    for what, rows_of in (("show", found.positives), ("lie beside", found.negatives)):
        if not any(map(len, rows_of)):
            raise DataError(
                f"{source.split.root}: no window of split {source.split.name} would {what} an object, so nothing can "
                "be fine-tuned; are the proposals those of these images?"
            )
    return found


def draw(
    pools: Pools, *, seed: int, block: int, steps: int, batch: int, flips: bool, rank: int = 0, world: int = 1
) -> Draw:
    """`steps` mini-batches of `batch` windows, the share of one of `world` devices, which draws from its own images."""
    rng = np.random.default_rng([seed, block, rank])
    count = len(pools.positives)
    order = rng.permutation(np.arange(rank, count * (1 + flips), world))
    share = batch // SHARE
    both = ((pools.positives, share), (pools.negatives, batch - share))
    parts = [_pick(rows, order, count, steps * n, rng) for rows, n in both]
    slots = [np.arange(steps * n) // n * batch + offset + np.arange(steps * n) % n
             for n, offset in ((share, 0), (batch - share, share))]  # fmt: skip
    place = np.argsort(np.concatenate(slots))
    image, which = (np.concatenate([part[k] for part in parts])[place] for k in (0, 1))
    positive = np.concatenate([np.ones(steps * share, bool), np.zeros(steps * (batch - share), bool)])[place]
    row, label = np.empty_like(image), np.zeros_like(image)
    for k in range(len(image)):
        own = image[k] % count
        row[k] = (pools.positives if positive[k] else pools.negatives)[own][which[k]]
        label[k] = pools.labels[own][which[k]] if positive[k] else 0
    return Draw(image % count, image >= count, row, label)


def _pick(
    rows: list[NDArray[np.int64]], order: NDArray[np.int64], count: int, need: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(image, place among its rows) of `need` draws from the first images of `order`; again only where too few are."""
    held = np.cumsum([len(rows[image % count]) for image in order])
    images = order[: np.searchsorted(held, RICH * need) + 1]
    held = held[: len(images)]
    if not held[-1:].any():
        raise DataError("fine-tuning: a device's share of the images has no window to draw; use fewer devices")
    chosen = rng.choice(held[-1], need, replace=bool(held[-1] < need))
    at = np.searchsorted(held, chosen, side="right")
    return images[at], chosen - np.concatenate([[0], held])[at]


def mirrored(boxes: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Windows in the mirror image of an image `width` pixels wide."""
    return np.stack([width - 1 - boxes[:, 2], boxes[:, 1], width - 1 - boxes[:, 0], boxes[:, 3]], 1)
