"""A detector as files that other programs read: safetensors, and ONNX in two parts with the windows between them.

trunk    `pixels` (n, 3, h, w) uint8 RGB -> `map` (n, C, a, b); of R-CNN (n, 3, size, size) -> `pool5`, `ftpool5` (n, D)
head     `pool5` (n, D), pooled features of n windows; of R-CNN also `ftpool5` -> `fc6`, `ftfc6`, `ftfc7` (n, fc),
         `scores_<row>` (n, classes) for each row of Table 9 with SVMs, `offsets` (n, classes, 4) of the box regression

Only what the detector's rows need is in them. Offsets are boxes.regression_targets.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from spprepro.detect.detector import Detector
from spprepro.detect.features import SppFeatures
from spprepro.detect.trunk import Head
from spprepro.errors import DataError
from spprepro.nets.export import read_tensors, write_tensors
from spprepro.nets.graph import Graph, Shape, difference, node, pictures
from spprepro.nets.spp import SpatialPyramidPooling

if TYPE_CHECKING:
    from onnx import ModelProto

COUNTS = (1, 2, 9)  # windows with which the head is compared
_FC = ("fc6", "fc7")


def save(path: Path, detector: Detector, said: Mapping[str, str]) -> None:
    """safetensors: `features.*` (trunk and fc layers), `svms.<row>.*`, `regressors.*` of all classes; in the metadata
    `detector`, for `load`, and all of `said`."""
    tensors = {f"features.{name}": value for name, value in detector.features.state_dict().items()}
    for row, svm in detector.svms.items():
        tensors |= {f"svms.{row}.{key}": torch.from_numpy(getattr(svm, key)) for key in ("weights", "biases")}
    if detector.regressors:
        for key in ("weights", "colour", "mean"):
            each = [getattr(regressor, key) for regressor in detector.regressors.each]
            tensors[f"regressors.{key}"] = torch.from_numpy(np.stack(each))
    description = {
        "classes": detector.classes,
        "svms": {row: {"scale": float(svm.scale), "rows": int(svm.rows)} for row, svm in detector.svms.items()},
        "regressors": float(detector.regressors.scale) if detector.regressors else None,
    }
    write_tensors(path, tensors, {"detector": json.dumps(description), **said})


def load(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata, and the content for detector.restore, of what `save` wrote; raises DataError for another file."""
    said, tensors = read_tensors(path)
    try:
        description = json.loads(said["detector"])
        content = {
            "features": {
                name.removeprefix("features."): value for name, value in tensors.items() if name.startswith("features.")
            },
            "classes": description["classes"],
            "svms": {
                row: {key: tensors[f"svms.{row}.{key}"] for key in ("weights", "biases")} | numbers
                for row, numbers in description["svms"].items()
            },
        }
        if description["regressors"] is not None:
            parts = (tensors[f"regressors.{key}"] for key in ("weights", "colour", "mean"))
            content["regressors"] = {"scale": description["regressors"], "each": list(zip(*parts, strict=True))}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no detector that this program wrote ({error!r}); export it again") from error
    return said, content


def trunk(detector: Detector, said: Mapping[str, str]) -> "ModelProto":
    """The first part; see the module."""
    from onnx import TensorProto

    graph, features = Graph(), detector.features
    inputs: Shape = ["n", 3, "h", "w"] if isinstance(features, SppFeatures) else ["n", 3, features.size, features.size]
    outputs: dict[str, Shape] = {}
    for name, module in _trunks(features).items():
        graph.add("Identity", node(graph, module, "pixels"), out=name)
        outputs[name] = ["n", "c", "a", "b"] if name == "map" else ["n", features.inputs]
    return graph.model("trunk", {"pixels": (TensorProto.UINT8, inputs)}, outputs, said)


def head(detector: Detector, said: Mapping[str, str]) -> "ModelProto":
    """The second part; see the module. The classes are in its metadata."""
    from onnx import TensorProto

    graph, features, classes = Graph(), detector.features, len(detector.classes)
    outputs: dict[str, Shape] = {}
    for prefix, pooled, fc in _heads(features):
        last = max((k for k, layer in enumerate(_FC, 1) if prefix + layer in detector.layers), default=0)
        x = pooled
        for layer, linear, scale in list(zip(_FC, (fc.fc6, fc.fc7), (float(fc.scale), 1.0), strict=True))[:last]:
            weights, bias = (graph.constant(value.detach().numpy()) for value in (linear.weight, linear.bias))
            x = graph.add("Gemm", x, weights, bias, transB=1, alpha=scale)
            x = graph.add("Relu", x, out=prefix + layer)
            outputs[x] = ["n", linear.out_features]
    for row, svm in detector.svms.items():
        weights, bias = graph.constant(np.float32(svm.scale) * svm.weights), graph.constant(svm.biases)
        outputs[graph.add("Gemm", row, weights, bias, transB=1, out=f"scores_{row}")] = ["n", classes]
    if detector.regressors:
        each, scale = detector.regressors.each, detector.regressors.scale
        columns = np.hstack([scale * r.weights[:-1] @ r.colour for r in each]).astype(np.float32)
        biases = np.hstack([r.weights[-1] @ r.colour + r.mean for r in each]).astype(np.float32)
        x = graph.add("Gemm", detector.regress, graph.constant(columns), graph.constant(biases))
        outputs[graph.add("Reshape", x, graph.whole(-1, classes, 4), out="offsets")] = ["n", classes, 4]
    inputs: dict[str, tuple[int, Shape]] = {
        pooled: (TensorProto.FLOAT, ["n", features.inputs]) for _, pooled, _ in _heads(features)
    }
    return graph.model("head", inputs, outputs, {"classes": json.dumps(detector.classes), **said})


@torch.inference_mode()
def compare(detector: Detector, trunk: bytes, head: bytes) -> float:
    """The largest difference of the two graphs' outputs from the detector's own, as a share of an output's largest.

    The trunk at several sizes (of R-CNN, numbers of crops), the head with several numbers of windows. Raises DataError
    as nets.graph.difference does.
    """
    features = detector.features
    modules, spp = _trunks(features), isinstance(features, SppFeatures)
    side = features.trunk.backbone.crop if spp else features.size
    few = [next(pictures([(side, side)], count)) for count in COUNTS]

    def run(pixels: Tensor) -> dict[str, Tensor]:
        return {name: module(pixels) for name, module in modules.items()}

    def pooled(pixels: Tensor) -> dict[str, Tensor]:
        found = run(pixels)
        return {"pool5": SpatialPyramidPooling(features.levels)(found["map"])} if spp else found

    maps = (({"pixels": pixels}, run(pixels)) for pixels in (pictures() if spp else few))
    windows = ((values, _given(detector, values)) for values in map(pooled, few))
    return max(difference(trunk, "the detector's trunk", maps), difference(head, "the detector's head", windows))


def _given(detector: Detector, pooled: dict[str, Tensor]) -> dict[str, Any]:
    """What the head gives for pooled features, as the detector computes it."""
    layers = detector.features.fc(pooled, detector.layers)
    arrays = {name: values.numpy() for name, values in layers.items()}
    found = {name: values for name, values in arrays.items() if name not in pooled}
    found |= {f"scores_{row}": svm.scores(arrays[row]) for row, svm in detector.svms.items()}
    if detector.regressors:
        found["offsets"] = detector.regressors.targets(arrays[detector.regress])
    return found


def _trunks(features: Any) -> dict[str, nn.Module]:
    """Output of the first part -> what computes it from pixels."""
    if isinstance(features, SppFeatures):
        return {"map": features.trunk}
    nets = {"pool5": features.plain, "ftpool5": features.tuned}
    return {name: nn.Sequential(net.trunk, net.pool) for name, net in nets.items() if net is not None}


def _heads(features: Any) -> list[tuple[str, str, Head]]:
    """What the names of layers begin with, the pooled features that the layers start from, and the layers."""
    spp = isinstance(features, SppFeatures)
    found = [("", "pool5", features.plain), ("ft", "pool5" if spp else "ftpool5", features.tuned)]
    return [(prefix, pooled, net if spp else net.head) for prefix, pooled, net in found if net is not None]
