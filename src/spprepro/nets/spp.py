"""Spatial pyramid pooling (section 2.2; bins as in Appendix A)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spprepro.nets.geometry import bins


def pool_bins(x: Float[Tensor, "n c h w"], n: int) -> Float[Tensor, "n c m m"]:
    """Max over the n x n bins of each map: adaptive max pooling to the bit, (N, C, H, W) -> (N, C, n, n).

    Separable, from max_pool2d, because torch's adaptive pooling has no deterministic backward on CUDA.
    """
    height, width = x.shape[-2:]
    if height % n == 0 and width % n == 0:
        return F.max_pool2d(x, (height // n, width // n))
    x = torch.cat([F.max_pool2d(x[..., a:b, :], (b - a, 1)) for a, b in bins(height, n)], -2)
    return torch.cat([F.max_pool2d(x[..., a:b], (1, b - a)) for a, b in bins(width, n)], -1)


def pyramid_levels(x: Float[Tensor, "n c h w"], levels: Sequence[int]) -> dict[int, Tensor]:
    """Each level n as (N, C, n, n); where n divides a finer level m, its bins are exact unions of m's."""
    maps: dict[int, Tensor] = {}
    for n in sorted(levels, reverse=True):
        finer = next((m for m in maps if m % n == 0), None)
        maps[n] = pool_bins(x, n) if finer is None else F.max_pool2d(maps[finer], finer // n)
    return maps


class SpatialPyramidPooling(nn.Module):
    """(N, C, H, W) of any H, W >= 1 -> (N, C * sum(n*n)): levels in the given order, each flattened as (C, n, n)."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ValueError(f"pyramid levels {list(levels)}: give at least one, each over 0")
        self.levels = tuple(levels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        maps = pyramid_levels(x, self.levels)
        return torch.cat([maps[n].flatten(1) for n in self.levels], 1)
