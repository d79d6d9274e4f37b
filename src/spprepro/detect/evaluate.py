"""From the detections of a test set to results files, metrics and bootstrap replicates.

    <job>/detections/<row>/comp4_det_<split>_<class>.txt

Metrics are made from these files, so that they can be made again without the network (`reevaluate`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.average_precision import Matches, ap11, ap_area, bootstrap_ap11, curve, mean_of_classes
from spprepro.data.voc import Split
from spprepro.detect.voc_eval import Detections, class_objects, match, read_results, results_path, write_results
from spprepro.errors import DataError
from spprepro.records import Metric

LARGE = ("bus", "car", "cat", "person", "train")
"""The classes that have enough objects for an AP in a test set of a few hundred photos; `map5` is their mean."""

Found = Mapping[str, Mapping[str, Detections]]
"""Row of Table 9 -> class -> what it detects in the test images."""


def evaluate(folder: Path, split: Split, found: Found) -> tuple[dict[str, Metric], dict[str, NDArray[np.float32]]]:
    """Writes the results files of each row, reads them back, and returns their metrics and bootstrap replicates.

    Metrics, in % over the images of the split, for each row: `<row>_map` (VOC2007's 11-point AP, mean over the classes
    with objects to find), `<row>_map_area` (VOC2010's), `<row>_ap_<class>` (11-point, where there are objects to find)
    and `<row>_map5` (mean over LARGE, if all five have objects to find). Replicates: (1000,) in % of all but the area,
    one for each of `outcomes.resamples`; NaN where a resample holds no object to find, and means are over the rest.
    Raises DataError for a split without objects to find.
    """
    for row, detections in found.items():
        for name, path in _paths(folder, split, row).items():
            write_results(path, [image.id for image in split.images], detections[name])
    judged = _judged(split, saved(folder, split, found))
    copies = outcomes.resamples(len(split.images))
    replicates: dict[str, NDArray[np.float32]] = {}
    for row, matches in judged.items():
        replicates |= _replicates(row, matches, copies)
    return _metrics(judged), replicates


def reevaluate(folder: Path, split: Split, rows: Sequence[str]) -> dict[str, Metric]:
    """The metrics of `evaluate` from the results files it left in the job's folder; raises as it and `saved` do."""
    return _metrics(_judged(split, saved(folder, split, rows)))


def saved(folder: Path, split: Split, rows: Iterable[str]) -> dict[str, dict[str, Detections]]:
    """Row -> class -> detections of the job's results files; DataError names all that miss and every wrong line."""
    ids, faults, found = [image.id for image in split.images], [], {}
    for row in rows:
        try:
            found[row] = read_results(_paths(folder, split, row), ids)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return found


def judge(split: Split, detections: Mapping[str, Detections]) -> dict[str, Matches]:
    """The detections of each class, judged; without the classes that have no objects to find."""
    judged = {name: match(detections[name], class_objects(split, k)) for k, name in enumerate(split.classes)}
    return {name: matches for name, matches in judged.items() if matches.positives.any()}


def _paths(folder: Path, split: Split, row: str) -> dict[str, Path]:
    """Class -> results file."""
    return {name: results_path(folder / "detections" / row, split.name, name) for name in split.classes}


def _judged(split: Split, found: Found) -> dict[str, dict[str, Matches]]:
    """Row -> class with objects to find -> judged detections."""
    judged = {row: judge(split, detections) for row, detections in found.items()}
    if not all(judged.values()):
        path = split.root / "ImageSets" / "Main" / f"{split.name}.txt"
        raise DataError(f"{path}: its images show no object that is not difficult; an AP needs some: list other images")
    return judged


def _averaged(names: Iterable[str]) -> dict[str, list[str]]:
    """Metric -> the classes that it is the mean over."""
    there = list(names)
    return {"map": there} | ({"map5": list(LARGE)} if set(LARGE) <= set(there) else {})


def _metrics(judged: Mapping[str, Mapping[str, Matches]]) -> dict[str, Metric]:
    """The metrics of all rows."""
    metrics: dict[str, Metric] = {}
    for row, matches in judged.items():
        curves = {name: curve(each) for name, each in matches.items()}
        aps = {name: ap11(*each) for name, each in curves.items()}
        values = {key: sum(aps[name] for name in names) / len(names) for key, names in _averaged(aps).items()}
        values["map_area"] = sum(ap_area(*each) for each in curves.values()) / len(curves)
        values |= {f"ap_{name}": ap for name, ap in aps.items()}
        images = len(next(iter(matches.values())).positives)
        metrics |= {f"{row}_{key}": Metric(100 * value, "%", images) for key, value in values.items()}
    return metrics


def _replicates(
    row: str, matches: Mapping[str, Matches], copies: Int[ndarray, "resamples images"]
) -> dict[str, NDArray[np.float32]]:
    """Bootstrap replicates of a row's metrics."""
    aps = {name: bootstrap_ap11(each, copies) for name, each in matches.items()}
    values = {key: mean_of_classes([aps[name] for name in names]) for key, names in _averaged(aps).items()}
    values |= {f"ap_{name}": each for name, each in aps.items()}
    return {f"{row}_{key}": (100 * value).astype(np.float32) for key, value in values.items()}
