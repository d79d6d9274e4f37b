"""Training images kept as resized pixels, so that a file is decoded once and not once an epoch.

A kept file is named by the sha1 of the image's content, so it never belongs to another image and any number of
processes may write it; it ends with a checksum, so one that a crash left damaged is made again.
"""

import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from spprepro.data.decode import decode, resize_short_side, short_side_size
from spprepro.data.imagenet import Image
from spprepro.folders import cache_home


def kept_folder(images: Sequence[Image], min_side: int, limit_gib: float) -> Path | None:
    """Where the pixels of `images` are kept; None when they would take more than `limit_gib` GiB."""
    sizes = (short_side_size(image.height, image.width, min_side) for image in images)
    if sum(3 * height * width for height, width in sizes) > limit_gib * 2**30:
        return None
    return cache_home() / "pixels" / f"{min_side}-torch{torch.__version__}"  # versions may resize differently


class KeptImages:
    """Images with the short side at `min_side`: from `folder` where they are there, else decoded and put there."""

    def __init__(self, root: Path, images: Sequence[Image], *, min_side: int, folder: Path | None) -> None:
        self.root, self.min_side, self.folder = str(root), min_side, folder
        self.paths = np.array([image.path for image in images])  # arrays: a list of objects is copied by every worker
        known = images if folder else []
        self.sha1 = np.array([image.sha1 for image in known], "S40")
        self.sizes = np.array([short_side_size(image.height, image.width, min_side) for image in known])

    def __getitem__(self, index: int) -> UInt8[Tensor, "3 h w"]:
        if self.folder is None:
            return self._decoded(index)
        name = self.sha1[index].decode()
        path = f"{self.folder}/{name[:2]}/{name}"
        image = _load(path, *self.sizes[index])
        if image is None:
            image = self._decoded(index)
            with suppress(OSError):  # a full disk costs time, not the run
                _save(Path(path), image)
        return image

    def _decoded(self, index: int) -> UInt8[Tensor, "3 h w"]:
        return resize_short_side(decode(Path(self.root, self.paths[index])), self.min_side)


def _load(path: str, height: int, width: int) -> UInt8[Tensor, "3 h w"] | None:
    """The kept image; None if it is not there or damaged."""
    size = 3 * height * width
    content = np.empty(size + 5, np.uint8)  # 4 bytes of checksum, and one that a whole file leaves empty
    try:
        with open(path, "rb", buffering=0) as file:
            read = file.readinto(content.data)
    except FileNotFoundError:
        return None
    pixels = content[:size]
    if read != size + 4 or zlib.crc32(pixels.data).to_bytes(4, "little") != content[size : size + 4].tobytes():
        return None
    return torch.from_numpy(pixels).view(height, width, 3).permute(2, 0, 1)


def _save(path: Path, image: UInt8[Tensor, "3 h w"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(pixels + zlib.crc32(pixels).to_bytes(4, "little"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
