"""Layers of a trained network against the network itself."""

import pytest
import torch
import torch.nn.functional as F

from spprepro.nets.pixels import MEAN
from spprepro.transfer.layers import Layers
from tests.transfer.toys import ALL, layers, network


def pixels(count: int = 2, height: int = 224, width: int = 224) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@torch.no_grad()
def test_every_layer_is_the_networks_own():
    made, _ = network([6, 3, 2, 1])
    found = layers(ALL)(pixels())
    x = (pixels().float() - MEAN) / 64
    conv4 = made.trunk[: list(dict(made.trunk.named_children())).index("relu4") + 1](x)
    conv5 = made.trunk(x)
    spp = made.pool(conv5)
    fc6 = made.head[0](spp).relu()
    fc7 = made.head[3](fc6).relu()
    pool = F.adaptive_max_pool2d(conv5, 6)
    expected = {"conv4": conv4, "conv5": conv5, "pool": pool, "spp": spp, "fc6": fc6, "fc7": fc7}
    for name, values in expected.items():
        torch.testing.assert_close(found[name], F.normalize(values.flatten(1)), rtol=1e-4, atol=1e-5)
    assert list(found) == ALL and found["conv4"].shape[1] == 24 * 13 * 13


@torch.no_grad()
def test_without_spp_pool_is_the_plain_last_pooling():
    made, _ = network([])
    found = layers(["conv5", "pool", "fc6"], [])(pixels())
    pooled = made.pool(made.trunk((pixels().float() - MEAN) / 64))
    torch.testing.assert_close(found["pool"], F.normalize(pooled), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["fc6"], F.normalize(made.head[0](pooled).relu()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_full_images_of_any_size_have_features_of_one_length_and_norm_1():
    net = layers(["pool", "spp", "fc7"])
    first, second = net(pixels(1, 224, 300)), net(pixels(1, 392, 520))
    for name, values in first.items():
        assert values.shape == second[name].shape
        assert values.norm().item() == pytest.approx(1, abs=1e-5)
    assert first["spp"].shape[1] == 16 * 50 and first["pool"].shape[1] == 16 * 36


@torch.no_grad()
def test_a_layer_that_is_all_zero_stays_zero():
    net = layers(["fc7"])
    net.head[3].weight.zero_()
    net.head[3].bias.fill_(-1)
    assert (net(pixels())["fc7"] == 0).all()


@torch.no_grad()
def test_a_trunk_alone_has_its_last_map_as_conv5():
    whole = layers(["conv5", "spp"])
    alone = Layers(whole.trunk, None, [6, 3, 2, 1], ["conv5", "spp"])
    for name, values in whole(pixels()).items():
        torch.testing.assert_close(alone(pixels())[name], values)
