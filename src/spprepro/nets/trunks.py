"""Table 1 as data: the layers of a trunk, read from conf/backbone/*.yaml. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Layer:
    """One convolution of Table 1 with its ReLU and what follows it, in the order of `then`."""

    filters: int
    kernel: int
    stride: int = 1
    pad: int = 0
    groups: int = 1  # AlexNet's halves that see half of the maps each
    bias: float = 0.0  # initial value; AlexNet and the released ZF-5 start some layers at 1
    then: list[Literal["lrn", "pool"]] = field(default_factory=list)
    pool: int = 0
    pool_stride: int = 0


@dataclass(frozen=True)
class Pool:
    """The plain last pooling of a network without SPP."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class Backbone:
    """One column of Table 1."""

    name: str
    title: str
    layers: dict[str, Layer]
    last_pool: Pool
    fc: int = 4096
    ceil_pool: bool = True  # Caffe rounds pooled sizes up
    lrn: Literal["within", "across"] = "within"  # within a channel (the released ZF-5) or across five (AlexNet)
    crop: int = 224  # side of the square input in training, in pixels
    epochs: int = 70  # of the paper's training
    torchvision: str | None = None  # the model of torchvision whose convolutions these are; `layers` is then empty
    weights: str | None = None  # of that model: "pretrained" (downloaded), or a state_dict in a local file

    def scaled(self, width: float) -> "Backbone":
        """The same network with every filter and fc count times `width` (geometry untouched)."""
        layers = {
            name: replace(layer, filters=layer.groups * max(1, round(layer.filters * width / layer.groups)))
            for name, layer in self.layers.items()
        }
        return replace(self, layers=layers, fc=max(1, round(self.fc * width)))

    @property
    def channels(self) -> int:
        """Maps of the last layer."""
        return list(self.layers.values())[-1].filters


def faults(backbone: Backbone) -> Iterator[str]:
    """Values of a backbone that are wrong in range or together."""
    if backbone.torchvision and backbone.layers:
        yield f"backbone.layers: torchvision's {backbone.torchvision} brings its own; set backbone.layers={{}}"
    if not backbone.torchvision and not backbone.layers:
        yield "backbone.layers: empty; give layers, or name a model in backbone.torchvision"
    if backbone.weights and not backbone.torchvision:
        yield f"backbone.weights: {backbone.weights} without backbone.torchvision, whose weights they are; remove it"
    if min(backbone.fc, backbone.last_pool.kernel, backbone.last_pool.stride) < 1:
        yield "backbone: fc, last_pool.kernel and last_pool.stride must be over 0"
    for name, layer in backbone.layers.items():
        if min(layer.filters, layer.kernel, layer.stride, layer.groups) < 1:
            yield f"backbone.layers.{name}: filters, kernel, stride and groups must be over 0"
        if "pool" in layer.then and min(layer.pool, layer.pool_stride) < 1:
            yield f"backbone.layers.{name}: 'pool' stands in then, so pool and pool_stride must be over 0"
