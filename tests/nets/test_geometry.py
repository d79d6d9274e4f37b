"""Sizes and costs derived from the layer table, against the paper and against torch."""

from dataclasses import replace

import pytest
import torch

from spprepro.nets.geometry import (
    forward_multiply_adds,
    head_inputs,
    head_parameters,
    layer_sizes,
    map_side,
    receptive_field,
)
from spprepro.nets.network import Network
from tests.nets.backbones import zf5


def test_zf5_field_of_the_paper_and_the_released_code():
    field = receptive_field(zf5())
    assert (field.stride, field.size, field.centre + 1) == (16, 139, 21)  # offset0 = 21, one-based


@pytest.mark.parametrize(("size", "side"), [(224, 13), (180, 10), (480, 29), (688, 42)])
def test_map_sides_of_the_released_net(size, side):
    assert map_side(zf5(), size) == side


def test_table_1_map_sizes_where_zf5_has_them():
    sizes = {layer.name: layer for layer in layer_sizes(zf5(), 224, 224)}
    assert (sizes["conv1"].height, sizes["conv2"].height, sizes["conv3"].height) == (110, 26, 13)
    assert [layer.channels for layer in sizes.values()] == [96, 256, 384, 384, 256]


@pytest.mark.parametrize("levels", [[6, 3, 2, 1], []])
def test_parameter_count_is_that_of_the_network(levels):
    backbone = zf5().scaled(1 / 8)
    with torch.device("meta"):
        actual = sum(p.numel() for p in Network(backbone, levels=levels, classes=20).parameters())
    trunk = sum(layer.parameters for layer in layer_sizes(backbone, 224, 224))
    assert trunk + head_parameters(backbone, head_inputs(backbone, levels, 224), 20) == actual


@pytest.mark.parametrize(("height", "width"), [(224, 224), (180, 180), (256, 341)])
def test_multiply_adds_are_those_torch_counts(height, width):
    from torch.utils.flop_counter import FlopCounterMode

    layers = {name: replace(layer, then=[s for s in layer.then if s != "lrn"]) for name, layer in zf5().layers.items()}
    backbone = replace(zf5(), layers=layers)  # torch counts LRN's window sum, the field does not
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Network(backbone, levels=[6, 3, 2, 1], classes=1000)(torch.empty(1, 3, height, width))
    ours = forward_multiply_adds(backbone, [6, 3, 2, 1], 1000, height, width, 224)
    assert 2 * ours == counter.get_total_flops()
