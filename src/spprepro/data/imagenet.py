"""Any folder in ILSVRC's layout, train/<wnid>/* and val/<wnid>/*, and the survey made of it before a job starts.

A folder of pictures without labels is a test split: test/ beside train/, or any other; test_ground_truth.txt beside
test/ (and so for other names) may tell their classes.

The survey decodes every file once, so that an unreadable one stops the job before training. It keeps sizes, hashes, the
mean image and the colour statistics of the training set, and is made again only when a file changed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from spprepro.data.decode import centre_crop, decode_bytes, decoding, resize_short_side
from spprepro.data.processes import start_method
from spprepro.errors import DataError
from spprepro.files import read_arrays, replacing
from spprepro.folders import cache_home

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
_CHUNK = 64
_SURVEY = 1  # of the survey file's layout


@dataclass(frozen=True)
class Image:
    """A file of a set: path relative to the root, label (-1: unlabelled), content hash, size in pixels as decoded."""

    path: str
    label: int
    sha1: str
    height: int
    width: int


@dataclass(frozen=True)
class Survey:
    """What is known of a data set before training.

    mean: (3, crop, crop) float32, the mean training image's centre crop after scaling the short side to min_side;
    colour: (3, 3) float32, AlexNet's colour directions: eigenvectors (columns) times the square roots of the
    eigenvalues of the training pixels' RGB covariance, in [0, 255] units.
    """

    root: Path
    classes: list[str]
    train: list[Image]
    val: list[Image]
    mean: NDArray[np.float32]
    colour: NDArray[np.float32]

    @property
    def fingerprint(self) -> str:
        """Of the labelled splits, train and val."""
        return fingerprint(self.train + self.val)


def fingerprint(images: list[Image]) -> str:
    """sha256 over every file's path, label and content hash."""
    text = "\n".join(f"{image.path} {image.label} {image.sha1}" for image in images)
    return hashlib.sha256(text.encode()).hexdigest()


def list_split(root: Path, split: str, classes: list[str]) -> Iterator[tuple[str, int]]:
    """(relative path, label) of each image of a split, sorted."""
    for label, wnid in enumerate(classes):
        for name in sorted(os.listdir(root / split / wnid)):
            if Path(name).suffix.lower() in SUFFIXES:
                yield f"{split}/{wnid}/{name}", label


def list_unlabelled(folder: Path) -> list[tuple[str, int]]:
    """(relative path, -1) of each picture anywhere in the folder, sorted; [] where there is no such folder."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return [(path, -1) for path in sorted(path.relative_to(folder).as_posix() for path in found)]


def class_ids(root: Path, classes: list[str]) -> list[int]:
    """ILSVRC's number (1-based) of each class: its line in synsets.txt (a wnid a line), else its place by wnid.

    Raises DataError where synsets.txt lacks a class, and for 1000 classes without it: ILSVRC does not number by wnid.
    """
    path = root / "synsets.txt"
    if not path.is_file():
        if len(classes) == 1000:
            raise DataError(
                f"{path}: not found; ILSVRC numbers its 1000 classes in the order of the devkit's meta.mat "
                "(ILSVRC2012_ID), not by wnid: write the wnids there in that order, one a line"
            )
        return list(range(1, len(classes) + 1))
    order = {line.split()[0]: number for number, line in enumerate(path.read_text().splitlines(), 1) if line.strip()}
    lacking = [wnid for wnid in classes if wnid not in order]
    if lacking:
        raise DataError(f"{path}: lacks {', '.join(lacking[:5])} of train/; one wnid a line, in the order of the ids")
    return [order[wnid] for wnid in classes]


def truth_of(folder: Path, root: Path, classes: list[str], count: int) -> NDArray[np.int64] | None:
    """(count,) labels of a folder's unlabelled pictures from <folder>_ground_truth.txt; None without the file.

    Its lines are the numbers of the classes in `root` (see class_ids), in the order of list_unlabelled.
    """
    path = folder.with_name(f"{folder.name}_ground_truth.txt")
    if not path.is_file():
        return None
    label = {number: label for label, number in enumerate(class_ids(root, classes))}
    lines = path.read_text().split()
    strange = [line for line in lines if not line.isdecimal() or int(line) not in label]
    if len(lines) != count or strange:
        what = f"{strange[0]!r} is no class" if strange else f"{len(lines)} lines for {count} pictures in {folder}"
        raise DataError(f"{path}: {what}; it needs the number of one of the {len(classes)} classes for each picture")
    return np.array([label[int(line)] for line in lines])


def list_classes(root: Path) -> list[str]:
    """The sorted class folders of train/; raises DataError for a missing split, differing or empty class folders."""
    faults, found = [], {}
    for split in ("train", "val"):
        folder = root / split
        if not folder.is_dir():
            faults.append(f"{folder}: not found; data.root={root} must hold train/<wnid>/ and val/<wnid>/")
            continue
        found[split] = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        if not found[split]:
            faults.append(f"{folder}: holds no class folder; expected <wnid>/ folders with images")
        for wnid in found[split]:
            if not any(Path(name).suffix.lower() in SUFFIXES for name in os.listdir(folder / wnid)):
                faults.append(f"{folder / wnid}: holds no image ({', '.join(sorted(SUFFIXES))}); fill or remove it")
    if len(found) == 2:
        for split, other in (("train", "val"), ("val", "train")):
            lone = sorted(set(found[split]) - set(found[other]))
            if lone:
                faults.append(f"{root / other}: lacks the class folders {', '.join(lone[:5])} that {split}/ has")
    if faults:
        raise DataError(faults)
    return found["train"]


def survey(
    root: Path,
    *,
    min_side: int,
    crop: int,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Survey:
    """Decode every file of `root` (or read the survey made before); raises DataError naming each unreadable file."""
    root = root.resolve()
    classes = list_classes(root)
    splits = {split: list(list_split(root, split, classes)) for split in ("train", "val")}
    images, known = _surveyed(root, splits["train"] + splits["val"], (min_side, crop), progress, workers)
    train = len(splits["train"])
    return Survey(root, classes, images[:train], images[train:], known["mean"], known["colour"])


def survey_unlabelled(
    folder: Path, *, min_side: int, crop: int, progress: Callable[[int, int], None] | None = None
) -> list[Image]:
    """As `survey`, of a folder of pictures without labels; raises DataError where it holds none."""
    folder = folder.resolve()
    files = list_unlabelled(folder)
    if not files:
        raise DataError(f"{folder}: no pictures; data.split=test needs unlabelled ones there, or in data.test=DIR")
    return _surveyed(folder, files, (min_side, crop), progress, None)[0]


def _surveyed(
    root: Path,
    files: list[tuple[str, int]],
    sizes: tuple[int, int],
    progress: Callable[[int, int], None] | None,
    workers: int | None,
) -> tuple[list[Image], dict[str, Any]]:
    """The files with what is known of each, and the statistics of those in train/; kept until a file changes."""
    stamps = _stamps(root, [path for path, _ in files])
    key = hashlib.sha256(json.dumps([_SURVEY, str(root), *sizes]).encode()).hexdigest()[:16]
    kept = cache_home() / "surveys" / f"{root.name}-{key}.npz"
    known = _read_survey(kept)
    if known is None or known["stamps"] != stamps or known["paths"] != [path for path, _ in files]:
        processes = (os.cpu_count() or 1) if workers is None else workers
        known = _make_survey(root, files, stamps, sizes, progress, processes)
        _write_survey(kept, known)
    images = [
        Image(path, label, *row)
        for (path, label), row in zip(files, zip(known["sha1"], *known["sizes"], strict=True), strict=True)
    ]
    return images, known


def _stamps(root: Path, paths: list[str]) -> list[str]:
    """Bytes and modification time of each file, the cheap sign that it changed."""
    statuses = [(root / path).stat() for path in paths]
    return [f"{status.st_size}:{status.st_mtime_ns}" for status in statuses]


class _Chunks(Dataset[dict[str, Any]]):
    """Hashes, pixel sizes and the sums behind mean and covariance, a few files at a time."""

    def __init__(self, root: Path, paths: list[str], min_side: int, crop: int) -> None:
        self.root, self.min_side, self.crop = root, min_side, crop
        self.chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> dict[str, Any]:
        rows, faults = [], []
        total, outer, pixels = np.zeros((3, self.crop, self.crop)), np.zeros((3, 3)), 0
        for path in self.chunks[number]:
            try:
                with decoding(self.root / path):
                    content = (self.root / path).read_bytes()
                    image = decode_bytes(content)
            except DataError as error:
                faults += error.faults
                continue
            rows.append((hashlib.sha1(content).hexdigest(), image.shape[-2], image.shape[-1]))
            if path.startswith("train/"):
                centre = centre_crop(resize_short_side(image, self.min_side), self.crop).numpy()
                total += centre
                sample = centre[:, ::4, ::4].reshape(3, -1).astype(np.float64)
                outer += sample @ sample.T
                pixels += sample.shape[1]
        return {"rows": rows, "faults": faults, "total": total, "outer": outer, "pixels": pixels}


def _as_it_is(part: Any) -> Any:
    return part


def _make_survey(
    root: Path,
    files: list[tuple[str, int]],
    stamps: list[str],
    sizes: tuple[int, int],
    progress: Callable[[int, int], None] | None,
    workers: int,
) -> dict[str, Any]:
    paths = [path for path, _ in files]
    chunks = _Chunks(root, paths, *sizes)
    context = start_method(workers)
    loader = DataLoader(
        chunks, batch_size=None, num_workers=workers, collate_fn=_as_it_is, multiprocessing_context=context
    )
    rows, faults, pixels = [], [], 0
    total, outer = np.zeros((3, sizes[1], sizes[1])), np.zeros((3, 3))
    for done, part in enumerate(loader, 1):  # summed up at once: a million images have thousands of parts
        rows += part["rows"]
        faults += part["faults"]
        total += part["total"]
        outer += part["outer"]
        pixels += part["pixels"]
        if progress:
            progress(min(done * _CHUNK, len(paths)), len(paths))
    if faults:
        raise DataError(faults)
    mean = total / max(1, sum(path.startswith("train/") for path in paths))
    centre = mean[:, ::4, ::4].reshape(3, -1).mean(1)
    covariance = outer / max(1, pixels) - np.outer(centre, centre)
    values, vectors = np.linalg.eigh(covariance)
    return {
        "paths": paths,
        "stamps": stamps,
        "sha1": [row[0] for row in rows],
        "sizes": ([row[1] for row in rows], [row[2] for row in rows]),
        "mean": mean.astype(np.float32),
        "colour": (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32),
    }


def _write_survey(path: Path, known: dict[str, Any]) -> None:
    lists = json.dumps({key: known[key] for key in ("paths", "stamps", "sha1", "sizes")})
    with replacing(path) as out:
        np.savez(out, lists=np.frombuffer(lists.encode(), np.uint8), mean=known["mean"], colour=known["colour"])


def _read_survey(path: Path) -> dict[str, Any] | None:
    """The survey kept before; None when there is none or it is damaged (it is then made again)."""
    try:
        kept = read_arrays(path)
        return {**json.loads(kept["lists"].tobytes()), "mean": kept["mean"], "colour": kept["colour"]}
    except (DataError, ValueError, KeyError):
        return None
