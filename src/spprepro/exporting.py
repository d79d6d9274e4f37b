"""task=export: a finished job's network as files for other programs, with a model card."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spprepro import records, runfolder
from spprepro.classify.ensemble import Trained, trained
from spprepro.classify.evaluate import predictions
from spprepro.config import Config
from spprepro.data.augment import prepare_test
from spprepro.errors import ConfigError, DataError
from spprepro.files import replacing, write_text
from spprepro.nets import caffe, export
from spprepro.nets.caffe import Conventions
from spprepro.nets.export import Exported
from spprepro.records import Record

CARD = "MODEL_CARD.md"
SIZES = ((224, 224), (180, 180), (256, 341), (300, 200))  # height x width at which the ONNX file is compared
TOLERANCE = 1e-4  # of the largest logit
_NEEDED = ("safetensors", "onnx", "onnxruntime")
_LICENCES = {
    "mini": "The training pictures were drawn by this program; they are under its MIT licence, and so are the weights.",
    "none": "The weights were imported; the licence of whoever trained them holds. What they were trained on is not "
    "known to this program.",
}
_LICENCE_OF_PHOTOS = (
    "The weights were trained on photos in ILSVRC's layout. ImageNet and what is made of it (Imagenette) is for "
    "non-commercial research and education, on the terms of image-net.org; the photos belong to their owners. Another "
    "folder has a licence of its own."
)


def export_job(config: Config) -> list[Path]:
    """Writes `export/` in the run folder of a finished job and returns its files, the model card first.

    Raises ConfigError for a job that has not run or differs from the one that has, DataError where the ONNX file does
    not compute what the network does.
    """
    folder = runfolder.path_of(config)
    record = _finished(config, folder)
    model, its = _model(folder)
    out, name = folder / "export", config.name
    out.mkdir(exist_ok=True)
    (out / CARD).unlink(missing_ok=True)  # a folder without its card is unfinished
    said = {
        "job": name,
        "tier": record.tier,
        "seed": str(record.seed),
        "data": str(record.data["name"]),
        "data fingerprint": str(record.data["fingerprint"]),
        "checkpoint sha256": its.sha256,
        "metrics": json.dumps({key: metric.value for key, metric in record.metrics.items()}),
    }
    paths = [out / f"{name}.safetensors", out / f"{name}.onnx"]
    export.save(paths[0], model, said)
    graph = export.to_onnx(model, said).SerializeToString()
    notes = [f"The ONNX file gives the network's logits within {compare(graph, model):.1e} of the largest"]
    with replacing(paths[1]) as file:
        file.write(graph)
    try:
        conventions = Conventions(model.levels, model.scale)
        paths += caffe.save(out, name, model.network, model.backbone, conventions, model.mean.numpy())
    except ValueError as error:
        notes.append(f"There are no Caffe files: {error}")
    write_text(out / CARD, card(record, model, paths, notes))
    return [out / CARD, *paths]


def compare(graph: bytes, model: Exported) -> float:
    """The largest difference of logits, onnxruntime's from the network's, as a share of the largest logit.

    Raises DataError where it is over TOLERANCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(graph)
    worst = 0.0
    for height, width in SIZES if model.levels else [(model.crop, model.crop)]:
        small = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(height))
        smooth = torch.nn.functional.interpolate(255 * small, (height, width), mode="bilinear")
        pixels = smooth.to(torch.uint8)
        theirs = session.run(["logits"], {"pixels": pixels.numpy()})[0]
        ours = _logits(model, pixels)
        worst = max(worst, float(np.abs(theirs - ours).max() / np.abs(ours).max()))
    if not worst <= TOLERANCE:
        raise DataError(
            f"the ONNX graph of {model.backbone.title} differs from the network by {worst:.1e} of the largest logit, "
            f"over {TOLERANCE:g}: not written; try another version of onnxruntime"
        )
    return worst


def _finished(config: Config, folder: Path) -> Record:
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(f"task=export needs {', '.join(absent)}: pip install 'spprepro[export]'")
    if not (folder / records.NAME).exists():
        raise ConfigError(f"{folder}: no finished job; run experiment={config.name} first")
    runfolder.refuse_other_settings(config)
    return records.read(folder / records.NAME)


def _model(folder: Path) -> tuple[Exported, Trained]:
    its = trained(folder)
    c, module = its.config, its.module
    names = [str(number) for number in range(its.classes)]
    if (folder / "predictions.npz").is_file():  # has the names of the classes; an imported network has none
        with predictions(folder) as kept:
            names = kept["classes"].tolist()
    network: Any = module.network.float().to(memory_format=torch.contiguous_format)
    backbone = c.backbone.scaled(c.width)
    levels, crop = list(c.pyramid.levels), c.data.crop
    return Exported(network, backbone, levels, crop, module.mean, float(module.scale), names), its


@torch.inference_mode()
def _logits(model: Exported, pixels: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = model.network(prepare_test(pixels, model.mean, model.scale)).numpy()
    return found


def card(record: Record, model: Exported, paths: list[Path], notes: list[str]) -> str:
    """The model card as Markdown."""
    b, data, name = model.backbone, record.data, record.experiment
    levels = ",".join(map(str, model.levels))
    pooling = f"a pyramid {{{levels}}}, {sum(n * n for n in model.levels)} bins" if levels else "no SPP"
    sizes = "images of any size" if levels else f"crops of {model.crop}x{model.crop} pixels"
    count = sum(parameter.numel() for parameter in model.network.parameters())
    rows = [f"| {key} | {m.value:.2f} {m.unit} | {m.n} |" for key, m in record.metrics.items()]
    files = [f"| `{p.name}` | {p.stat().st_size:,} | {_sha256(p)} |" for p in paths]
    caffes = any(path.suffix == ".caffemodel" for path in paths)
    origin = f"imported from `{data['weights']}`" if "weights" in data else f"trained by spprepro at tier={record.tier}"
    lines = [
        f"# {name}, tier={record.tier}, seed {record.seed}",
        f"{b.title} with {pooling}, {count:,} parameters, {len(model.classes)} classes; takes {sizes}. A network of "
        "the paper *Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition* (arXiv 1406.4729), "
        f"{origin}. Only tier=paper is of the paper's size.",
        "## Data",
        f"{data['name']}, fingerprint `{data['fingerprint'] or 'none'}`: {data['train']:,} training and "
        f"{data['test']:,} test images.",
        _LICENCES.get(str(data["name"]), _LICENCE_OF_PHOTOS),
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
        _ONNX.format(name=name, crop=model.crop, size="any height and width" if levels else "this size"),
        _SAFETENSORS.format(name=name),
        *([_CAFFE.format(name=name, crop=model.crop)] if caffes else []),
    ]
    return "\n\n".join(lines) + "\n"


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


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
