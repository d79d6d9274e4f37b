"""Every test image through a detector, or several together, on any number of devices; goes on after a kill.

What is found is kept in parts of CHUNK images in the job's folder, so that the same command goes on after the last one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spprepro import ranks
from spprepro.config import Config
from spprepro.data.processes import start_method
from spprepro.detect.detector import Detector, Found, detect
from spprepro.detect.sources import Source, state
from spprepro.detect.voc_eval import Detections
from spprepro.errors import DataError
from spprepro.files import read_arrays, replacing
from spprepro.training.cpu import set_threads
from spprepro.training.lightning import testing

CHUNK = 25  # images of a part

Item = tuple[int, Tensor, NDArray[np.float64]]


class _Images(Dataset[Item]):
    """(number, picture, windows) of the images `numbers`."""

    def __init__(self, source: Source, numbers: Sequence[int]) -> None:
        self.source, self.numbers = source, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Item:
        number = self.numbers[place]
        return number, self.source.picture(number), self.source.windows(number)


def whole(item: Any) -> Any:
    """Images come one by one; nothing is collated."""
    return item


class _Missing(pl.LightningDataModule):
    """The images of the parts that are not there yet, sharded by rank part by part."""

    def __init__(self, source: Source, folder: Path, workers: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer parts than processes
        self.source, self.workers = source, workers
        missing = [start for start in range(0, len(source), CHUNK) if not _part(folder, start).is_file()]
        self.starts = missing[ranks.rank() :: ranks.world()]
        ranks.barrier()  # nobody writes before all have looked

    def test_dataloader(self) -> DataLoader[Item]:
        numbers = [n for s in self.starts for n in range(s, min(s + CHUNK, len(self.source)))]
        return DataLoader(
            _Images(self.source, numbers),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=whole,
            multiprocessing_context=start_method(self.workers),
        )


class _Detecting(pl.LightningModule):
    def __init__(self, detectors: Sequence[Detector], rows: Sequence[str], folder: Path, count: int) -> None:
        super().__init__()
        self.features = torch.nn.ModuleList(detector.features for detector in detectors)  # moved to the device
        self.detectors, self.rows, self.folder, self.count = detectors, rows, folder, count
        self.found: dict[int, Found] = {}

    def test_step(self, batch: Item, batch_idx: int) -> None:
        number, picture, boxes = batch
        self.found[number] = detect(self.detectors, picture.cpu(), np.asarray(boxes), self.rows)
        start = number // CHUNK * CHUNK
        if number == min(start + CHUNK, self.count) - 1:
            _write(_part(self.folder, start), self.found, self.rows)
            self.found = {}


def test(
    config: Config, detectors: Sequence[Detector], source: Source, rows: Sequence[str], folder: Path
) -> dict[str, dict[str, Detections]]:
    """Row -> class -> what was found in `source`, in file order: by image, then by score."""
    parts = folder / "found" / state(source)
    module = _Detecting(detectors, rows, parts, len(source)).eval()
    set_threads(config.trainer.threads)
    trainer = testing(config.trainer)
    data = _Missing(source, parts, config.data.workers)
    trainer.test(module, datamodule=data, verbose=False)
    ranks.barrier()
    return _read(parts, rows, detectors[0].classes, len(source))


def _part(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.npz"


def _write(path: Path, found: dict[int, Found], rows: Sequence[str]) -> None:
    arrays: dict[str, Any] = {"images": np.array(sorted(found))}
    for row in rows:
        flat = [
            (number, label, boxes, scores)
            for number in sorted(found)
            for label, (boxes, scores) in enumerate(found[number][row])
        ]
        counts = [len(scores) for *_, scores in flat]
        arrays[f"{row}__image"] = np.repeat([number for number, *_ in flat], counts)
        arrays[f"{row}__label"] = np.repeat([label for _, label, *_ in flat], counts)
        arrays[f"{row}__boxes"] = np.concatenate([boxes for *_, boxes, _ in flat])
        arrays[f"{row}__score"] = np.concatenate([scores for *_, scores in flat])
    with replacing(path) as out:
        np.savez_compressed(out, **arrays)


def _read(folder: Path, rows: Sequence[str], classes: Sequence[str], count: int) -> dict[str, dict[str, Detections]]:
    kept = [read_arrays(_part(folder, start)) for start in range(0, count, CHUNK)]
    images = np.concatenate([part["images"] for part in kept])
    if not np.array_equal(images, np.arange(count)):
        raise DataError(f"{folder}: holds detections of other images than the {count} of the split; delete it")
    found: dict[str, dict[str, Detections]] = {}
    for row in rows:
        whole = {
            key: np.concatenate([part[f"{row}__{key}"] for part in kept])
            for key in ("image", "label", "boxes", "score")
        }
        own = {name: np.flatnonzero(whole["label"] == label) for label, name in enumerate(classes)}
        found[row] = {
            name: Detections(whole["image"][rows_], whole["score"][rows_], whole["boxes"][rows_])
            for name, rows_ in own.items()
        }
    return found
