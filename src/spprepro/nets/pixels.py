"""Trained convolutions with what they expect of pixels, outside ImageNet: detectors and transferred features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spprepro.nets import torchvision_trunks
from spprepro.nets.network import Network
from spprepro.nets.trunks import Backbone

MEAN = 128.0  # subtracted from every pixel of a VOC image (Appendix A)


class Trunk(nn.Module):
    """Convolutions with their normalisation: (N, 3, H, W) uint8 RGB -> (N, C, h, w); input is (pixels - mean) * scale.

    backbone: its layers, from which strides and offsets are computed; mean, scale: (3,), one a colour.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, module: nn.Module, mean: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.module = module.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1))
        self.register_buffer("scale", torch.tensor(scale).reshape(3, 1, 1))

    def forward(self, pixels: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n c a b"]:
        x = pixels.to(self.mean.device).to(torch.float32, memory_format=torch.channels_last, copy=True)
        return self.module(x.sub_(self.mean).mul_(self.scale))  # type: ignore[no-any-return]


def trunk_of(network: Network, backbone: Backbone, input_scale: float) -> Trunk:
    """The convolutions of a classifier that was trained on pixels less their mean, times `input_scale`."""
    return Trunk(backbone, network.trunk, [MEAN] * 3, [input_scale] * 3)


def trunk_of_torchvision(backbone: Backbone, *, trained: bool = True) -> Trunk:
    """The convolutions of the model and (if trained) weights that `backbone` names, in eval mode; its backbone has
    their layers."""
    return Trunk(*torchvision_trunks.build(backbone, trained=trained))
