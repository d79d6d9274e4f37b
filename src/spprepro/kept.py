"""Arrays that took long to make, on disk while a job runs, so that after a kill it goes on with the next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.files import read_arrays, replacing


class Kept:
    """Arrays by a key, in files of a folder (None: not kept); written whole or not at all."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """The arrays of `key`, made now if they are not there."""
        if self.folder is None:
            return make()
        path = self.folder / f"{key}.npz"
        if path.is_file():
            return read_arrays(path)
        arrays = make()
        with replacing(path) as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        return arrays
