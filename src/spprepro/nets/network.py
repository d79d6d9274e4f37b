"""A trunk of Table 1 with the SPP layer (or the plain last pooling) and the fc head."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spprepro.nets.geometry import head_inputs
from spprepro.nets.layers import WithinChannelLRN, alexnet_lrn
from spprepro.nets.spp import SpatialPyramidPooling
from spprepro.nets.trunks import Backbone


def build_trunk(backbone: Backbone) -> nn.Sequential:
    """conv1 ... convN with their ReLU, LRN and pooling; (N, 3, H, W) -> (N, C, h, w)."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for name, layer in backbone.layers.items():
        modules[name] = nn.Conv2d(channels, layer.filters, layer.kernel, layer.stride, layer.pad, groups=layer.groups)
        number = name.removeprefix("conv")
        modules[f"relu{number}"] = nn.ReLU(inplace=True)
        for step in layer.then:
            if step == "lrn":
                modules[f"norm{number}"] = WithinChannelLRN() if backbone.lrn == "within" else alexnet_lrn()
            else:
                modules[f"pool{number}"] = nn.MaxPool2d(layer.pool, layer.pool_stride, ceil_mode=backbone.ceil_pool)
        channels = layer.filters
    return nn.Sequential(modules)


class Network(nn.Module):
    """Images to class scores: trunk, pooling, fc6, fc7 and the classifier.

    Weights lie as in Caffe: convolutions (O, I, k, k), fc (O, I), with fc6's input in the order of `levels`, each
    level flattened as (C, n, n). The input is RGB in [0, 255] less the mean; the mean is the caller's.
    `levels` empty: no SPP, and inputs of crop x crop pixels only.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        levels: Sequence[int],
        classes: int,
        dropout: float = 0.5,
        crop: int = 224,
    ) -> None:
        super().__init__()
        self.trunk = build_trunk(backbone)
        last = backbone.last_pool
        self.pool: nn.Module = (
            SpatialPyramidPooling(levels)
            if levels
            else nn.Sequential(nn.MaxPool2d(last.kernel, last.stride, ceil_mode=backbone.ceil_pool), nn.Flatten())
        )
        first = len(backbone.layers) + 1
        head: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = head_inputs(backbone, levels, crop)
        for number in (first, first + 1):
            head[f"fc{number}"] = nn.Linear(inputs, backbone.fc)
            head[f"relu{number}"] = nn.ReLU(inplace=True)
            head[f"drop{number}"] = nn.Dropout(dropout)
            inputs = backbone.fc
        head[f"fc{first + 2}"] = nn.Linear(inputs, classes)
        self.head = nn.Sequential(head)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        return self.head(self.pool(self.trunk(x)))  # type: ignore[no-any-return]


def initialise(network: Network, backbone: Backbone, *, method: str, std: float, seed: int) -> None:
    """Initial weights from `seed` alone.

    gaussian: N(0, std), biases as in the layer table and 1 on both hidden fc layers (the released ZF-5).
    he: N(0, 2 / fan-in), N(0, std) for the classifier, biases 0: learns in minutes what the other takes hours for,
    with inputs scaled to about 1.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for place, (name, module) in enumerate(layers):
        last = place == len(layers) - 1
        spread = std if method == "gaussian" or last else (2 / module.weight[0].numel()) ** 0.5
        layer = backbone.layers.get(name.removeprefix("trunk."))
        bias = 0.0 if method == "he" or last else layer.bias if layer else 1.0
        with torch.no_grad():
            module.weight.normal_(0, spread, generator=generator)
            module.bias.fill_(bias)  # type: ignore[union-attr]
