"""The layers of a trained network as features of one view of an image (sections 3.2 and 3.3)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spprepro.nets.network import Network
from spprepro.nets.pixels import Trunk
from spprepro.nets.spp import pyramid_levels


class Layers(nn.Module):
    """(N, 3, H, W) uint8 RGB -> layer -> (N, D) float32 features of norm 1 (of norm 0 where all are 0).

    conv4, conv5: maps after their ReLU, flattened as (C, h, w); pool: the finest level of the pyramid, 6x6 in the
    paper, or the plain last pooling without SPP; spp: all levels; fc6, fc7: after their ReLU. `network` is the trained
    classifier that the trunk is of, None for a trunk from torchvision, which has conv5 (its last map), pool and spp.
    """

    def __init__(self, trunk: Trunk, network: Network | None, levels: Sequence[int], names: Sequence[str]) -> None:
        super().__init__()
        self.trunk, self.levels, self.names = trunk, list(levels), list(names)
        self.head = None if network is None else network.head
        self.maps: dict[str, Tensor] = {}
        if network is not None:
            for name in {"conv4", "conv5"}.intersection(names):
                network.trunk.get_submodule(name.replace("conv", "relu")).register_forward_hook(self._keep(name))

    def forward(self, pixels: UInt8[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n d"]]:
        last = self.trunk(pixels)
        found = {"conv5": last, **self.maps}
        self.maps.clear()
        if self.levels:
            levels = pyramid_levels(last, self.levels)
            found["pool"] = levels[max(self.levels)]
            found["spp"] = torch.cat([levels[n].flatten(1) for n in self.levels], 1)
        else:
            backbone = self.trunk.backbone
            kernel, stride = backbone.last_pool.kernel, backbone.last_pool.stride
            found["pool"] = F.max_pool2d(last, kernel, stride, ceil_mode=backbone.ceil_pool)
        if self.head is not None and {"fc6", "fc7"}.intersection(self.names):
            # fc, ReLU, dropout; fc, ReLU, dropout; the classifier
            found["fc6"] = self.head[:2](found["spp" if self.levels else "pool"].flatten(1))
            found["fc7"] = self.head[3:5](found["fc6"])
        return {name: F.normalize(found[name].flatten(1).float()) for name in self.names}

    def _keep(self, name: str) -> Callable[[Any, Any, Tensor], None]:
        """Remembers a layer's map on its way."""

        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            self.maps[name] = output

        return hook
