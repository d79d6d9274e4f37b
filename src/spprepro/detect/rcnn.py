"""R-CNN, the baseline of Tables 9 and 10: every window is warped to one square and goes through the whole network.

Windows are cut as rcnn_im_crop.m cuts them for R-CNN's features ("warp" with context), and its fine-tuning (Caffe's
WindowDataLayer) does nearly the same.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from spprepro.detect.features import Described, fc_layers
from spprepro.detect.trunk import Head
from spprepro.detect.windows import Boxes, check_boxes
from spprepro.nets.pixels import MEAN, Trunk
from spprepro.nets.spp import SpatialPyramidPooling

CONTEXT = 16  # pixels of the frame, on each side, that show what surrounds the window
BATCH = 128  # windows that go through a network together


def warp(
    picture: UInt8[Tensor, "3 h w"], boxes: Boxes, size: int, context: int = CONTEXT
) -> UInt8[Tensor, "n 3 size size"]:
    """Each window with its surroundings, warped to size x size pixels; RGB as the picture, channels last in memory.

    The window fills the middle (size - 2 * context)^2, what surrounds it the rest, bilinear without antialiasing; what
    lies outside the picture is MEAN. size: the network's crop, 227 for Alex-5, 224 for ZF-5; context: over 0.
    Raises DataError for boxes that are not in the picture.
    """
    height, width = picture.shape[1:]
    check_boxes(boxes, height, width, "windows to warp")
    image = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    frames = np.full((len(boxes), size, size, 3), MEAN, np.uint8)
    shown, places = _placed(boxes, height, width, size, context)
    for frame, (x1, y1, x2, y2), (left, top, right, bottom) in zip(
        frames, shown.tolist(), places.tolist(), strict=True
    ):
        part = (right - left, bottom - top)
        frame[top:bottom, left:right] = cv2.resize(image[y1:y2, x1:x2], part, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _placed(
    boxes: Boxes, height: int, width: int, size: int, context: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N, 4) part of the picture that each frame shows, and where in the frame: x1, y1, x2, y2, the ends exclusive.

    As in rcnn_im_crop.m the enlarged box [c - r, c + r] is rounded, from 1, and both its ends count: it is a pixel
    wider and higher than size / (size - 2 * context) says.
    """
    low, high = boxes[:, :2] + 1, boxes[:, 2:] + 1
    half = (high - low + 1) / 2
    reach = half * (size / (size - 2 * context))
    first, last = _rounded(low + half - reach) - 1, _rounded(low + half + reach)
    limit = np.array([width, height])
    shown = np.concatenate([first.clip(0), np.minimum(last, limit)], 1)
    scale = size / (last - first)
    start = _rounded(np.maximum(-first, 0) * scale)
    part = np.minimum(_rounded((shown[:, 2:] - shown[:, :2]) * scale), size - start)
    return shown.astype(np.int64), np.concatenate([start, start + part], 1).astype(np.int64)


def _rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """MATLAB's round: halves away from zero."""
    whole = np.trunc(x)
    rounded: NDArray[np.float64] = whole + np.sign(x) * (np.abs(x - whole) >= 0.5)
    return rounded


class CropNet(nn.Module):
    """Square crops to class scores; all of its layers learn in R-CNN's fine-tuning.

    levels: of the pyramid (Table 10's R-CNN, on the SPP-net's own network); empty: the trunk's plain last pooling, for
    crops of the side that the head was made for.
    """

    def __init__(self, trunk: Trunk, levels: Sequence[int], head: Head) -> None:
        super().__init__()
        last = trunk.backbone.last_pool
        plain = nn.MaxPool2d(last.kernel, last.stride, ceil_mode=trunk.backbone.ceil_pool)
        self.trunk = trunk
        self.pool: nn.Module = SpatialPyramidPooling(levels) if levels else nn.Sequential(plain, nn.Flatten())
        self.head = head

    def features(self, crops: UInt8[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Pooled features of the last map, fc6's input."""
        return self.pool(self.trunk(crops))  # type: ignore[no-any-return]

    def forward(self, crops: UInt8[Tensor, "n 3 s s"]) -> Float[Tensor, "n classes"]:
        return self.head(self.features(crops))  # type: ignore[no-any-return]


class RcnnFeatures(nn.Module):
    """Features of warped windows, in the two steps of SppFeatures: `prepare` (nothing to do here) and `describe`.

    plain: the network as pre-trained (pool5, fc6); tuned: the fine-tuned one (ftpool5, ftfc6, ftfc7); one of them may
    be None. size: side of the crops, in pixels.
    For measurements the work of `describe` lies open: for each of `crops(...)`, `conv` and then `fc`.
    """

    def __init__(self, plain: CropNet | None, tuned: CropNet | None, size: int) -> None:
        super().__init__()
        if plain is None and tuned is None:
            raise ValueError("R-CNN needs a network: plain, tuned or both")
        self.plain, self.tuned, self.size = plain, tuned, size

    @property
    def inputs(self) -> int:
        """Length of a window's pooled features."""
        return next(net for net in (self.plain, self.tuned) if net is not None).head.fc6.in_features

    def prepare(self, picture: UInt8[Tensor, "3 h w"]) -> Tensor:
        """The picture itself."""
        return picture

    def crops(self, picture: UInt8[Tensor, "3 h w"], boxes: Boxes) -> Iterator[Tensor]:
        """The warped windows, BATCH at a time; one empty batch if there are none."""
        for first in range(0, max(len(boxes), 1), BATCH):
            yield warp(picture, boxes[first : first + BATCH], self.size)

    def conv(self, crops: UInt8[Tensor, "n 3 s s"], layers: Sequence[str]) -> dict[str, Tensor]:
        """Convolutions and pooling of the networks that `layers` need: pool5, ftpool5 or both, (n, D) each."""
        nets = (("pool5", self.plain, ("pool5", "fc6")), ("ftpool5", self.tuned, ("ftpool5", "ftfc6", "ftfc7")))
        return {name: net.features(crops) for name, net, own in nets if net is not None and {*own} & {*layers}}

    def fc(self, pooled: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
        """The layers asked for, from what `conv` gave."""
        found = dict(pooled)
        for name, net, prefix in (("pool5", self.plain, ""), ("ftpool5", self.tuned, "ft")):
            if net is not None and name in pooled:
                found |= fc_layers(net.head, pooled[name], prefix, layers)
        return {name: found[name].float() for name in layers}

    def describe(
        self, picture: UInt8[Tensor, "3 h w"], boxes: Boxes, size: tuple[int, int], layers: Sequence[str]
    ) -> Described:
        """The named layers for windows of a picture; see Described. Each window has its own features and kind.

        size: height and width, which the picture has anyway; SppFeatures needs them.
        """
        parts = [self.fc(self.conv(crops, layers), layers) for crops in self.crops(picture, boxes)]
        each = np.arange(len(boxes))
        return Described({name: torch.cat([part[name] for part in parts]) for name in layers}, each, each)
