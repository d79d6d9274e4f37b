"""The speed measurements beside the records (results_dir/bench), as rows of a table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from spprepro.errors import DataError


@dataclass(frozen=True)
class Bench:
    """A measurement of ours against a peer; `cells` are texts under `heads`."""

    cells: tuple[str, ...]
    heads: ClassVar = ("bench", "ours", "peer", "unit", "ratio", "asked", "on", "what was measured")


def benches(results_dir: Path) -> list[Bench]:
    """The measurements by name; DataError names each damaged file."""
    found, faults = [], []
    for path in sorted((results_dir / "bench").glob("*.json")):
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            ratio = f"{raw['ratio']:.2f} ({raw['ratio_min']:.2f} to {raw['ratio_max']:.2f})"
            asked = f"{raw['requirement']}, {'met' if raw['met'] else 'not met'}"
            what = f"{raw['rounds']['ours']['what']}; against: {raw['rounds']['peer']['what']}"
            amounts = (f"{raw['ours']:,.1f}", f"{raw['peer']:,.1f}", raw["unit"])
            found.append(Bench((raw["name"], *amounts, ratio, asked, raw["device"], what)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{path}: damaged ({error!r}); delete it and measure again: task=bench bench={path.stem}")
    if faults:
        raise DataError(faults)
    return found
