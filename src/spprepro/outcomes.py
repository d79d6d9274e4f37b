"""outcomes.npz beside a record: what says how far each metric depends on the choice of the test images.

For a metric that counts wrong images: which ones were wrong, one bit an image. For any other (mAP, seconds, ratios):
replicates, its values on bootstrap resamples of the test images that are the same for every record. A few KB a metric,
so that every claim can be judged again from the repository alone, with the images paired. The order is that of the data
set whose fingerprint the record holds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.errors import DataError
from spprepro.files import replacing

NAME = "outcomes.npz"
RESAMPLES = 1000


def resamples(images: int) -> NDArray[np.int64]:
    """(RESAMPLES, images) how often each of the test images counts in each bootstrap resample; rows sum to `images`.

    A function of `images` alone, so that records of the same test set are paired resample by resample.
    """
    chance = np.random.RandomState(0)  # unlike Generator's, its numbers are the same in every version of numpy
    copies = np.empty((RESAMPLES, images), np.int64)
    for row in copies:
        row[:] = np.bincount(chance.randint(images, size=images), minlength=images)
    return copies


def write(
    folder: Path, wrong: Mapping[str, NDArray[np.bool_]], replicates: Mapping[str, NDArray[np.float32]] | None = None
) -> Path:
    """Keeps, as `folder`/outcomes.npz, metric key -> (n,) whether each image was wrong, or metric key -> replicates.

    Replicates are (RESAMPLES,), in the metric's unit, one for each row of `resamples`; NaN where the metric is not
    defined on a resample (no object of a class). Raises ValueError for another shape, or a metric given twice.
    """
    replicates = replicates or {}
    for key, values in replicates.items():
        if values.shape != (RESAMPLES,) or key in wrong:
            raise ValueError(f"{key}: {values.shape} replicates, or bits beside them; ({RESAMPLES},) alone are kept")
    path = folder / NAME
    packed: dict[str, Any] = {key: np.packbits(value) for key, value in wrong.items()}
    counts = np.array([len(value) for value in wrong.values()], int)
    packed["replicated"] = np.array(list(replicates), str)
    packed["replicates"] = np.array(list(replicates.values()), np.float32).reshape(-1, RESAMPLES)
    with replacing(path) as out:
        np.savez_compressed(out, keys=np.array(list(wrong), str), counts=counts, **packed)
    return path


def read(folder: Path) -> dict[str, NDArray[np.bool_]]:
    """Metric key -> (n,) whether each image was wrong; raises DataError for a missing or damaged file."""
    with _arrays(folder) as kept:
        counts = dict(zip(kept["keys"].tolist(), kept["counts"].tolist(), strict=True))
        return {key: np.unpackbits(kept[key], count=n).astype(bool) for key, n in counts.items()}


def read_replicates(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Metric key -> (RESAMPLES,) replicates, none in files of bits alone; raises as `read` does."""
    with _arrays(folder) as kept:
        if "replicated" not in kept and "keys" in kept:  # written before there were any
            return {}
        values = kept["replicates"]
        if values.shape[1:] != (RESAMPLES,) or values.dtype != np.float32:
            raise ValueError(f"replicates are {values.dtype} {values.shape}")
        return dict(zip(kept["replicated"].tolist(), values, strict=True))


@contextmanager
def _arrays(folder: Path) -> Iterator[Any]:
    """The file's arrays by name; whatever is wrong with them in the block becomes a DataError."""
    path = folder / NAME
    try:
        with np.load(path, allow_pickle=False) as kept:
            yield kept
    except Exception as error:  # of zipfile, zlib, numpy's headers ...
        raise DataError(f"{path}: missing or damaged ({error}); run the job again with overwrite=true") from error
