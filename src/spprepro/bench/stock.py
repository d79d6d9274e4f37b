"""A network of this project as one would write it at first: torch's own modules only, contiguous."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spprepro.nets.layers import ALPHA, SIZE, WithinChannelLRN
from spprepro.nets.spp import SpatialPyramidPooling


def make_stock(network: nn.Module) -> None:
    """Put torch's modules where this project has its own (LRN, pyramid pooling); the weights stay."""
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if isinstance(module, WithinChannelLRN):
                setattr(parent, name, _StockLRN())
            elif isinstance(module, SpatialPyramidPooling):
                setattr(parent, name, _StockPyramid(module.levels))
    network.to(memory_format=torch.contiguous_format)


class _StockLRN(nn.Module):
    """Within-channel LRN as its formula reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + ALPHA * F.avg_pool2d(x * x, SIZE, 1, SIZE // 2)).pow(0.75)


class _StockPyramid(nn.Module):
    """Every level pooled from the map."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveMaxPool2d(n) for n in levels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([pool(x).flatten(1) for pool in self.pools], 1)
