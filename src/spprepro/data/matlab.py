"""MATLAB files of the old format (v5), which come from the network: nothing in them is trusted.

Numbers, text, and flat cells and structs of these are all that is read, from front to back, and no more memory is taken
than the bounds allow, whatever lengths the file claims. Not by scipy.io.loadmat: a byte that is wrong, or cells in
cells, can make it end the process. https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

# Types of elements, classes of arrays, a flag, how numbers and texts are stored.
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _NUMBERS, _COMPLEX = 1, 2, 4, range(6, 16), 0x800
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_FIELDS, _NAME = 32, 64  # fields of a struct at most, and bytes of a name


@dataclass(frozen=True)
class Bounds:
    """At most: entries of a cell or struct, bytes of a value in it, bytes of a whole variable."""

    entries: int
    value: int
    total: int


def read_v5(file: BinaryIO, names: Collection[str], bounds: Bounds) -> dict[str, Any]:
    """The variables of these names that are in the file: an array, a str, a list (cell) or a list of dicts (struct).

    Whatever comes of a file that was cut or altered is an Exception of no certain type.
    """
    found: dict[str, Any] = {}
    order = {b"IM": "<", b"MI": ">"}[file.read(128)[126:]]
    while tag := file.read(8):
        kind, stored = struct.unpack(order + "II", tag)
        end = file.tell() + stored
        element = _Element(file, order, bounds, compressed=kind == _COMPRESSED)
        if kind == _COMPRESSED:
            kind, _ = element.words(2)
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind}")
        kind, shape, name = element.head()
        if name in names:
            found[name] = element.variable(kind, shape)
            element.finish()
        file.seek(end)
    return found


class _Element:
    """A variable, read from front to back and inflated only as far as it is read."""

    def __init__(self, file: BinaryIO, order: str, bounds: Bounds, *, compressed: bool) -> None:
        self.file, self.order, self.bounds, self.taken = file, order, bounds, 0
        self.inflater = zlib.decompressobj() if compressed else None

    def take(self, count: int) -> bytes:
        if self.taken + count > self.bounds.total:
            raise ValueError(f"a variable of over {self.bounds.total} bytes")
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
            raise ValueError(f"{count} bytes where {limit} are the most")
        return first & 0xFFFF, self.take(4 if first >> 16 else -(-count // 8) * 8)[:count]

    def head(self) -> tuple[int, tuple[int, ...], str]:
        """Class, shape and name of an array."""
        flags = struct.unpack(self.order + "2I", self.data(8)[1])[0]
        if flags & _COMPLEX:
            raise ValueError("complex numbers")
        sides = self.data(64)[1]
        shape = struct.unpack(f"{self.order}{len(sides) // 4}I", sides)
        return flags & 255, shape, self.data(_NAME)[1].decode("ascii")

    def variable(self, kind: int, shape: tuple[int, ...]) -> Any:
        """An array of numbers, text, or a cell or struct, which must be flat."""
        count = math.prod(shape)
        if kind not in (_CELL, _STRUCT):
            return self.value(kind, shape)
        if count > self.bounds.entries:
            raise ValueError(f"a cell or struct of {count} entries where {self.bounds.entries} are the most")
        if kind == _CELL:
            return self.entries(count)
        length = struct.unpack(self.order + "i", self.data(4)[1])[0]
        if not 0 < length <= _NAME:
            raise ValueError(f"fields with names of {length} bytes")
        names = self.data(_FIELDS * _NAME)[1]
        fields = [names[at : at + length].partition(b"\0")[0].decode("ascii") for at in range(0, len(names), length)]
        if len(fields) > _FIELDS:
            raise ValueError(f"{len(fields)} fields where {_FIELDS} are the most")
        return [dict(zip(fields, self.entries(len(fields)), strict=True)) for _ in range(count)]

    def value(self, kind: int, shape: tuple[int, ...]) -> Any:
        """An array of numbers, or text."""
        if kind != _CHAR and kind not in _NUMBERS:
            raise ValueError(f"an array of class {kind}; only numbers, letters and flat cells of them belong in it")
        stored, content = self.data(self.bounds.value)
        if stored in _TEXTS:
            return content.decode(_TEXTS[stored] + ("-le" if self.order == "<" else "-be") * (stored != 16))
        numbers = np.frombuffer(content, self.order + _TYPES[stored])
        return "".join(map(chr, numbers.tolist())) if kind == _CHAR else numbers.reshape(shape, order="F")

    def entries(self, count: int) -> list[Any]:
        """The next arrays; an empty one (0, 4) for nothing at all."""
        found: list[Any] = []
        for _ in range(count):
            kind, size = self.words(2)
            start = self.taken
            found.append(self.value(*self.head()[:2]) if size else np.empty((0, 4)))
            if kind != _MATRIX or self.taken - start != size:
                raise ValueError("an entry of another length than it says")
        return found
