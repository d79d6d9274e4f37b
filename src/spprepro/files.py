"""Files that are there whole or not at all, disks that are full, folders that one process at a time may fill."""

import csv
import errno
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from spprepro.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write to the yielded file; it takes the place of `path` when the block ends without an error.

    A temporary file in the same folder (another filesystem could not rename), fsync of file and folder, os.replace.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file of the project, by name.

    Raises DataError for a file that is missing or damaged, or that holds pickled objects, which are never loaded.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except Exception as error:  # of zipfile, zlib, numpy's headers ...
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: damaged ({reason}); delete it, and the same command makes it again") from error


def read_yaml(path: Path) -> Any:
    """What a YAML file says; by libyaml, ten times as fast, where PyYAML was built with it."""
    import yaml

    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV with Unix line ends."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8 with Unix line ends."""
    with replacing(path) as out:
        out.write(text.encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time goes past this file; a second one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def require_room(folder: Path, count: int) -> None:
    """Raises DataError where the disk of `folder`, which is there, has less than `count` bytes free."""
    free = shutil.disk_usage(folder).free
    if count > free:
        raise DataError(
            f"{folder}: needs {count / 1e9:.3g} GB, but {free / 1e9:.3g} GB are free; make room or take another folder"
        )


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """A disk, quota or file limit that is reached in the block becomes one DataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DataError(
            f"{folder}: {error.strerror}; what is there is kept: make room, and the same command goes on from here"
        ) from error
