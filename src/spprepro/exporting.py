"""task=export: a finished job's network or detector as files for other programs, with a model card."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spprepro import detecting, modelcard, records, runfolder
from spprepro.classify.ensemble import Trained, trained
from spprepro.classify.evaluate import predictions
from spprepro.composing import needs, ordered
from spprepro.config import Config
from spprepro.data.augment import prepare_test
from spprepro.detect import export as detector_export
from spprepro.detect.detector import NAME
from spprepro.errors import ConfigError
from spprepro.files import replacing, write_text
from spprepro.nets import caffe, export
from spprepro.nets.caffe import Conventions
from spprepro.nets.export import Exported
from spprepro.nets.graph import SIZES, difference, pictures
from spprepro.records import Record
from spprepro.training.checkpoint import sha256_file

CARD = "MODEL_CARD.md"
_NEEDED = ("safetensors", "onnx", "onnxruntime")


def export_job(config: Config) -> list[Path]:
    """Writes `export/` in the run folder of a finished job and returns its files, the model card first.

    Raises ConfigError for a job that has not run or differs from the one that has, DataError where an ONNX file does
    not compute what the network or detector does.
    """
    folder = runfolder.path_of(config)
    record = _finished(config, folder)
    out = folder / "export"
    out.mkdir(exist_ok=True)
    (out / CARD).unlink(missing_ok=True)  # a folder without its card is unfinished
    said = {
        "job": config.name,
        "tier": record.tier,
        "seed": str(record.seed),
        "data": str(record.data["name"]),
        "data fingerprint": str(record.data["fingerprint"]),
        "metrics": json.dumps({key: metric.value for key, metric in record.metrics.items()}),
    }
    write = _detector if config.kind == "detect" else _network
    paths, text = write(config, folder, out, record, said)
    write_text(out / CARD, text)
    return [out / CARD, *paths]


def _network(
    config: Config, folder: Path, out: Path, record: Record, said: Mapping[str, str]
) -> tuple[list[Path], str]:
    """A classifier's files, and the text of its card."""
    (model, its), name = _model(folder), config.name
    said = {**said, "checkpoint sha256": its.sha256}
    paths = [out / f"{name}.safetensors", out / f"{name}.onnx"]
    export.save(paths[0], model, said)
    graph = export.to_onnx(model, said).SerializeToString()
    notes = [f"The ONNX file gives the network's logits within {compare(graph, model):.1e} of the largest"]
    _write(paths[1], graph)
    try:
        conventions = Conventions(model.levels, model.scale)
        files = caffe.save(out, name, model.network, model.backbone, conventions, model.mean.numpy())
    except ValueError as error:
        files = []
        notes.append(f"There are no Caffe files: {error}")
    text = modelcard.of_network(model, record, caffe=bool(files))
    paths += files
    return paths, modelcard.card(record, text, modelcard.licence(record), paths, notes)


def _detector(
    config: Config, folder: Path, out: Path, record: Record, said: Mapping[str, str]
) -> tuple[list[Path], str]:
    """A detector's files, and the text of its card."""
    found, name = detecting.load(config, folder), config.name
    said = {**said, "checkpoint sha256": sha256_file(folder / "checkpoints" / NAME).read_text()}
    paths = [out / f"{name}.safetensors", out / f"{name}_trunk.onnx", out / f"{name}_head.onnx"]
    detecting.save_exported(paths[0], found, config, said)
    trunk, head = (part(found, said).SerializeToString() for part in (detector_export.trunk, detector_export.head))
    worst = detector_export.compare(found, trunk, head)
    for path, graph in zip(paths[1:], (trunk, head), strict=True):
        _write(path, graph)
    start = [runfolder.path_of(ordered([need])[-1]) / records.NAME for need in needs(config)]
    network = next((records.read(path) for path in start if path.exists()), None)
    notes = [f"The ONNX files give the detector's map, features, scores and offsets within {worst:.1e} of the largest"]
    licence = modelcard.licence_of_detector(record, network)
    return paths, modelcard.card(record, modelcard.of_detector(found, record), licence, paths, notes)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as out:
        out.write(content)


@torch.inference_mode()
def compare(graph: bytes, model: Exported) -> float:
    """The largest difference of logits, onnxruntime's from the network's, as a share of the largest logit.

    Raises DataError as nets.graph.difference does.
    """
    sizes = SIZES if model.levels else [(model.crop, model.crop)]
    runs = (
        ({"pixels": pixels}, {"logits": model.network(prepare_test(pixels, model.mean, model.scale))})
        for pixels in pictures(sizes)
    )
    return difference(graph, model.backbone.title, runs)


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
