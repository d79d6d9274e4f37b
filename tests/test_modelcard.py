"""The model card's own code, run as a reader would run it: windows pooled between the two files of a detector."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from spprepro import modelcard
from spprepro.detect import export
from spprepro.detect.detector import Detector
from spprepro.detection import Protocol
from tests.detect.toys import CLASSES, RELEASED, anywhere, learned, rcnn
from tests.test_records import record  # noqa: F401 (a fixture)

pytest.importorskip("onnxruntime", reason="needs the extra `export`")

HEIGHT, WIDTH = 120, 160
PICTURE = torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
MAPPED = [Protocol(mapping=mapping) for mapping in ("tpami", "arxiv_v4", "stride")]


def card_code(detector: Detector, folder, record, monkeypatch) -> tuple[str, dict]:  # noqa: F811
    """The card, and the names that its code for onnxruntime makes."""
    for part in ("trunk", "head"):
        made = getattr(export, part)(detector, {}).SerializeToString()
        (folder / f"{record.experiment}_{part}.onnx").write_bytes(made)
    said = modelcard.of_detector(detector, record)
    text = modelcard.card(record, said, modelcard.licence_of_detector(record, None), [], [])
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], names)
    assert names["classes"] == list(CLASSES)
    return text, names


def check(given, detector, boxes):
    described = detector.describe(PICTURE, boxes)
    arrays = {name: values.numpy()[described.inverse] for name, values in described.layers.items()}
    wanted = {f"scores_{row}": svm.scores(arrays[row]) for row, svm in detector.svms.items()}
    wanted |= {name: arrays[name] for name in ("fc6", "ftfc6", "ftfc7")}
    wanted["offsets"] = detector.regressors.targets(arrays[detector.regress])
    assert set(given) == set(wanted)
    for name, values in wanted.items():
        assert np.abs(given[name] - values).max() <= 1e-5 * np.abs(values).max(), name


@pytest.mark.parametrize("protocol", [*MAPPED, RELEASED], ids=lambda each: each.mapping)
@torch.inference_mode()
def test_windows_are_pooled_as_the_card_says(tmp_path, record, monkeypatch, protocol):  # noqa: F811
    record = replace(record, data={**record.data, "weights": ""})
    detector = learned(protocol)
    text, names = card_code(detector, tmp_path, record, monkeypatch)
    assert f"with the protocol `{protocol.name}`" in text
    boxes = anywhere(HEIGHT, WIDTH, 60, np.random.default_rng(1))
    check(names["describe"](PICTURE.permute(1, 2, 0).numpy(), boxes), detector, boxes)


@torch.inference_mode()
def test_crops_go_through_as_the_card_says(tmp_path, record, monkeypatch):  # noqa: F811
    record = replace(record, data={**record.data, "weights": ""})
    detector = rcnn([3, 1])
    _, names = card_code(detector, tmp_path, record, monkeypatch)
    boxes = anywhere(HEIGHT, WIDTH, 5, np.random.default_rng(1))
    check(names["describe"](PICTURE, boxes), detector, boxes)


@pytest.mark.parametrize(
    ("own", "start", "parts"),
    [
        ("mini", "mini", ["drawn by this program"]),
        ("mini", "dry", ["drawn by this program"]),
        ("voc07", "imagenette2-160", ["Flickr", "ILSVRC's layout"]),
        ("voc07", "none", ["Flickr", "imported"]),
        ("voc07", None, ["Flickr", "not known here"]),
        ("voc07", "torchvision", ["Flickr", "torchvision's weights"]),
    ],
)
def test_a_detector_has_the_licences_of_all_its_data(record, own, start, parts):  # noqa: F811
    weights = "pretrained" if start == "torchvision" else ""
    its = replace(record, data={**record.data, "name": own, "weights": weights})
    network = replace(record, data={**record.data, "name": start}) if start and not weights else None
    text = modelcard.licence_of_detector(its, network)
    assert all(part in text for part in parts)
    assert len(text.split("\n\n")) == len(parts)
