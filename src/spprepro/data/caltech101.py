"""A folder 101_ObjectCategories: its classes, BACKGROUND_Google among them, and the random splits of section 3.3.

    <root>/<class>/image_0001.jpg

All faults of the folder are found at once.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spprepro.data.decode import image_size
from spprepro.data.imagenet import SUFFIXES, Image, fingerprint
from spprepro.errors import DataError


@dataclass(frozen=True)
class Categories:
    """All images of the folder, class by class, sorted; an image's path is relative to the root."""

    root: Path
    classes: list[str]
    images: list[Image]

    def labels(self) -> NDArray[np.int64]:
        """(images,) indices of the classes."""
        return np.array([image.label for image in self.images])

    def fingerprint(self) -> str:
        """SHA-256 over every image's path, label and content hash."""
        return fingerprint(self.images)


@dataclass(frozen=True)
class Split:
    """Indices of the training and the test images, class by class."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def read_categories(root: Path, train: int) -> Categories:
    """The folder, of whose classes each must have `train` images and at least one to test.

    Raises DataError for a folder without classes, classes with fewer images, files that are no image, and images that
    are there twice: under two suffixes, or the same file as another one.
    """
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    faults = [] if len(classes) > 1 else [f"{root}: holds {len(classes)} classes; give the folder 101_ObjectCategories"]
    images: list[Image] = []
    for label, name in enumerate(classes):
        paths = sorted(path for path in (root / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if len(paths) <= train:
            faults.append(f"{root / name}: {len(paths)} images, but {train} train and at least one tests; add some")
        images += [image for path in paths if (image := _image(root, path, label, faults))]
    faults += _twice(root, images)
    if faults:
        raise DataError(faults)
    return Categories(root, classes, images)


def draw_split(labels: NDArray[np.int64], number: int, *, seed: int, train: int, test: int) -> Split:
    """Split `number`: of each class `train` images at random, and of the others at most `test`."""
    parts = []
    for label in range(labels.max() + 1):
        own = np.random.default_rng((seed, number, label)).permutation(np.flatnonzero(labels == label))
        parts.append((own[:train], own[train : train + test]))
    return Split(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _image(root: Path, path: Path, label: int, faults: list[str]) -> Image | None:
    """An image with its size and hash; None, and what is wrong noted, where it is none."""
    try:
        height, width = image_size(path)
    except DataError as error:
        faults += error.faults
        return None
    sha1 = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Image(path.relative_to(root).as_posix(), label, sha1, height, width)


def _twice(root: Path, images: list[Image]) -> list[str]:
    """Images that are in the set twice, so that one could train what the other tests."""
    seen: dict[str, str] = {}
    faults = []
    for image in images:
        stem = image.path.rpartition(".")[0]
        first = seen.setdefault(stem, image.path)
        first = seen.setdefault(image.sha1, image.path) if first == image.path else first
        if first != image.path:
            faults.append(f"{root / image.path}: the same image as {first}; keep one")
    return faults
