"""MATLAB's old format: what scipy writes is read, and what claims too much is refused; detect/test_proposal_files.py
has more, of cells."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from spprepro.data.matlab import Bounds, read_v5

BOUNDS = Bounds(entries=10, value=1024, total=8192)
ROWS = [(7, "a word", np.zeros((1, 0))), (8, "žlutý kůň", np.array([[1.5, 2]]))]


def written(compress: bool = True, **variables) -> io.BytesIO:
    out = io.BytesIO()
    savemat(out, variables, do_compression=compress)
    return io.BytesIO(out.getvalue())


def table(rows=ROWS, fields=("ID", "words", "children")) -> np.ndarray:
    made = np.empty((len(rows), 1), [(field, object) for field in fields])
    made[:, 0] = rows
    return made


@pytest.mark.parametrize("compress", [True, False])
def test_structs_numbers_and_text(compress):
    file = written(compress, synsets=table(), other=np.ones((3, 4)), name="x", left=np.ones(2))
    found = read_v5(file, ("synsets", "other", "name", "none"), BOUNDS)
    assert list(found) == ["synsets", "other", "name"]
    assert found["name"] == "x" and found["other"].shape == (3, 4)
    assert [row["words"] for row in found["synsets"]] == ["a word", "žlutý kůň"]
    assert [row["ID"].item() for row in found["synsets"]] == [7, 8]
    assert found["synsets"][0]["children"].size == 0 and found["synsets"][1]["children"].tolist() == [[1.5, 2]]


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (table([ROWS[0]] * 11), "11 entries where 10"),
        (table([(7, "x" * 1100, 0)]), "1100 bytes where 1024"),
        (table([(k, "x" * 400, np.ones((1, 50))) for k in range(10)]), "over 8192 bytes"),
        (table([tuple(range(33))], [f"f{k}" for k in range(33)]), "33 fields|bytes where 2048"),
        (table([(1, table(), 2)]), "an array of class 2"),
        (np.ones(1000), "8000 bytes where 1024"),
    ],
)
def test_more_than_the_bounds_is_refused(value, part):
    with pytest.raises(ValueError, match=part):
        read_v5(written(synsets=value), ("synsets",), Bounds(10, 1024, 8192))


def test_what_was_not_asked_for_is_not_read():
    assert read_v5(written(large=np.ones(1000), name="x"), ("name",), BOUNDS) == {"name": "x"}


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_names_of_fields_too_short_or_too_many(length):
    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")

    head = element(6, struct.pack("<II", 2, 0)) + element(5, struct.pack("<ii", 2, 1)) + element(1, b"synsets")
    names = element(5, struct.pack("<i", length)) + element(1, b"x" * 64)
    packed = zlib.compress(element(14, head + names))
    file = io.BytesIO(b"".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(ValueError, match=f"names of {length} bytes|64 fields"):
        read_v5(file, ("synsets",), BOUNDS)
