"""A detector: features, the SVMs of each row of Table 9, box regressors. What it finds in one image, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spprepro.detect.boxes import BoxRegressor, clip, moved, nms
from spprepro.detect.features import Described
from spprepro.detect.mining import LayerSvms
from spprepro.detect.windows import Boxes
from spprepro.detection import Protocol
from spprepro.errors import DataError
from spprepro.training.checkpoint import AtomicCheckpointIO

ABOVE, SUPPRESS, TOP = -1.5, 0.3, 100  # score of a candidate, overlap in NMS, windows of a class in an image (7.1)
NAME = "detector.ckpt"
BB = "ftfc7_bb"

Found = dict[str, list[tuple[Boxes, NDArray[np.float64]]]]
"""Row -> for each class (boxes (n, 4), scores (n,)), best first."""


@dataclass(frozen=True)
class Regressors:
    """Box regression of all classes on features times `scale`: see boxes.BoxRegressor."""

    each: list[BoxRegressor]
    scale: float

    @cached_property
    def _stacked(self) -> NDArray[Any]:
        return np.hstack([np.float32(self.scale) * regressor.weights[:-1] for regressor in self.each])

    def targets(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, D) -> (n, classes, 4): what each class's regressor predicts, all classes in one product."""
        whitened = (features @ self._stacked).reshape(len(features), len(self.each), 4)
        each = [(whitened[:, k] + r.weights[-1]) @ r.colour + r.mean for k, r in enumerate(self.each)]
        return np.stack(each, 1).astype(np.float64)


@dataclass
class Detector:
    """See the module. features: SppFeatures or RcnnFeatures; svms: by row; regress: the layer of the regression."""

    features: Any
    protocol: Protocol
    classes: list[str]
    svms: dict[str, LayerSvms]
    regressors: Regressors | None
    regress: str

    @property
    def rows(self) -> list[str]:
        """The rows of Table 9 that it can give."""
        return [*self.svms, *([BB] if self.regressors else [])]

    @property
    def layers(self) -> list[str]:
        """What it asks of the features."""
        return list(dict.fromkeys([*self.svms, *([self.regress] if self.regressors else [])]))

    def describe(self, picture: Tensor, boxes: Boxes) -> Described:
        """All layers for the windows of a picture (3, h, w) uint8."""
        size = (picture.shape[1], picture.shape[2])
        found: Described = self.features.describe(self.features.prepare(picture), boxes, size, self.layers)
        return found

    def find(self, picture: Tensor, boxes: Boxes, rows: Sequence[str]) -> Found:
        """What each of `rows` finds among the windows of a picture."""
        return detect([self], picture, boxes, rows)


def detect(detectors: Sequence[Detector], picture: Tensor, boxes: Boxes, rows: Sequence[str]) -> Found:
    """What detectors find together: NMS over the union of the windows that all of them scored (Table 12)."""
    classes = len(detectors[0].classes)
    if not len(boxes):
        return {row: [(np.empty((0, 4)), np.empty(0)) for _ in range(classes)] for row in rows}
    scored: dict[str, list[list[tuple[Boxes, NDArray[np.float64]]]]] = {
        row: [[] for _ in range(classes)] for row in rows
    }
    size = picture.shape[1], picture.shape[2]
    for detector in detectors:
        described = detector.describe(picture, boxes)
        arrays = {name: values.cpu().numpy() for name, values in described.layers.items()}
        for row in rows:
            layer = "ftfc7" if row == BB else row
            scores = detector.svms[layer].scores(arrays[layer])
            targets = None
            if row == BB and detector.regressors:
                targets = detector.regressors.targets(arrays[detector.regress])[described.inverse]
            for label, own in enumerate(scores.astype(np.float64)[described.inverse].T):
                moves = None if targets is None else targets[:, label]
                scored[row][label].append(_candidates(detector.protocol, boxes, own, moves, size))
    found: Found = {}
    for row in rows:
        found[row] = []
        for parts in scored[row]:
            own, scores = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            kept = nms(own, scores, SUPPRESS)[:TOP]
            found[row].append((own[kept], scores[kept]))
    return found


def _candidates(
    protocol: Protocol,
    boxes: Boxes,
    scores: NDArray[np.float64],
    targets: NDArray[np.float64] | None,
    size: tuple[int, int],
) -> tuple[Boxes, NDArray[np.float64]]:
    """A class's windows over ABOVE with their scores; moved where there are targets (N, 4) of the regression."""
    rows = np.flatnonzero(scores > ABOVE)
    if targets is None:
        return boxes[rows], scores[rows]
    if protocol.regress == "after_nms":  # the released code: only what is left is moved
        rows = rows[nms(boxes[rows], scores[rows], SUPPRESS)[:TOP]]
    return clip(moved(boxes[rows], targets[rows]), *size), scores[rows]


def regressed(method: str) -> str:
    """The layer that box regression learns on: the pooled map, of R-CNN after its fine-tuning."""
    return "pool5" if method == "spp" else "ftpool5"


def save(detector: Detector, folder: Path) -> Path:
    """folder/checkpoints/detector.ckpt: all weights; config.yaml beside it says how they are put together."""
    regressors = detector.regressors
    content: dict[str, Any] = {
        "features": detector.features.state_dict(),
        "classes": list(detector.classes),
        "svms": {
            row: {"weights": torch.from_numpy(svm.weights), "biases": torch.from_numpy(svm.biases),
                  "scale": svm.scale, "rows": svm.rows}
            for row, svm in detector.svms.items()
        },
    }  # fmt: skip
    if regressors:
        content["regressors"] = {
            "scale": regressors.scale,
            "each": [[torch.from_numpy(np.ascontiguousarray(part)) for part in (r.weights, r.colour, r.mean)]
                     for r in regressors.each],
        }  # fmt: skip
    path = folder / "checkpoints" / NAME
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def restore(content: Mapping[str, Any], features: Any, protocol: Protocol, regress: str, where: str = NAME) -> Detector:
    """The detector of the content of a file, `where`; `features` has the right layers and takes their weights.

    Raises DataError for weights of other layers, and for the content of another kind of file.
    """
    missing = [key for key in ("features", "classes", "svms") if key not in content]
    if missing:
        raise DataError(f"{where}: holds no {' and no '.join(missing)}, so it is no detector; learn it again")
    try:
        features.load_state_dict(content["features"])
    except RuntimeError as error:
        raise DataError(f"{where}: its weights are not those of its configuration: {error}") from error
    svms = {
        row: LayerSvms(kept["weights"].numpy(), kept["biases"].numpy(), kept["scale"], kept["rows"])
        for row, kept in content["svms"].items()
    }
    kept = content.get("regressors")
    each = [BoxRegressor(*(part.numpy() for part in parts)) for parts in kept["each"]] if kept else []
    regressors = Regressors(each, kept["scale"]) if kept else None
    return Detector(features.eval(), protocol, list(content["classes"]), svms, regressors, regress)
