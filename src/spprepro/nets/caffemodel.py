"""Caffe's `.caffemodel` and `.binaryproto` files as names and arrays, read and written without Caffe or protobuf.

Three generations of messages (reference.md 8.1): V0 (`layers { layer {` and the name within), V1 (`layers {`) and the
current one (`layer {`). Only names and weights are read. The file is mapped into memory, arrays are views of it, and
every length is compared with what is left before anything is made of it, so that a hostile file costs neither memory
nor time.
"""

import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.errors import DataError
from spprepro.files import replacing

Array = NDArray[np.floating]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3 and 4) are in no message of Caffe
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MOST_FIELDS, _MOST_LAYERS, _MOST_BLOBS, _MOST_AXES, _LONGEST_NAME = 200_000, 4096, 16, 8, 256

# numbers of the fields, by message
_NET_V1, _NET_CURRENT = 2, 100
_LAYER = {"V0": {"name": 1, "blobs": 50}, "V1": {"name": 4, "blobs": 6}, "current": {"name": 1, "blobs": 7}}
_V1_NESTED_V0 = 1
_BLOB_LEGACY_SHAPE, _BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE = (1, 2, 3, 4), 5, 7, 8
_CURRENT_TYPE = 2


@dataclass(frozen=True)
class CaffeModel:
    """What a file holds: layer name -> its weights (those without any are left out), and the format."""

    path: Path
    format: str  # V0, V1 or current
    layers: dict[str, list[Array]]


class _Malformed(ValueError):
    """Bytes that are no message of Caffe."""


def read(path: Path) -> CaffeModel:
    """The layers that have weights, in the file's order. float32 (or float64) arrays are read-only views of the file.

    Shapes are the file's own: legacy blobs have four axes, (1, 1, 1, O) for a bias and (1, 1, O, I) for an fc layer.
    Raises DataError for a file that is missing, truncated, hostile or no network of Caffe's.
    """
    with _mapped(path, ".caffemodel") as content:
        return _Reader().model(path, content)


def read_blob(path: Path) -> Array:
    """The array of a `.binaryproto` file, such as Caffe's mean image: (1, 3, H, W), blue first. Errors as `read`."""
    with _mapped(path, ".binaryproto") as content:
        return _Reader().blob(content)


@contextmanager
def _mapped(path: Path, kind: str) -> Iterator[memoryview]:
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # ValueError: nothing in it
        raise DataError(f"{path}: cannot be read ({error}); name a {kind} file") from error
    try:
        yield content
    except _Malformed as error:
        raise DataError(
            f"{path}: no {kind}, truncated or damaged ({error}); its size is {len(content):,} bytes, compare it "
            "with the source's"
        ) from error


class _Reader:
    """One pass over one file, with a budget of fields."""

    def __init__(self) -> None:
        self.budget = _MOST_FIELDS

    def model(self, path: Path, content: memoryview) -> CaffeModel:
        found: dict[str, list[Array]] = {}
        formats: set[str] = set()
        count = 0
        for number, value in self.fields(content):
            if number not in (_NET_V1, _NET_CURRENT):
                continue
            count += 1
            if count > _MOST_LAYERS:
                raise _Malformed(f"over {_MOST_LAYERS} layers")
            message = _bytes(value, "a layer")
            form = "current" if number == _NET_CURRENT else "V1"
            nested = [value for key, value in self.fields(message) if key == _V1_NESTED_V0] if form == "V1" else []
            if nested:
                form, message = "V0", _bytes(nested[-1], "a layer")
            formats.add(form)
            name, blobs = self.layer(message, **_LAYER[form])
            if blobs and name in found:
                raise _Malformed(f"two layers {name!r} with weights")
            if blobs:
                found[name] = blobs
        if len(formats) > 1:
            raise _Malformed(f"layers of {' and '.join(sorted(formats))} format in one file")
        if not found:
            raise _Malformed(f"{count} layers, none with weights")
        return CaffeModel(path, formats.pop(), found)

    def layer(self, message: memoryview, name: int, blobs: int) -> tuple[str, list[Array]]:
        title, arrays = "", []
        for number, value in self.fields(message):
            if number == name:
                title = _name(_bytes(value, "a layer's name"))
            elif number == blobs:
                arrays.append(self.blob(_bytes(value, "weights")))
                if len(arrays) > _MOST_BLOBS:
                    raise _Malformed(f"over {_MOST_BLOBS} weights in layer {title!r}")
        return title, arrays

    def blob(self, message: memoryview) -> Array:
        legacy = dict.fromkeys(_BLOB_LEGACY_SHAPE, 0)
        shape: list[int] | None = None
        parts: list[Array] = []
        for number, value in self.fields(message):
            if number in legacy:
                legacy[number] = _int(value, "a blob's axis")
            elif number == _BLOB_SHAPE:
                shape = self.shape(_bytes(value, "a blob's shape"))
            elif number in (_BLOB_DATA, _BLOB_DOUBLE):
                kind = np.dtype("<f4" if number == _BLOB_DATA else "<f8")
                data = _bytes(value, "a blob's numbers")
                if len(data) % kind.itemsize:
                    raise _Malformed(f"{len(data)} bytes of {kind.itemsize}-byte numbers")
                parts.append(np.frombuffer(data, kind))
        axes = list(legacy.values()) if shape is None else shape
        count = sum(len(part) for part in parts)
        if not count or math.prod(axes) != count:
            raise _Malformed(f"{count} numbers for the shape {axes}")
        whole: Array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.reshape(axes)

    def shape(self, message: memoryview) -> list[int]:
        axes: list[int] = []
        for number, value in self.fields(message):
            if number == 1 and isinstance(value, int):
                axes.append(value)
            elif number == 1:
                place = 0
                while place < len(value) and len(axes) <= _MOST_AXES:
                    axis, place = _varint(value, place)
                    axes.append(axis)
            if len(axes) > _MOST_AXES:
                raise _Malformed(f"over {_MOST_AXES} axes")
        return axes

    def fields(self, message: memoryview) -> Iterator[tuple[int, Any]]:
        """(number, value) of each field: an int, or a view of its bytes."""
        place, end = 0, len(message)
        while place < end:
            self.budget -= 1
            if self.budget < 0:
                raise _Malformed(f"over {_MOST_FIELDS:,} fields")
            key, place = _varint(message, place)
            number, wire = key >> 3, key & 7
            if not number:
                raise _Malformed("field 0")
            if wire == _VARINT:
                value, place = _varint(message, place)
                yield number, value
                continue
            if wire == _BYTES:
                size, place = _varint(message, place)
            elif wire in _FIXED:
                size = _FIXED[wire]
            else:
                raise _Malformed(f"wire type {wire}")
            if size > end - place:
                raise _Malformed(f"field {number} says {size:,} bytes where {end - place:,} are left")
            yield number, message[place : place + size]
            place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """(value, the place behind it)."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _Malformed("it ends within a number")
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
    raise _Malformed("a number of over 10 bytes")


def _bytes(value: Any, what: str) -> memoryview:
    if not isinstance(value, memoryview):
        raise _Malformed(f"{what} is a number")
    return value


def _int(value: Any, what: str) -> int:
    if not isinstance(value, int):
        raise _Malformed(f"{what} is no number")
    return value


def _name(value: memoryview) -> str:
    text = bytes(value[: _LONGEST_NAME + 1]).decode("utf-8", "replace")
    if len(value) > _LONGEST_NAME or not text.isprintable() or "\ufffd" in text:
        raise _Malformed("a layer's name is no text")
    return text


# writing


_Parts = list[bytes | memoryview]


def write(path: Path, name: str, layers: Mapping[str, tuple[str, Sequence[Array]]]) -> None:
    """A network in the current format: layer name -> (Caffe's type, such as Convolution; its weights, as float32)."""
    parts = _text(1, name)
    for title, (kind, arrays) in layers.items():
        blobs = [part for array in arrays for part in _field(_LAYER["current"]["blobs"], _blob(array))]
        parts += _field(_NET_CURRENT, [*_text(1, title), *_text(_CURRENT_TYPE, kind), *blobs])
    _write(path, parts)


def write_blob(path: Path, array: Array) -> None:
    """One array as a `.binaryproto` file, the format of Caffe's mean images: (1, 3, H, W), blue first."""
    axes = zip(_BLOB_LEGACY_SHAPE, array.shape, strict=True)
    _write(path, [*(_key(number, _VARINT) + _number(axis) for number, axis in axes), *_data(array)])


def _write(path: Path, parts: _Parts) -> None:
    with replacing(path) as out:
        for part in parts:
            out.write(part)


def _blob(array: Array) -> _Parts:
    return [*_field(_BLOB_SHAPE, _field(1, [b"".join(map(_number, array.shape))])), *_data(array)]


def _data(array: Array) -> _Parts:
    return _field(_BLOB_DATA, [np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data])


def _text(number: int, text: str) -> _Parts:
    return _field(number, [text.encode()])


def _field(number: int, parts: _Parts) -> _Parts:
    return [_key(number, _BYTES) + _number(sum(map(len, parts))), *parts]


def _key(number: int, wire: int) -> bytes:
    return _number(number << 3 | wire)


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
