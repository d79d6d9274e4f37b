"""The outcomes beside records, read once each and held against the numbers that their records give."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.errors import DataError
from spprepro.records import Found

_TOLERANCE = 1e-6  # points: rounding of the mean of up to millions of bits


class NoOutcomes(Exception):
    """Why there are none of a metric."""


class _Kept(NamedTuple):
    """What lies beside a record: metric -> (n,) bits, metric -> (resamples,) replicates."""

    wrong: Mapping[str, NDArray[np.bool_]]
    replicates: Mapping[str, NDArray[np.float32]]


class Outcomes:
    """Outcomes by record and metric; `faults` gathers what is damaged or not its record's."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.kept: dict[Path, _Kept] = {}

    def of(self, item: Found, metric: str) -> NDArray[np.bool_] | NDArray[np.float64]:
        """(n,) which test images the record counts as wrong, or (resamples,) replicates of another metric, NaN where it
        is not defined; raises NoOutcomes where the record says neither, or they are not its own."""
        kept, value = self._beside(item), item.record.metrics[metric].value
        if metric in kept.wrong:
            return self._checked(item, metric, kept.wrong[metric])
        if metric not in kept.replicates:
            raise NoOutcomes(f"no outcomes of {metric} beside the record of {name_of(item)}")
        replicates = kept.replicates[metric].astype(np.float64)
        known = replicates[~np.isnan(replicates)]
        if len(known):  # AP on resamples lies a little off that of the images as they are; what lies far off is foreign
            least, most = float(known.min()), float(known.max())
            room = most - least + 1e-6 * abs(value) + _TOLERANCE
            if not least - room <= value <= most + room:
                self._refuse(item, f"{metric} is {least:.6f} to {most:.6f} on resamples", f"{value:.6f}")
        return replicates

    def _beside(self, item: Found) -> _Kept:
        """The outcomes beside a record, read once; raises NoOutcomes where there are none."""
        folder = item.path.parent
        if folder not in self.kept:
            if not (folder / outcomes.NAME).is_file():
                raise NoOutcomes(f"no outcomes of the test images beside the record of {name_of(item)}")
            try:
                self.kept[folder] = _Kept(outcomes.read(folder), outcomes.read_replicates(folder))
            except DataError as error:
                self.faults += error.faults
                self.kept[folder] = _Kept({}, {})
        return self.kept[folder]

    def _checked(self, item: Found, metric: str, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`wrong`, if it gives the record's number."""
        percent, expected = 100.0 * float(wrong.mean()) if len(wrong) else 0.0, item.record.metrics[metric]
        if len(wrong) != expected.n or abs(percent - expected.value) > _TOLERANCE:
            ours = f"{metric} is {percent:.6f} % of {len(wrong)} images"
            self._refuse(item, ours, f"{expected.value:.6f} % of {expected.n}")
        return wrong

    def _refuse(self, item: Found, ours: str, recorded: str) -> NoReturn:
        """Notes outcomes that are not those of their record."""
        file = item.path.parent / outcomes.NAME
        self.faults.append(f"{file}: {ours}, but the record says {recorded}; run the job again with overwrite=true")
        raise NoOutcomes(f"the outcomes of {name_of(item)} are not its record's")


def name_of(item: Found) -> str:
    """How messages call a record."""
    return f"{item.record.experiment} seed {item.record.seed}"
