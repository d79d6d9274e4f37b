"""From the archives in which a data set is published to a folder that the readers know, with a manifest.

    imagenet     train/<wnid>/*.JPEG, val/<wnid>/*.JPEG, test/*.JPEG, synsets.txt (in the order of ILSVRC2012_ID)
    imagenette   train/<wnid>/*.JPEG, val/<wnid>/*.JPEG
    voc07        VOCdevkit/VOC2007/{Annotations,ImageSets/Main,JPEGImages}/*
    caltech101   101_ObjectCategories/<name>/*.jpg

Whatever stops it, the same call goes on: downloads at their last byte, unpacking at the first file that is not there. The
manifest comes last.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from spprepro.data import devkit, published
from spprepro.data.archives import Member, opened
from spprepro.data.download import download
from spprepro.data.manifest import Entry, put, sizes
from spprepro.data.published import ARCHIVES, DEVKIT, TEST, TRAIN, VAL
from spprepro.data.voc import CLASSES, read_split
from spprepro.errors import DataError
from spprepro.files import full_disk_told, locked, replacing, require_room
from spprepro.folders import located

MANIFEST, DOWNLOADS = "manifest.json", "archives"

Progress = Callable[[str, int, int], None]  # what is going on, done, of how many
Files = dict[str, Entry]
Placed = Iterator[tuple[str, Callable[[], bytes]]]
"""Path in the prepared folder, and how to read the content."""


@dataclass(frozen=True)
class Source:
    """An archive as the user names it: the file where it is or will be, its md5 sum, its address unless it is local."""

    path: Path
    md5: str
    url: str | None


def install(name: published.Name, root: Path, given: Sequence[str], tell: Progress) -> None:
    """Fetch, check, unpack and count the archives of a set, and write `root`/manifest.json; returns at once if it is there.

    given: files or URLs, each with #md5=SUM behind it where it is not as published. Raises DataError with all faults
    at once for what cannot be right before any work, and then for wrong sums, unsafe archives, wrong counts, full disks.
    """
    sources = _sources(name, root, given)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / ".prepare.lock"), full_disk_told(root):
        sums = {source.path.name: source.md5 for source in sources}
        if _is_there(root, name, sums):
            return
        archives = {source.path.name: source.path for source in sources}
        for source in sources:
            _fetch(source, tell)
        require_room(root, sum(map(_unpacked, archives.values())) - sum(_own_sizes(root).values()))
        files = _unpack(root, _PLACES[name](archives), tell)
        strangers = sorted(set(_own_sizes(root)) - set(files))
        if strangers:
            raise DataError(f"{root / strangers[0]}: {len(strangers)} file(s) are not of {name}; move them away")
        faults = list(_count_faults(name, root, files, archives, sums))
        if faults:
            raise DataError(faults)
        os.sync()  # the manifest is to be no older than its files, whatever happens to the machine
        with replacing(root / MANIFEST) as out:
            listed = {"data": name, "archives": sums, "files": dict(sorted(files.items()))}
            out.write(json.dumps(listed, indent=0).encode())


def read_manifest(root: Path) -> dict[str, Any]:
    """{"data", "archives": {name: md5}, "files": {path: [sha256, bytes]}} of a prepared folder; DataError without it."""
    try:
        found: dict[str, Any] = json.loads((root / MANIFEST).read_bytes())
        found["files"] = {name: (sha, size) for name, (sha, size) in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root / MANIFEST}: no manifest of a prepared data set; make it with task=prepare data.source=[ARCHIVE,...]"
        ) from error
    return found


def beside(root: Path) -> set[str]:
    """What may lie in a prepared folder without being in its manifest: downloads and the manifest itself."""
    return {name for name in sizes(root) if name == MANIFEST or name.startswith(f"{DOWNLOADS}/")}


def addresses(name: published.Name) -> str:
    """What to write behind data.source=, as a hint."""
    return ", ".join(archive.url or archive.name for archive in ARCHIVES[name])


def _sources(name: published.Name, root: Path, given: Sequence[str]) -> list[Source]:
    known = {archive.name: archive.md5 for archive in ARCHIVES[name]}
    found, faults = [], []
    for text in given:
        place, _, own = text.partition("#md5=")
        parts = urlsplit(place)
        if remote := "://" in place:
            path = root / DOWNLOADS / PurePosixPath(unquote(parts.path)).name
        else:
            path = located(place)
        md5 = own.lower() or known.get(path.name, "")
        if remote and (parts.scheme not in ("http", "https") or not parts.netloc or not path.name):
            faults.append(f"data.source: {place}: no address of a file; give http://..., https://... or a local file")
        elif not remote and not path.is_file():
            faults.append(f"data.source: {place}: not found; give an archive's file or address, e.g. {addresses(name)}")
        elif not md5:
            faults.append(
                f"data.source: {path.name}: none of data={name} ({', '.join(known)}); where it is meant to be another, "
                f"give its own sum: '{place}#md5=SUM'"
            )
        elif not re.fullmatch("[0-9a-f]{32}", md5):
            faults.append(f"data.source: {own}: no md5 sum; it has 32 digits 0-9 and a-f")
        found.append(Source(path, md5, place if remote else None))
    names = Counter(source.path.name for source in found)
    faults += [f"data.source: {twice}: given twice; give each archive once" for twice, n in names.items() if n > 1]
    lacking = {TRAIN, VAL, DEVKIT} - set(names) if name == "imagenet" else set()
    faults += [f"data.source: lacks {each}; data=imagenet needs it beside the others" for each in sorted(lacking)]
    if faults:
        raise DataError(faults)
    return found


def _is_there(root: Path, name: str, sums: Mapping[str, str]) -> bool:
    """Whether the folder was made of these archives and has all files; raises DataError where it is another set's."""
    if not (root / MANIFEST).is_file():
        return False
    known = read_manifest(root)
    if known["data"] != name:
        raise DataError(f"{root}: holds {known['data']}, not {name}; choose another data.root")
    return known["archives"] == sums and {path: size for path, (_, size) in known["files"].items()} == _own_sizes(root)


def _own_sizes(root: Path) -> dict[str, int]:
    return {
        path: size for path, size in sizes(root).items() if path != MANIFEST and not path.startswith(f"{DOWNLOADS}/")
    }


def _fetch(source: Source, tell: Progress) -> None:
    """The archive with the right sum at its path."""
    name = source.path.name
    if source.url:
        download(source.url, source.path, lambda done, total: tell(f"downloading {name}, MB", done >> 20, total >> 20))
    size, digest = source.path.stat().st_size, hashlib.md5(usedforsecurity=False)
    with source.path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
            tell(f"checking {name}, MB", file.tell() >> 20, size >> 20)
    if digest.hexdigest() != source.md5:
        advice = "get it again, or name it with its own sum (#md5=...) where it is meant to be another"
        if source.url:
            source.path.unlink()
            advice = (
                "it was removed, as it came wrong or is another: run the command again, or give #md5=... of that file"
            )
        raise DataError(f"{source.path}: md5 is {digest.hexdigest()}, not {source.md5}; {advice}")


def _unpacked(path: Path) -> int:
    """Bytes of the members, those of archives inside counted as they are; checks all of them."""
    with path.open("rb") as file, opened(file, str(path), path.stat().st_size) as members:
        return sum(member.size for member in members)


def _unpack(root: Path, placed: Placed, tell: Progress) -> Files:
    """Write what is not there yet; the hashes are of what the archives hold."""
    files: Files = {}
    made: set[Path] = set()
    for path, read in placed:
        target, content = root / path, read()
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
            for leftover in target.parent.glob(".*.tmp"):
                leftover.unlink()
        if path in files:
            raise DataError(f"{target}: twice in the archives; get them again")
        same = target.is_file() and target.stat().st_size == len(content) and target.read_bytes() == content
        files[path] = (hashlib.sha256(content).hexdigest(), len(content)) if same else put(target, content)
        tell("unpacking, files", len(files), len(files))
    return files


def _members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file, opened(file, str(path), path.stat().st_size) as members:
        yield from members


def _inner(member: Member, outer: Path) -> Iterator[Member]:
    """The members of an archive that is a member."""
    with member.open() as file, opened(file, f"{outer}: {member.name}", member.size) as members:
        yield from members


def _matching(members: Iterator[Member], pattern: str) -> Placed:
    """Members whose whole name matches, placed where the group says."""
    for member in members:
        if match := re.fullmatch(pattern, member.name, re.ASCII):
            yield match[1], member.read


def _imagenet(archives: Mapping[str, Path]) -> Placed:
    kit = devkit.read(archives[DEVKIT])
    yield "synsets.txt", "".join(f"{each.wnid} {each.words}\n" for each in kit.synsets).encode
    for member in _members(archives[VAL]):
        match = re.fullmatch(r"(?:.*/)?(ILSVRC2012_val_0*(\d{1,8})\.JPEG)", member.name, re.ASCII)
        if match and 1 <= int(match[2]) <= len(kit.truth):
            yield f"val/{kit.synsets[kit.truth[int(match[2]) - 1] - 1].wnid}/{match[1]}", member.read
    for each in _members(archives[TRAIN]):
        if match := re.fullmatch(r"(?:\./)?(n\d{8})\.tar", each.name, re.ASCII):
            for path, read in _matching(_inner(each, archives[TRAIN]), rf"(?:\./)?({match[1]}_\d+\.JPEG)"):
                yield f"train/{match[1]}/{path}", read
    if TEST in archives:
        for path, read in _matching(_members(archives[TEST]), r"(?:.*/)?(ILSVRC2012_test_\d+\.JPEG)"):
            yield f"test/{path}", read


def _imagenette(archives: Mapping[str, Path]) -> Placed:
    for path in archives.values():
        yield from _matching(_members(path), r"(?:\./)?[\w-]+/((?:train|val)/n\d{8}/[\w-]+\.JPEG)")


def _voc07(archives: Mapping[str, Path]) -> Placed:
    kinds = r"Annotations/\d{6}\.xml|ImageSets/Main/\w+\.txt|JPEGImages/\d{6}\.jpg"
    for path in archives.values():
        yield from _matching(_members(path), rf"(?:\./)?(VOCdevkit/VOC2007/(?:{kinds}))")


def _caltech101(archives: Mapping[str, Path]) -> Placed:
    pictures = r"(?:\./)?(101_ObjectCategories/\w+/image_\d{4}\.jpg)"
    for path in archives.values():
        for member in _members(path):
            if re.fullmatch(r"(?!__MACOSX)(?:.*/)?101_ObjectCategories\.tar\.gz", member.name):
                yield from _matching(_inner(member, path), pictures)
            else:
                yield from _matching(iter([member]), pictures)


_PLACES = {"imagenet": _imagenet, "imagenette": _imagenette, "voc07": _voc07, "caltech101": _caltech101}


def counts(files: Sequence[str]) -> Counter[str]:
    """Pictures of each folder."""
    return Counter(str(PurePosixPath(path).parent) for path in files if not path.endswith((".txt", ".xml")))


def _count_faults(
    name: published.Name, root: Path, files: Files, archives: Mapping[str, Path], sums: Mapping[str, str]
) -> Iterator[str]:
    """A line for each class with another number of pictures than the publisher says; of other archives, none is known."""
    found = counts(list(files))
    expected: Mapping[str, int] | None = None
    as_published = set(sums.values()) <= {archive.md5 for archive in ARCHIVES[name]}
    if name == "imagenet":
        expected = devkit.read(archives[DEVKIT]).counts
        found = Counter({path: count for path, count in found.items() if path != "test"})
    elif name == "voc07":
        yield from _voc_faults(root, as_published)
        return
    elif as_published:
        expected = published.IMAGENETTE if name == "imagenette" else published.CALTECH101
        found = Counter({path.removeprefix("101_ObjectCategories/"): count for path, count in found.items()})
    if not found:
        yield f"{root}: the archives hold no picture of {name}; give those that are published: {addresses(name)}"
    for path in sorted({*found, *expected} if expected else []):
        if found[path] != (expected or {}).get(path, 0):
            yield f"{root / path}: {found[path]} pictures, not {(expected or {}).get(path, 0)}; get the archive again"


def _voc_faults(root: Path, as_published: bool) -> Iterator[str]:
    folder = root / "VOCdevkit" / "VOC2007"
    for name, objects in published.VOC07_OBJECTS.items():
        split = read_split(folder, name)
        if not as_published:
            continue
        if len(split.images) != published.VOC07_IMAGES[name]:
            yield f"{folder}: {len(split.images)} images in {name}, not {published.VOC07_IMAGES[name]}; get the archive again"
        found = Counter(int(label) for image in split.images for label in image.labels[~image.difficult])
        for label, each in enumerate(CLASSES):
            if found[label] != objects[each]:
                yield f"{folder}: {found[label]} objects of {each} in {name}, not {objects[each]}; get the archive again"
