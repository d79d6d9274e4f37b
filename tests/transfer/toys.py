"""A narrow ZF-5 as a trained network, pictures of many sizes, and the configuration of a job on them."""

from pathlib import Path
from typing import Any

import torch

from spprepro.config import Config, check
from spprepro.data.imagenet import Image
from spprepro.nets.network import Network, initialise
from spprepro.nets.pixels import trunk_of
from spprepro.transfer.layers import Layers
from tests.conftest import write_picture
from tests.nets.backbones import zf5
from tests.test_config import compose

ALL = ["conv4", "conv5", "pool", "spp", "fc6", "fc7"]


def network(levels: list[int], width: float = 1 / 16) -> tuple[Network, Any]:
    """The network and its backbone, with He's initial weights."""
    backbone = zf5().scaled(width)
    made = Network(backbone, levels=levels, classes=5)
    initialise(made, backbone, method="he", std=0.01, seed=0)
    return made.eval(), backbone


def layers(names: list[str], levels: list[int] | None = None) -> Layers:
    """The toy network's layers."""
    levels = [6, 3, 2, 1] if levels is None else levels
    made, backbone = network(levels)
    return Layers(trunk_of(made, backbone, 1 / 64), made, levels, names).eval()


def pictures(root: Path, count: int) -> list[Image]:
    """JPEG files of different sizes, and what is known of them."""
    sizes = [(230 + 17 * (i % 3), 240 + 13 * (i % 5)) for i in range(count)]
    for i, (height, width) in enumerate(sizes):
        write_picture(root / f"{i}.jpg", height, width, seed=i)
    return [Image(f"{i}.jpg", -1, "", height, width) for i, (height, width) in enumerate(sizes)]


def job(*overrides: str) -> Config:
    """A transfer job at tier=smoke."""
    with torch.random.fork_rng():
        return check(compose("tier=smoke", "kind=transfer", "models=[x]", *overrides))
