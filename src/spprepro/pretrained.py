"""What jobs on VOC and Caltech-101 start from: a trained network, or torchvision's convolutions; and the VOC folder."""

from dataclasses import replace
from typing import Any

from spprepro import ranks, runfolder
from spprepro.classify.ensemble import trained
from spprepro.composing import needs, ordered
from spprepro.config import Config
from spprepro.data.prepare import prepare_voc
from spprepro.data.voc import Split, read_split
from spprepro.errors import DataError
from spprepro.files import sha256
from spprepro.folders import located
from spprepro.nets.network import Network
from spprepro.nets.pixels import Trunk, trunk_of, trunk_of_torchvision
from spprepro.terminal import bars


def pretrained(config: Config) -> tuple[Trunk, Network | None]:
    """The trunk that the job starts from, and the classifier it comes from (None: torchvision's convolutions)."""
    if config.backbone.torchvision:
        return trunk_of_torchvision(config.backbone.scaled(config.width)), None
    (need,) = needs(config)
    its = trained(runfolder.path_of(ordered([need])[-1]))
    backbone = its.config.backbone.scaled(its.config.width)
    network: Any = its.module.network.float()
    ours, theirs = (
        f"backbone {c.backbone.name}, width {c.width:g}, backbone.fc {c.backbone.fc}, pyramid {c.pyramid.levels}"
        for c in (config, its.config)
    )
    if ours != theirs:
        raise DataError(f"models: {need} has {theirs}; this job asks for {ours}")
    return trunk_of(network, backbone, its.config.training.input_scale), network


def weights_sha256(config: Config) -> str:
    """Of the local file that a trunk from torchvision takes its weights from; "" without one."""
    path = located(config.backbone.weights or "")
    return sha256(path) if path.is_file() else ""


def read_voc(config: Config, name: str) -> Split:
    """A split of the VOC folder, or of the generated set, no longer than voc.images."""
    with ranks.one_first(), bars() as tell:
        split = read_split(prepare_voc(config.voc, tell), name)
    return replace(split, images=split.images[: config.voc.images] if config.voc.images else split.images)
