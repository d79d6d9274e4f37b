"""Sizes, strides, receptive fields and operation counts, derived from a layer table. Imports no torch.

Caffe's arithmetic (conv_layer.cpp, pooling_layer.cpp): convolutions round down, poolings up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spprepro.nets.trunks import Backbone


def convolved(side: int, kernel: int, stride: int, pad: int) -> int:
    """Side of a convolution's map."""
    return (side + 2 * pad - kernel) // stride + 1


def pooled(side: int, kernel: int, stride: int, *, ceil: bool) -> int:
    """Side of an unpadded pooling's map; `ceil` as in Caffe."""
    return (side - kernel + (stride - 1 if ceil else 0)) // stride + 1


def bins(side: int, n: int) -> list[tuple[int, int]]:
    """The n bins [floor(i*side/n), ceil((i+1)*side/n)) of one axis (Appendix A); never empty, even for n > side."""
    return [(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]


@dataclass(frozen=True)
class LayerSize:
    """A layer's map of channels x height x width before its pooling (if any), and the operations of its convolution."""

    name: str
    channels: int
    height: int
    width: int
    multiply_adds: int
    parameters: int


def layer_sizes(backbone: Backbone, height: int, width: int, channels: int = 3) -> Iterator[LayerSize]:
    """Each convolution's map for an input of height x width pixels."""
    for name, layer in backbone.layers.items():
        height, width = (convolved(side, layer.kernel, layer.stride, layer.pad) for side in (height, width))
        weights = layer.filters * (channels // layer.groups) * layer.kernel**2
        yield LayerSize(name, layer.filters, height, width, weights * height * width, weights + layer.filters)
        if "pool" in layer.then:
            height, width = (pooled(s, layer.pool, layer.pool_stride, ceil=backbone.ceil_pool) for s in (height, width))
        channels = layer.filters


def map_side(backbone: Backbone, size: int) -> int:
    """Side of the last map for a square input of `size` pixels."""
    side = size
    for layer in backbone.layers.values():
        side = convolved(side, layer.kernel, layer.stride, layer.pad)
        if "pool" in layer.then:
            side = pooled(side, layer.pool, layer.pool_stride, ceil=backbone.ceil_pool)
    return side


def head_inputs(backbone: Backbone, levels: Sequence[int], crop: int) -> int:
    """Length of fc6's input: C * sum(n*n) with SPP, C * side^2 of the plain last pooling at `crop` pixels without."""
    if levels:
        return backbone.channels * sum(n * n for n in levels)
    last = backbone.last_pool
    side = pooled(map_side(backbone, crop), last.kernel, last.stride, ceil=backbone.ceil_pool)
    return backbone.channels * side * side


def head_parameters(backbone: Backbone, inputs: int, classes: int) -> int:
    """Weights and biases of fc6, fc7 and the classifier."""
    return (inputs + 1) * backbone.fc + (backbone.fc + 1) * backbone.fc + (backbone.fc + 1) * classes


def forward_multiply_adds(
    backbone: Backbone, levels: Sequence[int], classes: int, height: int, width: int, crop: int
) -> int:
    """Multiply-adds of one image of height x width pixels through trunk and head."""
    trunk = sum(layer.multiply_adds for layer in layer_sizes(backbone, height, width))
    inputs = head_inputs(backbone, levels, crop)
    return trunk + inputs * backbone.fc + backbone.fc**2 + backbone.fc * classes


@dataclass(frozen=True)
class Field:
    """Stride, receptive field and centre of cell 0 (0-based pixel) of the last map."""

    stride: int
    size: int
    centre: float


def receptive_field(backbone: Backbone) -> Field:
    """Of the last map; ZF-5: stride 16, 139 pixels, centre 20 (the offset0 = 21 of the released code, one-based)."""
    stride, size, centre = 1, 1, 0.0
    for layer in backbone.layers.values():
        steps = [(layer.kernel, layer.stride, layer.pad)]
        if "pool" in layer.then:
            steps.append((layer.pool, layer.pool_stride, 0))
        for kernel, step, pad in steps:
            centre += ((kernel - 1) / 2 - pad) * stride
            size += (kernel - 1) * stride
            stride *= step
    return Field(stride, size, centre)
