"""outcomes.npz beside a record: for every metric that counts wrong images, which ones were wrong, one bit an image.

A few KB a record, so that every claim can be judged again from the repository alone, with the images paired. The order
is that of the data set whose fingerprint the record holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from spprepro.errors import DataError
from spprepro.files import replacing

NAME = "outcomes.npz"


def resamples(images: int) -> NDArray[np.int64]:
    """(1000, images): how often each image counts in each bootstrap resample; the same for all jobs."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=1000)


def write(
    folder: Path, wrong: Mapping[str, NDArray[np.bool_]], replicates: Mapping[str, NDArray[np.float32]] | None = None
) -> Path:
    """Keeps metric key -> (n,) whether each image was wrong, as `folder`/outcomes.npz."""
    path = folder / NAME
    packed: dict[str, Any] = {key: np.packbits(value) for key, value in wrong.items()} | dict(replicates or {})
    counts = np.array([len(value) for value in wrong.values()])
    with replacing(path) as out:
        np.savez_compressed(out, keys=np.array(list(wrong)), counts=counts, **packed)
    return path


def read(folder: Path) -> dict[str, NDArray[np.bool_]]:
    """Metric key -> (n,) whether each image was wrong; raises DataError for a missing or damaged file."""
    path = folder / NAME
    try:
        with np.load(path, allow_pickle=False) as kept:
            counts = dict(zip(kept["keys"].tolist(), kept["counts"].tolist(), strict=True))
            return {key: np.unpackbits(kept[key], count=n).astype(bool) for key, n in counts.items()}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: missing or damaged ({error}); run the job again with overwrite=true") from error
