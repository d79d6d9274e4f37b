"""The schema of a transfer job: layers, view, SVMs, the Caltech-101 folder. Part of config.py; imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Set = Literal["voc07", "caltech101"]
Layer = Literal["conv4", "conv5", "pool", "spp", "fc6", "fc7"]
View = Literal["crop", "full", "warp"]


@dataclass(frozen=True)
class Transfer:
    """Frozen features of a trained network under linear SVMs (section 3.2 and 3.3).

    layers: by their place, so that pool, fc6 and fc7 of Overfeat-7 are pool7, fc8 and fc9 of the paper; conv4 and conv5
    are the maps of the 4th and 5th convolution (of a trunk from torchvision, conv5 is the last map), pool the 6x6 level
    alone, spp all levels.
    """

    set: Set = "voc07"
    layers: list[Layer] = field(default_factory=lambda: ["pool", "spp", "fc6", "fc7"])
    view: View = "full"  # the centre crop; the whole image at its aspect; the image warped to a square
    sides: list[int] = field(default_factory=lambda: [224])  # shorter side, in pixels; several: chosen on VOC's val
    precision: Literal["float16", "float32"] = "float16"  # of the features on disk
    c: list[float] = field(default_factory=lambda: [1.0])  # of the SVMs; several: chosen on the training side
    splits: int = 10  # of Caltech-101, at random
    train: int = 30  # images of a class in each
    test: int = 50  # at most so many of the others


@dataclass(frozen=True)
class Caltech:
    """A folder 101_ObjectCategories, or (root: null) the generated set in that layout."""

    root: str | None = None
    per_class: int = 0  # images of each class of the generated set
    seed: int = 0  # of the splits, and of the generator; not the job's, so that all networks see the same splits


def faults(transfer: Transfer, levels: list[int], torchvision: bool, crop: int) -> Iterator[str]:
    """Values of a transfer job that are wrong in range or together; levels: of its pyramid; crop: side of its crops."""
    layers = set(transfer.layers)
    if not layers or len(layers) != len(transfer.layers):
        yield f"transfer.layers: {transfer.layers} must be one or more different layers"
    foreign = sorted(layers - {"conv5", "pool", "spp"}) if torchvision else []
    if foreign:
        yield f"transfer.layers: {', '.join(foreign)}: a trunk of torchvision has conv5, pool and spp only"
    maps = sorted(layers & {"conv4", "conv5"}) if transfer.view == "full" else []
    if maps:
        yield f"transfer.layers: {', '.join(maps)} of full images differ in size; leave out, or set transfer.view=crop"
    if not levels and (transfer.view == "full" or "spp" in layers):
        yield "pyramid.levels: empty; the layer spp and full images need a pyramid, e.g. pyramid=p6321"
    sides = transfer.sides
    if not sides or sides != sorted(set(sides)) or sides[0] < crop:
        yield f"transfer.sides: {sides} must be rising sides in pixels, none under {crop}"
    if transfer.view == "warp" and sides != [crop]:
        yield f"transfer.sides: {sides}; warped images are squares of {crop} pixels, set transfer.sides=[{crop}]"
    if len(sides) > 1 and transfer.set == "caltech101":
        yield f"transfer.sides: {sides}; Caltech-101 has no validation images to choose by, give one"
    if not transfer.c or min(transfer.c) <= 0 or len(set(transfer.c)) != len(transfer.c):
        yield f"transfer.c: {transfer.c} must be different numbers over 0"
    for key, least in (("splits", 2), ("train", 3), ("test", 1)):
        if getattr(transfer, key) < least:
            yield f"transfer.{key}: {getattr(transfer, key)} must be {least} or more"
