"""From the `data` group to a surveyed data set: the generated one is made on first use, a folder is read as it is."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from spprepro.config import GENERATED, Data
from spprepro.data import dry, mini
from spprepro.data.imagenet import Survey, survey
from spprepro.data.layouts import FOLDERS, VERSION, VOC
from spprepro.detection import Voc
from spprepro.errors import DataError
from spprepro.folders import data_home, located
from spprepro.transfers import Caltech

Progress = Callable[[str, int, int], None]  # what is going on, done, of how many


def root_of(data: Data) -> Path:
    """data.root, here or under $SPPREPRO_DATA; else a folder there, of the set, or of what a drawn one is made of."""
    if data.root:
        return located(data.root)
    if data.name not in GENERATED:
        return data_home() / data.name
    amounts = data.amounts
    counts = f"{amounts.imagenet_train}-{amounts.imagenet_val}-{amounts.imagenet_test}"
    return data_home() / f"{data.name}-v{VERSION}-seed{data.seed}-{counts}"


def prepare(data: Data, progress: Progress | None = None) -> Survey:
    """Make or find the data set and survey it; raises DataError for whatever would stop training later."""
    root = root_of(data)
    if data.name == "mini":
        root = _drawn(root, "imagenet", data.seed, mini.Amounts(**asdict(data.amounts)), progress)
    elif data.name == "dry":
        dry.generate(root, test=data.amounts.imagenet_test, seed=data.seed)
    elif not root.is_dir():
        raise DataError(
            f"data.root: {root} is not a folder, here or in {data_home()}; it must hold train/<wnid>/ and val/<wnid>/"
        )
    told = progress and partial(progress, "decoding every image once")
    found = survey(root, min_side=data.min_side, crop=data.crop, progress=told)
    if data.name == "dry":
        return dry.thinned(found, data.amounts.imagenet_train, data.amounts.imagenet_val)
    return found


def prepare_voc(voc: Voc, progress: Progress | None = None) -> Path:
    """The VOC2007 folder: voc.root (or what holds it), here or under $SPPREPRO_DATA; else the generated one."""
    if voc.root is None:
        root = data_home() / f"mini-v{VERSION}-seed{voc.seed}-voc-{voc.trainval}-{voc.test}"
        amounts = mini.Amounts(voc_trainval=voc.trainval, voc_test=voc.test)
        return _drawn(root, "voc", voc.seed, amounts, progress) / VOC
    root = located(voc.root)
    for folder in (root, root / VOC, root / "VOCdevkit" / VOC):
        if (folder / "ImageSets").is_dir():
            return folder
    raise DataError(f"voc.root: {root} holds no ImageSets; it must be VOCdevkit/VOC2007, here or in {data_home()}")


def prepare_caltech(caltech: Caltech, progress: Progress | None = None) -> Path:
    """The folder 101_ObjectCategories: caltech.root (or what holds it), as voc.root; else the generated one."""
    name = FOLDERS["caltech101"]
    if caltech.root is None:
        root = data_home() / f"mini-v{VERSION}-seed{caltech.seed}-caltech-{caltech.per_class}"
        return _drawn(root, "caltech101", caltech.seed, mini.Amounts(caltech_per_class=caltech.per_class), progress)
    root = located(caltech.root)
    for folder in (root / name, root):
        if folder.is_dir():
            return folder
    raise DataError(f"caltech.root: {root} is not a folder, here or in {data_home()}; it must be {name}")


def _drawn(root: Path, part: mini.Part, seed: int, amounts: mini.Amounts, progress: Progress | None) -> Path:
    """A part of the generated set below `root`, made unless it is there."""
    told = progress and partial(progress, "drawing the mini set")
    return mini.generate(root, part=part, seed=seed, amounts=amounts, progress=told)
