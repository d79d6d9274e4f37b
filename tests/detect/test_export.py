"""A detector as files: safetensors there and back, its two ONNX parts against what it computes itself."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from spprepro.detect.detector import Detector, restore
from spprepro.detect.export import compare, head, load, save, trunk
from spprepro.detect.mining import LayerSvms
from spprepro.errors import DataError
from tests.detect.toys import CLASSES, learned, rcnn, spp

pytest.importorskip("onnxruntime", reason="needs the extra `export`")

PICTURE = torch.randint(0, 256, (3, 120, 160), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
BOXES = np.array([[0, 0, 159, 119], [20, 10, 90, 80], [70, 30, 130, 110]], float)


def graphs(detector: Detector) -> tuple[bytes, bytes]:
    return trunk(detector, {}).SerializeToString(), head(detector, {"job": "x"}).SerializeToString()


def names(values) -> dict[str, list]:
    return {each.name: [d.dim_value or d.dim_param for d in each.type.tensor_type.shape.dim] for each in values}


@pytest.mark.parametrize("make", [learned, lambda: rcnn([]), lambda: rcnn([3, 1])], ids=["SPP", "R-CNN", "R-CNN, SPP"])
def test_both_parts_compute_what_the_detector_does(make):
    assert 0 < compare(make(), *graphs(make())) < 1e-5


def test_the_parts_say_what_goes_in_and_out():
    detector = learned()
    inputs, made = detector.features.inputs, head(detector, {"job": "x"})
    assert names(trunk(detector, {}).graph.input) == {"pixels": ["n", 3, "h", "w"]}
    assert names(made.graph.input) == {"pool5": ["n", inputs]}
    assert names(made.graph.output) == {
        "fc6": ["n", 24], "ftfc6": ["n", 24], "ftfc7": ["n", 24], "offsets": ["n", 3, 4],
        **{f"scores_{row}": ["n", 3] for row in ("pool5", "fc6", "ftfc6", "ftfc7")},
    }  # fmt: skip
    assert {each.key: each.value for each in made.metadata_props} == {"classes": '["red", "green", "blue"]', "job": "x"}


def test_only_what_the_rows_need_is_in_the_head():
    whole = learned()
    detector = replace(whole, svms={"pool5": whole.svms["pool5"]}, regressors=None)
    made = head(detector, {})
    assert list(names(made.graph.output)) == ["scores_pool5"]
    assert len(made.SerializeToString()) < 1.2 * 4 * len(CLASSES) * detector.features.inputs
    assert compare(detector, *graphs(detector)) < 1e-5


@pytest.mark.parametrize("part", [0, 1], ids=["trunk", "head"])
def test_a_part_that_computes_something_else_is_refused(part):
    detector = learned()
    made = list(graphs(detector))
    graph = onnx.load_from_string(made[part])
    constant = next(each for each in graph.graph.initializer if len(each.dims) == 1 and each.dims[0] > 1)
    values = onnx.numpy_helper.to_array(constant).copy()
    values[1] += 1
    constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    made[part] = graph.SerializeToString()
    with pytest.raises(DataError, match=f"the detector's {['trunk', 'head'][part]} differs"):
        compare(detector, *made)


@torch.inference_mode()
@pytest.mark.parametrize("regressed", [True, False])
def test_safetensors_come_back_to_the_bit(tmp_path, regressed):
    detector = learned() if regressed else replace(learned(), regressors=None)
    save(tmp_path / "a.safetensors", detector, {"tier": "mini"})
    said, content = load(tmp_path / "a.safetensors")
    assert said["tier"] == "mini"
    again = restore(content, spp([160, 240]), detector.protocol, "pool5")
    assert again.classes == list(CLASSES) and again.rows == detector.rows
    assert again.svms["fc6"].rows == 17
    rows = detector.rows
    for row, classes in detector.find(PICTURE, BOXES, rows).items():
        for ours, theirs in zip(classes, again.find(PICTURE, BOXES, rows)[row], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_other_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(DataError, match=r"a\.safetensors: no detector that this program wrote"):
        load(path)
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.safetensors: no network that this program wrote, or damaged"):
        load(path)


def test_a_class_without_objects_goes_through():
    detector = learned()
    none = LayerSvms(np.zeros((3, 24), np.float32), np.full(3, -2, np.float32), 0.3)
    detector.svms["ftfc7"] = none
    assert compare(detector, *graphs(detector)) < 1e-5
