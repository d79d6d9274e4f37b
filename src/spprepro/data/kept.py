"""Training images kept with the short side at min_side, so that a file is decoded once and not once an epoch.

Raw pixels, the same to the bit, or JPEG files (quality 95, 4:4:4: a fifth of the size, and not quite the same pixels,
also in the first epoch). A kept file is named by the sha1 of the image's content, so it never belongs to another image
and any number of processes may write it; it ends with a checksum, so one that a crash left damaged is made again.
"""

import io
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spprepro.config import Data
from spprepro.data.decode import decode, decode_bytes, resize_short_side, short_side_size
from spprepro.data.imagenet import Image, Survey
from spprepro.data.processes import start_method
from spprepro.files import require_room
from spprepro.folders import cache_home

Form = Literal["raw", "jpeg"]
JPEG_SHARE = 0.25  # of the raw size, at most: photos take 0.18


@dataclass(frozen=True)
class Kept:
    """Where resized images are kept, and as what."""

    folder: Path
    form: Form


def kept_as(images: Sequence[Image], min_side: int, form: Form | None, limit_gib: float) -> Kept | None:
    """Where `images` are kept; None when no form is asked for and raw pixels would take more than `limit_gib` GiB."""
    if form is None and raw_bytes(images, min_side) > limit_gib * 2**30:
        return None
    made_by = f"torch{torch.__version__}"  # versions may resize differently
    if form == "jpeg":
        made_by += f"-jpeg95-pillow{PIL.__version__}"
    return Kept(cache_home() / "pixels" / f"{min_side}-{made_by}", form or "raw")


def raw_bytes(images: Sequence[Image], min_side: int) -> int:
    """Of all the resized images."""
    sizes = (short_side_size(image.height, image.width, min_side) for image in images)
    return sum(3 * height * width for height, width in sizes)


class KeptImages:
    """Images with the short side at `min_side`: from where they are kept, else decoded and put there."""

    def __init__(self, root: Path, images: Sequence[Image], *, min_side: int, kept: Kept | None) -> None:
        self.root, self.min_side, self.kept = str(root), min_side, kept
        self.paths = np.array([image.path for image in images])  # arrays: a list of objects is copied by every worker
        known = images if kept else []
        self.sha1 = np.array([image.sha1 for image in known], "S40")
        self.sizes = np.array([short_side_size(image.height, image.width, min_side) for image in known])

    def __getitem__(self, index: int) -> UInt8[Tensor, "3 h w"]:
        if self.kept is None:
            return self._resized(index)
        raw = self.kept.form == "raw"
        height, width = self.sizes[index]
        content = _load(self.path(index), 3 * height * width if raw else None)
        if content is None:
            content = self._encoded(index)
            with suppress(OSError):  # a full disk costs time, not the run
                _save(self.path(index), content)
        if raw:
            return torch.from_numpy(content).view(height, width, 3).permute(2, 0, 1)
        return decode_bytes(content.tobytes())

    def path(self, index: int) -> str:
        """Where the image is kept."""
        name = self.sha1[index].decode()
        return f"{cast(Kept, self.kept).folder}/{name[:2]}/{name}"

    def keep(self, index: int) -> None:
        """Put the image there; raises OSError where it cannot be written."""
        _save(self.path(index), self._encoded(index))

    def _encoded(self, index: int) -> NDArray[np.uint8]:
        pixels = self._resized(index).permute(1, 2, 0).contiguous().numpy()
        if cast(Kept, self.kept).form == "raw":
            return pixels.reshape(-1)
        out = io.BytesIO()
        PilImage.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
        return np.frombuffer(out.getvalue(), np.uint8)

    def _resized(self, index: int) -> UInt8[Tensor, "3 h w"]:
        return resize_short_side(decode(Path(self.root, self.paths[index])), self.min_side)


class _Copies(Dataset[tuple[int, str]]):
    """Keeps image after image; what stops one comes back as (errno, path), as a worker's exception would lose it."""

    def __init__(self, images: KeptImages, indices: Sequence[int]) -> None:
        self.images, self.indices = images, np.array(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, str]:
        index = int(self.indices[place])
        try:
            self.images.keep(index)
        except OSError as error:
            return error.errno or 0, self.images.path(index)
        return 0, ""


def copy_all(survey: Survey, data: Data, tell: Callable[[str, int, int], None]) -> None:
    """Keep what is not kept yet of the training images, in the form of data.cache, before any job needs them.

    Raises DataError where the disk has too little room, OSError for one that gets full; the same call goes on.
    """
    kept = cast(Kept, kept_as(survey.train, data.min_side, data.cache, data.keep_gib))
    images = KeptImages(survey.root, survey.train, min_side=data.min_side, kept=kept)
    lacking = [index for index in range(len(survey.train)) if not os.path.exists(images.path(index))]
    kept.folder.mkdir(parents=True, exist_ok=True)
    share = JPEG_SHARE if kept.form == "jpeg" else 1.0
    require_room(kept.folder, int(share * raw_bytes([survey.train[index] for index in lacking], data.min_side)))
    loader = DataLoader(
        _Copies(images, lacking),
        batch_size=None,
        num_workers=data.workers,
        multiprocessing_context=start_method(data.workers),
    )
    for done, (number, path) in enumerate(loader, 1):
        if path:
            raise OSError(number, os.strerror(number), path)
        tell(f"copying training images to {kept.folder}", done, len(lacking))


def _load(path: str, size: int | None) -> NDArray[np.uint8] | None:
    """What is kept, of `size` bytes where that is known; None if it is not there or damaged."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = max(0, os.fstat(file.fileno()).st_size - 4) if size is None else size
            content = np.empty(size + 5, np.uint8)  # 4 bytes of checksum, and one that a whole file leaves empty
            read = file.readinto(content.data)
    except FileNotFoundError:
        return None
    kept = content[:size]
    if read != size + 4 or zlib.crc32(kept.data).to_bytes(4, "little") != content[size : size + 4].tobytes():
        return None
    return kept


def _save(path: str, content: NDArray[np.uint8]) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.tobytes() + zlib.crc32(content.data).to_bytes(4, "little"))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
