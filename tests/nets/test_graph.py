"""Modules as ONNX graphs: trunks from torchvision, and differences that are refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.squeezenet import Fire

from spprepro.errors import DataError
from spprepro.nets.graph import Graph, difference, node, pictures
from spprepro.nets.pixels import Trunk
from tests.nets.backbones import zf5

pytest.importorskip("onnxruntime", reason="needs the extra `export`")


def graph_of(module: nn.Module) -> bytes:
    graph = Graph()
    graph.add("Identity", node(graph, module, "pixels"), out="map")
    pixels = {"pixels": (2, ["n", 3, "h", "w"])}  # 2: uint8
    return graph.model("trunk", pixels, {"map": ["n", "c", "a", "b"]}, {}).SerializeToString()


def runs(module):
    for pixels in pictures([(60, 60), (45, 77)]):
        with torch.no_grad():
            yield {"pixels": pixels}, {"map": module(pixels)}


def trunk(*layers: nn.Module) -> Trunk:
    torch.manual_seed(0)
    return Trunk(zf5(), nn.Sequential(*layers).eval(), [124.0, 116.0, 104.0], [1 / 58, 1 / 57, 1 / 56])


def test_trunks_of_torchvision():
    norm = nn.BatchNorm2d(8)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        nn.init.uniform_(value, 0.5, 2)
    module = trunk(
        nn.Conv2d(3, 8, 5, 2, 1), norm, nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 6, 6), nn.Dropout()
    )
    assert 0 < difference(graph_of(module), "a trunk", runs(module)) < 1e-5


def test_a_layer_without_a_form_is_named():
    with pytest.raises(TypeError, match="Hardswish has no ONNX form"):
        graph_of(nn.Hardswish())


@pytest.mark.parametrize("wrong", [0.1, np.nan])
def test_other_values_are_refused(wrong):
    module = trunk(nn.Conv2d(3, 4, 3))
    graph = graph_of(module)
    with torch.no_grad():
        module.module[0].bias[1] += wrong
    with pytest.raises(DataError, match="the ONNX graph of a trunk differs from the network by"):
        difference(graph, "a trunk", runs(module))


def test_an_output_that_is_all_zero_is_equal_to_itself():
    module = trunk(nn.Conv2d(3, 4, 3), nn.ReLU())
    nn.init.constant_(module.module[0].bias, -1e3)
    assert difference(graph_of(module), "a trunk", runs(module)) == 0
