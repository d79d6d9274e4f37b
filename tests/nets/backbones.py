"""The layer tables of conf/backbone as the networks take them."""

import yaml

from spprepro.folders import conf
from spprepro.nets.trunks import Backbone
from spprepro.schema import build

NAMES = ("zf5", "convnet5", "overfeat5", "overfeat7", "alex5")


def backbone(name: str) -> Backbone:
    faults: list[str] = []
    built = build(Backbone, yaml.safe_load((conf() / "backbone" / f"{name}.yaml").read_text()), "backbone", faults)
    assert not faults
    return built


def zf5() -> Backbone:
    return backbone("zf5")
