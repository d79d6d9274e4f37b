"""Pictures at a scale, what the convolutions see of them, and the fc layers of a detector."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spprepro.detect.trunk import Head, scaled, scaled_size
from spprepro.nets.network import Network, initialise
from spprepro.nets.pixels import trunk_of
from tests.nets.backbones import zf5


@pytest.mark.parametrize(
    ("height", "width", "scale", "size"),
    [
        (375, 500, 688, (688, 918)),  # 917.33
        (500, 375, 480, (640, 480)),
        (333, 500, 688, (1034, 688)[::-1]),  # 1033.03
        (100, 300, 200, (200, 600)),
        (7, 7, 480, (480, 480)),
    ],
)
def test_shorter_side_is_the_scale_and_the_longer_one_rounded_up(height, width, scale, size):
    assert scaled_size(height, width, scale) == size


def test_scaling_is_bilinear_without_antialiasing():
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 41, 67), np.uint8))
    for scale in (13, 41, 100):
        height, width = scaled_size(41, 67, scale)
        found = scaled(picture, scale)
        image = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        assert found.dtype == torch.uint8 and found.shape == (3, height, width)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)
        plain = F.interpolate(picture[None].double(), (height, width), mode="bilinear", antialias=False)[0]
        assert (found - plain).abs().max() <= 1  # opencv reckons with 11 bits
    assert torch.equal(scaled(picture, 41), picture)


def test_the_trunk_sees_pixels_less_128_times_the_scale_of_its_training():
    backbone = zf5().scaled(1 / 16)
    network = Network(backbone, levels=[2, 1], classes=3, crop=224)
    initialise(network, backbone, method="he", std=0.01, seed=0)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 97, 120), np.uint8))
    kept = pixels.clone()
    trunk = trunk_of(network, backbone, 1 / 64)
    with torch.no_grad():
        expected = network.trunk((pixels.float() - 128) / 64)
        torch.testing.assert_close(trunk(pixels), expected)
    assert torch.equal(pixels, kept)


def head(dropout: float = 0.5) -> Head:
    return Head(10, 6, 4, dropout, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_layers_are_those_of_the_classifier_after_their_relu(scale):
    net, x = head().eval(), torch.randn(5, 10)
    net.scale.fill_(scale)
    fc6 = F.linear(x * scale, net.fc6.weight, net.fc6.bias).relu()
    fc7 = F.linear(fc6, net.fc7.weight, net.fc7.bias).relu()
    assert set(net.layers(x, ["fc6"])) == {"fc6"}
    found = net.layers(x, ["fc7", "fc6"])
    torch.testing.assert_close(found["fc6"], fc6)
    torch.testing.assert_close(found["fc7"], fc7)
    torch.testing.assert_close(net(x), F.linear(fc7, net.fc8.weight, net.fc8.bias))


def test_new_layers_are_drawn_from_the_generator_alone():
    first, again = head(), head()
    torch.manual_seed(3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    wide = Head(400, 300, 200, 0.5, torch.Generator().manual_seed(0))
    assert wide.fc6.weight.detach().std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert wide.fc7.weight.detach().std().item() == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    assert wide.fc8.weight.detach().std().item() == pytest.approx(0.01, rel=0.02)
    assert not any(layer.bias.any() for layer in (wide.fc6, wide.fc7, wide.fc8))


def test_adapted_layers_see_inputs_of_mean_square_1():
    net, x = head().eval(), 3000 * torch.rand(7, 10)
    net.adapt(x)
    assert float((x * net.scale).square().mean()) == pytest.approx(1)


def test_the_scale_of_features_that_are_all_zero_stays():
    net = head()
    net.adapt(torch.zeros(3, 10))
    assert float(net.scale) == 1


def test_hidden_layers_of_a_classifier_are_taken_over():
    backbone = zf5().scaled(1 / 16)
    network = Network(backbone, levels=[2, 1], classes=3, crop=224)
    initialise(network, backbone, method="he", std=0.01, seed=0)
    first, second, _ = [layer for layer in network.head if isinstance(layer, torch.nn.Linear)]
    net = Head(first.in_features, backbone.fc, 4, 0.5, torch.Generator().manual_seed(0))
    last = net.fc8.weight.clone()
    net.take_hidden(network)
    assert torch.equal(net.fc6.weight, first.weight) and torch.equal(net.fc6.bias, first.bias)
    assert torch.equal(net.fc7.weight, second.weight) and torch.equal(net.fc7.bias, second.bias)
    assert torch.equal(net.fc8.weight, last)
    with torch.no_grad():
        net.fc6.weight.zero_()
    assert first.weight.any()  # a copy
