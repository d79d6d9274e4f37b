"""Extraction: views, each image once, in any number of shards, going on after a kill, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from spprepro.data.decode import centre_crop, decode, resize_short_side
from spprepro.errors import DataError
from spprepro.transfer import extraction, store
from spprepro.transfer.extraction import ViewImages, extract
from spprepro.transfer.store import Store
from tests.conftest import two_processes
from tests.transfer.toys import job, layers, pictures

NAMES = ["spp", "fc7"]
COUNT = 9


@pytest.fixture
def images(tmp_path):
    return pictures(tmp_path / "pictures", COUNT)


def run(tmp_path, images, *overrides, net=None, side=224, folder="features", identity=None):
    config = job("transfer.layers=[spp,fc7]", "trainer.threads=1", *overrides)
    net = net or layers(NAMES)
    return extract(config, net, tmp_path / "pictures", images, side, tmp_path / folder, identity or {"images": "x"})


def test_views_are_the_crop_the_whole_and_the_warped_image(tmp_path, images):
    root = tmp_path / "pictures"
    image = decode(root / images[1].path)

    def seen(view, side):
        (values,) = ViewImages(root, images, view, side, 224).__getitems__([1]).images.values()
        return values[0]

    full = resize_short_side(image, 300)
    assert torch.equal(seen("full", 300), full) and min(full.shape[1:]) == 300
    assert torch.equal(seen("crop", 300), centre_crop(full, 224))
    warped = seen("warp", 224)
    assert warped.shape == (3, 224, 224) and not torch.equal(warped, seen("crop", 224))
    mean = image.float().mean().item()
    assert warped.float().mean().item() == pytest.approx(mean, abs=2)


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 1e-3), ("float32", 1e-5)])
@pytest.mark.parametrize("view", ["crop", "full"])
def test_features_are_those_of_each_image_alone(tmp_path, images, view, precision, tolerance):
    found = run(tmp_path, images, f"transfer.view={view}", f"transfer.precision={precision}")
    net = layers(NAMES)
    with torch.no_grad():
        for number in (0, 4, 8):
            image = resize_short_side(decode(tmp_path / "pictures" / images[number].path), 224)
            image = centre_crop(image, 224) if view == "crop" else image
            for name, values in net(image[None]).items():
                assert found.layer(name).dtype == precision
                np.testing.assert_allclose(found.layer(name)[number], values[0], atol=tolerance)


def test_shards_see_each_image_once(images, tmp_path, monkeypatch):
    config = job("transfer.view=full")
    seen = []
    for rank in range(3):
        source: Any = extraction._Pictures(config, tmp_path / "pictures", images, 224)
        source.rows = np.arange(COUNT)
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        seen.append([row for batch in source.predict_dataloader() for row in batch.index.tolist()])
    assert sorted(row for rows in seen for row in rows) == list(range(COUNT)) and all(seen)


@pytest.mark.slow  # two processes load torch: about 10 s, longer on a busy machine
def test_two_processes_share_the_images(tmp_path):
    two_processes(tmp_path, TWO)
    for side in (224, 256):
        seen = [json.loads((tmp_path / f"{side}_{rank}.json").read_text()) for rank in (0, 1)]
        assert all(seen) and sorted(seen[0] + seen[1]) == list(range(COUNT))
        assert len(Store(tmp_path / f"features_{side}").missing()) == 0


TWO = """
import json, os
from pathlib import Path
from spprepro import ranks
from spprepro.transfer.extraction import Extractor, extract
from tests.transfer.toys import job, layers, pictures

seen = []
whole = Extractor.predict_step

def step(self, batch, batch_idx):
    seen.extend(self.rows[batch.index.numpy()].tolist())
    whole(self, batch, batch_idx)

Extractor.predict_step = step
here = Path()
images = pictures(here / "pictures", 9)
config = job("transfer.layers=[fc7]", "trainer.devices=2", "trainer.threads=1")
with ranks.connected("cpu"):
    for side in (224, 256):
        extract(config, layers(["fc7"]), here / "pictures", images, side, here / f"features_{side}", {})
        Path(f"{side}_{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(seen))
        seen.clear()
"""


class Killed(Exception):
    """Stands for a kill."""


def stop_after(monkeypatch, batches):
    """The extraction ends, without a last word, after some batches; returns the images it was to see."""
    asked = []
    whole = extraction.Extractor.predict_step

    def step(self, batch, batch_idx):
        if batch_idx == batches:
            raise Killed
        asked.append(batch.index.tolist())
        whole(self, batch, batch_idx)

    monkeypatch.setattr(extraction.Extractor, "predict_step", step)
    return asked


def test_a_killed_extraction_goes_on_with_the_images_that_are_left(tmp_path, images, monkeypatch):
    monkeypatch.setattr(extraction, "BATCH", 2)
    monkeypatch.setattr(store, "_EVERY", 2)
    expected = run(tmp_path, images, "transfer.view=crop", folder="whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Killed):
            run(tmp_path, images, "transfer.view=crop")
    left = Store(tmp_path / "features").missing()
    assert len(left) == COUNT - 6
    with monkeypatch.context() as patch:
        asked = stop_after(patch, -1)
        found = run(tmp_path, images, "transfer.view=crop")
        assert sum(map(len, asked)) == len(left)
        asked.clear()
        run(tmp_path, images, "transfer.view=crop")
        assert asked == []  # all are there
    for name in NAMES:
        np.testing.assert_array_equal(found.layer(name), expected.layer(name))


@pytest.mark.parametrize("view", ["crop", "full"])
def test_a_job_finds_what_its_shards_have_left_and_makes_the_rest(tmp_path, images, monkeypatch, view):
    monkeypatch.setattr(extraction, "BATCH", 2)
    monkeypatch.setattr(store, "_EVERY", 1)
    expected = run(tmp_path, images, f"transfer.view={view}", folder="whole")
    parts = [(f"transfer.view={view}", f"shard={shard}", "shards=3") for shard in (0, 1, 2)]
    run(tmp_path, images, *parts[0], net=layers(NAMES, [4, 2, 1]))  # of another network: not taken
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            run(tmp_path, images, *parts[1])
    with monkeypatch.context() as patch:
        asked = stop_after(patch, -1)
        left = [len(run(tmp_path, images, *part).missing()) for part in parts[1:]]
        found = run(tmp_path, images, f"transfer.view={view}")
    assert sum(map(len, asked)) < COUNT and min(left) > 0 and len(found.missing()) == 0
    for name in NAMES:
        np.testing.assert_array_equal(found.layer(name), expected.layer(name))


def test_another_network_view_or_set_starts_anew(tmp_path, images):
    run(tmp_path, images)
    about = tmp_path / "features" / "about.json"
    first = about.read_text()
    other = layers(NAMES)
    with torch.no_grad():
        other.head[0].weight[0, 0] += 1
    for more in ({"net": other}, {"side": 256}, {"identity": {"images": "y"}}):
        run(tmp_path, images, **more)
        assert about.read_text() != first, more
        run(tmp_path, images)
        assert about.read_text() == first
    assert json.loads(first)["lengths"] == {"spp": 800, "fc7": 256}


def test_features_that_are_not_finite_are_named_by_layer_and_image(tmp_path, images, monkeypatch):
    net = layers(NAMES)
    good = net.forward

    def spoilt(values):
        found = good(values)
        if len(values) == 3:  # the first of each batch, and in the last layer its second
            found["spp"][0] = found["fc7"][:2] = float("nan")
        return found

    monkeypatch.setattr(net, "forward", spoilt)
    monkeypatch.setattr(extraction, "BATCH", 3)
    with pytest.raises(DataError) as error:
        run(tmp_path, images, "transfer.view=crop", net=net)
    spp, fc7 = error.value.faults
    assert spp.startswith("spp: not finite in 3 of 9 images, such as ") and "pictures/3.jpg" in spp
    assert fc7.startswith("fc7: not finite in 6 of 9 images, such as ") and "pictures/1.jpg" in fc7
    assert Store(tmp_path / "features").missing().tolist() == [0, 1, 3, 4, 6, 7]  # the others are kept


def test_it_is_a_predict_job_of_lightning(tmp_path, images, monkeypatch):
    called = []
    whole = pl.Trainer.predict
    monkeypatch.setattr(pl.Trainer, "predict", lambda self, *a, **k: called.append(k) or whole(self, *a, **k))
    run(tmp_path, images)
    assert len(called) == 1 and called[0]["return_predictions"] is False
