"""Where the members of published archives belong in a prepared folder, and how many each folder must get.

    imagenet     train/<wnid>/*.JPEG, val/<wnid>/*.JPEG, test/*.JPEG, synsets.txt (in the order of ILSVRC2012_ID)
    imagenette   train/<wnid>/*.JPEG, val/<wnid>/*.JPEG
    voc07        VOCdevkit/VOC2007/{Annotations,ImageSets/Main,JPEGImages}/*
    caltech101   101_ObjectCategories/<name>/*.jpg

Only names that match these patterns are placed, so no member can choose its path.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from spprepro.data import devkit
from spprepro.data.archives import Member, members
from spprepro.data.published import (
    ARCHIVES,
    CALTECH101,
    DEVKIT,
    IMAGENETTE,
    TEST,
    TRAIN,
    VAL,
    VOC07_IMAGES,
    VOC07_OBJECTS,
    Name,
)
from spprepro.data.voc import CLASSES, read_split

Placed = Iterator[tuple[str, Callable[[], bytes]]]
"""Path in the prepared folder, and what reads the content."""


def placed(name: Name, archives: Mapping[str, Path]) -> Placed:
    """What belongs into the prepared folder, of archives by their names; to be read while it comes."""
    if name == "imagenet":
        yield from _imagenet(archives)
        return
    for path in archives.values():
        if name == "imagenette":
            yield from _matching(members(path), r"(?:\./)?[\w-]+/((?:train|val)/n\d{8}/[\w-]+\.JPEG)")
        elif name == "voc07":
            kinds = r"Annotations/\d{6}\.xml|ImageSets/Main/\w+\.txt|JPEGImages/\d{6}\.jpg"
            yield from _matching(members(path), rf"(?:\./)?(VOCdevkit/VOC2007/(?:{kinds}))")
        else:
            yield from _matching(_caltech101(path), r"(?:\./)?(101_ObjectCategories/\w+/image_\d{4}\.jpg)")


def _matching(found: Iterator[Member], pattern: str) -> Placed:
    """Members whose whole name matches, placed where the group says."""
    for member in found:
        if match := re.fullmatch(pattern, member.name, re.ASCII):
            yield match[1], member.read


def _imagenet(archives: Mapping[str, Path]) -> Placed:
    """The train tar of tars, the flat validation pictures by the devkit's labels, the test pictures if given."""
    kit = devkit.read(archives[DEVKIT])
    yield "synsets.txt", "".join(f"{each.wnid} {each.words}\n" for each in kit.synsets).encode
    for name, read in _matching(members(archives[VAL]), r"(?:.*/)?(ILSVRC2012_val_\d{8}\.JPEG)"):
        number = int(name[15:23])
        if 1 <= number <= len(kit.truth):
            yield f"val/{kit.synsets[kit.truth[number - 1] - 1].wnid}/{name}", read
    for each in members(archives[TRAIN]):
        if match := re.fullmatch(r"(?:\./)?(n\d{8})\.tar", each.name, re.ASCII):
            for name, read in _matching(each.members(), rf"(?:\./)?({match[1]}_\d+\.JPEG)"):
                yield f"train/{match[1]}/{name}", read
    if TEST in archives:
        for name, read in _matching(members(archives[TEST]), r"(?:.*/)?(ILSVRC2012_test_\d{8}\.JPEG)"):
            yield f"test/{name}", read


def _caltech101(path: Path) -> Iterator[Member]:
    """The zip that holds the pictures in a tar.gz, or that tar.gz itself."""
    for member in members(path):
        if re.fullmatch(r"(?!__MACOSX)(?:.*/)?101_ObjectCategories\.tar\.gz", member.name):
            yield from member.members()
        else:
            yield member


def count_faults(
    name: Name, root: Path, paths: Sequence[str], archives: Mapping[str, Path], own: bool
) -> Iterator[str]:
    """A line for each class that has not as many pictures (VOC: objects) as its publisher says.

    ILSVRC's numbers are the devkit's; of the others none is known for archives that are the user's `own`.
    """
    if name == "voc07":
        yield from _voc_faults(root / "VOCdevkit" / "VOC2007", own)
        return
    found = Counter(str(PurePosixPath(path).parent) for path in paths if path.endswith((".JPEG", ".jpg")))
    if not found:
        wanted = ", ".join(archive.name for archive in ARCHIVES[name])
        yield f"{', '.join(map(str, archives.values()))}: no picture of data={name}; give those published: {wanted}"
    elif name == "imagenet" or not own:
        expected: Mapping[str, int] = IMAGENETTE
        if name == "imagenet":
            expected = devkit.read(archives[DEVKIT]).counts
            del found["test"]
        elif name == "caltech101":
            expected = {f"101_ObjectCategories/{category}": count for category, count in CALTECH101.items()}
        for folder in sorted({*found, *expected}):
            if found[folder] != expected.get(folder, 0):
                yield f"{root / folder}: {found[folder]} pictures, not {expected.get(folder, 0)}; get the archive again"


def _voc_faults(root: Path, own: bool) -> Iterator[str]:
    for name, objects in VOC07_OBJECTS.items():
        split = read_split(root, name)
        if own:
            continue
        if len(split.images) != VOC07_IMAGES[name]:
            yield f"{root}: {len(split.images)} images in {name}, not {VOC07_IMAGES[name]}; get the archive again"
        found = Counter(int(label) for image in split.images for label in image.labels[~image.difficult])
        for label, each in enumerate(CLASSES):
            if found[label] != objects[each]:
                yield f"{root}: {found[label]} objects of {each} in {name}, not {objects[each]}; get the archive again"
