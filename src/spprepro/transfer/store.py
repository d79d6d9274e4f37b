"""Features on disk: a .npy file a layer, filled in any order by any number of processes, gone on with after a kill.

<folder>/about.json    what they are of; another network, view or set of images starts anew
<folder>/done.npy      which images have theirs
<folder>/<layer>.npy   (images, D)
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.files import write_text

_EVERY = 256  # images from one moment at which they are safe to the next


class Store:
    """The features of n images, as `create` has laid them out in `folder`."""

    def __init__(self, folder: Path) -> None:
        lengths: dict[str, int] = json.loads((folder / "about.json").read_text())["lengths"]
        self._layers = {layer: np.load(folder / f"{layer}.npy", mmap_mode="r+") for layer in lengths}
        self._done = np.load(folder / "done.npy", mmap_mode="r+")
        self._pending: list[int] = []

    def missing(self) -> NDArray[np.int64]:
        """The images without features yet."""
        return np.flatnonzero(~self._done)

    def layer(self, name: str) -> NDArray[Any]:
        """(images, D) features, mapped."""
        found: NDArray[Any] = self._layers[name]
        return found

    def write(self, rows: NDArray[np.int64], features: Mapping[str, NDArray[Any]]) -> None:
        """The features of some images; safe from a crash after the next `flush`, which comes by itself now and then."""
        for layer, values in features.items():
            self._layers[layer][rows] = values
        self._pending += rows.tolist()
        if len(self._pending) >= _EVERY:
            self.flush()

    def flush(self) -> None:
        """Note as done what is on disk."""
        for values in self._layers.values():
            values.flush()
        self._done[self._pending] = True
        self._done.flush()
        self._pending = []


def gather(folder: Path, parts: Iterable[Path]) -> None:
    """Copy what the store in `folder` lacks from others of the same identity and shape."""
    store, about = Store(folder), (folder / "about.json").read_text()
    for part in parts:
        if (part / "about.json").is_file() and (part / "about.json").read_text() == about:
            other = Store(part)
            rows = np.setdiff1d(store.missing(), other.missing())
            for few in np.split(rows, range(_EVERY, len(rows), _EVERY)):
                store.write(few, {layer: values[few] for layer, values in other._layers.items()})
    store.flush()


def create(folder: Path, images: int, lengths: Mapping[str, int], precision: str, identity: Mapping[str, Any]) -> None:
    """Lay out the files of a `Store` unless they are there; those of another identity or shape are removed."""
    about = json.dumps({"identity": identity, "images": images, "lengths": lengths, "precision": precision})
    there = folder / "about.json"
    if there.is_file() and there.read_text() == about:
        return
    shutil.rmtree(folder, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shapes: Sequence[tuple[str, str, tuple[int, ...]]] = [
        ("done", "bool", (images,)),
        *((layer, precision, (images, length)) for layer, length in lengths.items()),
    ]
    for name, kind, shape in shapes:
        np.lib.format.open_memmap(temporary / f"{name}.npy", "w+", kind, shape)
    write_text(temporary / "about.json", about)
    os.replace(temporary, folder)
