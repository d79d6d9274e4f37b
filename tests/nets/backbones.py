"""The layer tables of conf/backbone as the networks take them."""

import yaml

from spprepro.config import _build
from spprepro.folders import conf
from spprepro.nets.trunks import Backbone


def zf5() -> Backbone:
    faults: list[str] = []
    backbone = _build(Backbone, yaml.safe_load((conf() / "backbone" / "zf5.yaml").read_text()), "backbone", faults)
    assert not faults
    return backbone
