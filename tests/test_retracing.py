"""Traces of finished jobs, made afterwards."""

import shutil
from dataclasses import asdict

import numpy as np
import pytest
import yaml

from spprepro import folders, traces
from spprepro.config import check
from spprepro.data import mini
from spprepro.data.voc import read_split
from spprepro.detect.evaluate import evaluate
from spprepro.detect.sources import fingerprint
from spprepro.records import Metric
from spprepro.retracing import retrace
from tests.detect.detections import guessed
from tests.report.test_render import put
from tests.test_config import compose


def finished(results, job, *overrides, **changes):
    """The folder of a finished job at tier mini: record and configuration."""
    folder = put(results, job, 1.0, **changes).parent
    config = check(compose(f"experiment={job}", *overrides))
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    return folder


@pytest.fixture
def split():
    """The test split of a generated set of 6 images, where jobs look for it."""
    amounts = mini.Amounts(voc_trainval=2, voc_test=4)
    home = folders.data_home() / "voc"
    return read_split(mini.generate(home, part="voc", seed=0, amounts=amounts, workers=1) / "VOC2007", "test")


@pytest.fixture
def detector(tmp_path, split):
    data = {"name": "voc07", "fingerprint": fingerprint(split), "train": 2, "test": 4}
    metrics = {"ftfc7_bb_map": Metric(1.0, "%", 4)}
    folder = finished(tmp_path, "table9_zf5_1sc", f"voc.root={split.root}", data=data, metrics=metrics)
    evaluate(folder, split, {row: guessed(split, seed) for seed, row in enumerate(("ftfc7", "ftfc7_bb"))})
    return folder


def test_a_training_and_a_record_alone(tmp_path):
    trained, alone = (finished(tmp_path, f"table1_zf5_{mode}") for mode in ("multisize", "singlesize"))
    np.savez(trained / "predictions.npz", labels=[0, 1], classes=["a", "b"], scores__ten=np.eye(2))
    put(tmp_path, "table1_zf5_nospp", 1.0)  # not even a configuration
    assert list(retrace(tmp_path, None)) == []
    assert traces.read_confusion(trained).counts == [[1, 0, 0], [0, 1, 0]]
    assert {path.name for path in alone.iterdir()} == {"record.json", "config.yaml"}


def test_a_detector_from_its_last_row(tmp_path, detector, split):
    assert list(retrace(tmp_path, None)) == []
    aps = {each.name: each.ap for each in traces.read_precision(detector)}
    again = evaluate(tmp_path / "other", split, {"ftfc7_bb": guessed(split, 1)})[0]
    assert aps == pytest.approx({name: again[f"ftfc7_bb_ap_{name}"].value for name in aps}, abs=1e-4)
    assert [each.id for each in traces.read_examples(detector)] == [image.id for image in split.images]


def test_a_detector_whose_detections_were_cleared_away_is_left_alone(tmp_path, detector):
    for row in (detector / "detections").iterdir():
        shutil.rmtree(row)
    assert list(retrace(tmp_path, None)) == [] and not (detector / traces.EXAMPLES).exists()


def test_other_images_or_none_are_said_and_stop_nothing(tmp_path, detector, split):
    trained = finished(tmp_path, "table1_zf5_multisize")
    np.savez(trained / "predictions.npz", labels=[0, 1], classes=["a", "b"], scores__ten=np.eye(2))
    list_of = split.root / "ImageSets" / "Main" / "test.txt"
    whole = list_of.read_text()
    list_of.write_text(whole.splitlines()[0] + "\n")
    (fault,) = retrace(tmp_path, None)
    assert "table9_zf5_1sc" in fault and "voc.root=DIR" in fault and not (detector / traces.EXAMPLES).exists()
    (fault,) = retrace(tmp_path, "nowhere")
    assert "nowhere" in fault
    assert (trained / traces.CONFUSION).exists()
    list_of.write_text(whole)
    assert list(retrace(tmp_path, None)) == []
    assert (detector / traces.EXAMPLES).exists()


def test_a_damaged_configuration_is_named(tmp_path):
    folder = finished(tmp_path, "table1_zf5_multisize")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"kind": "trian"}))
    (fault,) = retrace(tmp_path, None)
    assert "table1_zf5_multisize" in fault and "trian" in fault
