"""From class scores to errors, and the files that keep them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.errors import DataError
from spprepro.files import replacing


def wrong_at(scores: NDArray[np.floating], labels: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(n,) whether the label is not among the k best classes; scores: (n, classes). Ties count against the label."""
    own = scores[np.arange(len(labels)), labels]
    rank = (scores >= own[:, None]).sum(1)  # 1 for a sole best
    wrong: NDArray[np.bool_] = rank > k
    return wrong


def check_complete(index: NDArray[np.int64], count: int) -> None:
    """Every test image once, or no number is written (raises DataError)."""
    if not np.array_equal(index, np.arange(count)):
        missing, extra = count - len(np.unique(index)), len(index) - len(np.unique(index))
        raise DataError(
            f"test scores: {missing} of {count} images missing, {extra} counted twice; no error is computed"
        )


def save_predictions(
    folder: Path,
    labels: NDArray[np.int64],
    scores: dict[str, NDArray[np.float32]],
    paths: list[str],
    classes: list[str],
) -> Path:
    """predictions.npz: labels, paths, classes and, for each view, scores__<view> (n, classes) as float16."""
    path = folder / "predictions.npz"
    arrays: dict[str, Any] = {f"scores__{view}": value.astype(np.float16) for view, value in scores.items()}
    with replacing(path) as out:
        np.savez_compressed(
            out, labels=labels.astype(np.int16), paths=np.array(paths), classes=np.array(classes), **arrays
        )
    return path
