"""Windows computed elsewhere: the MATLAB files of the R-CNN family, in the old format (v5) and in HDF5 (v7.3).

    boxes    a cell of N arrays (M, 4) [y1, x1, y2, x2], from 1, both ends inclusive
    images   a cell of N ids

Such files come from the network, so nothing in them is trusted: numbers and letters in two flat cells are all that is
read, and no more memory is taken than WINDOWS_AN_IMAGE allows, whatever lengths the file claims.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spprepro.data.matlab import Bounds, read_v5
from spprepro.detect.proposals import Boxes
from spprepro.errors import DataError

WINDOWS_AN_IMAGE = 20_000  # at most; EdgeBoxes stops at 10,000
NAMED = 20  # so many ids are named in a fault, of the others the number


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


def _some(names: Sequence[str]) -> str:
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


def _read_v5(path: Path, images: int) -> tuple[list[str], list[Any]]:
    entries, value = _most(images), 32 * WINDOWS_AN_IMAGE
    with path.open("rb") as file:
        found = read_v5(file, ("boxes", "images"), Bounds(entries, value, entries * value))
    for name in ("boxes", "images"):
        if not isinstance(found.get(name), list):
            raise ValueError(_no_cell(name, found.get(name)))
    names, arrays = found["images"], found["boxes"]
    if not all(isinstance(name, str) for name in names) or any(isinstance(array, dict) for array in arrays):
        raise ValueError("images with entries that are no text, or a struct in place of a cell")
    return names, arrays


def _no_cell(name: str, value: Any) -> str:
    what = (
        "is text" if isinstance(value, str) else "is not in it" if value is None else f"is {value.dtype} {value.shape}"
    )
    return f"{name} {what}; it must be a cell with one entry an image"


def _most(images: int) -> int:
    """Entries of a cell: with so many more than wanted, their ids need not be read to say so."""
    return 2 * images + 1000


# HDF5, as MATLAB's -v7.3 writes it: axes in reverse, cells as references


def _read_hdf5(path: Path, images: int) -> tuple[list[str], list[Any]]:
    cells = []
    with h5py.File(path, "r") as file:
        for name in ("images", "boxes"):
            cell = _own(file, name)
            if cell is None or cell.dtype != h5py.ref_dtype:
                raise ValueError(_no_cell(name, cell))
            if cell.size > _most(images):
                raise ValueError(f"{name} of {cell.size} entries for {images} images")
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
