"""Jobs of kind=import: a network from a `.caffemodel` in a run folder, where other jobs find it like a trained one."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spprepro.classify.train import build_classifier
from spprepro.config import Config
from spprepro.data.prepare import located
from spprepro.errors import ConfigError, DataError
from spprepro.files import write_text
from spprepro.nets import caffe
from spprepro.nets.caffemodel import CaffeModel, read
from spprepro.training.checkpoint import AtomicCheckpointIO

TABLE = "layers.txt"
ILSVRC_CLASSES = 1000  # of a classifier that is new


def unreadable(config: Config) -> list[str]:
    """What is wrong with weights.file, before anything runs."""
    try:
        _read(config)
    except DataError as error:
        return error.faults
    return []


def import_job(config: Config, folder: Path) -> dict[str, Any]:
    """Leaves checkpoints/imported.ckpt and the table of layers in `folder`; returns what the record says of the data.

    Raises DataError with every layer that is missing or has another shape, after printing the table.
    """
    model = _read(config)
    names = caffe.head_names(config.backbone)
    classes = caffe.classes_of(model, config.backbone) or ILSVRC_CLASSES
    crop, w = config.data.crop, config.weights
    mean = np.broadcast_to(np.array(w.mean, np.float32)[:, None, None], (3, crop, crop)).copy()
    module: Any = build_classifier(config, classes, mean, np.zeros((3, 3), np.float32))
    backbone = config.backbone.scaled(config.width)
    matches = caffe.match(model, module.network, backbone, w.new)
    text = f"{model.path}: {model.format} format\n{caffe.table(matches, model)}"
    faults = [f"{model.path}: {each.fault}" for each in matches if each.fault]
    absent = [each.layer for each in matches if not each.source and each.fault]
    if absent and set(absent) <= set(names):
        faults.append(f"weights.new: {w.new}; to start these layers from new weights, set weights.new=[{','.join(absent)}]")
    halved = [each.layer for each in matches if each.source and each.layer in names[1:]]
    if halved and w.scale_train is None:
        faults.append(
            f"weights.scale_train: not set; false for networks of SPP_net's own Caffe, which did not scale what dropout "
            f"left in training ({' and '.join(halved)} are halved then), true for those of BVLC's Caffe, such as R-CNN's"
        )
    if faults:
        print(text)
        raise DataError(faults)
    scale = config.training.input_scale
    caffe.take(
        model,
        module.network,
        backbone,
        matches,
        levels=config.pyramid.levels,
        scale_train=bool(w.scale_train),
        input_scale=scale,
    )
    AtomicCheckpointIO().save_checkpoint({"state_dict": module.state_dict()}, folder / "checkpoints" / "imported.ckpt")
    write_text(folder / TABLE, text + "\n")
    return {"name": "none", "fingerprint": "", "train": 0, "test": 0, "classes": classes, **_said(model)}


def refuse_other_file(config: Config, kept: str) -> None:
    """Raises ConfigError where weights.file is set and is not the file of hash `kept`, which was imported before."""
    if config.weights.file and _said(_read(config))["weights_sha256"] != kept:
        raise ConfigError(
            f"weights.file: {config.weights.file} is not the file that was imported here; start again with "
            "overwrite=true, or give it another name=..."
        )
