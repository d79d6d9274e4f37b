"""From the archives in which a data set is published to a folder that the readers know, with a manifest.

Whatever stops it, the same call goes on: downloads at their last byte, unpacking at the first file that is not there.
The manifest comes last.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from spprepro.data.archives import members
from spprepro.data.download import download
from spprepro.data.manifest import Entry, entry, put, sizes
from spprepro.data.placing import Placed, count_faults, placed
from spprepro.data.published import ARCHIVES, DEVKIT, TRAIN, VAL, Name
from spprepro.errors import DataError
from spprepro.files import full_disk_told, locked, require_room, write_text
from spprepro.folders import located

MANIFEST, DOWNLOADS = "manifest.json", "archives"

Progress = Callable[[str, int, int], None]  # what is going on, done, of how many


@dataclass(frozen=True)
class Source:
    """An archive as the user names it: the file where it is or will be, its md5 sum, its address unless it is local."""

    path: Path
    md5: str
    url: str | None


def install(name: Name, root: Path, given: Sequence[str], tell: Progress) -> None:
    """Fetch, check, unpack and count the archives of a set, and write `root`/manifest.json, unless all that is done.

    given: files or addresses, each with #md5=SUM behind it where it is not as published. Raises DataError with all
    faults of these at once, before any work; then for wrong sums, unsafe archives, wrong counts and full disks.
    """
    sources = _sources(name, root, given)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / ".prepare.lock"), full_disk_told(root):
        sums = {source.path.name: source.md5 for source in sources}
        if _is_there(root, name, sums):
            return
        for source in sources:
            _fetch(source, tell)
        archives = {source.path.name: source.path for source in sources}
        amount = sum(member.size for path in archives.values() for member in members(path))  # and checks them all
        require_room(root, amount - sum(own_sizes(root).values()))
        files = _unpack(root, placed(name, archives), lambda done: tell("unpacking, MB", done >> 20, amount >> 20))
        faults = [
            f"{root / path}: not of data={name}; move it away, or choose another data.root"
            for path in sorted(set(own_sizes(root)) - set(files))
        ]
        own = not set(sums.values()) <= {archive.md5 for archive in ARCHIVES[name]}
        faults += count_faults(name, root, list(files), archives, own)
        if faults:
            raise DataError(faults)
        os.sync()  # the manifest is to be no older than its files, whatever happens to the machine
        listed = {"data": name, "archives": sums, "files": dict(sorted(files.items()))}
        write_text(root / MANIFEST, json.dumps(listed, indent=0))


def read_manifest(root: Path) -> dict[str, Any]:
    """{"data", "archives": {name: md5}, "files": {path: (sha256, bytes)}} of a prepared folder; DataError without."""
    try:
        found: dict[str, Any] = json.loads((root / MANIFEST).read_bytes())
        found["files"] = {name: (sha, size) for name, (sha, size) in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{root / MANIFEST}: no manifest of a prepared data set; task=prepare data.source=[ARCHIVE,...] makes it"
        ) from error
    return found


def own_sizes(root: Path) -> dict[str, int]:
    """Bytes of the files of a prepared folder, without the manifest and what was downloaded."""
    return {path: size for path, size in sizes(root).items() if path.partition("/")[0] not in (MANIFEST, DOWNLOADS)}


def hint(name: Name) -> str:
    """What to write for a set's archives; of Imagenette and Caltech-101 the first is enough."""
    given = ARCHIVES[name] if name in ("imagenet", "voc07") else ARCHIVES[name][:1]
    return f"data.source=[{','.join(archive.url or archive.name for archive in given)}]"


def _sources(name: Name, root: Path, given: Sequence[str]) -> list[Source]:
    known = {archive.name: archive.md5 for archive in ARCHIVES[name]}
    found, faults = [], []
    for text in given:
        place, _, own = text.partition("#md5=")
        parts, remote = _address(place), "://" in place
        path = root / DOWNLOADS / PurePosixPath(unquote(parts.path)).name if remote else located(place)
        md5 = own.lower() or known.get(path.name, "")
        if remote and (parts.scheme not in ("http", "https") or not parts.netloc or path.name in (DOWNLOADS, "..")):
            faults.append(f"data.source: {place}: no address of a file; write http://..., https://... or a local file")
        elif not remote and not path.is_file():
            faults.append(f"data.source: {place}: not found; name a file or an address, as in {hint(name)}")
        elif not remote and root.resolve() in path.resolve().parents and path.resolve().parent.name != DOWNLOADS:
            faults.append(f"data.source: {place}: lies in data.root={root} itself; move it to {root / DOWNLOADS}")
        elif not md5:
            faults.append(
                f"data.source: {path.name}: none of data={name} ({', '.join(known)}); if it is meant to be another, "
                f"give its own sum: '{place}#md5=SUM'"
            )
        elif not re.fullmatch("[0-9a-f]{32}", md5):
            faults.append(f"data.source: {text}: {own!r} is no md5 sum, which has 32 digits 0-9 and a-f; correct it")
        found.append(Source(path, md5, place if remote else None))
    names = Counter(source.path.name for source in found)
    faults += [f"data.source: {twice}: given {n} times; give it once" for twice, n in names.items() if n > 1]
    lacking = {TRAIN, VAL, DEVKIT} - set(names) if name == "imagenet" else set()
    faults += [f"data.source: lacks {each}, which data=imagenet needs; add it" for each in sorted(lacking)]
    if faults:
        raise DataError(faults)
    return found


def _address(place: str) -> SplitResult:
    """Its parts, empty ones where it is malformed."""
    try:
        parts = urlsplit(place)
        return parts if parts.port != 0 else urlsplit("")
    except ValueError:  # of brackets, or of a port that is none
        return urlsplit("")


def _is_there(root: Path, name: Name, sums: Mapping[str, str]) -> bool:
    """Whether the folder was made of these archives and has all files; raises DataError where it is another set's."""
    if not (root / MANIFEST).is_file():
        return False
    known = read_manifest(root)
    if known["data"] != name:
        raise DataError(f"{root}: holds data={known['data']}, not {name}; choose another data.root")
    return known["archives"] == sums and {path: size for path, (_, size) in known["files"].items()} == own_sizes(root)


def _fetch(source: Source, tell: Progress) -> None:
    """The archive at its path, with the right sum."""
    path = source.path
    if source.url:
        download(source.url, path, lambda done, total: tell(f"downloading {path.name}, MB", done >> 20, total >> 20))
    size, digest = path.stat().st_size, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
            tell(f"checking {path.name}, MB", file.tell() >> 20, size >> 20)
    if digest.hexdigest() == source.md5:
        return
    advice = "get it again, or, if it is meant to be another file, give its own sum behind its name: #md5=SUM"
    if source.url:
        path.unlink()
        advice = f"removed: the same command gets it again; if {source.url} is meant to be another file, add #md5=SUM"
    raise DataError(f"{path}: md5 is {digest.hexdigest()}, not {source.md5}; {advice}")


def _unpack(root: Path, found: Placed, tell: Callable[[int], None]) -> dict[str, Entry]:
    """Write what is not there yet; the hashes are of what the archives hold."""
    files: dict[str, Entry] = {}
    made: set[Path] = set()
    done = 0
    for path, read in found:
        target, content = root / path, read()
        if path in files:
            if files[path] != entry(content):
                raise DataError(f"{target}: twice in the archives, with different contents; get them again")
            continue
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
            for leftover in target.parent.glob(".*.tmp"):
                leftover.unlink()
        same = target.is_file() and target.stat().st_size == len(content) and target.read_bytes() == content
        files[path] = entry(content) if same else put(target, content)
        done += len(content)
        tell(done)
    return files
