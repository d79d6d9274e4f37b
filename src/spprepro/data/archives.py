"""Members of tar, tar.gz and zip archives, all of them checked before any is read.

An archive may be hostile: refused are names that lead out of a folder, links, devices, sparse and encrypted members, and
what unpacks to far more than it takes packed. Memory stays small: nothing is read whole but single members.
"""

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from gzip import GzipFile
from pathlib import PurePosixPath
from typing import IO, Any, cast

from spprepro.errors import DataError

RATIO = 100  # bytes for each packed one; pictures have about 1, text under 20
LARGEST = 1 << 28  # bytes of a single picture or header
_BLOCK = 512  # of a tar
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error)


@dataclass(frozen=True)
class Member:
    """A plain file in an archive: its name there, its size in bytes, and how to open it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """The content; raises DataError for one that is too large for a picture, or cut."""
        if self.size > LARGEST:
            raise DataError(
                f"{self.name}: {self.size} bytes are too many for a picture or a list; nothing was unpacked of it"
            )
        with self.open() as file:
            content = file.read(self.size)
        if len(content) != self.size:
            raise EOFError(f"{self.name} is cut")
        return content


@contextmanager
def opened(file: IO[bytes], name: str, size: int) -> Iterator[list[Member]]:
    """The plain members of the archive of `size` bytes in `file`, which can seek; `name` is for messages.

    Raises DataError, naming the members, for whatever the module refuses, and for a truncated or damaged archive.
    """
    limit = RATIO * size + (1 << 20)
    with ExitStack() as stack:
        try:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                members = _zip_members(stack.enter_context(zipfile.ZipFile(file)), name, limit)
            else:
                plain = stack.enter_context(GzipFile(fileobj=file)) if start[:2] == b"\x1f\x8b" else file
                members = _tar_members(stack, cast(Any, _Bounded(plain)), name, limit)
            yield members
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk; gzip's own has no number
                raise
            raise DataError(f"{name}: truncated or damaged ({error}); get the archive again") from error


class _Bounded:
    """A stream that refuses to read much at once, as a tar's headers can ask for any amount."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, count: int) -> bytes:
        if count > LARGEST:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self.file.read(count)


def _tar_members(stack: ExitStack, stream: Any, name: str, limit: int) -> list[Member]:
    tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
    members, faults, total = [], [], 0
    for info in tar:
        total += max(info.size, 0)
        if total > limit:
            raise DataError(f"{name}: {info.name!r} makes it unpack to over {limit} bytes; not an archive of pictures")
        fault = _tar_fault(info)
        if fault:
            faults.append(f"{name}: {info.name!r} {fault}; refused, get the archive from its publisher")
        elif info.isreg():
            members.append(Member(info.name, info.size, partial(_extracted, tar, info)))
    _refuse(faults)
    stream.seek(tar.offset)
    if any(stream.read(_BLOCK)):  # tarfile takes anything that is no header for the end
        raise tarfile.ReadError(f"no header at byte {tar.offset}")
    return members


def _extracted(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], tar.extractfile(info))  # None for folders and links alone


def _tar_fault(info: tarfile.TarInfo) -> str:
    if info.issparse() or not (info.isreg() or info.isdir()):
        return "is a link, a device or a sparse file"
    try:
        tarfile.data_filter(info, "/")  # what Python's own developers refuse
    except tarfile.FilterError as error:
        return f"cannot be unpacked safely ({error})"
    return _name_fault(info.name)


def _zip_members(archive: zipfile.ZipFile, name: str, limit: int) -> list[Member]:
    members, faults, total = [], [], 0
    for info in archive.infolist():
        total += info.file_size
        if total > limit:
            raise DataError(
                f"{name}: {info.filename!r} makes it unpack to over {limit} bytes; not an archive of pictures"
            )
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
            fault = "is a link, a device or encrypted"
        else:
            fault = _name_fault(info.filename)
        if fault:
            faults.append(f"{name}: {info.filename!r} {fault}; refused, get the archive from its publisher")
        elif not info.is_dir():
            members.append(Member(info.filename, info.file_size, partial(archive.open, info)))
    _refuse(faults)
    return members


def _name_fault(name: str) -> str:
    path = PurePosixPath(name)
    return "leads out of the folder" if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name else ""


def _refuse(faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - 10} more members of it"] if len(faults) > 10 else []
        raise DataError(faults[:10] + more)
