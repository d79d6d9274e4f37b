"""Torchvision's convolutions as trunks: geometry and outputs against the models themselves, refusals, bad files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from spprepro.errors import ConfigError, DataError
from spprepro.nets import torchvision_trunks
from spprepro.nets.geometry import head_inputs, layer_sizes, map_side, receptive_field
from spprepro.nets.pixels import trunk_of_torchvision
from spprepro.nets.torchvision_trunks import build
from tests.nets.backbones import backbone

VGGS = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
PLAIN = ["alexnet", "squeezenet1_0", "squeezenet1_1", *VGGS]
SMALL = ["alexnet", "squeezenet1_0", "squeezenet1_1"]  # their features: under 10 MB
CUT = {"alexnet": 12, "squeezenet1_0": 13, "squeezenet1_1": 13, "vgg11_bn": 28, "vgg16": 30}  # modules that remain


def given(name, weights=None):
    return replace(backbone("squeezenet1_0"), torchvision=name, weights=weights and str(weights))


def model_of(name):
    """The features of torchvision's model with random values, those of BatchNorm's statistics too."""
    with torch.device("meta"):
        features = models.get_model(name, weights=None).features
    generator = torch.Generator().manual_seed(3)
    features.to_empty(device="cpu").eval()
    with torch.no_grad():
        for value in features.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) - (0.45 if value.dim() > 1 else 0))
            else:
                value.zero_()
    return features


def saved(features, path, drop=(), **others):
    state = {
        f"features.{key}": value for key, value in features.state_dict().items() if not key.endswith(drop or ("?",))
    }
    torch.save(state | others, path)
    return path


@pytest.fixture
def built(tmp_path):
    def make(name):
        return build(given(name, saved(model_of(name), tmp_path / f"{name}.pth")))

    return make


def geometry(name):
    """Backbone and module of a model without values; what `build` does before it reads weights."""
    trunk = torchvision_trunks._trunk(name, torchvision_trunks._without_values(name))
    return torchvision_trunks._described(given(name), trunk), trunk


@pytest.mark.parametrize("name", PLAIN)
def test_map_sizes_are_those_of_the_module(name):
    described, trunk = geometry(name)
    for size in (*range(180, 196), 224, 227, 341):
        maps = trunk(torch.empty(1, 3, size, size, device="meta"))
        assert maps.shape == (1, described.channels, map_side(described, size), map_side(described, size)), size
    *_, last = layer_sizes(described, 200, 333)
    maps = trunk(torch.empty(2, 3, 200, 333, device="meta"))
    assert maps.shape == (2, last.channels, last.height, last.width)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_0", "squeezenet1_1", "vgg11"])
def test_field_and_centre_are_the_support_of_the_gradient(name):
    described, trunk = geometry(name)
    field = receptive_field(described)
    trunk = trunk.to(torch.float64).to_empty(device="cpu")
    for parameter in trunk.parameters():  # positive everywhere, so that no path cancels another
        nn.init.constant_(parameter, 1 / parameter[0].numel())
    for place, module in trunk.named_children():
        if isinstance(module, nn.MaxPool2d):  # the maximum has a gradient in one place only, the mean in all
            trunk[int(place)] = nn.AvgPool2d(module.kernel_size, module.stride, ceil_mode=module.ceil_mode)
    size = field.size + 4 * field.stride
    pixels = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    maps = trunk(pixels)
    row, column = maps.shape[2] // 2, maps.shape[2] // 2 + 1
    maps[0, :, row, column].sum().backward()
    for axis, cell in ((1, row), (0, column)):
        seen = pixels.grad[0, 0].sum(axis).nonzero().flatten()
        assert seen[-1] - seen[0] + 1 == field.size == len(seen)
        assert (seen[-1] + seen[0]) / 2 == field.centre + cell * field.stride


@pytest.mark.parametrize("name", [*SMALL, "vgg11_bn"])
def test_output_is_that_of_torchvisions_features(name, tmp_path):
    features = model_of(name)
    described, module, *_ = build(given(name, saved(features, tmp_path / "weights.pth")))
    pictures = torch.rand(2, 3, 131, 150, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = features[: CUT[name]](pictures.clone())
        maps = module(pictures.clone())
    assert not module.training
    assert maps.isfinite().all() and maps.std() > 0
    assert torch.equal(maps, expected)
    assert maps.shape[1] == described.channels


def test_the_last_pooling_makes_room_for_spp():
    assert [type(module).__name__ for module in geometry("vgg16")[1]][-2:] == ["Conv2d", "ReLU"]
    assert {name: len(geometry(name)[1]) for name in CUT} == CUT
    assert head_inputs(geometry("vgg16")[0], [6, 3, 2, 1], 224) == 512 * 50


def test_what_is_not_geometry_stays_as_given(built):
    described, *_ = built("squeezenet1_1")
    assert replace(described, layers={}) == replace(
        backbone("squeezenet1_0"), torchvision="squeezenet1_1", weights=described.weights
    )


@pytest.mark.parametrize("name", ["squeezenet1_0", "alexnet", "vgg16"])
def test_configured_trunks_describe_themselves(name):
    table = backbone(name)
    described, _ = geometry(table.torchvision)
    described = replace(described, last_pool=table.last_pool)
    lines = (Path(torchvision_trunks.__file__).parents[3] / "conf" / "backbone" / f"{name}.yaml").read_text()
    side, field = map_side(described, 224), receptive_field(described)
    assert f"{side}x{side} maps of {described.channels} channels, total stride {field.stride}" in lines
    assert f"field {field.size}" in lines or "field" not in lines
    plain = head_inputs(described, [], 224) // described.channels
    assert f"# {side} -> {round(plain**0.5)}, without SPP" in lines


def test_pixels_are_normalised_as_torchvision_does(tmp_path):
    features = model_of("alexnet")
    trunk = trunk_of_torchvision(given("alexnet", saved(features, tmp_path / "weights.pth")))
    pixels = torch.randint(0, 256, (1, 3, 90, 110), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    preset = models.AlexNet_Weights.DEFAULT.transforms()
    colours = [torch.tensor(values).reshape(3, 1, 1) for values in (preset.mean, preset.std)]
    with torch.no_grad():
        expected = features[:12]((pixels / 255 - colours[0]) / colours[1])
        torch.testing.assert_close(trunk(pixels), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert receptive_field(trunk.backbone).stride == 16


def test_trained_squeezenet(real_photos):
    path = real_photos("weights") / "squeezenet1_0_imagenet.pth"
    if not path.is_file():
        pytest.skip(f"no {path}")
    trunk = trunk_of_torchvision(given("squeezenet1_0", path))
    field = receptive_field(trunk.backbone)
    assert (trunk.backbone.channels, field.stride, field.size) == (512, 16, 155)
    with torch.no_grad():
        maps = trunk(torch.full((1, 3, 224, 224), 90, dtype=torch.uint8))
    assert maps.shape == (1, 512, 13, 13) and maps.min() == 0 and maps.max() > 0


def test_open_weights_need_no_file(tmp_path):
    features = model_of("vgg11_bn")
    trained = trunk_of_torchvision(given("vgg11_bn", saved(features, tmp_path / "weights.pth")))
    opened = trunk_of_torchvision(given("vgg11_bn", tmp_path / "none.pth"), trained=False)
    assert opened.backbone.layers == trained.backbone.layers
    opened.load_state_dict(trained.state_dict())
    for key, value in trained.state_dict().items():
        assert torch.equal(opened.state_dict()[key], value)


def test_weights_are_found_in_the_data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SPPREPRO_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    saved(model_of("squeezenet1_1"), tmp_path / "weights" / "s.pth")
    assert build(given("squeezenet1_1", "weights/s.pth"))[0].channels == 512


def test_a_whole_models_file_and_one_without_counts_of_batches_do(tmp_path):
    other = torch.zeros(20, 512, 1, 1)  # a classifier of other classes is nobody's business
    build(
        given("squeezenet1_1", saved(model_of("squeezenet1_1"), tmp_path / "a.pth", **{"classifier.1.weight": other}))
    )
    features = model_of("vgg11_bn")
    _, module, *_ = build(given("vgg11_bn", saved(features, tmp_path / "b.pth", drop=("num_batches_tracked",))))
    assert torch.equal(module[1].running_var, features[1].running_var)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("resnet50", "no `features`"),
        ("regnet_y_400mf", "no `features`"),
        ("mobilenet_v2", "Conv2dNormActivation, InvertedResidual"),
        ("densenet121", "_DenseBlock, _Transition"),
        ("efficientnet_b0", "Conv2dNormActivation"),
        ("vit_b_16", "no `features`"),
        ("googlenet", "no `features`"),
        ("fasterrcnn_resnet50_fpn", "no classifier of torchvision"),
        ("vgg_16", "did you mean vgg16"),
    ],
)
def test_other_models_are_refused(name, why):
    with pytest.raises(ConfigError) as error:
        build(given(name, "pretrained"))
    (fault,) = error.value.faults
    assert fault.startswith("backbone.torchvision: ") and name in fault
    assert why in fault and "vgg16" in fault


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ([nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(4, 4, 3), nn.ReLU()], "features.2"),
        ([nn.Conv2d(3, 4, (3, 5)), nn.ReLU()], "features.0 is dilated or not square"),
        ([nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU()], "features.0 is dilated or not square"),
        ([nn.Conv2d(3, 4, 3, dilation=2), nn.ReLU()], "features.0 is dilated or not square"),
        ([nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU()], "features.0 follows no convolution"),
        ([nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU()], "features.2 follows no convolution"),
        (
            [nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.ReLU()],
            "ceil_mode",
        ),
        ([nn.Conv2d(3, 4, 3)], "no convolution and ReLU"),
    ],
)
def test_geometry_that_no_backbone_can_tell_is_refused(modules, why):
    model = nn.Module()
    model.features = nn.Sequential(*modules)
    with pytest.raises(ConfigError, match=r"^backbone\.torchvision: some_net is no plain chain") as error:
        torchvision_trunks._trunk("some_net", model)
    assert why in str(error.value)


def refusal(name, weights):
    with pytest.raises(DataError) as error:
        build(given(name, weights))
    return error.value.faults


def test_weights_must_be_named(tmp_path):
    assert refusal("alexnet", None)[0].startswith("backbone.weights: nothing; set it to `pretrained`")
    assert "is no file" in refusal("alexnet", tmp_path / "none.pth")[0]


def test_keys_that_do_not_fit_are_named_together(tmp_path):
    state = {f"features.{key}": value for key, value in model_of("squeezenet1_1").state_dict().items()}
    del state["features.3.squeeze.bias"]
    state["features.0.weight"] = torch.zeros(64, 3, 7, 7)
    state["features.4.squeeze.bias"][2] = float("nan")
    state["module.fc"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    faults = refusal("squeezenet1_1", tmp_path / "w.pth")
    assert all(fault.startswith("backbone.weights: ") and "squeezenet1_1" in fault for fault in faults)
    for part in (
        "lacks features.3.squeeze.bias",
        "unknown there: module.fc",
        "features.0.weight (64, 3, 7, 7) instead of (64, 3, 3, 3)",
        "not finite in features.4.squeeze.bias",
    ):
        assert sum(part in fault for fault in faults) == 1, part
    assert len(faults) == 4


def test_the_file_of_another_model_is_refused_in_few_words(tmp_path):
    faults = refusal("vgg16", saved(model_of("squeezenet1_1"), tmp_path / "w.pth"))
    assert "and" in faults[0] and "more" in faults[0]
    assert all(len(fault) < 500 for fault in faults)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle"])
def test_broken_files(damage, tmp_path):
    path = saved(model_of("squeezenet1_1"), tmp_path / "w.pth")
    whole = path.read_bytes()
    bad = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"<html>404</html>",
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
    }
    path.write_bytes(bad[damage])
    (fault,) = refusal("squeezenet1_1", path)
    assert fault.startswith(f"{path}: unreadable") and "\n" not in fault


@pytest.mark.parametrize(("content", "count"), [([1, 2], 1), ({"state_dict": {}, "epoch": 3}, 2)])
def test_files_of_something_else(content, count, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    faults = refusal("alexnet", tmp_path / "w.pth")
    assert len(faults) == count
    assert all("state_dict of torchvision's alexnet" in fault for fault in faults)


def test_a_download_that_fails_asks_for_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    (fault,) = refusal("squeezenet1_0", "pretrained")
    assert "squeezenet1_0-b66bff10.pth could not be fetched" in fault and "set backbone.weights to the file" in fault


def test_pretrained_weights_come_from_torchs_downloads(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    kept = tmp_path / "hub" / "checkpoints" / Path(models.SqueezeNet1_1_Weights.DEFAULT.url).name
    kept.parent.mkdir(parents=True)
    features = model_of("squeezenet1_1")
    saved(features, kept)
    _, module, *_ = build(given("squeezenet1_1", "pretrained"))
    assert torch.equal(module[0].weight, features[0].weight)
