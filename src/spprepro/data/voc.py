"""A VOCdevkit/VOC2007 folder: the images of a split with their objects, and the lists of classification labels.

    <root>/ImageSets/Main/<split>.txt            an id a line
    <root>/ImageSets/Main/<class>_<split>.txt    an id and 1, 0 (difficult ones only) or -1 a line
    <root>/Annotations/<id>.xml, <root>/JPEGImages/<id>.jpg

The files' boxes are 1-based; here, and nowhere else, they become 0-based. All faults of a split are found at once.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from spprepro.data.decode import image_size
from spprepro.errors import DataError

CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor".split()
)
_ID = re.compile(r"\w[\w-]{0,99}", re.ASCII)  # an id becomes part of paths
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotation:
    """An image and its n >= 0 objects.

    height, width: pixels; labels: (n,) indices of the classes; boxes: (n, 4) 0-based [x1, y1, x2, y2], both ends
    inclusive pixels of the image, x1 < x2 and y1 < y2; difficult, truncated: (n,).
    """

    id: str
    height: int
    width: int
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    difficult: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """The images of a split in the order of its list; `root` is the VOC2007 folder."""

    root: Path
    name: str
    classes: tuple[str, ...]
    images: list[Annotation]

    def path(self, number: int) -> Path:
        """The file of an image."""
        return _image_path(self.root, self.images[number].id)

    def labels(self) -> NDArray[np.int8]:
        """(images, classes): 1 where an image has an object of the class, 0 only difficult ones, -1 none."""
        table = np.full((len(self.images), len(self.classes)), -1, np.int8)
        for row, image in zip(table, self.images, strict=True):
            row[image.labels] = 0
            row[image.labels[~image.difficult]] = 1
        return table


def read_split(root: Path, name: str, classes: Sequence[str] = CLASSES) -> Split:
    """The split `name` (train, val, trainval, test) of the VOC2007 folder `root`.

    Raises DataError for a missing list, and for ids without annotation or image, annotations that are no XML or say
    something else than the image does, unknown classes, and boxes that are reversed, empty or outside the image.
    """
    faults: list[str] = []
    ids = _ids(root, name, faults)
    images = [_annotation(root, each, tuple(classes), faults) for each in ids]
    if faults:
        raise DataError(faults)
    return Split(root, name, tuple(classes), [image for image in images if image])


def read_labels(split: Split) -> NDArray[np.int8]:
    """(images, classes) 1, 0 or -1 as the classification lists have it (Table 6).

    Raises DataError for lists that are missing, have other images than the split, or contradict the annotations.
    """
    faults: list[str] = []
    table, ids = split.labels(), [image.id for image in split.images]
    for name, expected in zip(split.classes, table.T, strict=True):
        path = _list_path(split.root, f"{name}_{split.name}")
        if not path.is_file():
            faults.append(f"{path}: not found; it says which images show the class: copy it from the VOC devkit")
            continue
        rows = [line.split() for line in _lines(path)]
        strange = next((row for row in rows if len(row) != 2 or row[1] not in ("1", "0", "-1")), None)
        if strange:
            faults.append(
                f"{path}: {' '.join(strange)[:80]!r} is not an id and 1, 0 or -1; copy it from the VOC devkit"
            )
        elif [row[0] for row in rows] != ids:
            faults.append(
                f"{path}: other images, or another order, than {split.name}.txt; copy both from the VOC devkit"
            )
        else:
            says = np.array([int(row[1]) for row in rows], np.int8)
            faults += [
                f"{path}: {ids[i]} is {says[i]}, but by its annotation {expected[i]}; correct one of them"
                for i in np.flatnonzero(says != expected)
            ]
    if faults:
        raise DataError(faults)
    return table


def fingerprint(split: Split) -> str:
    """SHA-256 of the ids, sizes and objects of a split and of its image files' sizes."""
    digest = hashlib.sha256()
    for number, image in enumerate(split.images):
        digest.update(f"{image.id} {image.height} {image.width} {split.path(number).stat().st_size}".encode())
        for values in (image.labels, image.boxes, image.difficult):
            digest.update(values.tobytes())
    return digest.hexdigest()


def _list_path(root: Path, stem: str) -> Path:
    return root / "ImageSets" / "Main" / f"{stem}.txt"


def _image_path(root: Path, image: str) -> Path:
    return root / "JPEGImages" / f"{image}.jpg"


def _lines(path: Path) -> list[str]:
    """Those with something in them; bytes that are no text become a sign that no id has."""
    return [line for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]


def _ids(root: Path, name: str, faults: list[str]) -> list[str]:
    """The usable ids of a split's list."""
    path = _list_path(root, name)
    if not path.is_file():
        faults.append(f"{path}: not found; data.root must hold VOC2007's ImageSets, Annotations and JPEGImages")
        return []
    ids = [line.strip() for line in _lines(path)]
    wrong = [each for each in ids if not _ID.fullmatch(each)]
    faults += [f"{path}: {each[:80]!r} is no id of an image (letters, digits, - and _); correct it" for each in wrong]
    faults += [f"{path}: {each} is there {n} times; keep one" for each, n in Counter(ids).items() if n > 1]
    if not ids:
        faults.append(f"{path}: holds no id; copy it from the VOC devkit")
    return [each for each in ids if _ID.fullmatch(each)]


def _annotation(root: Path, image: str, classes: tuple[str, ...], faults: list[str]) -> Annotation | None:
    """One image's annotation; None, and what is wrong noted, where it cannot be used."""
    path, known = root / "Annotations" / f"{image}.xml", len(faults)
    size = _image_size(_image_path(root, image), faults)
    tree = _parse(path, faults)
    if tree is None or size is None:
        return None
    height, width = size
    said = tuple(_number(tree, f"size/{key}") for key in ("height", "width"))
    if said != size:
        faults.append(f"{path}: size {said[1]:g}x{said[0]:g}, but the image has {width}x{height} pixels; correct it")
    if tree.findtext("filename") != f"{image}.jpg":
        faults.append(f"{path}: filename {tree.findtext('filename')!r} instead of {image}.jpg; correct it")
    nodes = tree.findall("object")
    boxes = np.array([[_number(node, f"bndbox/{key}") for key in _CORNERS] for node in nodes]).reshape(-1, 4)
    for number, (node, box) in enumerate(zip(nodes, boxes, strict=True), 1):
        where = f"{path}: object {number}"
        if node.findtext("name", "") not in classes:
            faults.append(f"{where}: class {node.findtext('name')!r} is not one of {', '.join(classes)}; correct it")
        if fault := _box_fault(box.tolist(), height, width):
            faults.append(f"{where}: box {' '.join(f'{v:g}' for v in box)} {fault}; correct it")
        for key in ("difficult", "truncated"):
            if node.findtext(key, "0").strip() not in ("0", "1"):
                faults.append(f"{where}: {key} {node.findtext(key)!r} is not 0 or 1; correct it")
    if len(faults) > known:
        return None
    marks = ([node.findtext(key, "0").strip() == "1" for node in nodes] for key in ("difficult", "truncated"))
    labels = np.array([classes.index(node.findtext("name", "")) for node in nodes], np.int64)
    return Annotation(image, height, width, labels, boxes - 1, *(np.array(mark, bool) for mark in marks))


def _parse(path: Path, faults: list[str]) -> ElementTree.Element | None:
    """The annotation's root; refuses document types, whose entities could name other files or grow without end."""
    try:
        text = path.read_bytes().decode()  # str, so that no declared encoding can hide a document type
        if "<!DOCTYPE" in text:
            raise ValueError("has a document type (<!DOCTYPE>), which is not read")
        tree = ElementTree.fromstring(text)
    except FileNotFoundError:
        faults.append(f"{path}: not found, but the image is in the split; add it, or take the id out of the lists")
    except (OSError, ValueError, ElementTree.ParseError) as error:
        faults.append(f"{path}: cannot be read as an annotation ({error}); replace it")
    else:
        if tree.tag == "annotation":
            return tree
        faults.append(f"{path}: <{tree.tag}> instead of <annotation>; replace it")
    return None


def _image_size(path: Path, faults: list[str]) -> tuple[int, int] | None:
    """(height, width) of an image of the split; None, and what is wrong noted, without one."""
    if not path.is_file():
        faults.append(f"{path}: not found, but it is in the split; add it, or take the id out of the lists")
        return None
    try:
        return image_size(path)
    except DataError as error:
        faults += error.faults
        return None


def _number(node: ElementTree.Element, key: str) -> float:
    """The number at `key`; NaN where there is none."""
    try:
        return float(node.findtext(key, "nan"))
    except ValueError:
        return math.nan


def _box_fault(box: Sequence[float], height: int, width: int) -> str:
    """What is wrong with a 1-based box; "" if nothing."""
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return "lacks a number"
    if x2 < x1 or y2 < y1:
        return "is reversed"
    if x2 == x1 or y2 == y1:
        return "has no area"
    if x1 < 1 or y1 < 1 or x2 > width or y2 > height:
        return f"reaches out of the image of {width}x{height} pixels"
    return ""
