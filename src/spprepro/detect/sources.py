"""The images of a VOC split with their windows, checked; and which of these can train what."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from spprepro.data.decode import decode
from spprepro.data.voc import Split, fingerprint
from spprepro.detect.boxes import iou
from spprepro.detect.windows import Boxes, check_boxes
from spprepro.errors import DataError

POSITIVE = 0.5  # overlap with an object from which a window shows it in fine-tuning
BACKGROUND = 0.1  # overlap from which other windows are negatives of fine-tuning


@dataclass(frozen=True)
class Source:
    """A split with the windows of each image by its id; `limit`: the first so many of them (0: all)."""

    split: Split
    proposals: Mapping[str, NDArray[Any]]
    limit: int = 0

    def __len__(self) -> int:
        return len(self.split.images)

    def picture(self, number: int) -> UInt8[Tensor, "3 h w"]:
        """The decoded image."""
        return decode(self.split.path(number))

    def size(self, number: int) -> tuple[int, int]:
        """Height and width in pixels."""
        image = self.split.images[number]
        return image.height, image.width

    def windows(self, number: int) -> Boxes:
        """(N, 4) proposals of an image."""
        boxes: Boxes = np.asarray(self.proposals[self.split.images[number].id], np.float64)
        return boxes[: self.limit] if self.limit else boxes

    def training_windows(self, number: int) -> Boxes:
        """(G + N, 4) its objects, difficult ones too (as in R-CNN and the released code), then its proposals."""
        return np.concatenate([self.split.images[number].boxes, self.windows(number)])


def usable(source: Source, unusable: str) -> tuple[Source, list[str]]:
    """The source, read from disk once, without images that have no window, and their ids.

    Raises DataError for windows without area or outside their image, and, with unusable="refuse", for images without
    any; "skip" leaves these out of training, and the caller reports them. A test image is never left out: an image in
    which nothing is found counts.
    """
    faults: list[str] = []
    empty = []
    proposals = {}  # 20 MB a thousand
    for image in source.split.images:
        boxes = np.asarray(source.proposals[image.id])
        boxes = proposals[image.id] = boxes if boxes.size else boxes.reshape(0, 4)
        try:
            check_boxes(boxes.astype(np.float64), image.height, image.width, f"proposals of image {image.id}")
        except DataError as error:
            faults += error.faults
        if not len(boxes):
            empty.append(image.id)
    if empty and unusable == "refuse":
        named = ", ".join(empty[:10]) + (" ..." if len(empty) > 10 else "")
        faults.append(f"proposals: none for {len(empty)} images ({named}); voc.unusable=skip goes on without them")
    if faults:
        raise DataError(faults)
    kept = [image for image in source.split.images if image.id not in set(empty)]
    return replace(source, split=replace(source.split, images=kept), proposals=proposals), empty


def state(source: Source) -> str:
    """12 digits that change with the split and with its windows: folders of what is made of both bear them."""
    digest = hashlib.sha256(fingerprint(source.split).encode())
    for number in range(len(source)):
        digest.update(source.windows(number).tobytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Overlaps:
    """An image's training windows beside its objects.

    best: (n,) largest overlap with an object, in [0, 1]; object: (n,) which one, the first of equals; by_class:
    (n, classes) largest overlap with an object of each class.
    """

    best: NDArray[np.float64]
    object: NDArray[np.int64]
    by_class: NDArray[np.float64]


def overlaps(source: Source, number: int) -> Overlaps:
    """Of the training windows of an image; all 0 where it has no object."""
    image, boxes = source.split.images[number], source.training_windows(number)
    by_class = np.zeros((len(boxes), len(source.split.classes)))
    if not len(image.boxes):
        return Overlaps(np.zeros(len(boxes)), np.zeros(len(boxes), np.int64), by_class)
    found = iou(boxes, image.boxes)
    for label in np.unique(image.labels):
        by_class[:, label] = found[:, image.labels == label].max(1)
    return Overlaps(found.max(1), found.argmax(1), by_class)
