"""ZF-5 against Caffe's activations, its shapes, its initial weights."""

import pytest
import torch

from spprepro.nets.layers import WithinChannelLRN
from spprepro.nets.network import Network, build_trunk, initialise
from tests.nets.backbones import zf5

LEVELS = [6, 3, 2, 1]


def eighth_trunk(golden):
    weights = golden("caffe_weights.npz", *(f"conv{i}_{kind}" for i in range(1, 6) for kind in ("weight", "bias")))
    trunk = build_trunk(zf5().scaled(1 / 8))
    state = {key.replace("_", "."): torch.from_numpy(value.copy()) for key, value in weights.items()}
    state["conv1.weight"] = state["conv1.weight"].flip(1)  # Caffe's images are BGR, ours RGB
    trunk.load_state_dict(state)
    return trunk


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ("180", ["pool1", "norm2", "relu5"]),
        ("180", ["norm1", "pool2", "relu3", "relu4"]),
        ("224", ["pool1", "norm2", "pool2", "relu5"]),
        ("200x301", ["pool1", "norm2", "pool2", "relu5"]),
    ],
)
def test_trunk_gives_caffes_activations(golden, size, names):
    reference = golden("caffe_zf5.npz", f"image_{size}", *(f"{size}_{name}" for name in names))
    x = torch.from_numpy(reference[f"image_{size}"]).permute(2, 0, 1)[None].float() - 128
    with torch.no_grad():
        for name, module in eighth_trunk(golden).named_children():
            x = module(x)
            if name in names:
                expected = torch.from_numpy(reference[f"{size}_{name}"])
                assert x.shape == expected.shape
                assert (x - expected).abs().max() <= 5e-6 * expected.abs().max(), name


def naive_lrn(x):
    padded = torch.nn.functional.pad(x * x, (1, 1, 1, 1))
    total = sum(padded[..., i : i + x.shape[-2], j : j + x.shape[-1]] for i in range(3) for j in range(3))
    return x * (1 + 5e-5 / 9 * total) ** -0.75


def test_lrn_and_its_gradient_follow_the_formula():
    torch.manual_seed(0)
    x = (60 * torch.randn(2, 3, 7, 5, dtype=torch.double)).requires_grad_()
    y = WithinChannelLRN()(x)
    torch.testing.assert_close(y, naive_lrn(x))
    weight = torch.randn_like(y)
    (ours,) = torch.autograd.grad((y * weight).sum(), x)
    (theirs,) = torch.autograd.grad((naive_lrn(x) * weight).sum(), x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 24, 221, 230), (1, 3, 1, 400000), (1, 8, 700, 190), (3, 2, 4, 5)])
def test_lrn_of_a_map_too_large_for_the_cache_is_that_of_a_small_one(shape, layout):
    x = (60 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(memory_format=layout)
    torch.testing.assert_close(WithinChannelLRN()(x), naive_lrn(x), rtol=2e-6, atol=1e-6)


def test_lrn_in_bf16_and_channels_last_stays_within_its_rounding():
    x = 60 * torch.randn(4, 8, 13, 13)
    y = WithinChannelLRN()(x.bfloat16().to(memory_format=torch.channels_last))
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
    error = (y.float() - naive_lrn(x)).abs().max()
    assert error <= 0.02 * x.abs().max()
    trained = x.bfloat16().requires_grad_()
    WithinChannelLRN()(trained).sum().backward()
    assert trained.grad is not None and trained.grad.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(224, 224), (180, 180), (181, 223), (256, 341), (139, 500)])
def test_any_size_gives_one_score_a_class(height, width):
    network = Network(zf5().scaled(1 / 16), levels=LEVELS, classes=7).eval()
    assert network(torch.randn(2, 3, height, width)).shape == (2, 7)


def test_without_spp_the_head_takes_six_by_six():
    network = Network(zf5(), levels=[], classes=1000)
    assert network.head.fc6.weight.shape == (4096, 9216)
    assert Network(zf5(), levels=LEVELS, classes=1000).head.fc6.weight.shape == (4096, 12800)
    with pytest.raises(RuntimeError):
        network.eval()(torch.randn(1, 3, 256, 256))


@pytest.mark.parametrize("method", ["gaussian", "he"])
def test_initial_weights_depend_on_the_seed_alone(method):
    def weights(seed):
        backbone = zf5().scaled(1 / 16)
        network = Network(backbone, levels=LEVELS, classes=5)
        initialise(network, backbone, method=method, std=0.01, seed=seed)
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_released_initialisation():
    backbone = zf5().scaled(1 / 4)
    network = Network(backbone, levels=LEVELS, classes=5)
    initialise(network, backbone, method="gaussian", std=0.01, seed=0)
    biases = {
        name.split(".")[1]: p.detach().unique().tolist() for name, p in network.named_parameters() if "bias" in name
    }
    expected = {
        "conv1": [0],
        "conv2": [1],
        "conv3": [0],
        "conv4": [1],
        "conv5": [1],
        "fc6": [1],
        "fc7": [1],
        "fc8": [0],
    }
    assert biases == expected
    assert float(network.head.fc6.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
