"""MATLAB files with windows: both formats, checked against the image set, and safe to open whatever is in them."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy import io

from spprepro.detect import proposal_files
from spprepro.detect.proposal_files import read_mat
from spprepro.errors import DataError

SIZES = {"000005": (375, 500), "000007": (333, 500), "000009": (500, 334)}
Rows = list[list[float]]
Write = Callable[[Path, dict[str, Any]], Path]

BOXES: dict[str, Rows] = {  # as in the file: y1 x1 y2 x2, from 1
    "000005": [[1, 1, 375, 500], [10, 20, 30, 140]],
    "000007": [[333, 500, 333, 500]],
    "000009": [[1, 2, 3, 4], [5, 6, 107, 208], [9, 10, 211, 12]],
}


def cell(values: list[Any]) -> npt.NDArray[np.object_]:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def write_v5(path: Path, boxes: dict[str, Any], *, compress: bool = True) -> Path:
    contents = {"boxes": cell([np.array(rows, float) for rows in boxes.values()]).T, "images": cell(list(boxes))}
    io.savemat(path, contents, do_compression=compress, appendmat=False)
    return path


def write_v5_plain(path: Path, boxes: dict[str, Any]) -> Path:
    return write_v5(path, boxes, compress=False)


def write_v73(path: Path, boxes: dict[str, Any]) -> Path:
    """As MATLAB's -v7.3: a block of 512 bytes before HDF5, reversed axes, references into #refs#."""
    with h5py.File(path, "w", userblock_size=512) as file:
        store = file.create_group("#refs#")
        cells: dict[str, list[h5py.Reference]] = {"boxes": [], "images": []}
        for number, (name, rows) in enumerate(boxes.items()):
            array = np.array(rows, float)
            if array.size:
                entry = store.create_dataset(f"b{number}", data=array.T)
            else:
                entry = store.create_dataset(f"b{number}", data=np.array([0, 4], np.uint64))
                entry.attrs["MATLAB_empty"] = np.uint8(1)
            letters = store.create_dataset(f"i{number}", data=np.array([[ord(each)] for each in name], np.uint16))
            cells["boxes"].append(entry.ref)
            cells["images"].append(letters.ref)
        for key, references in cells.items():
            file.create_dataset(key, data=np.array([references], h5py.ref_dtype))
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(header)
    return path


FORMATS = pytest.mark.parametrize("write", [write_v5, write_v5_plain, write_v73])


def fault(path: Path, sizes: dict[str, tuple[int, int]] = SIZES) -> str:
    with pytest.raises(DataError) as caught:
        read_mat(path, sizes)
    assert str(path) in str(caught.value)
    return str(caught.value)


@FORMATS
def test_windows_become_zero_based_and_x_first(write: Write, tmp_path: Path) -> None:
    found = read_mat(write(tmp_path / "voc.mat", dict(reversed(BOXES.items()))), SIZES)
    assert list(found) == list(SIZES)
    assert found["000005"].tolist() == [[0, 0, 499, 374], [19, 9, 139, 29]]
    assert found["000007"].tolist() == [[499, 332, 499, 332]]
    assert found["000009"].dtype == np.float32 and found["000009"].shape == (3, 4)


@FORMATS
def test_an_image_without_windows(write: Write, tmp_path: Path) -> None:
    boxes = {**BOXES, "000007": np.empty((0, 4))}
    assert read_mat(write(tmp_path / "voc.mat", boxes), SIZES)["000007"].shape == (0, 4)


@FORMATS
def test_missing_and_extra_ids_are_named_together(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "voc.mat", {"000005": BOXES["000005"], "000006": BOXES["000007"], "2": BOXES["000007"]})
    text = fault(path)
    assert "lacks the windows of 000007, 000009;" in text and "000006, 2;" in text


@FORMATS
@pytest.mark.parametrize(
    "rows, reason",
    [
        ([[0, 0, 10, 10]], "start before 1"),
        ([[20, 10, 19, 12]], "end before its start"),
        ([[1, 1, float("nan"), 5]], "no number"),
        ([[1, 1, 334, 500]], "leave the image"),
        ([[1, 1, 333, 501]], "leave the image"),
        ([[1, 2, 3]], "(1, 3); it must have 4 columns"),
        ([[1, 2, 3, 4, 0.5]], "(1, 5); it must have 4 columns"),
    ],
)
def test_windows_that_cannot_be_are_refused(rows: Rows, reason: str, write: Write, tmp_path: Path) -> None:
    text = fault(write(tmp_path / "voc.mat", {**BOXES, "000007": rows}))
    assert reason in text and "000007" in text and "000005" not in text


def test_swapped_axes_show_as_windows_outside(tmp_path: Path) -> None:
    assert "y1, x1, y2, x2" in fault(write_v5(tmp_path / "voc.mat", {**BOXES, "000005": [[1, 1, 500, 375]]}))


def test_all_wrong_images_are_named_at_once(tmp_path: Path) -> None:
    text = fault(write_v5(tmp_path / "voc.mat", {name: [[0, 1, 2, 3]] for name in SIZES}))
    assert all(name in text for name in SIZES)


def test_integers_are_read_too(tmp_path: Path) -> None:
    contents = {"boxes": cell([np.array(rows, np.uint16) for rows in BOXES.values()]), "images": cell(list(BOXES))}
    io.savemat(tmp_path / "voc.mat", contents)
    assert read_mat(tmp_path / "voc.mat", SIZES)["000007"].tolist() == [[499, 332, 499, 332]]


def test_an_id_twice_and_cells_of_two_lengths(tmp_path: Path) -> None:
    entries = [np.array(rows, float) for rows in BOXES.values()]
    io.savemat(tmp_path / "a.mat", {"boxes": cell([*entries, entries[0]]), "images": cell([*BOXES, "000005"])})
    assert "more than once 000005" in fault(tmp_path / "a.mat")
    io.savemat(tmp_path / "b.mat", {"boxes": cell(entries), "images": cell(list(BOXES)[:2])})
    assert "3 entries in boxes, 2 in images" in fault(tmp_path / "b.mat")


@pytest.mark.parametrize("missing", ["boxes", "images"])
def test_other_variables(missing: str, tmp_path: Path) -> None:
    contents = {"boxes": cell([np.ones((1, 4))]), "images": cell(["000005"])}
    io.savemat(tmp_path / "a.mat", {key: value for key, value in contents.items() if key != missing})
    assert f"{missing} is not in it" in fault(tmp_path / "a.mat")
    with h5py.File(write_v73(tmp_path / "b.mat", BOXES), "r+") as file:
        del file[missing]
    assert f"{missing} is not in it" in fault(tmp_path / "b.mat")


def test_a_file_of_one_image_is_no_set(real_photos: Callable[[str], Path]) -> None:
    path = real_photos("proposals") / "001551_boxes.mat"
    assert "boxes is uint16 (2057, 4); it must be a cell" in fault(path, {"001551": (375, 500)})


@pytest.mark.parametrize("content", [b"", b"x", b"no MATLAB file at all" * 20, b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_other_files_and_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "voc.mat").write_bytes(content)
    assert "no MATLAB file with windows, or damaged" in fault(tmp_path / "voc.mat")
    assert "not found; proposals.files" in fault(tmp_path / "none.mat")
    assert "not found" in fault(tmp_path)


@FORMATS
def test_a_truncated_file_is_refused_wherever_it_ends(write: Write, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mat", BOXES).read_bytes()
    for end in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        (tmp_path / "cut.mat").write_bytes(whole[:end])
        fault(tmp_path / "cut.mat")


@FORMATS
def test_altered_bytes_are_refused_or_give_windows_of_the_image(write: Write, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mat", BOXES).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        altered = bytearray(whole)
        for place in rng.integers(len(whole), size=3).tolist():
            altered[place] = int(rng.integers(256))
        (tmp_path / "altered.mat").write_bytes(altered)
        try:
            found = read_mat(tmp_path / "altered.mat", SIZES)
        except DataError:
            continue
        for name, boxes in found.items():
            assert (boxes >= 0).all() and (boxes[:, [3, 2]] < SIZES[name]).all()


# The old format by hand

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def array(kind: int, shape: tuple[int, int], content: bytes, name: bytes = b"") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<ii", *shape)) + element(1, name)
    return element(14, head + content)


def write_raw(path: Path, *elements: bytes) -> Path:
    path.write_bytes(HEADER + b"".join(elements))
    return path


def doubles(count: int) -> bytes:
    return element(9, np.ones(count).tobytes())


def letters(name: str) -> bytes:
    return array(4, (1, len(name)), element(16, name.encode()))


def images(count: int = 1) -> bytes:
    return array(1, (count, 1), b"".join(letters(f"{i:06d}") for i in range(count)), b"images")


def test_the_old_format_by_hand_is_read(tmp_path: Path) -> None:
    boxes = array(1, (1, 1), array(6, (1, 4), doubles(4)), b"boxes")
    found = read_mat(write_raw(tmp_path / "a.mat", boxes, images()), {"000000": (5, 5)})
    assert found["000000"].tolist() == [[0, 0, 0, 0]]


def test_nested_cells_are_refused_before_they_exhaust_the_stack(tmp_path: Path) -> None:
    head = array(1, (1, 1), b"")[8:]
    size, heads = len(doubles(1)), []
    for _ in range(20_000):  # scipy would end the process
        size += 8 + len(head)
        heads.append(struct.pack("<II", 14, size - 8) + head)
    nested = b"".join(reversed(heads)) + doubles(1)
    boxes = array(1, (1, 1), nested, b"boxes")
    small = zlib.compress(boxes)
    for each in (boxes, struct.pack("<II", 15, len(small)) + small):
        assert "flat cells" in fault(write_raw(tmp_path / "a.mat", each, images()))


def inflated(head: bytes, size: int) -> bytes:
    """A compressed element: `head`, then `size` zero bytes."""
    squeeze = zlib.compressobj(9)
    parts = [squeeze.compress(head)]
    parts += [squeeze.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, squeeze.flush()])


@pytest.mark.parametrize("lie", [False, True])
def test_an_inflated_file_takes_no_memory(lie: bool, tmp_path: Path) -> None:
    rows = 1 << 23  # 256 MiB of doubles
    head = array(6, (rows, 4), struct.pack("<II", 9, 32 * rows))
    inner = bytearray(head)
    inner[4:8] = struct.pack("<I", 56 + 8 if lie else len(head) - 8 + 32 * rows)
    outer = bytearray(array(1, (1, 1), b"", b"boxes"))
    outer[4:8] = struct.pack("<I", len(outer) - 8 + (72 if lie else len(head) + 32 * rows))
    bomb = inflated(bytes(outer + inner), 32 * rows)
    assert len(bomb) < 1 << 20
    path = write_raw(tmp_path / "a.mat", struct.pack("<II", 15, len(bomb)) + bomb, images())
    tracemalloc.start()
    fault(path, {"000000": (5, 5)})
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "entry",
    [
        array(2, (1, 1), doubles(1)),  # a struct
        array(3, (1, 1), doubles(1)),  # an object of some class
        array(5, (1, 1), doubles(1)),  # sparse
        array(16, (1, 1), doubles(1)),  # a function
        array(17, (1, 1), doubles(1)),  # opaque
        array(1, (1, 1), array(6, (1, 4), doubles(4))),  # a cell in the cell
    ],
)
def test_foreign_entries_are_refused(entry: bytes, tmp_path: Path) -> None:
    assert "only numbers, letters and flat cells" in fault(
        write_raw(tmp_path / "a.mat", array(1, (1, 1), entry, b"boxes"), images())
    )


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    boxes = array(1, (1, 1), array(6 | 0x800, (1, 4), doubles(4) * 2), b"boxes")
    assert "complex" in fault(write_raw(tmp_path / "a.mat", boxes, images()), {"000000": (5, 5)})


def test_a_cell_larger_than_its_bytes(tmp_path: Path) -> None:
    boxes = array(1, (2**30, 4), array(6, (1, 4), doubles(4)), b"boxes")
    path = write_raw(tmp_path / "a.mat", boxes, images())
    assert "a cell or struct of 4294967296 entries where 1006 are the most" in fault(path)


# HDF5


def test_an_entry_too_large_is_refused_unread(tmp_path: Path) -> None:
    with h5py.File(write_v73(tmp_path / "a.mat", BOXES), "r+") as file:
        del file["#refs#/b0"]
        entry = file["#refs#"].create_dataset("b0", (4, 1 << 27), np.float64, chunks=(4, 4096), compression="gzip")
        cells = file["boxes"][()]
        cells[0, 0] = entry.ref
        file["boxes"][...] = cells
    assert f"{proposal_files.WINDOWS_AN_IMAGE} windows an image" in fault(tmp_path / "a.mat")


def test_data_in_other_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(8).tobytes())
    other = write_v73(tmp_path / "other.mat", BOXES)
    with h5py.File(write_v73(tmp_path / "a.mat", BOXES), "r+") as file:
        outside = file["#refs#"].create_dataset("x", (4, 2), np.float64, external=[(str(secret), 0, 64)])
        cells = file["boxes"][()]
        cells[0, 0] = outside.ref
        file["boxes"][...] = cells
    assert "other entries" in fault(tmp_path / "a.mat")
    with h5py.File(write_v73(tmp_path / "b.mat", BOXES), "r+") as file:
        del file["boxes"]
        file["boxes"] = h5py.ExternalLink(str(other), "boxes")
    assert "boxes is not in it" in fault(tmp_path / "b.mat")


def test_many_more_entries_than_images(tmp_path: Path) -> None:
    with h5py.File(write_v73(tmp_path / "a.mat", BOXES), "r+") as file:
        del file["boxes"]
        file.create_dataset("boxes", (1, 1 << 40), h5py.ref_dtype, chunks=(1, 1024))
    assert "1099511627776 entries for 3 images" in fault(tmp_path / "a.mat")
