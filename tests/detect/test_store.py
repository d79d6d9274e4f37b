"""Features of training windows: computed once an image where they are kept, the same either way."""

import numpy as np
import pytest
import torch

from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.store import Kept, RcnnStore, SppStore
from spprepro.detect.trunk import Head
from spprepro.nets.geometry import head_inputs
from tests.detect.toys import spp, toy


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy"), count=2, windows=20)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_kept_arrays_are_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"b": np.arange(3), "a": np.ones((2, 2), np.float16)}

    for folder, count in ((None, 3), (tmp_path / "deep" / "er", 1)):
        made.clear()
        for _ in range(3):
            found = Kept(folder).get("key", make)
            assert list(found) == ["b", "a"] and found["b"].tolist() == [0, 1, 2] and found["a"].dtype == np.float16
        assert len(made) == count


def test_a_kill_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    kept = Kept(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.get("key", lambda: {"a": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []
    assert kept.get("key", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]


@pytest.mark.parametrize("halve", [False, True])
def test_kept_maps_give_the_same_features(source, tmp_path, halve):
    features, rows = spp([160, 240], halve=halve), np.array([0, 5, 3, 3])
    kept, plain = SppStore(features, source, tmp_path), SppStore(features, source, None)
    first, again, expected = (
        store.describe(1, rows, ["pool5", "ftfc7"]) for store in (kept, SppStore(features, source, tmp_path), plain)
    )
    for found in (first, again):
        assert all(torch.equal(found.layers[name], values) for name, values in expected.layers.items())
        assert np.array_equal(found.inverse, expected.inverse)
    assert [path.name for path in tmp_path.iterdir()] == ["000001.npz"]
    assert kept.maps(1)[0].dtype == (torch.float16 if halve else torch.float32)


def test_mirrored_maps_are_those_of_the_mirror_image(source, tmp_path):
    features = spp([160])
    store = SppStore(features, source, tmp_path)
    ordinary, mirrored = store.maps(0), store.maps(0, mirrored=True)
    assert torch.equal(mirrored[0], features.prepare(source.picture(0).flip(-1))[0])
    assert torch.equal(store.maps(0)[0], ordinary[0]) and not torch.equal(ordinary[0], mirrored[0])
    assert len(list(tmp_path.iterdir())) == 2


def crops() -> RcnnFeatures:
    trunk = spp([100]).trunk
    inputs = head_inputs(trunk.backbone, [2, 1], 96)
    nets = [CropNet(trunk, [2, 1], Head(inputs, 8, 4, 0.5, torch.Generator().manual_seed(k))) for k in (0, 1)]
    return RcnnFeatures(*nets, 96).eval()


@pytest.mark.parametrize("keep", [False, True])
def test_rcnn_features_are_those_of_the_windows_asked_for(source, tmp_path, keep):
    features, layers = crops(), ["pool5", "ftfc7", "ftpool5"]
    store = RcnnStore(features, source, tmp_path if keep else None, layers)
    boxes = source.training_windows(1)
    whole = features.describe(source.picture(1), boxes, source.size(1), layers)
    for rows in (np.arange(len(boxes)), np.array([7, 0, 7])):
        found = store.describe(1, rows, ["ftfc7", "pool5"])
        assert list(found.layers) == ["ftfc7", "pool5"]
        assert len(set(found.kinds.tolist())) == len(rows)
        for name, values in found.layers.items():
            expected = whole.layers[name][rows].half().float()
            torch.testing.assert_close(values[found.inverse], expected, rtol=2e-3, atol=1e-3)


def test_rcnn_computes_no_more_than_is_asked_for_where_nothing_is_kept(source, monkeypatch):
    features, seen = crops(), []
    described = features.describe
    monkeypatch.setattr(
        features, "describe", lambda p, boxes, *more: seen.append(len(boxes)) or described(p, boxes, *more)
    )
    RcnnStore(features, source, None, ["pool5"]).describe(1, np.array([4, 2]), ["pool5"])
    assert seen == [2]
