"""The files of the generated data set: the layouts of ILSVRC, VOCdevkit and Caltech-101, file by file.

Each file is a pure function of (seed, part, split, index); which process draws it, and when, changes no byte.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import cv2
import numpy as np

from spprepro.data import scene
from spprepro.data.figures import FIGURES

VERSION = 3  # of the pictures; raised with every change to them, so that no folder mixes two kinds
QUALITY = (80, 96)  # JPEG quality, drawn per picture

Part = Literal["imagenet", "voc", "caltech101"]
FOLDERS: Mapping[Part, str] = {
    "imagenet": "imagenet",
    "voc": "VOCdevkit",
    "caltech101": "101_ObjectCategories",
}
VOC = "VOC2007"
TRUTH = "test_ground_truth.txt"  # the class of each test picture, 1-based, a line each, as the devkit has it for val
SPLITS = ("train", "val", "trainval", "test")


@dataclass(frozen=True)
class Class:
    """A class: `wnid` names its folder in the ILSVRC layout; `name`, VOC's own, serves in the others."""

    wnid: str
    name: str


CLASSES = tuple(Class(f"n{90000001 + k}", name) for k, (name, _) in enumerate(FIGURES))


@dataclass(frozen=True)
class Amounts:
    """How many pictures: in an ImageNet or VOC split; in each Caltech folder, background included."""

    imagenet_train: int = 4000
    imagenet_val: int = 4000
    imagenet_test: int = 1000
    voc_trainval: int = 300
    voc_test: int = 300
    caltech_per_class: int = 40


def _xml_path(picture: str) -> str:
    return picture.replace("JPEGImages", "Annotations").replace(".jpg", ".xml")


@dataclass(frozen=True)
class Task:
    """One picture to draw: `path` in the part's folder; `label` is None for a picture without object."""

    part: Part
    seed: int
    split: int
    index: int
    label: int | None
    path: str

    @property
    def files(self) -> list[str]:
        """All files of the task: the picture and, in VOC, its annotation."""
        return [self.path, _xml_path(self.path)] if self.part == "voc" else [self.path]


def tasks(part: Part, seed: int, amounts: Amounts) -> list[Task]:
    """What is to be drawn for one layout, a task a picture, in the order of its files."""
    n = len(CLASSES)
    if part == "imagenet":
        return [
            Task(part, seed, split, i, i % n, f"{name}/{CLASSES[i % n].wnid}/mini_{name}_{i + 1:08d}.JPEG")
            for split, (name, count) in enumerate((("train", amounts.imagenet_train), ("val", amounts.imagenet_val)))
            for i in range(count)
        ] + [
            Task(part, seed, 2, i, label, f"test/mini_test_{i + 1:08d}.JPEG")
            for i, label in enumerate(np.random.default_rng([seed, 2]).integers(n, size=amounts.imagenet_test).tolist())
        ]
    if part == "voc":
        splits = [0] * amounts.voc_trainval + [1] * amounts.voc_test
        return [
            Task(part, seed, split, i, i % n, f"{VOC}/JPEGImages/{k + 1:06d}.jpg")
            for k, split in enumerate(splits)
            for i in [k - split * amounts.voc_trainval]
        ]
    folders: list[tuple[int | None, str]] = [*enumerate(c.name for c in CLASSES), (None, "BACKGROUND_Google")]
    return [
        Task(part, seed, split, i, label, f"{name}/image_{i + 1:04d}.jpg")
        for split, (label, name) in enumerate(folders)
        for i in range(amounts.caltech_per_class)
    ]


def settings(part: Part, seed: int, amounts: Amounts) -> dict[str, Any]:
    """All that a drawn layout follows from, for its manifest."""
    prefix = {"imagenet": "imagenet_", "voc": "voc_", "caltech101": "caltech_"}[part]
    own = {key: value for key, value in asdict(amounts).items() if key.startswith(prefix)}
    return {"generator": VERSION, "part": part, "seed": seed, "amounts": own}


def _jpeg(picture: scene.Picture, rng: np.random.Generator) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*QUALITY))]
    return cv2.imencode(".jpg", picture, quality)[1].tobytes()


def _xml(task: Task, shape: tuple[int, ...], objects: list[scene.Placed]) -> bytes:
    """An annotation as the devkit writes it; its coordinates are 1-based."""
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, **fields: object) -> None:
        for key, value in fields.items():
            ElementTree.SubElement(parent, key).text = str(value)

    add(root, folder=VOC, filename=Path(task.path).name)
    add(
        ElementTree.SubElement(root, "source"),
        database="spprepro mini",
        annotation="generated",
        image="generated",
    )
    add(ElementTree.SubElement(root, "size"), width=shape[1], height=shape[0], depth=shape[2])
    add(root, segmented=0)
    for placed in objects:
        node = ElementTree.SubElement(root, "object")
        add(node, name=CLASSES[placed.label].name, pose="Unspecified")
        add(node, truncated=int(placed.truncated), difficult=int(placed.difficult))
        x1, y1, x2, y2 = (v + 1 for v in placed.box)
        add(ElementTree.SubElement(node, "bndbox"), xmin=x1, ymin=y1, xmax=x2, ymax=y2)
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root) + b"\n"


def draw(task: Task) -> dict[str, bytes]:
    """The files of one task, by their path in the part's folder."""
    rng = np.random.default_rng([task.seed, list(FOLDERS).index(task.part), task.split, task.index])
    if task.label is None:
        return {task.path: _jpeg(scene.draw_clutter(rng), rng)}
    if task.part == "imagenet":
        return {task.path: _jpeg(scene.draw_labelled(task.label, rng), rng)}
    if task.part == "caltech101":
        return {task.path: _jpeg(scene.draw_centred(task.label, rng), rng)}
    others = rng.integers(len(CLASSES), size=rng.integers(4)).tolist()
    picture, objects = scene.draw_objects([*others, task.label], rng)
    return {task.path: _jpeg(picture, rng), _xml_path(task.path): _xml(task, picture.shape, objects)}


def list_names(part: Part) -> list[str]:
    """The text files of a part: ImageSets of VOC, the truth of ImageNet's test split."""
    return {"imagenet": [TRUTH], "voc": _image_set_names(), "caltech101": []}[part]


def lists(part: Part, folder: Path, pictures: list[Task]) -> dict[str, bytes]:
    """The contents of `list_names`, by path in the part's folder; all pictures must be there."""
    if part == "imagenet":
        labels = [task.label for task in pictures if task.split == 2 and task.label is not None]
        return {TRUTH: "".join(f"{label + 1}\n" for label in labels).encode()}
    return _image_sets(folder, pictures) if part == "voc" else {}


def _image_set_names() -> list[str]:
    """The files of ImageSets/Main: a list of ids for each split, and one for each class and split."""
    stems = [f"{prefix}{split}" for split in SPLITS for prefix in ("", *(f"{each.name}_" for each in CLASSES))]
    return [f"{VOC}/ImageSets/Main/{stem}.txt" for stem in stems]


def _image_sets(folder: Path, pictures: list[Task]) -> dict[str, bytes]:
    """ImageSets/Main: lists of ids, and for each class 1 (present), 0 (only difficult ones) or -1 (absent).

    Reads the annotations, which must all be there.
    """
    ids = [(Path(task.path).stem, task.split) for task in pictures]
    trainval = [name for name, split in ids if split == 0]
    half = (len(trainval) + 1) // 2
    sets = {"train": trainval[:half], "val": trainval[half:], "trainval": trainval}
    sets["test"] = [name for name, split in ids if split == 1]
    present: dict[str, dict[str, int]] = {}
    for task in pictures:
        root = ElementTree.parse(folder / _xml_path(task.path)).getroot()
        marks = present.setdefault(Path(task.path).stem, {})
        for node in root.iter("object"):
            name = node.findtext("name", "")
            marks[name] = max(marks.get(name, 0), 1 - int(node.findtext("difficult", "0")))
    files = {}
    for split, names in sets.items():
        files[f"{VOC}/ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in names)
        for each in CLASSES:
            lines = (f"{name} {present[name].get(each.name, -1):2d}\n" for name in names)
            files[f"{VOC}/ImageSets/Main/{each.name}_{split}.txt"] = "".join(lines)
    return {path: text.encode() for path, text in files.items()}
