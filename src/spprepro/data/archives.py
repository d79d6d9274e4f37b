"""Members of tar, tar.gz and zip archives, all of them checked before any is read.

An archive may be hostile: refused are names that lead out of a folder, links, devices, sparse and encrypted members,
and what unpacks to far more than it takes packed. Memory stays small: nothing is read whole but single members.
"""

import errno
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
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from spprepro.errors import DataError

RATIO = 100  # bytes for each packed one; pictures have about 1, text under 20
LARGEST = 1 << 28  # bytes of a single picture or header
_BLOCK = 512  # of a tar
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, ValueError,
    NotImplementedError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A plain file in an archive: the archive, the name there, the size in bytes, and how to open it."""

    archive: str
    name: str
    size: int
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """The content; raises DataError where it is cut, damaged or too large for a picture."""
        with _damage_told(self.archive):
            if self.size > LARGEST:
                raise EOFError(f"{self.name} has {self.size} bytes, too many for a picture")
            with self.open() as file:
                content = file.read(self.size)
            if len(content) != self.size:
                raise EOFError(f"{self.name} has {len(content)} bytes, not {self.size}")
            return content

    def members(self) -> Iterator["Member"]:
        """Its plain members, itself being an archive; raises DataError as `members` does."""
        name = f"{self.archive}: {self.name}"
        with _damage_told(name), self.open() as file:
            yield from _members(file, name, self.size)


def members(path: Path) -> Iterator[Member]:
    """The plain members of an archive, to be read while they come.

    Raises DataError, naming the members, for whatever the module refuses, and for a truncated or damaged archive.
    """
    with _damage_told(str(path)), path.open("rb") as file:
        yield from _members(file, str(path), path.stat().st_size)


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk
            raise  # gzip's own has no number, a place before the start is an invalid argument
        raise DataError(f"{name}: truncated or damaged ({error}); get the archive again") from error


def _members(file: IO[bytes], name: str, size: int) -> Iterator[Member]:
    limit = RATIO * size + (1 << 20)
    start = file.read(4)
    file.seek(0)
    with ExitStack() as stack:
        if start == b"PK\x03\x04":
            yield from _of_zip(stack.enter_context(zipfile.ZipFile(file)), name, limit)
        else:
            packed = start[:2] == b"\x1f\x8b"
            plain = cast(IO[bytes], stack.enter_context(GzipFile(fileobj=file))) if packed else file
            bounded = _Bounded(plain)
            tar = stack.enter_context(tarfile.open(fileobj=cast(Any, bounded), mode="r:"))
            yield from _of_tar(tar, bounded, name, limit)


class _Bounded:
    """A stream that refuses to read much at once, as a tar's headers can ask for any amount."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, count: int) -> bytes:
        if not 0 <= count <= LARGEST:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self.file.read(count)


def _of_tar(tar: tarfile.TarFile, stream: _Bounded, name: str, limit: int) -> list[Member]:
    found, faults, total = [], [], 0
    for info in tar:
        if info.size < 0:  # some versions of tarfile would go back and never end
            raise tarfile.ReadError(f"a member of {info.size} bytes")
        total += info.size + _BLOCK
        _refuse_bomb(name, info.name, total, limit)
        fault = _tar_fault(info)
        if fault:
            faults.append(f"{name}: {info.name!r} {fault}; refused, get the archive from its publisher")
        elif info.isreg():
            found.append(Member(name, info.name, info.size, partial(_extracted, tar, info)))
    _refuse(faults)
    stream.seek(tar.offset)
    if any(stream.read(_BLOCK)):  # tarfile takes anything that is no header for the end
        raise tarfile.ReadError(f"no header at byte {tar.offset}")
    return found


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


def _of_zip(archive: zipfile.ZipFile, name: str, limit: int) -> list[Member]:
    found, faults, total = [], [], 0
    for info in archive.infolist():
        total += info.file_size
        _refuse_bomb(name, info.filename, total, limit)
        fault = _name_fault(info.filename)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
            fault = "is a link, a device or encrypted"
        if fault:
            faults.append(f"{name}: {info.filename!r} {fault}; refused, get the archive from its publisher")
        elif not info.is_dir():
            found.append(Member(name, info.filename, info.file_size, partial(archive.open, info)))
    _refuse(faults)
    return found


def _name_fault(name: str) -> str:
    path = PurePosixPath(name)
    return "leads out of the folder" if path.is_absolute() or ".." in path.parts or "\\" in name else ""


def _refuse_bomb(archive: str, name: str, total: int, limit: int) -> None:
    if total > limit:
        raise DataError(f"{archive}: {name!r} makes it unpack to over {limit} bytes; refused, it holds no pictures")


def _refuse(faults: list[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - 10} more members"] if len(faults) > 10 else []
        raise DataError(faults[:10] + more)
