"""The list of a data set's files with sizes and hashes, and what has happened to the files since."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from spprepro.files import sha256

Entry = tuple[str, int]  # sha256, bytes


def put(path: Path, content: bytes) -> Entry:
    """Write a file so that it is there whole or not at all; its folder must be there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return entry(content)


def entry(content: bytes) -> Entry:
    """What a manifest says of a file."""
    return hashlib.sha256(content).hexdigest(), len(content)


def sizes(folder: Path) -> dict[str, int]:
    """Size of every file below `folder`, by relative path; hidden (unfinished) files are left out."""
    found, prefix = {}, len(str(folder)) + 1
    waiting = [str(folder)] if folder.is_dir() else []
    while waiting:
        for each in os.scandir(waiting.pop()):
            if each.is_dir():
                waiting.append(each.path)
            elif not each.name.startswith("."):
                found[each.path[prefix:]] = each.stat().st_size
    return found


def faults(
    folder: Path,
    files: Mapping[str, Entry],
    have: Mapping[str, int],
    remedy: str,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[str]:
    """A line for each file that is missing, extra, cut or altered; `have`: the sizes of what is in the folder."""
    yield from (f"{folder / name}: extra file; delete it" for name in sorted(set(have) - set(files)))
    for done, (name, (sha, size)) in enumerate(files.items(), 1):
        if name not in have:
            yield f"{folder / name}: missing; {remedy}"
        elif have[name] != size:
            yield f"{folder / name}: {have[name]} bytes, not {size}; {remedy}"
        elif sha256(folder / name) != sha:
            yield f"{folder / name}: altered; delete it and {remedy}"
        if progress:
            progress(done, len(files))
