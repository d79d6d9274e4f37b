"""What happens to a batch on the device: flip, colour altering, mean subtraction, resizing to the epoch's size."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


def warp_mean(
    mean: Float[Tensor, "3 c c"], height: int, width: int, layout: torch.memory_format = torch.contiguous_format
) -> Float[Tensor, "1 3 h w"]:
    """The mean image warped to the input's size (Appendix A)."""
    warped = mean[None]
    if mean.shape[-2:] != (height, width):
        smaller = height < mean.shape[-2] or width < mean.shape[-1]  # antialiasing changes nothing in a larger one
        warped = F.interpolate(
            warped.contiguous(memory_format=layout), size=(height, width), mode="bilinear", antialias=smaller
        )
    return warped.contiguous(memory_format=layout)


def resize(images: UInt8[Tensor, "n 3 h w"], size: int) -> UInt8[Tensor, "n 3 s s"]:
    """The same crops at another size (section 2.3: resized, not cropped again)."""
    if images.shape[-1] == size:
        return images
    if images.is_cuda:  # antialiased resizing of uint8 is for the CPU only
        small = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
        return small.round_().clamp_(0, 255).to(torch.uint8)
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def prepare_training(
    images: UInt8[Tensor, "n 3 h w"],
    flip: Tensor,
    colour: Float[Tensor, "n 3"],
    size: int,
    *,
    mean: Float[Tensor, "3 c c"],
    directions: Float[Tensor, "3 3"],
    scale: float | Tensor = 1.0,
    layout: torch.memory_format = torch.channels_last,
) -> Float[Tensor, "n 3 s s"]:
    """uint8 crops to network input: flipped where `flip`, resized, less the mean, plus AlexNet's colour shift.

    colour: N(0, 0.1) factors along the principal directions of RGB, one shift a picture. Values about
    [-255, 255] times `scale`.
    """
    x = resize(images, size).to(torch.float32, memory_format=layout, copy=True)
    x[flip] = x[flip].flip(-1)
    shift = (colour @ directions.T)[:, :, None, None].expand(-1, -1, 1, size)  # whole rows: three at a time are slow
    return x.sub_(warp_mean(mean, size, size, layout)).add_(shift.contiguous(memory_format=layout)).mul_(scale)


def prepare_test(
    images: UInt8[Tensor, "n 3 h w"],
    mean: Float[Tensor, "3 c c"],
    scale: float | Tensor = 1.0,
    layout: torch.memory_format = torch.channels_last,
) -> Float[Tensor, "n 3 h w"]:
    """uint8 views to network input: less the mean warped to their size, times `scale`."""
    x = images.to(torch.float32, memory_format=layout, copy=True)
    return x.sub_(warp_mean(mean, images.shape[-2], images.shape[-1], layout)).mul_(scale)
