"""The network of a detector: a trunk with what it expects of pixels, and the fc layers on top of its pooled map."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spprepro.nets.network import Network


class Head(nn.Module):
    """fc6, fc7 and a classifier of `classes` outputs; fc6's input is what the pooling gives.

    New weights are He's for the hidden layers (fc6 and fc7 of a trunk without any) and N(0, 0.01) for the classifier.
    scale: what inputs are multiplied by; new layers cannot learn from SqueezeNet's features, which go into the
    thousands.
    """

    scale: Tensor

    def __init__(self, inputs: int, fc: int, classes: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.fc6, self.fc7, self.fc8 = nn.Linear(inputs, fc), nn.Linear(fc, fc), nn.Linear(fc, classes)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("scale", torch.ones(()))
        for layer in (self.fc6, self.fc7, self.fc8):
            spread = 0.01 if layer is self.fc8 else math.sqrt(2 / layer.in_features)
            with torch.no_grad():
                layer.weight.normal_(0, spread, generator=generator)
                layer.bias.zero_()

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        x = self.drop(self._hidden(x))
        return self.fc8(self.drop(self.fc7(x).relu()))  # type: ignore[no-any-return]

    def layers(self, x: Float[Tensor, "n d"], names: Sequence[str]) -> dict[str, Tensor]:
        """fc6 and, if among `names`, fc7, after their ReLU."""
        found = {"fc6": self._hidden(x)}
        if "fc7" in names:
            found["fc7"] = self.fc7(found["fc6"]).relu()
        return found

    def _hidden(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n fc"]:
        """fc6 of the scaled input; its product is scaled, which is shorter than the input."""
        return (F.linear(x, self.fc6.weight) * self.scale + self.fc6.bias).relu()

    @torch.no_grad()
    def adapt(self, inputs: Float[Tensor, "n d"]) -> None:
        """Set `scale` so that such inputs have a mean square of 1; inputs that are all 0 leave it."""
        square = float(inputs.float().square().mean())
        if square > 0:
            self.scale.fill_(square**-0.5)

    @torch.no_grad()
    def take_hidden(self, network: Network) -> None:
        """fc6 and fc7 of a trained classifier."""
        hidden = [layer for layer in network.head if isinstance(layer, nn.Linear)][:2]
        for own, trained in zip((self.fc6, self.fc7), hidden, strict=True):
            own.weight.copy_(trained.weight)
            own.bias.copy_(trained.bias)


def scaled_size(height: int, width: int, scale: int) -> tuple[int, int]:
    """(height, width) with the shorter side at `scale`; the longer one is rounded up (MATLAB's imresize)."""
    short = min(height, width)
    return tuple(-(-side * scale // short) for side in (height, width))  # type: ignore[return-value]


def scaled(picture: UInt8[Tensor, "3 h w"], scale: int) -> UInt8[Tensor, "3 h2 w2"]:
    """The picture at a scale: bilinear without antialiasing, rounded to uint8, as the released code has it."""
    height, width = scaled_size(picture.shape[1], picture.shape[2], scale)
    image = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.asarray(resized)).permute(2, 0, 1)
