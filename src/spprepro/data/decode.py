"""One way from an image file to uint8 RGB: torchcodec where it is installed and knows the format, else PIL.

Both give the same pixels: the orientation of EXIF is applied, CMYK, palettes and greyscale become RGB, alpha is
dropped, 16 bits become 8. The format is read from the content, never from the name (ImageNet has a PNG named .JPEG).
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.ExifTags import Base
from torch import Tensor

from spprepro.errors import DataError

try:
    from torchcodec import decoders as _torchcodec
except (ImportError, OSError, RuntimeError):  # no wheel for this platform, or built for another torch
    _torchcodec = None  # type: ignore[assignment]

_KNOWN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # what torchcodec is asked for: JPEG and PNG


def decode(path: Path) -> UInt8[Tensor, "3 h w"]:
    """The image as (3, H, W) uint8 RGB; raises DataError naming the file when it cannot be read in full."""
    with decoding(path):
        return decode_bytes(path.read_bytes())


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder raises in the block becomes one DataError that names the file."""
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason}); replace or remove the file") from error


def decode_bytes(content: bytes) -> UInt8[Tensor, "3 h w"]:
    """As `decode`, from a file's content; raises what the decoder raises."""
    if _torchcodec is not None and content.startswith(_KNOWN):
        return _torchcodec.decode_image(content, mode="RGB")  # type: ignore[attr-defined]
    return decode_pil(content)


def decode_pil(content: bytes) -> UInt8[Tensor, "3 h w"]:
    """The portable path."""
    with _opened(io.BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion would clip at 255
            grey = (np.asarray(image).astype(np.uint32) + 128) // 257
            image = Image.fromarray(grey.astype(np.uint8))
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) by the file's header, as `decode` shows the image: turned by its orientation in EXIF.

    Raises DataError naming a file that is no image.
    """
    try:
        with _opened(path) as image:
            turned = image.getexif().get(Base.Orientation) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception as error:  # whatever PIL raises
        raise DataError(f"{path}: cannot be read as an image ({error}); replace it") from error


@contextmanager
def _opened(file: Path | BinaryIO) -> Iterator[Image.Image]:
    """An image that PIL opened; one so large that PIL warns of it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            yield image


def short_side_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) after scaling the shorter side to `side`; the longer one is rounded, halves up."""
    short = min(height, width)
    return (height * side * 2 + short) // (2 * short), (width * side * 2 + short) // (2 * short)


def resize_short_side(image: UInt8[Tensor, "3 h w"], side: int) -> UInt8[Tensor, "3 h2 w2"]:
    """Bilinear with antialiasing, on uint8 (within one grey level of PIL)."""
    size = short_side_size(image.shape[-2], image.shape[-1], side)
    if size == tuple(image.shape[-2:]):
        return image
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)  # strides that keep the decoder's channels-last layout
    return F.interpolate(batch, size=size, mode="bilinear", antialias=True)[0]


def centre_crop(image: UInt8[Tensor, "... h w"], crop: int) -> UInt8[Tensor, "... c c"]:
    """The central crop x crop pixels."""
    top, left = (image.shape[-2] - crop) // 2, (image.shape[-1] - crop) // 2
    return image[..., top : top + crop, left : left + crop]
