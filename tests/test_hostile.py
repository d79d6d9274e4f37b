"""Files with code in them are refused in words, and the code does not run.

Documents with entities are in data/test_voc.py, archives in data/test_archives.py, MATLAB's files in data/test_matlab
and detect/test_proposal_files, Caffe's in nets/test_caffemodel.py, configurations in test_created.py.
"""

import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from spprepro import detecting, exporting, outcomes
from spprepro.classify import traced
from spprepro.classify.ensemble import trained
from spprepro.config import check
from spprepro.data import imagenet
from spprepro.detect import detector, proposals
from spprepro.errors import DataError
from spprepro.files import read_arrays
from spprepro.nets.torchvision_trunks import build
from spprepro.training.checkpoint import AtomicCheckpointIO, refuse_other
from tests.nets.test_torchvision_trunks import given
from tests.test_config import compose


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return (os.mkdir, (str(self.ran),))


@pytest.fixture
def ran(tmp_path):
    """The folder that hostile code would make; it is not there at the end."""
    path = tmp_path / "ran"
    pickle.loads(pickle.dumps(Hostile(path)))
    path.rmdir()  # it would have been there
    yield path
    assert not path.exists()


def trained_network(folder, path):
    raw = compose("experiment=table1_zf5_nospp", "tier=smoke")
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    trained(folder)


def found_detector(folder, path):
    raw = compose("experiment=table9_zf5_1sc", "tier=smoke")
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    detecting.load(check(raw), folder)


@pytest.mark.parametrize("whole", [True, False], ids=["all of it", "a value"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("step-00000001.ckpt", trained_network),
        ("step-00000001.ckpt", lambda folder, path: refuse_other(path, {})),
        ("step-00000001.ckpt", lambda folder, path: AtomicCheckpointIO().load_checkpoint(path)),
        (detector.NAME, found_detector),
        ("alexnet.pth", lambda folder, path: build(given("alexnet", path))),
    ],
    ids=["network", "resume", "training", "detector", "torchvision"],
)
def test_weights(tmp_path, ran, name, read, whole):
    path = tmp_path / "checkpoints" / name
    AtomicCheckpointIO().save_checkpoint(Hostile(ran) if whole else {"state_dict": {"weight": Hostile(ran)}}, path)
    with pytest.raises(DataError, match=f"{name}: .*nothing in it was run"):
        read(tmp_path, path)


@pytest.mark.parametrize("legacy", [True, False])
def test_weights_that_are_a_pickle_alone(tmp_path, ran, legacy):
    path = tmp_path / "step-00000001.ckpt"
    if legacy:
        torch.save({"x": Hostile(ran)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Hostile(ran)))
    with pytest.raises(DataError, match="nothing in it was run"):
        refuse_other(path, {})


def objects(path, ran, *keys):
    """An .npz whose arrays hold pickles."""
    with path.open("wb") as out:
        np.savez(out, **{key: np.array([Hostile(ran)], object) for key in keys})
    return path


@pytest.mark.parametrize("read", [outcomes.read, outcomes.read_replicates])
def test_outcomes(tmp_path, ran, read):
    objects(tmp_path / outcomes.NAME, ran, "keys", "counts", "replicated", "replicates")
    with pytest.raises(DataError, match=r"outcomes\.npz"):
        read(tmp_path)


def test_scores_maps_and_detections(tmp_path, ran):
    with pytest.raises(DataError, match=r"found\.npz: damaged \(Object arrays cannot be loaded"):
        read_arrays(objects(tmp_path / "found.npz", ran, "boxes"))


def test_predictions_of_an_exported_network(tmp_path, ran, monkeypatch):
    monkeypatch.setattr(exporting, "trained", lambda folder: SimpleNamespace(config=None, module=None, classes=1))
    objects(tmp_path / "predictions.npz", ran, "classes")
    with pytest.raises(DataError, match=r"predictions\.npz"):
        exporting._model(tmp_path)


def test_predictions_of_a_finished_training(tmp_path, ran):
    objects(tmp_path / "predictions.npz", ran, "labels", "classes", "scores__ten")
    with pytest.raises(DataError, match=r"predictions\.npz: damaged \(Object arrays cannot be loaded"):
        traced.trace(check(compose("experiment=table1_zf5_nospp", "tier=smoke")), tmp_path)


def test_what_is_kept_in_the_cache_is_made_again(tmp_path, ran):
    assert proposals._load(objects(tmp_path / "windows.npz", ran, "boxes")) is None
    assert imagenet._read_survey(objects(tmp_path / "survey.npz", ran, "lists", "mean", "colour")) is None
