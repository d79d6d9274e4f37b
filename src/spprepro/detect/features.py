"""Features of an image's windows, layer by layer: the maps of the whole image, pooled for each window (section 4.1).

`SppFeatures` here and `RcnnFeatures` in rcnn.py have the same two steps: `prepare` (once an image) and `describe`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro.detect.pooling import Pooled, pool_image
from spprepro.detect.trunk import Head, scaled
from spprepro.detect.windows import (
    Boxes,
    best_scale,
    clamp_cells,
    distinct,
    mapping_field,
    responses,
    scale_boxes,
    target_side,
)
from spprepro.detection import Protocol
from spprepro.nets.geometry import head_inputs
from spprepro.nets.pixels import Trunk


@dataclass(frozen=True)
class Described:
    """Features of N windows.

    layers: those asked for of pool5, fc6, ftpool5, ftfc6 and ftfc7 (ft: of the fine-tuned network; for SPP-net, ftpool5
    is pool5), name -> (U, D) float32; inverse: (N,) row of each window, for windows with the same cells share theirs;
    kinds: (N,) windows of the same kind are the same to the released code, which drops all but one as negatives.
    """

    layers: dict[str, Tensor]
    inverse: NDArray[np.int64]
    kinds: NDArray[np.int64]


class SppFeatures(nn.Module):
    """Windows pooled from the maps of the image at each scale, then through fc layers: as pre-trained, and fine-tuned.

    plain, tuned: fc layers with the pyramid's features as input, either or both None; scales: shorter sides in pixels;
    halve: round maps to fp16, as those are that were kept on disk.
    """

    def __init__(
        self,
        trunk: Trunk,
        levels: Sequence[int],
        scales: Sequence[int],
        protocol: Protocol,
        plain: Head | None,
        tuned: Head | None,
        *,
        halve: bool,
    ) -> None:
        super().__init__()
        self.trunk, self.plain, self.tuned = trunk, plain, tuned
        self.levels, self.scales, self.protocol, self.halve = list(levels), list(scales), protocol, halve
        self.field = mapping_field(trunk.backbone, protocol.mapping)
        self.side = target_side(trunk.backbone, protocol.scale_rule)

    @property
    def inputs(self) -> int:
        """Length of a window's pooled features."""
        return head_inputs(self.trunk.backbone, self.levels, self.trunk.backbone.crop)

    def prepare(self, picture: UInt8[Tensor, "3 h w"]) -> list[Tensor]:
        """The last map (C, h, w) of the picture at each scale."""
        maps = [self.trunk(scaled(picture, scale)[None])[0] for scale in self.scales]
        return [each.half() if self.halve else each.float() for each in maps]

    def pool(
        self, maps: Sequence[Tensor], boxes: Boxes, size: tuple[int, int], chosen: NDArray[np.int64] | None = None
    ) -> tuple[Pooled, NDArray[np.int64]]:
        """Pooled features of windows of an image of `size` (height, width) pixels, and their kinds.

        chosen: (N,) index into the scales; None: the scale that the protocol's rule chooses for each window.
        """
        short = min(size)
        if chosen is None:
            chosen = best_scale(boxes, short, self.scales, self.side, self.protocol.scale_rule)
        found = responses(scale_boxes(boxes, short, np.asarray(self.scales)[chosen]), self.field, self.protocol.mapping)
        cells = clamp_cells(found, np.array([each.shape[1:] for each in maps])[chosen])
        return pool_image(maps, chosen, cells, self.levels), distinct(chosen, found)[1]

    def describe(self, maps: Sequence[Tensor], boxes: Boxes, size: tuple[int, int], layers: Sequence[str]) -> Described:
        """The named layers for windows of an image of `size`; see Described."""
        pooled, kinds = self.pool(maps, boxes, size)
        found = self.fc({"pool5": pooled.features.float()}, layers)
        return Described(found, pooled.inverse.cpu().numpy(), kinds)

    def fc(self, pooled: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
        """The layers asked for, from the pooled features pool5."""
        x = pooled["pool5"]
        found = {"pool5": x, "ftpool5": x}
        found |= fc_layers(self.plain, x, "", layers) | fc_layers(self.tuned, x, "ft", layers)
        return {name: found[name].float() for name in layers}


def fc_layers(head: Head | None, x: Tensor, prefix: str, layers: Sequence[str]) -> dict[str, Tensor]:
    """The head's layers that are asked for, under their names with `prefix`."""
    names = [name.removeprefix(prefix) for name in layers if name in (f"{prefix}fc6", f"{prefix}fc7")]
    if head is None or not names:
        return {}
    return {f"{prefix}{name}": values for name, values in head.layers(x, names).items()}
