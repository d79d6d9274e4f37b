"""The views of a test image, cut on the device from uint8 images whose short side is 256 (section 3.1).

(N, 3, H, W) -> list of (N, 3, h, w); the class scores of all views are averaged after softmax.
"""

from collections.abc import Callable

from jaxtyping import UInt8
from torch import Tensor

from spprepro.data.decode import centre_crop

Views = Callable[[UInt8[Tensor, "n 3 h w"], int], list[Tensor]]


def crop_view(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """The centre crop (Table 3, "1 crop")."""
    return [centre_crop(images, crop)]


def full_view(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """The whole image at its own aspect (Table 3, "1 full")."""
    return [images]


def ten_views(images: UInt8[Tensor, "n 3 h w"], crop: int) -> list[Tensor]:
    """Centre and the four corners of the whole image, then the same flipped (Table 2)."""
    crops = [centre_crop(images, crop)]
    crops += [images[..., rows, columns] for rows in _ends(crop) for columns in _ends(crop)]
    return crops + [view.flip(-1) for view in crops]


def _ends(crop: int) -> tuple[slice, slice]:
    return slice(None, crop), slice(-crop, None)
