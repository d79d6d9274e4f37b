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
from tests.nets.backbones import NAMES, backbone, zf5


@pytest.mark.parametrize(
    ("name", "stride", "size"),
    [("zf5", 16, 139), ("convnet5", 16, 131), ("overfeat5", 12, 113), ("overfeat7", 12, 161)],
)
def test_stride_and_field_of_the_last_map(name, stride, size):
    field = receptive_field(backbone(name))
    assert (field.stride, field.size) == (stride, size)


def test_zf5_offset_of_the_released_code():
    assert receptive_field(zf5()).centre + 1 == 21  # offset0, one-based


@pytest.mark.parametrize(("size", "side"), [(480, 29), (688, 42)])
def test_map_sides_of_the_released_net(size, side):
    assert map_side(zf5(), size) == side


@pytest.mark.parametrize(
    ("name", "at_224", "at_180"), [("zf5", 13, 10), ("convnet5", 13, 10), ("overfeat5", 18, 14), ("overfeat7", 18, 14)]
)
def test_last_maps_of_table_1_and_the_text(name, at_224, at_180):
    assert (map_side(backbone(name), 224), map_side(backbone(name), 180)) == (at_224, at_180)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_last_pooling_gives_6x6(name):
    table = backbone(name)
    assert head_inputs(table, [], table.crop) == 36 * table.channels


def test_groups_stay_whole_when_scaled():
    for width in (1.0, 0.3, 0.125, 0.01):
        for layer in backbone("alex5").scaled(width).layers.values():
            assert layer.filters % layer.groups == 0 and layer.filters > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [[6, 3, 2, 1], []])
def test_parameter_count_is_that_of_the_network(name, levels):
    table = backbone(name).scaled(1 / 8)
    with torch.device("meta"):
        actual = sum(p.numel() for p in Network(table, levels=levels, classes=20, crop=table.crop).parameters())
    trunk = sum(layer.parameters for layer in layer_sizes(table, 224, 224))
    assert trunk + head_parameters(table, head_inputs(table, levels, table.crop), 20) == actual


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (180, 180), (256, 341)])
def test_multiply_adds_are_those_torch_counts(name, height, width):
    from torch.utils.flop_counter import FlopCounterMode

    table = backbone(name)
    layers = {key: replace(layer, then=[s for s in layer.then if s != "lrn"]) for key, layer in table.layers.items()}
    table = replace(table, layers=layers)  # torch counts LRN's window sum, the field does not
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Network(table, levels=[6, 3, 2, 1], classes=1000)(torch.empty(1, 3, height, width))
    ours = forward_multiply_adds(table, [6, 3, 2, 1], 1000, height, width, 224)
    assert 2 * ours == counter.get_total_flops()
