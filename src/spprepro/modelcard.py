"""The model card of exported files: what they are, of which data, how good, under which licence, how to load them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spprepro.config import GENERATED
from spprepro.detect.detector import ABOVE, BB, SUPPRESS, Detector
from spprepro.detect.features import SppFeatures
from spprepro.detection import Mapping, Rule
from spprepro.files import sha256
from spprepro.nets.export import Exported
from spprepro.records import Record

_MINI = "The training pictures were drawn by this program; they are under its MIT licence, and so are the weights."
_IMPORTED = (
    "The weights were imported; the licence of whoever trained them holds. What they were trained on is not known to "
    "this program."
)
_UNKNOWN = "The record of that network is not there, so what it was trained on is not known here."
_TORCHVISION = (
    "The convolutions start from torchvision's weights, trained on ImageNet, which is for non-commercial research and "
    "education on the terms of image-net.org."
)
_IMAGENET = (
    "The weights were trained on photos in ILSVRC's layout. ImageNet and what is made of it (Imagenette) is for "
    "non-commercial research and education, on the terms of image-net.org; the photos belong to their owners. Another "
    "folder has a licence of its own."
)
_VOC = (
    "The detector was learned on photos in VOC2007's layout. Those of VOC2007 come from Flickr and may be used on its "
    "terms; they belong to their owners. Another folder has a licence of its own."
)


@dataclass(frozen=True)
class Said:
    """What a card tells of one kind of model: what it is, and the sections on how to load it."""

    what: str
    how: list[str]


def card(record: Record, said: Said, licence: str, paths: Sequence[Path], notes: Sequence[str]) -> str:
    """The card as Markdown; notes: sentences on the files, without their full stops."""
    data = record.data
    shown = {key: metric for key, metric in record.metrics.items() if "_ap_" not in key}  # not those of single classes
    rows = [f"| {key} | {m.value:.2f} {m.unit} | {m.n} |" for key, m in shown.items()]
    files = [f"| `{p.name}` | {p.stat().st_size:,} | {sha256(p)} |" for p in paths]
    lines = [
        f"# {record.experiment}, tier={record.tier}, seed {record.seed}",
        f"{said.what} It belongs to a reproduction of the paper *Spatial Pyramid Pooling in Deep Convolutional "
        "Networks for Visual Recognition* (arXiv 1406.4729); only tier=paper is of the paper's size.",
        "## Data",
        f"{data['name']}, fingerprint `{data['fingerprint'] or 'none'}`: {data['train']:,} training and "
        f"{data['test']:,} test images.",
        licence,
        "## Metrics",
        "\n".join(["| metric | value | test images |", "| --- | ---: | ---: |", *rows])
        if rows
        else "None was measured.",
        f"Status of the record: {record.status}; precision {record.precision}, {record.device}, commit "
        f"{record.git['commit'][:12]}. `{record.command}`",
        "## Files",
        "\n".join(["| file | bytes | sha256 |", "| --- | ---: | --- |", *files]),
        " ".join(f"{note}." for note in notes),
        "## How to load",
        *said.how,
    ]
    return "\n\n".join(lines) + "\n"


def licence(record: Record) -> str:
    """Of the data that a network was trained on."""
    return {**dict.fromkeys(GENERATED, _MINI), "none": _IMPORTED}.get(str(record.data["name"]), _IMAGENET)


def licence_of_detector(record: Record, network: Record | None) -> str:
    """Of the data that a detector was learned on, and that of the network it starts from (None: not known)."""
    start = licence(network) if network else _TORCHVISION if record.data["weights"] else _UNKNOWN
    own = _MINI if record.data["name"] == "mini" else _VOC
    return own if own == start else f"{own}\n\nIt starts from a trained network. {start}"


def of_network(model: Exported, record: Record, *, caffe: bool) -> Said:
    """Of a classifier; caffe: whether there are files for Caffe."""
    b, data, levels = model.backbone, record.data, ",".join(map(str, model.levels))
    pooling = f"a pyramid {{{levels}}}, {sum(n * n for n in model.levels)} bins" if levels else "no SPP"
    sizes = "images of any size" if levels else f"crops of {model.crop}x{model.crop} pixels"
    count = sum(parameter.numel() for parameter in model.network.parameters())
    origin = f"imported from `{data['weights']}`" if "weights" in data else f"trained by spprepro at tier={record.tier}"
    what = f"{b.title} with {pooling}, {count:,} parameters, {len(model.classes)} classes; takes {sizes}; {origin}."
    values: dict[str, Any] = {"name": record.experiment, "crop": model.crop}
    values["size"] = "any height and width" if levels else "this size"
    return Said(what, [text.format(**values) for text in (_ONNX, _SAFETENSORS, *([_CAFFE] if caffe else []))])


def of_detector(detector: Detector, record: Record) -> Said:
    """Of a detector; how its two ONNX files go together."""
    features, name = detector.features, record.experiment
    spp = isinstance(features, SppFeatures)
    b = (features.trunk if spp else (features.plain or features.tuned).trunk).backbone
    if spp:
        how = (
            f"SPP-net: the convolutions of {b.title} see the whole picture with its shorter side at "
            f"{', '.join(map(str, features.scales))} pixels, and each window is pooled from the map by a pyramid "
            f"{{{','.join(map(str, features.levels))}}}"
        )
    else:
        how = f"R-CNN: each window, warped to {features.size}x{features.size} pixels, goes through {b.title}"
    what = (
        f"A detector of {len(detector.classes)} classes. {how}. One linear SVM a class on each of "
        f"{', '.join(detector.svms)}" + (f", box regression on {detector.regress}" if detector.regressors else "")
    ) + f". Learned by spprepro at tier={record.tier}, with the protocol `{detector.protocol.name}`."
    if not spp:
        return Said(what, [_CROPS.format(name=name, size=features.size), _outputs(detector), _LOAD.format(name=name)])
    protocol = detector.protocol
    pooling = _WINDOWS.format(
        name=name,
        scales=(*features.scales,),
        levels=(*features.levels,),
        stride=features.field.stride,
        centre=features.field.centre,
        chosen=_CHOSEN[protocol.scale_rule].format(side=features.side),
        cells=_CELLS[protocol.mapping],
    )
    return Said(what, [pooling, _outputs(detector), _LOAD.format(name=name)])


def _outputs(detector: Detector) -> str:
    text = (
        f"The scores of a row of Table 9 are `scores_<row>` ({', '.join(detector.svms)}), a column a class. Windows "
        f"over {ABOVE:g} are candidates; of those that overlap by more than {SUPPRESS:g} the best stays. "
    )
    if detector.regressors:
        text += (
            f"{BB} is ftfc7 with moved windows: `offsets[:, k]` of class k are dx, dy (shift of the centre in sides of "
            "the window, which are x2 - x1 and y2 - y1) and dw, dh (logarithms of the factors of the sides). They are "
            f"moved {detector.protocol.regress.replace('_nms', '')} the best are chosen. "
        )
    return text + "The pictures' pixels are RGB in [0, 255]; their mean is subtracted within."


_ONNX = """With onnxruntime alone; the mean is subtracted within:

```python
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("{name}.onnx")
pixels = np.zeros((1, 3, {crop}, {crop}), np.uint8)  # RGB, {size}
logits, scores = session.run(None, {{"pixels": pixels}})
classes = session.get_modelmeta().custom_metadata_map["classes"]  # their names, as JSON
```"""
_SAFETENSORS = """With spprepro:

```python
from pathlib import Path
from spprepro.data.augment import prepare_test
from spprepro.nets.export import load
model = load(Path("{name}.safetensors"))
logits = model.network(prepare_test(pixels, model.mean, model.scale))  # pixels: (n, 3, h, w) torch.uint8, RGB
```"""
_CAFFE = """With Caffe: `{name}.prototxt` and `{name}.caffemodel`, for BGR pixels of {crop}x{crop} in [0, 255] less
`{name}_mean.binaryproto`."""
_LOAD = """With spprepro:

```python
from pathlib import Path
from spprepro.detecting import load_exported
detector = load_exported(Path("{name}.safetensors"))
found = detector.find(picture, boxes, detector.rows)  # row -> for each class its boxes and their scores
```

picture: (3, h, w) torch.uint8, RGB; boxes: (N, 4) float64 x1, y1, x2, y2 in pixels from 0, both ends in the window."""
_CROPS = """With onnxruntime, and spprepro for the warping alone:

```python
import json
import onnxruntime
from spprepro.detect.rcnn import warp  # the window with 16 pixels around it, as rcnn_im_crop.m has it

trunk, head = (onnxruntime.InferenceSession(f"{name}_{{part}}.onnx") for part in ("trunk", "head"))
classes = json.loads(head.get_modelmeta().custom_metadata_map["classes"])

def describe(picture, boxes):
    \"\"\"What the head gives for windows (N, 4) of a picture (3, h, w) torch.uint8.\"\"\"
    pooled, outputs = ([each.name for each in part.get_outputs()] for part in (trunk, head))
    values = trunk.run(pooled, {{"pixels": warp(picture, boxes, {size}).numpy()}})
    return dict(zip(outputs, head.run(outputs, dict(zip(pooled, values)))))
```"""
_CHOSEN: dict[Rule, str] = {
    "paper": "np.abs(area * (np.array(SCALES) / short) ** 2 - {side}**2).argmin()",
    "released": "np.abs(np.array(SCALES) - np.floor({side} * short / np.sqrt(area) + 0.5)).argmin()",
}
_CELLS: dict[Mapping, str] = {
    "tpami": "np.floor((low - CENTRE - 0.5) / STRIDE) + 1, np.ceil((high - CENTRE + 0.5) / STRIDE) - 1",
    "arxiv_v4": "np.floor((low - CENTRE) / STRIDE) + 1, np.ceil((high - CENTRE) / STRIDE) - 1",
    "released": "np.floor((low - CENTRE + 6.5) / STRIDE + 0.5), np.ceil((high - CENTRE - 6.5) / STRIDE - 0.5)",
    "stride": "np.floor(low / STRIDE), np.floor(high / STRIDE)",
}
_WINDOWS = """With onnxruntime and OpenCV alone. Between the two files each window is pooled from the map of its scale:

```python
import json
import cv2, numpy as np, onnxruntime

SCALES, LEVELS, STRIDE, CENTRE = {scales}, {levels}, {stride}, {centre}
trunk, head = (onnxruntime.InferenceSession(f"{name}_{{part}}.onnx") for part in ("trunk", "head"))
classes = json.loads(head.get_modelmeta().custom_metadata_map["classes"])

def describe(picture, boxes):
    \"\"\"What the head gives for windows (N, 4) x1, y1, x2, y2 in pixels from 0 of a picture (h, w, 3) RGB uint8.\"\"\"
    short, maps = min(picture.shape[:2]), []
    for scale in SCALES:
        height, width = (-(-side * scale // short) for side in picture.shape[:2])
        pixels = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
        maps += list(trunk.run(["map"], {{"pixels": pixels[None]}})[0])
    pooled = np.array([pool(maps, box, short) for box in boxes], np.float32)
    outputs = [each.name for each in head.get_outputs()]
    return dict(zip(outputs, head.run(outputs, {{"pool5": pooled}})))

def pool(maps, box, short):
    \"\"\"A window's features: the largest value of each bin, level after level, each as (channels, n, n).\"\"\"
    area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    k = {chosen}
    scaled = np.reshape(box, (2, 2)) * (SCALES[k] - 1) / (short - 1)
    columns, rows = (bins(low, high, side) for low, high, side in zip(*scaled, maps[k].shape[:0:-1]))
    levels = [np.array([[maps[k][:, y, x].max((1, 2)) for x in columns[n]] for y in rows[n]]) for n in LEVELS]
    return np.concatenate([level.transpose(2, 0, 1).ravel() for level in levels])

def bins(low, high, side):
    \"\"\"Level -> its bins on one axis of the map, which has `side` cells.\"\"\"
    first, last = {cells}
    if first > last:
        first = last = (first + last) // 2
    first, last = (int(min(max(cell, 0), side - 1)) for cell in (first, last))
    count = last - first + 1
    return {{n: [slice(first + i * count // n, first - -(i + 1) * count // n) for i in range(n)] for n in LEVELS}}
```"""
