"""Testing trained networks: averages over networks and views, and what is refused before the first is tested."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml

from spprepro.classify import ensemble
from spprepro.classify.ensemble import average, trained
from spprepro.classify.train import build_classifier
from spprepro.config import check
from spprepro.data.imagenet import survey
from spprepro.errors import DataError
from spprepro.training.checkpoint import AtomicCheckpointIO
from tests.test_config import compose

SMALL = ["tier=smoke", "data.min_side=72", "data.crop=64", "training.sizes=[64]", "pyramid.levels=[2,1]"]


def train(folder, seed=0, classes=2, *overrides):
    """A run folder as a training leaves it, with initial weights."""
    config = check(compose("experiment=table1_zf5_singlesize", *SMALL, f"seed={seed}", *overrides))
    mean, colour = np.full((3, 64, 64), 110, np.float32), np.eye(3, dtype=np.float32)
    module = build_classifier(config, classes, mean, colour)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    path = folder / "checkpoints" / "step-00000001.end.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": module.state_dict()}, path)
    return folder


def asked(*models, tests="[crop]"):
    settings = ["kind=test", "data.workers=0", f"models=[{','.join(models)}]", f"views.tests={tests}"]
    return check(compose(*SMALL, *settings, "views.scales=[72]"))


@pytest.fixture
def found(tree):
    return survey(tree, min_side=72, crop=64, workers=0)


@pytest.fixture
def models(tmp_path):
    return {name: train(tmp_path / name, seed) for seed, name in enumerate("abc")}


def scores_of(config, survey, models, folder):
    return average(config, survey.classes, models, (survey.root, survey.val), folder)[0]


def test_scores_of_several_networks_are_averaged(found, models, tmp_path):
    single = [scores_of(asked(name), found, {name: models[name]}, tmp_path / f"run_{name}")["crop"] for name in "abc"]
    together = scores_of(asked("a", "b", "c"), found, models, tmp_path / "run")
    assert together["crop"].shape == (6, 2)
    np.testing.assert_allclose(together["crop"], np.mean(single, 0), rtol=1e-5)
    np.testing.assert_allclose(together["crop"].sum(1), 1, rtol=1e-5)
    assert np.abs(single[0] - single[1]).max() > 1e-4
    assert not (tmp_path / "run" / "scores").exists()


def test_each_network_may_have_views_of_its_own(found, models, tmp_path):
    crop = scores_of(asked("a"), found, {"a": models["a"]}, tmp_path / "r1")["crop"]
    full = scores_of(asked("b", tests="[full]"), found, {"b": models["b"]}, tmp_path / "r2")["full"]
    mixed = scores_of(asked("a", "b:full"), found, {k: models[k] for k in "ab"}, tmp_path / "r3")
    np.testing.assert_allclose(mixed["crop"], (crop + full) / 2, rtol=1e-5)


def test_an_interrupted_average_goes_on_with_the_next_network(found, models, tmp_path, monkeypatch):
    whole = scores_of(asked("a", "b"), found, {k: models[k] for k in "ab"}, tmp_path / "whole")
    real, calls = ensemble.score_images, []

    def stop_at_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(ensemble, "score_images", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        scores_of(asked("a", "b"), found, {k: models[k] for k in "ab"}, tmp_path / "run")
    again = scores_of(asked("a", "b"), found, {k: models[k] for k in "ab"}, tmp_path / "run")
    assert len(calls) == 3  # a, the stopped b, b
    assert np.array_equal(again["crop"], whole["crop"])


def test_another_number_of_classes_is_refused_naming_both(found, tmp_path):
    other = train(tmp_path / "other", 0, 5)
    with pytest.raises(DataError, match=r"other .*tells 5 classes apart, but the data has 2"):
        scores_of(asked("other"), found, {"other": other}, tmp_path / "run")


def test_a_checkpoint_of_another_architecture_is_refused_naming_both(tmp_path):
    zf5 = train(tmp_path / "zf5")
    wide = train(tmp_path / "wide", 0, 2, "width=0.125")
    (zf5 / "config.yaml").write_text((wide / "config.yaml").read_text())
    with pytest.raises(DataError) as caught:
        trained(zf5)
    first = next(fault for fault in caught.value.faults if "trunk.conv1.weight" in fault)
    assert "is 6x3x7x7" in first and "zf5 x 0.125" in first and "has 12x3x7x7" in first
    deeper = replace(check(yaml.safe_load((wide / "config.yaml").read_text())), name="deeper")
    tree = asdict(deeper)
    tree["backbone"]["layers"]["conv6"] = tree["backbone"]["layers"]["conv5"]
    (wide / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(DataError, match=r"trunk.conv6.weight is absent, but .* has 32x32x3x3"):
        trained(wide)


def test_a_folder_without_weights_says_how_to_make_them(tmp_path):
    folder = train(tmp_path / "a")
    (folder / "checkpoints" / "step-00000001.end.ckpt").unlink()
    with pytest.raises(DataError, match=r"no checkpoint .*experiment=table1_zf5_singlesize seed=0 overwrite=true"):
        trained(folder)


def test_full_views_of_a_network_without_spp_are_refused(found, tmp_path):
    folder = tmp_path / "plain"
    train(folder, 0, 2, "pyramid=none", "pyramid.levels=[]", "training=nospp", "training.sizes=[64]")
    with pytest.raises(DataError, match="plain:full has no SPP"):
        scores_of(asked("plain:full"), found, {"plain": folder}, tmp_path / "run")
