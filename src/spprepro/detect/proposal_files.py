"""Windows computed elsewhere: the MATLAB files of the R-CNN family, in the old format (v5) and in HDF5 (v7.3).

    boxes    a cell of N arrays (M, 4) [y1, x1, y2, x2], from 1, both ends inclusive
    images   a cell of N ids

Such files come from the network, so nothing in them is trusted: numbers and letters in two flat cells are all that is
read, no more memory is taken than WINDOWS_AN_IMAGE allows, and a nested or inflated file is refused before a library
meets it.
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
from scipy import io

from spprepro.detect.proposals import Boxes
from spprepro.errors import DataError

WINDOWS_AN_IMAGE = 20_000  # at most; EdgeBoxes stops at 10,000
NAMED = 20  # so many ids are named in a fault, of the others the number

_MATRIX, _COMPRESSED = 14, 15  # types of elements in the old format
_CELL, _PLAIN, _COMPLEX = 1, (4, *range(6, 16)), 0x800  # classes of arrays: cell, letters and numbers; a flag


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
    except DataError:
        raise
    except Exception as error:  # whatever the libraries raise at a file that was cut or altered
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: damaged or no MATLAB file ({reason}); fetch it again") from error
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
    had, want = Counter(names), Counter(wanted)
    groups = {
        "lacks the windows of": want - had,
        "has windows of images that the image set lacks:": Counter(name for name in had if name not in want),
        "names more than once": Counter(name for name, times in had.items() if times > 1),
    }
    return [f"{path}: {what} {_some(group)}; it must fit ImageSets/Main" for what, group in groups.items() if group]


def _boxes(array: npt.NDArray[Any], height: int, width: int) -> Boxes | str:
    """0-based [x1, y1, x2, y2] of a file's array for an image of that size, or what is wrong with it."""
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "iuf":
        return f"windows are not an array of numbers with 4 columns but {array.dtype} {array.shape}"
    boxes = array[:, [1, 0, 3, 2]].astype(np.float32)  # exact for pixels
    first, last = boxes[:, :2], boxes[:, 2:]
    if not np.isfinite(boxes).all() or (first > last).any():
        return "windows with an end before its start, or no number"
    if (first < 1).any():
        return "windows that start before 1; the file must count pixels from 1, as MATLAB does"
    if (last > [width, height]).any():
        return "windows that leave the image; the columns must be y1, x1, y2, x2"
    return boxes - 1


# The old format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf


def _read_v5(path: Path, images: int) -> tuple[list[str], list[npt.NDArray[Any]]]:
    _check_v5(path, 32 * WINDOWS_AN_IMAGE * (images + 1))
    found = io.loadmat(path, appendmat=False, variable_names=["boxes", "images"])
    cells = []
    for name in ("boxes", "images"):
        if name not in found or found[name].dtype != object:
            what = f"is {found[name].dtype} {found[name].shape}" if name in found else "is not in it"
            raise DataError(f"{path}: {name} {what}; it must be a cell with one entry an image")
        cells.append(found[name].ravel().tolist())
    return ["".join(each.ravel().tolist()) for each in cells[1]], cells[0]


class _Element:
    """The bytes of a variable, inflated only as far as they are asked for."""

    def __init__(self, file: BinaryIO, compressed: bool) -> None:
        self.file, self.inflater, self.taken = file, zlib.decompressobj() if compressed else None, 0

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

    def skip(self, count: int) -> None:
        for start in range(0, count, 1 << 20):
            self.take(min(1 << 20, count - start))


def _check_v5(path: Path, limit: int) -> None:
    """Refuse a file of over `limit` bytes, or with anything but arrays of numbers or letters and flat cells of them.

    scipy believes every length it reads, and reads cells in cells by recursion until the process dies.
    """
    with path.open("rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        if order is None:
            raise ValueError("its header is not MATLAB's")
        total = 0
        while tag := file.read(8):
            kind, stored = struct.unpack(order + "II", tag)
            end = file.tell() + stored
            element = _Element(file, kind == _COMPRESSED)
            size = stored
            if kind == _COMPRESSED:
                kind, size = struct.unpack(order + "II", element.take(8))
            total += size
            if total > limit:
                raise DataError(f"{path}: over {limit >> 20} MiB, {WINDOWS_AN_IMAGE} windows an image; fetch it again")
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind}")
            _check_array(element, size, order, cells=True)
            file.seek(end)


def _check_array(element: _Element, size: int, order: str, *, cells: bool) -> None:
    """Go through an array of `size` bytes, which may be a cell where `cells` says so."""

    start = element.taken

    def words(count: int) -> tuple[int, ...]:
        return struct.unpack(f"{order}{count}I", element.take(4 * count))

    def tag() -> tuple[int, int]:
        """Bytes of the next data, without and with padding; up to 4 bytes lie in the tag itself."""
        first = words(1)[0]
        count = first >> 16 or words(1)[0]
        return count, 4 if first >> 16 else -(-count // 8) * 8

    head, _, flags, _, shape, dims = words(6)
    kind = flags & 255
    if flags & _COMPLEX or not (kind in _PLAIN or (cells and kind == _CELL)):
        raise ValueError(f"an array of class {kind}; only numbers, letters and flat cells of them belong in it")
    if (head, shape) != (6, 5) or dims > 64 or dims % 4:  # types uint32 and int32
        raise ValueError("an array without a header")
    count = math.prod(words(dims // 4))
    element.skip(dims % 8)
    name = tag()[1]
    if name > 64:
        raise ValueError("a name of over 64 letters")
    element.skip(name)
    left = size - (element.taken - start)
    if kind != _CELL:
        inside, padded = tag()
        if inside > left:
            raise ValueError("data that are longer than their array")
        element.skip(padded)
        return
    if 8 * count > left:
        raise ValueError("a cell that is larger than its bytes")
    for _ in range(count):
        inner, inside = words(2)
        left -= 8 + inside
        if inner != _MATRIX or left < 0:
            raise ValueError("a cell whose entries are not arrays")
        if inside:
            _check_array(element, inside, order, cells=False)


# HDF5, as MATLAB's -v7.3 writes it: axes in reverse, cells as references


def _read_hdf5(path: Path, images: int) -> tuple[list[str], list[npt.NDArray[Any]]]:
    with h5py.File(path, "r") as file:
        cells = []
        for name in ("boxes", "images"):
            cell = _own(file, name)
            if cell is None or cell.dtype != h5py.ref_dtype:
                what = "is not in it" if cell is None else f"is {cell.dtype} {cell.shape}"
                raise DataError(f"{path}: {name} {what}; it must be a cell with one entry an image")
            if cell.size > 2 * images + 1000:  # many more than wanted; the ids need not be read to say so
                raise DataError(
                    f"{path}: {name} has {cell.size} entries for {images} images; it must fit ImageSets/Main"
                )
            cells.append([_plain(file[reference]) for reference in cell[()].ravel()])
        return ["".join(map(chr, each.ravel())) for each in cells[1]], [each.T for each in cells[0]]


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
