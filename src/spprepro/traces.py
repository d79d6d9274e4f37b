"""Small files beside a record that the report's pictures are drawn from: they travel with it, a few KB a job.

Event files, predictions and detections do not travel. A job leaves its traces before its record.

    curves.csv             an epoch of a training a row
    confusion.csv          test images by true class (rows) and predicted class, of MOST classes
    precision_recall.csv   a class of a detector a row: its AP, and its precision at RECALLS
    examples.json          a detector's findings in the first test images, and what is there to be found
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from spprepro.errors import DataError
from spprepro.files import csv_text, write_text

CURVES, CONFUSION, PRECISION, EXAMPLES = "curves.csv", "confusion.csv", "precision_recall.csv", "examples.json"
NAMES = (CURVES, CONFUSION, PRECISION, EXAMPLES)
MOST = 20  # classes of a confusion matrix that can be read
RECALLS = tuple(step / 50 for step in range(51))
_T = TypeVar("_T")


@dataclass(frozen=True)
class Epoch:
    """`size` of the input in pixels, learning rate, mean loss (None: none was logged), errors in %: of training, and at
    its end of one crop of a part of the test images."""

    epoch: int
    size: int
    rate: float
    loss: float | None
    error: float
    test_error: float


@dataclass(frozen=True)
class Confusion:
    """`counts`: a row for each of `classes`, the images predicted as each of them and, last, as any other; `total`: how
    many classes there are, of which these are the most confused."""

    classes: list[str]
    counts: list[list[int]]
    total: int


@dataclass(frozen=True)
class ClassCurve:
    """Of a class: objects to find, 11-point AP in %, and at each of RECALLS the best precision in [0, 1] from there."""

    name: str
    objects: int
    ap: float
    precision: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """An object of a class or, with a score and its best overlap with an object of its class, a detection.

    The box is 0-based [x1, y1, x2, y2], both ends inclusive.
    """

    name: str
    box: tuple[float, ...]
    score: float | None = None
    overlap: float | None = None


@dataclass(frozen=True)
class Example:
    """A test image, in pixels, with its objects and its best detections."""

    id: str
    width: int
    height: int
    objects: tuple[Seen, ...]
    found: tuple[Seen, ...]


def write_curves(folder: Path, epochs: Iterable[Epoch]) -> None:
    """A training, epoch by epoch."""
    rows = [["" if value is None else f"{value:.6g}" for value in asdict(each).values()] for each in epochs]
    write_text(folder / CURVES, csv_text(list(Epoch.__dataclass_fields__), rows))


def read_curves(folder: Path) -> list[Epoch] | None:
    """None where there is no file; DataError where it is damaged, as for the files below."""

    def epoch(row: list[str]) -> Epoch:
        number, size, rate, loss, error, test_error = row
        return Epoch(
            int(number), int(size), float(rate), float(loss) if loss else None, float(error), float(test_error)
        )

    return _read(folder / CURVES, lambda text: [epoch(row) for row in _rows(text)])


def write_confusion(folder: Path, confusion: Confusion) -> None:
    """The most confused classes of a test."""
    header = [f"truth of {confusion.total}", *confusion.classes, "other"]
    rows = [[name, *map(str, row)] for name, row in zip(confusion.classes, confusion.counts, strict=True)]
    write_text(folder / CONFUSION, csv_text(header, rows))


def read_confusion(folder: Path) -> Confusion | None:
    """As `read_curves`."""

    def parse(text: str) -> Confusion:
        header, *rows = csv.reader(io.StringIO(text))
        counts = [[int(value) for value in row[1:]] for row in rows]
        if {len(row) for row in counts} != {len(rows) + 1}:
            raise ValueError("not square")
        return Confusion([row[0] for row in rows], counts, int(header[0].removeprefix("truth of ")))

    return _read(folder / CONFUSION, parse)


def write_precision(folder: Path, curves: Iterable[ClassCurve]) -> None:
    """The classes of a detector's last row."""
    rows = [
        [each.name, str(each.objects), f"{each.ap:.4f}", *(f"{value:.4f}" for value in each.precision)]
        for each in curves
    ]
    header = ["class", "objects", "ap", *(f"{recall:.2f}" for recall in RECALLS)]
    write_text(folder / PRECISION, csv_text(header, rows))


def read_precision(folder: Path) -> list[ClassCurve] | None:
    """As `read_curves`."""

    def curve(row: list[str]) -> ClassCurve:
        if len(row) != 3 + len(RECALLS):
            raise ValueError(f"{len(row)} columns")
        return ClassCurve(row[0], int(row[1]), float(row[2]), tuple(map(float, row[3:])))

    return _read(folder / PRECISION, lambda text: [curve(row) for row in _rows(text)])


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """What a detector found in the first test images."""
    lines = ",\n".join(json.dumps(asdict(each)) for each in examples)
    write_text(folder / EXAMPLES, f"[\n{lines}\n]\n")


def read_examples(folder: Path) -> list[Example] | None:
    """As `read_curves`."""

    def seen(raw: Any) -> tuple[Seen, ...]:
        return tuple(Seen(each["name"], tuple(each["box"]), each["score"], each["overlap"]) for each in raw)

    def example(raw: Any) -> Example:
        return Example(raw["id"], raw["width"], raw["height"], seen(raw["objects"]), seen(raw["found"]))

    return _read(folder / EXAMPLES, lambda text: [example(raw) for raw in json.loads(text)])


def _rows(text: str) -> list[list[str]]:
    """Without the header."""
    return list(csv.reader(io.StringIO(text)))[1:]


def _read(path: Path, parse: Callable[[str], _T]) -> _T | None:
    if not path.is_file():
        return None
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = "delete it; task=report makes it again where the run's own files still lie, else run the job again"
        raise DataError(f"{path}: damaged ({error}); {again}") from error
