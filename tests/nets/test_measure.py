"""The networks as built, against the sizes that Table 1 prints."""

import time

import pytest
import torch

from spprepro.nets.geometry import map_side
from spprepro.nets.measure import measured
from spprepro.nets.network import Network, build_trunk
from tests.nets.backbones import NAMES, backbone

# filters, kernel, stride, map side: Table 1; None where ZF-5's 27 is the size before pool2 (26 in the released net)
OVERFEAT = [(96, 7, 2, 36), (256, 5, 1, 18)] + [(512, 3, 1, 18)] * 3
PRINTED = {
    "zf5": [(96, 7, 2, 55), (256, 5, 2, None), (384, 3, 1, 13), (384, 3, 1, 13), (256, 3, 1, 13)],
    "convnet5": [(96, 11, 4, 55), (256, 5, 1, 27), (384, 3, 1, 13), (384, 3, 1, 13), (256, 3, 1, 13)],
    "overfeat5": OVERFEAT,
    "overfeat7": OVERFEAT + [(512, 3, 1, 18)] * 2,
}


@pytest.mark.parametrize("name", PRINTED)
def test_filters_strides_and_maps_are_those_of_table_1(name):
    found = measured(backbone(name))
    for number, row in enumerate(PRINTED[name], 1):
        ours = [found[f"conv{number}_{key}"][0] for key in ("filters", "kernel", "stride", "map")]
        assert all(printed in (None, value) for printed, value in zip(row, ours, strict=True)), (number, ours)
    assert f"conv{len(PRINTED[name]) + 1}_map" not in found


def test_zf5_conv2_is_one_cell_smaller_than_printed_before_its_pooling():
    found = measured(backbone("zf5"))
    assert found["map_180"] == (10, "cells")
    assert (found["conv2_map_before_pool"][0], found["conv2_map"][0]) == (26, 13)


def test_alex5_is_r_cnns_network():
    found = measured(backbone("alex5"))
    assert [found[f"conv{k}_map"][0] for k in range(1, 6)] == [27, 13, 13, 13, 13]
    # CaffeNet's known count, its 6x6 pooling and 1000 classes: 60,965,224
    assert found["parameters_nospp"][0] == pytest.approx(60.965224, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_full_width_takes_a_second(name):
    measured(backbone(name))
    started = time.process_time()
    measured(backbone(name))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", NAMES)
def test_measured_and_derived_sizes_agree(name):
    table = backbone(name).scaled(1 / 16)
    x = torch.zeros(1, 3, 301, 256)
    with torch.inference_mode():
        maps = build_trunk(table)(x)
    # one zero picture through real layers: a rectangle, at a size that no table has
    assert maps.shape[-2:] == tuple(map_side(table, side) for side in (301, 256))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_learns_from_a_step(name):
    table = backbone(name).scaled(1 / 16)
    network = Network(table, levels=[6, 3, 2, 1], classes=3)
    loss = network(torch.randn(2, 3, 224, 224)).logsumexp(1).sum()
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
