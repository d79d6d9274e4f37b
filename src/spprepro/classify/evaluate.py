"""From class scores to errors, and the files that keep them: predictions, outcomes, the submission."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.data.imagenet import Image
from spprepro.errors import DataError
from spprepro.files import replacing, write_text
from spprepro.records import Metric


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


def errors(folder: Path, scores: dict[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> dict[str, Metric]:
    """Top-1 and top-5 error of each test, and outcomes.npz in `folder`, which images they count.

    Keys: top1_error, top5_error of the ten standard views, else <test>_top1_error, <test>_top5_error.
    """
    wrong = {}
    for test, values in scores.items():
        prefix = "" if test == "ten" else f"{test}_"
        for k in (1, 5):
            wrong[f"{prefix}top{k}_error"] = wrong_at(values, labels, k)
    outcomes.write(folder, wrong)
    return {key: Metric(100 * float(value.mean()), "%", len(labels)) for key, value in wrong.items()}


def save_predictions(
    folder: Path,
    scores: dict[str, NDArray[np.float32]],
    labels: NDArray[np.int64] | None,
    images: Sequence[Image],
    classes: list[str],
) -> Path:
    """predictions.npz: paths, classes, labels where known, and for each test scores__<test> (n, classes) as float16."""
    path = folder / "predictions.npz"
    arrays: dict[str, Any] = {f"scores__{test}": value.astype(np.float16) for test, value in scores.items()}
    if labels is not None:
        arrays["labels"] = labels.astype(np.int16)
    with replacing(path) as out:
        np.savez_compressed(out, paths=np.array([image.path for image in images]), classes=np.array(classes), **arrays)
    return path


@contextmanager
def predictions(folder: Path) -> Iterator[Any]:
    """The arrays of predictions.npz, by name; each is read when asked for in the block.

    Raises DataError for a file that is damaged, lacks what the block asks for, or holds pickled objects, which are
    never loaded.
    """
    path = folder / "predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            yield kept
    except (OSError, ValueError, LookupError, EOFError, BadZipFile, ZlibError) as error:
        raise DataError(f"{path}: damaged ({error}); run the job again with overwrite=true") from error


def write_submission(path: Path, scores: NDArray[np.float32], ids: Sequence[int]) -> None:
    """ILSVRC's format for its test server: a line for each picture in the order of the file names, with the numbers of
    the five best classes, best first. scores: (n, classes); ids: ILSVRC's number of each class."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    lines = (" ".join(str(ids[label]) for label in row) for row in best)
    write_text(path, "".join(f"{line}\n" for line in lines))
