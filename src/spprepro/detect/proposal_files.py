"""Windows computed elsewhere: the MATLAB files of the R-CNN family, in the old format (v5) and in HDF5 (v7.3).

    boxes    a cell of N arrays (M, 4) [y1, x1, y2, x2], from 1, both ends inclusive
    images   a cell of N ids

Such files come from the network, so nothing in them is trusted: numbers and letters in two flat cells are all that is
read, and no more memory is taken than WINDOWS_AN_IMAGE allows, whatever lengths the file claims.
"""

import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from spprepro.detect.proposals import Boxes
from spprepro.errors import DataError

WINDOWS_AN_IMAGE = 20_000  # at most; EdgeBoxes stops at 10,000
NAMED = 20  # so many ids are named in a fault, of the others the number

# Of the old format: types of elements, classes of arrays, a flag, how numbers and texts are stored.
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR, _NUMBERS, _COMPLEX = 1, 4, range(6, 16), 0x800
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_mat(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Boxes]:
    """The windows of each image of `sizes` ({id: (height, width)}, an image set), in the order of `sizes`.

    Raises DataError naming all that is wrong: no such file, damaged, other variables, ids missing or too many, windows
    that are not whole, not in the image, or not counted from 1 as [y1, x1, y2, x2].
    """
    if not path.is_file():
        raise DataError(f"{path}: not found; proposals.files must name the MATLAB file with the windows")
    read = _read_hdf5 if h5py.is_hdf5(path) else _read_v5
    try:
        names, arrays = read(path, len(sizes))
    except Exception as error:  # whatever comes of a file that was cut or altered
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no MATLAB file with windows, or damaged ({reason}); fetch it again") from error
    if len(names) != len(arrays):
        raise DataError(f"{path}: {len(arrays)} entries in boxes, {len(names)} in images; fetch it again")
    faults = _id_faults(path, names, sizes)
    if faults:
        raise DataError(faults)
    found: dict[str, Boxes] = {}
    wrong: dict[str, list[str]] = {}
    for name, array in zip(names, arrays, strict=True):
        boxes = _boxes(array, *sizes[name])
        if isinstance(boxes, str):
            wrong.setdefault(boxes, []).append(name)
        else:
            found[name] = boxes
    if wrong:
        raise DataError([f"{path}: {what}: {_some(images)}" for what, images in wrong.items()])
    return {name: found[name] for name in sizes}


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _id_faults(path: Path, names: list[str], wanted: Iterable[str]) -> list[str]:
    had, want = Counter(names), dict.fromkeys(wanted)
    groups = {
        "lacks the windows of": [name for name in want if name not in had],
        "has windows of images that the image set lacks:": [name for name in had if name not in want],
        "names more than once": [name for name, times in had.items() if times > 1],
    }
    return [f"{path}: {what} {_some(group)}; it must fit ImageSets/Main" for what, group in groups.items() if group]


def _boxes(array: Any, height: int, width: int) -> Boxes | str:
    """0-based [x1, y1, x2, y2] of a file's array for an image of that size, or what is wrong with it."""
    if isinstance(array, str) or array.dtype.kind not in "iuf":
        return "windows that are no numbers"
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        return f"windows in an array {array.shape}; it must have 4 columns"
    boxes: npt.NDArray[np.float64] = array[:, [1, 0, 3, 2]].astype(np.float64)
    first, last = boxes[:, :2], boxes[:, 2:]
    if not np.isfinite(boxes).all() or (first > last).any():
        return "windows with an end before its start, or no number"
    if (first < 1).any():
        return "windows that start before 1; the file must count pixels from 1, as MATLAB does"
    if (last > [width, height]).any():
        return "windows that leave the image; the columns must be y1, x1, y2, x2"
    return (boxes - 1).astype(np.float32)  # exact for pixels


# The old format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
# Not by scipy.io.loadmat: a byte that is wrong, or cells in cells, can make it end the process.


def _read_v5(path: Path, images: int) -> tuple[list[str], list[Any]]:
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        order = {b"IM": "<", b"MI": ">"}[file.read(128)[126:]]
        while tag := file.read(8):
            kind, stored = struct.unpack(order + "II", tag)
            end = file.tell() + stored
            element = _Element(file, order, compressed=kind == _COMPRESSED)
            if kind == _COMPRESSED:
                kind, _ = element.words(2)
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind}")
            kind, shape, name = element.head()
            if name in ("boxes", "images"):
                found[name] = element.cell(math.prod(shape), images) if kind == _CELL else element.value(kind, shape)
                element.finish()
            file.seek(end)
    for name in ("boxes", "images"):
        if not isinstance(found.get(name), list):
            raise ValueError(_no_cell(name, found.get(name)))
    if not all(isinstance(name, str) for name in found["images"]):
        raise ValueError("images with entries that are no text")
    return found["images"], found["boxes"]


def _no_cell(name: str, value: Any) -> str:
    what = (
        "is text" if isinstance(value, str) else "is not in it" if value is None else f"is {value.dtype} {value.shape}"
    )
    return f"{name} {what}; it must be a cell with one entry an image"


def _check_count(name: str, entries: int, images: int) -> None:
    if entries > 2 * images + 1000:  # so many more than wanted that their ids need not be read to say so
        raise ValueError(f"{name} of {entries} entries for {images} images")


class _Element:
    """A variable, read from front to back and inflated only as far as it is read."""

    def __init__(self, file: BinaryIO, order: str, *, compressed: bool) -> None:
        self.file, self.order, self.taken = file, order, 0
        self.inflater = zlib.decompressobj() if compressed else None

    def take(self, count: int) -> bytes:
        got = b"" if self.inflater else self.file.read(count)
        while self.inflater and len(got) < count:
            more = self.inflater.unconsumed_tail or self.file.read(1 << 16)
            inflated = self.inflater.decompress(more, count - len(got))
            if not more and not inflated:
                break
            got += inflated
        if len(got) < count:
            raise EOFError("it ends early")
        self.taken += count
        return got

    def finish(self) -> None:
        """Have the checksum compared, which lies behind the last byte."""
        while self.inflater and not self.inflater.eof:
            more = self.inflater.unconsumed_tail or self.file.read(1 << 16)
            if self.inflater.decompress(more, 1) or not more:
                raise ValueError("a variable of another length than it says")

    def words(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"{self.order}{count}I", self.take(4 * count))

    def data(self, limit: int) -> tuple[int, bytes]:
        """Type and content of the next data; up to 4 bytes lie in the tag itself."""
        first = self.words(1)[0]
        count = first >> 16 or self.words(1)[0]
        if count > limit:
            raise ValueError(f"{count} bytes where {limit} are the most, {WINDOWS_AN_IMAGE} windows an image")
        return first & 0xFFFF, self.take(4 if first >> 16 else -(-count // 8) * 8)[:count]

    def head(self) -> tuple[int, tuple[int, ...], str]:
        """Class, shape and name of an array."""
        flags = struct.unpack(self.order + "2I", self.data(8)[1])[0]
        if flags & _COMPLEX:
            raise ValueError("complex numbers")
        sides = self.data(64)[1]
        shape = struct.unpack(f"{self.order}{len(sides) // 4}I", sides)
        return flags & 255, shape, self.data(64)[1].decode("ascii")

    def value(self, kind: int, shape: tuple[int, ...]) -> Any:
        """An array of numbers, or text."""
        if kind != _CHAR and kind not in _NUMBERS:
            raise ValueError(f"an array of class {kind}; only numbers, letters and flat cells of them belong in it")
        stored, content = self.data(32 * WINDOWS_AN_IMAGE)
        if stored in _TEXTS:
            return content.decode(_TEXTS[stored] + ("-le" if self.order == "<" else "-be") * (stored != 16))
        numbers = np.frombuffer(content, self.order + _TYPES[stored])
        return "".join(map(chr, numbers.tolist())) if kind == _CHAR else numbers.reshape(shape, order="F")

    def cell(self, count: int, images: int) -> list[Any]:
        """The entries of a cell, which must be flat."""
        _check_count("a cell", count, images)
        entries: list[Any] = []
        for _ in range(count):
            kind, size = self.words(2)
            start = self.taken
            entries.append(self.value(*self.head()[:2]) if size else np.empty((0, 4)))
            if kind != _MATRIX or self.taken - start != size:
                raise ValueError("an entry of another length than it says")
        return entries


# HDF5, as MATLAB's -v7.3 writes it: axes in reverse, cells as references


def _read_hdf5(path: Path, images: int) -> tuple[list[str], list[Any]]:
    cells = []
    with h5py.File(path, "r") as file:
        for name in ("images", "boxes"):
            cell = _own(file, name)
            if cell is None or cell.dtype != h5py.ref_dtype:
                raise ValueError(_no_cell(name, cell))
            _check_count(name, cell.size, images)
            cells.append([_plain(file[reference]) for reference in cell[()].ravel()])
    return ["".join(map(chr, each.ravel().tolist())) for each in cells[0]], [each.T for each in cells[1]]


def _own(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The data set of that name in this very file; None where there is none."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        return None
    return file[name]


def _plain(entry: Any) -> npt.NDArray[Any]:
    """The numbers of a cell's entry, if they lie in the file and are not too many."""
    if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in "iuf" or entry.is_virtual or entry.external:
        raise ValueError("a cell with other entries than numbers and letters")
    if entry.size > 4 * WINDOWS_AN_IMAGE:
        raise ValueError(f"an entry of {entry.size} numbers; {WINDOWS_AN_IMAGE} windows an image are the most")
    return np.empty((4, 0)) if entry.attrs.get("MATLAB_empty") else entry[()]
