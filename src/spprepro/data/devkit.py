"""ILSVRC-2012's development kit: which number is which class, and the classes of the validation pictures.

ILSVRC numbers its classes in an order of its own (ILSVRC2012_ID, 1-based), not by wnid; everything here goes by wnid.
"""

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spprepro.data.archives import members
from spprepro.data.matlab import Bounds, read_v5
from spprepro.errors import DataError

META, TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"

BOUNDS = Bounds(entries=4096, value=1 << 14, total=1 << 24)  # 1860 synsets, in text of a few hundred letters


@dataclass(frozen=True)
class Synset:
    """A class: its folder's name, its names in words, its number of training pictures."""

    wnid: str
    words: str
    train: int


@dataclass(frozen=True)
class Devkit:
    """synsets: in the order of ILSVRC2012_ID; truth: the ID (1-based) of each validation picture, in their order."""

    synsets: list[Synset]
    truth: list[int]

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of train/<wnid> and val/<wnid>."""
        val = Counter(self.synsets[number - 1].wnid for number in self.truth)
        return {f"train/{each.wnid}": each.train for each in self.synsets} | {
            f"val/{wnid}": count for wnid, count in val.items()
        }


def read(path: Path) -> Devkit:
    """The kit in its archive; raises DataError where meta.mat or the ground truth is missing or says nonsense."""
    wanted = ((PurePosixPath(member.name).name, member) for member in members(path))
    found = {name: member.read() for name, member in wanted if name in (META, TRUTH)}
    lacking = [f"{path}: holds no {name}; get it again" for name in (META, TRUTH) if name not in found]
    if lacking:
        raise DataError(lacking)
    try:
        table = read_v5(io.BytesIO(found[META]), ("synsets",), BOUNDS)["synsets"]
        rows = {int(row["ILSVRC2012_ID"].item()): row for row in table if int(row["num_children"].item()) == 0}
        leaves = [rows[number] for number in range(1, len(rows) + 1)]
        synsets = [
            Synset(_text(row, "WNID"), _text(row, "words"), int(row["num_train_images"].item())) for row in leaves
        ]
        truth = [int(line) for line in found[TRUTH].split()]
    except Exception as error:  # whatever comes of a damaged file
        raise DataError(f"{path}: {META} or {TRUTH} cannot be read ({error!r}); get it again") from error
    wrong = [each.wnid for each in synsets if not re.fullmatch(r"n\d{8}", each.wnid, re.ASCII)]
    if wrong:  # they become folders
        raise DataError(f"{path}: {META} has classes that are no WordNet id, such as {wrong[0]!r}; get it again")
    if len({each.wnid for each in synsets}) != len(synsets) or not {*truth} <= {*range(1, len(synsets) + 1)}:
        raise DataError(f"{path}: {TRUTH} names classes that {META} has not, or a class is there twice; get it again")
    return Devkit(synsets, truth)


def _text(row: dict[str, Any], field: str) -> str:
    """A line of text; it goes into a list with a line for each class."""
    if not isinstance(row[field], str) or not row[field].isprintable():
        raise ValueError(f"{field} is no line of text")
    return str(row[field])
