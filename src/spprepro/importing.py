"""Jobs of kind=import: a network from a `.caffemodel` in a run folder, where other jobs find it like a trained one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spprepro import records
from spprepro.classify.train import build_classifier
from spprepro.config import Config, Weights
from spprepro.errors import ConfigError, DataError
from spprepro.files import sha256, write_text
from spprepro.folders import located
from spprepro.nets import caffe
from spprepro.nets.caffe import Conventions, Match
from spprepro.nets.caffemodel import CaffeModel, read, read_blob
from spprepro.nets.network import Network
from spprepro.nets.trunks import Backbone
from spprepro.training.checkpoint import AtomicCheckpointIO

TABLE = "layers.txt"
ILSVRC_CLASSES = 1000  # of a classifier that is new


@dataclass(frozen=True)
class _Found:
    """The file beside the job's network: what matches, as a table too, and every fault."""

    model: CaffeModel
    classes: int
    backbone: Backbone  # at the job's width
    conventions: Conventions
    matches: list[Match]
    mean: NDArray[np.float32]  # (3, crop, crop), RGB
    table: str
    faults: list[str]


def unreadable(config: Config) -> list[str]:
    """What would stop the import, before anything runs; the table of layers is printed beside faults of layers."""
    try:
        found = _compared(config)
    except DataError as error:
        return error.faults
    if found.faults:
        print(found.table, end="")
    return found.faults


def import_job(config: Config, folder: Path) -> dict[str, Any]:
    """Leaves checkpoints/imported.ckpt and the table of layers in `folder`; returns what the record says of data."""
    found = _compared(config)
    module: Any = build_classifier(config, found.classes, found.mean, np.zeros((3, 3), np.float32))
    caffe.take(found.model, module.network, found.backbone, found.matches, found.conventions)
    write_text(folder / TABLE, found.table)
    AtomicCheckpointIO().save_checkpoint({"state_dict": module.state_dict()}, folder / "checkpoints" / "imported.ckpt")
    path = found.model.path
    said = {"weights": path.name, "weights_sha256": sha256(path), "weights_format": found.model.format}
    if config.weights.mean_file:
        image = located(config.weights.mean_file)
        said |= {"mean": image.name, "mean_sha256": sha256(image)}
    return {"name": "none", "fingerprint": "", "train": 0, "test": 0, "classes": found.classes, **said}


def _compared(config: Config) -> _Found:
    w, backbone, levels = config.weights, config.backbone.scaled(config.width), config.pyramid.levels
    if not w.file:
        raise DataError("weights.file: not set; name a .caffemodel, e.g. weights.file=Zeiler_conv5.caffemodel")
    model = read(located(w.file))
    classes = caffe.classes_of(model, backbone) or ILSVRC_CLASSES
    with torch.device("meta"):
        network = Network(backbone, levels=levels, classes=classes, crop=config.data.crop)
    conventions = Conventions(levels, config.training.input_scale, w.scale_train, w.new)
    matches = caffe.match(model, network, backbone, conventions)
    table = f"{model.path.name}, {model.format} format\n{caffe.table(matches, model)}\n"
    faults = _faults(config, matches, str(model.path))
    try:
        mean = _mean(w, config.data.crop)
    except DataError as error:
        faults, mean = [*faults, *error.faults], np.empty(0, np.float32)
    return _Found(model, classes, backbone, conventions, matches, mean, table, faults)


def _mean(w: Weights, crop: int) -> NDArray[np.float32]:
    """(3, crop, crop), RGB: the centre of weights.mean_file, as R-CNN takes ILSVRC's, or weights.mean everywhere."""
    if not w.mean_file:
        return np.array(w.mean, np.float32)[:, None, None].repeat(crop, 1).repeat(crop, 2)
    path = located(w.mean_file)
    image = read_blob(path)
    height, width = image.shape[-2:] if image.ndim > 1 else (0, 0)
    if image.size != 3 * height * width or min(height, width) < crop:
        raise DataError(f"{path}: its shape is {image.shape}; a mean image is (1, 3, height, width), both >= {crop}")
    if not (image.min() >= 0 and image.max() <= 255):  # NaN is neither
        raise DataError(f"{path}: {image.min():g} to {image.max():g}; a mean image is of pixels in [0, 255]")
    top, left = (height - crop) // 2, (width - crop) // 2
    bgr = image.reshape(3, height, width)[:, top : top + crop, left : left + crop]
    return np.ascontiguousarray(bgr[::-1], np.float32)


def _faults(config: Config, matches: list[Match], path: str) -> list[str]:
    names, w = caffe.head_names(config.backbone), config.weights
    faults = [f"{path}: {each.fault}" for each in matches if each.fault]
    if any(each.fault and each.source for each in matches):
        faults.append(
            f"width: {config.width:g}, backbone.fc: {config.backbone.fc}, pyramid.levels: {config.pyramid.levels}; set "
            "them to those of the file, fc layers have width x backbone.fc outputs"
        )
    absent = [each.layer for each in matches if each.fault and not each.source and each.layer in names]
    if absent:
        new = ",".join([*w.new, *absent])
        faults.append(f"weights.new: {w.new}; weights.new=[{new}] starts layers that are not there from new weights")
    dropped = [each.layer for each in matches if each.source and each.layer in names[1:]]
    if dropped and w.scale_train is None:
        faults.append(
            "weights.scale_train: not set; false for networks of SPP_net's own Caffe, which did not scale in training "
            f"what dropout left ({' and '.join(dropped)} are then halved), true for BVLC's, such as R-CNN's"
        )
    return faults


def show(config: Config, folder: Path) -> None:
    """Prints the table of layers; raises ConfigError where a file of `weights` is another than the one imported."""
    kept, w = records.read(folder / records.NAME).data, config.weights
    faults = [
        f"weights.{key}: {path} is not the file that {folder} was made of ({kept.get(of) or 'none'}, sha256 "
        f"{kept.get(f'{of}_sha256', '')[:12]}); start again with overwrite=true, or give it another name=..."
        for key, path, of in (("file", w.file, "weights"), ("mean_file", w.mean_file, "mean"))
        if path and sha256(located(path)) != kept.get(f"{of}_sha256")
    ]
    if faults:
        raise ConfigError(faults)
    print((folder / TABLE).read_text(), end="")
