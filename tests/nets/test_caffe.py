"""Networks from Caffe's files give Caffe's activations; written ones are read by others and again by us."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from spprepro.nets import caffe
from spprepro.nets.caffe import Conventions, classes_of, match, prototxt, reordered, take
from spprepro.nets.caffemodel import read
from spprepro.nets.network import Network
from tests.nets import caffefiles
from tests.nets.backbones import backbone

LEVELS = [6, 3, 2, 1]
TOLERANCE = 5e-6  # of each layer's largest value


def eighth(name="zf5"):
    """The width of the reference files."""
    return replace(backbone(name).scaled(1 / 8), fc=64)


def taken(path, levels, classes=10, **conventions):
    """The network of an eighth with the file's weights, and the matches."""
    model, its = read(path), eighth()
    network = Network(its, levels=levels, classes=classes).eval()
    settings = Conventions(levels, conventions.pop("input_scale", 1.0), **conventions)
    matches = match(model, network, its, settings)
    assert not [each.fault for each in matches if each.fault]
    take(model, network, its, matches, settings)
    return network, matches


def pixels(image):
    """Caffe's convention, but RGB."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() - 128


def outputs(modules, x):
    """Name -> output, before anything in place changes it."""
    found = {}
    with torch.no_grad():
        for name, module in modules.named_children():
            x = module(x)
            found[name] = x.clone()
    return found


def close(ours, theirs):
    theirs = torch.from_numpy(theirs)
    assert (ours.reshape(theirs.shape) - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


ALL = [f"{kind}{k}" for k in (1, 2, 3, 4, 5) for kind in ("conv", "relu")] + ["norm1", "pool1", "norm2", "pool2"]
KEPT = ["pool1", "relu2", "norm2", "pool2", "relu3", "relu4", "conv5", "relu5"]  # of these sizes


@pytest.mark.parametrize(("size", "names"), [("180", ALL), ("224", KEPT), ("200x301", KEPT)])
@pytest.mark.parametrize("file", ["zf5_eighth", "zf5_eighth_v1"])
def test_every_layer_of_zf5_is_caffes(golden, golden_file, file, size, names):
    reference = golden("caffe_zf5.npz", f"image_{size}", *(f"{size}_{name}" for name in names))
    network, matches = taken(golden_file(f"{file}.caffemodel"), LEVELS, new=["fc6", "fc7", "fc8"])
    assert [each.note for each in matches if each.layer.startswith("fc")] == ["new"] * 3
    found = outputs(network.trunk, pixels(reference[f"image_{size}"]))
    for name in names:
        close(found[name], reference[f"{size}_{name}"])


def test_the_oldest_format_has_the_same_weights(golden_file):
    old, new = (read(golden_file(f"zf5_eighth{kind}.caffemodel")) for kind in ("_v0_nolrn", ""))
    assert (old.format, new.format) == ("V0", "current")
    for name, arrays in new.layers.items():
        for ours, theirs in zip(old.layers[name], arrays, strict=True):
            assert np.array_equal(ours.reshape(theirs.shape), theirs)


def test_a_network_without_spp_is_caffes_from_pixels_to_scores(golden, golden_file):
    names = ["pool5", "fc6", "relu6", "fc7", "relu7", "fc8", "prob"]
    reference = golden("caffe_spp_cls.npz", "image_224", *(f"nospp_224_{name}" for name in names))
    network, _ = taken(golden_file("zf5_eighth_cls_nospp.caffemodel"), [], scale_train=True)
    with torch.no_grad():
        pooled = network.pool(network.trunk(pixels(reference["image_224"])))
    found = {"pool5": pooled, **outputs(network.head, pooled)}
    found["prob"] = found["fc8"].softmax(1)
    for name in names:
        close(found[name], reference[f"nospp_224_{name}"])


@pytest.mark.parametrize("levels", [[6, 3, 2, 1], [1, 2, 3, 6], [3, 6, 1, 2]])
@pytest.mark.parametrize(
    ("file", "scale_train", "reference"),
    [("cls_spm6321", True, "caffe_spp_cls.npz"), ("cls_spm6321_v1", False, "caffe_fork_cls.npz")],
)
def test_levels_in_any_order_and_dropout_that_was_not_scaled(golden, golden_file, file, scale_train, reference, levels):
    """The fork's network (V1) multiplies by 0.5 what dropout passes on; ours has half the weights behind it."""
    flat = [f"spm6321_224_pool5_spm{n}_flatten" for n in levels]
    pooled = golden("caffe_spp_cls.npz", *flat)  # their 2x2 pooling leaves out a row, so from here on
    expected = golden(reference, *(f"spm6321_224_{name}" for name in ("fc6", "relu6", "fc7", "fc8", "prob")))
    network, _ = taken(golden_file(f"zf5_eighth_{file}.caffemodel"), levels, scale_train=scale_train)
    found = outputs(network.head, torch.from_numpy(np.concatenate([pooled[key] for key in flat], 1)))
    found["prob"] = found["fc8"].softmax(1)
    for key, values in expected.items():
        close(found[key.removeprefix("spm6321_224_")], values)


def test_the_input_scale_is_taken_out_of_the_first_layer(tmp_path, golden):
    """From the weights of the reference in a file of our own, as the trimmed set has no file of Caffe's."""
    reference = golden("caffe_zf5.npz", "image_180", "180_relu5")
    weights = golden("caffe_weights.npz", *(f"conv{k}_{kind}" for k in range(1, 6) for kind in ("weight", "bias")))
    layers = {f"conv{k}": [weights[f"conv{k}_weight"], weights[f"conv{k}_bias"]] for k in range(1, 6)}
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffefiles.network("V1", layers))
    scale = 1 / 64
    network, _ = taken(path, LEVELS, input_scale=scale, new=["fc6", "fc7", "fc8"])
    with torch.no_grad():
        close(network.trunk(pixels(reference["image_180"]) * scale), reference["180_relu5"])


def written(tmp_path, form, its, levels, drop=(), classes=10):
    inputs = its.channels * (sum(n * n for n in levels) if levels else 36)
    layers = caffefiles.layers_of(its, inputs, classes)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffefiles.network(form, {name: a for name, a in layers.items() if name not in drop}))
    return path, layers


@pytest.mark.parametrize("form", ["V0", "V1", "current"])
def test_grouped_convolutions_and_every_format(tmp_path, form):
    its = eighth("alex5")
    path, layers = written(tmp_path, form, its, [])
    network = Network(its, levels=[], classes=10, crop=227)
    settings = Conventions([], 1.0, scale_train=False)
    matches = match(read(path), network, its, settings)
    take(read(path), network, its, matches, settings)
    state = network.state_dict()
    assert torch.equal(state["trunk.conv1.weight"], torch.from_numpy(layers["conv1"][0]).flip(1))
    assert torch.equal(state["trunk.conv4.weight"], torch.from_numpy(layers["conv4"][0]))
    assert torch.equal(state["head.fc6.weight"], torch.from_numpy(layers["fc6"][0]))
    for name in ("fc7", "fc8"):
        assert torch.equal(state[f"head.{name}.weight"], torch.from_numpy(layers[name][0]) / 2)
        assert torch.equal(state[f"head.{name}.bias"], torch.from_numpy(layers[name][1]))


def test_what_does_not_match_is_named(tmp_path):
    its = eighth()
    path, layers = written(tmp_path, "V1", its, LEVELS, drop=("fc6", "fc8"))
    layers["conv2"][0][0, 0, 0, 0] = np.nan
    layers["conv3"] = layers["conv3"][:1]
    layers["conv4"][1] = layers["conv4"][1][:-1]
    layers["fc8_pascal"] = [np.zeros((21, 64), np.float32), np.zeros(21, np.float32)]
    layers["spare"] = layers["conv5"]
    path.write_bytes(caffefiles.network("V1", {name: a for name, a in layers.items() if name not in ("fc6", "fc8")}))
    model = read(path)
    network = Network(its, levels=LEVELS, classes=classes_of(model, its))
    matches = match(model, network, its, Conventions(LEVELS, 1.0, scale_train=True))
    notes = {each.layer: each.note for each in matches}
    assert notes == {
        "conv1": "taken, BGR to RGB", "conv2": "damaged", "conv3": "differs", "conv4": "differs", "conv5": "taken",
        "fc6": "missing", "fc7": "taken", "fc8": "taken from fc8_pascal",
    }  # fmt: skip
    assert [bool(each.fault) for each in matches] == [False, True, True, True, False, True, False, False]
    lines = caffe.table(matches, model).splitlines()
    assert lines[0].split()[:4] == ["layer", "in", "the", "file"] and len(lines) == 1 + len(matches) + 1
    assert lines[-1].startswith("spare") and lines[-1].endswith("not used")


def test_reordering_levels_leaves_the_products():
    draw = torch.Generator().manual_seed(0)
    parts = {n: torch.randn(2, 4 * n * n, generator=draw) for n in LEVELS}
    weight = torch.randn(5, 200, generator=draw)
    rising = torch.cat([parts[n] for n in sorted(LEVELS)], 1) @ weight.T
    ours = torch.cat([parts[n] for n in LEVELS], 1) @ reordered(weight, sorted(LEVELS), LEVELS).T
    torch.testing.assert_close(ours, rising)


def saved(folder, name, levels, scale=1 / 64):
    torch.manual_seed(0)
    its = eighth(name)
    network = Network(its, levels=levels, classes=10, crop=its.crop).eval()
    mean = (torch.arange(3.0)[:, None, None] + 100).expand(3, its.crop, its.crop).numpy()
    settings = Conventions(levels, scale, scale_train=True)
    return its, network, mean, caffe.save(folder, "toy", network, its, settings, mean), settings


@pytest.mark.parametrize(("name", "levels"), [("zf5", LEVELS), ("zf5", [4, 3, 2, 1]), ("zf5", []), ("alex5", [])])
def test_a_written_network_comes_back_to_the_bit(tmp_path, name, levels):
    its, network, _, paths, settings = saved(tmp_path, name, levels)
    again = Network(its, levels=levels, classes=10, crop=its.crop)
    model = read(paths[1])
    take(model, again, its, match(model, again, its, settings), settings)
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.skipif(not hasattr(cv2.dnn, "readNetFromCaffe"), reason="OpenCV 5 reads no Caffe files any more; 4 does")
@pytest.mark.parametrize(("name", "levels"), [("zf5", LEVELS), ("zf5", [4, 3, 2, 1]), ("zf5", []), ("alex5", [])])
def test_opencv_computes_the_same_from_written_files(tmp_path, name, levels):
    _, network, mean, paths, settings = saved(tmp_path, name, levels)
    side = mean.shape[-1]
    image = np.random.default_rng(0).integers(0, 256, (1, 3, side, side)).astype(np.float32)
    theirs = cv2.dnn.readNetFromCaffe(str(paths[0]), str(paths[1]))
    theirs.setInput(np.ascontiguousarray((image - mean)[:, ::-1]))
    with torch.no_grad():
        ours = network(torch.from_numpy(image - mean) * settings.input_scale)
    close(ours, theirs.forward("fc8"))


def test_prototxt_has_the_released_poolings_and_refuses_what_caffe_cannot_say():
    its = eighth()
    with torch.device("meta"):
        network = Network(its, levels=LEVELS, classes=10)
    text = prototxt("toy", network, its, LEVELS, 224)
    for kernel, stride in ((3, 2), (5, 4), (7, 6), (13, 13)):
        assert f"kernel_size: {kernel} stride: {stride} }}" in text
    assert text.index('"pool5_1"') < text.index('"pool5_2"') < text.index('"pool5_6"')
    with pytest.raises(ValueError, match="6x6 bins of 10x10 cells"):
        prototxt("toy", network, its, LEVELS, 180)
    with pytest.raises(ValueError, match="pool1 has 36 cells a side, but 37 in Caffe"):
        prototxt("toy", network, eighth("overfeat5"), LEVELS, 224)
