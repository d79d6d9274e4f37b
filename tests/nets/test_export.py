"""Exported networks: the ONNX file against the network itself at many sizes, safetensors there and back."""

import json

import numpy as np
import pytest
import torch

from spprepro.data.augment import prepare_test
from spprepro.errors import DataError
from spprepro.nets.export import Exported, load, read_tensors, save, to_onnx, write_tensors
from spprepro.nets.network import Network, initialise
from tests.nets.backbones import NAMES, backbone

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")
LEVELS = [6, 3, 2, 1]


def exported(name="zf5", levels=LEVELS, crop=None):
    its = backbone(name).scaled(1 / 16)
    crop = crop or its.crop
    network = Network(its, levels=levels, classes=7, crop=crop).eval()
    initialise(network, its, method="he", std=0.3, seed=0)
    rough = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    mean = torch.nn.functional.interpolate(255 * rough, (crop, crop), mode="bilinear")[0]
    return Exported(network, its, levels, crop, mean, 1 / 64, [f"class {k}" for k in range(7)])


def compare(session, model, height, width, images=2):
    pixels = torch.randint(0, 256, (images, 3, height, width), generator=torch.Generator().manual_seed(height))
    pixels = pixels.to(torch.uint8)
    logits, scores = session.run(["logits", "scores"], {"pixels": pixels.numpy()})
    with torch.no_grad():
        wanted = model.network(prepare_test(pixels, model.mean, model.scale))
    assert np.abs(logits - wanted.numpy()).max() <= 1e-5 * wanted.abs().max(), (height, width)
    np.testing.assert_allclose(scores, torch.from_numpy(logits).softmax(1).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "levels"), [*((name, LEVELS) for name in NAMES), ("zf5", [4, 3, 2, 1]), ("zf5", [1, 5, 2])]
)
def test_onnx_gives_the_same_at_every_size(name, levels):
    model = exported(name, levels)
    session = onnxruntime.InferenceSession(to_onnx(model, {}).SerializeToString())
    for height, width in ((224, 224), (180, 180), (256, 341), (300, 200), (231, 150)):
        compare(session, model, height, width)
    compare(session, model, 224, 224, images=1)


def test_onnx_pools_maps_smaller_than_the_pyramid():
    model = exported()
    session = onnxruntime.InferenceSession(to_onnx(model, {}).SerializeToString())
    compare(session, model, 75, 110)


@pytest.mark.parametrize(("name", "crop"), [("zf5", 224), ("alex5", 227)])
def test_onnx_without_spp_takes_crops_alone(name, crop):
    model = exported(name, [], crop)
    session = onnxruntime.InferenceSession(to_onnx(model, {}).SerializeToString())
    assert session.get_inputs()[0].shape == ["n", 3, crop, crop]
    compare(session, model, crop, crop)
    with pytest.raises(Exception, match="invalid dimensions"):
        session.run(None, {"pixels": np.zeros((1, 3, 256, 256), np.uint8)})


def test_onnx_says_what_it_is():
    session = onnxruntime.InferenceSession(to_onnx(exported(), {"tier": "mini"}).SerializeToString())
    said = session.get_modelmeta().custom_metadata_map
    assert said["tier"] == "mini" and json.loads(said["classes"])[2] == "class 2"


@pytest.mark.parametrize("levels", [LEVELS, []])
def test_safetensors_come_back_to_the_bit(tmp_path, levels):
    model = exported(levels=levels)
    save(tmp_path / "net.safetensors", model, {"tier": "mini"})
    again = load(tmp_path / "net.safetensors")
    assert (again.backbone, again.levels, again.crop, again.scale, again.classes) == (
        model.backbone, levels, 224, 1 / 64, model.classes,
    )  # fmt: skip
    assert torch.equal(again.mean, model.mean)
    for key, value in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key


def rewritten(path, change):
    metadata, tensors = read_tensors(path)
    said = json.loads(metadata["network"])
    change(said)
    write_tensors(path, tensors, {"network": json.dumps(said)})


@pytest.mark.parametrize("fault", ["missing", "cut", "foreign", "other backbone", "no layers", "no scale"])
def test_other_files_are_refused(tmp_path, fault):
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    if fault == "cut":
        save(path, exported(), {})
        path.write_bytes(path.read_bytes()[:-100])
    elif fault == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    elif fault == "other backbone":
        description = {"backbone": {"name": "zf5", "layres": {}}, "levels": [], "crop": 224, "scale": 1, "classes": []}
        save_file({"mean": torch.zeros(2)}, path, {"network": json.dumps(description)})
    elif fault == "no layers":
        save(path, exported(), {})
        rewritten(path, lambda said: said["backbone"].update(layers={}))
    elif fault == "no scale":
        save(path, exported(), {})
        rewritten(path, lambda said: said.pop("scale"))
    with pytest.raises(DataError, match=r"net\.safetensors: no network that this program wrote"):
        load(path)
