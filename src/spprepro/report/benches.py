"""The speed measurements beside the records (results_dir/bench), as rows of a table, on the page and as a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from spprepro.errors import DataError
from spprepro.report.markdown import bar, md
from spprepro.report.sheets import counted

NAME = "README.md"  # of the file, beside the measurements
_VERSIONS = ("python", "torch", "torchvision", "torchcodec", "pytorch-lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Bench:
    """A measurement of ours against a peer; `cells` are texts under `heads`."""

    cells: tuple[str, ...]
    heads: ClassVar = (
        "bench", "ours", "peer", "unit", "ratio", "required", "on", "what was measured", "versions", "commit",
        "command",
    )  # fmt: skip
    note: ClassVar = (
        "Each was measured in turn with its peer in one run, round by round: medians, of the ratio with its range. "
        "Parts are those of ours."
    )


def benches(results_dir: Path) -> list[Bench]:
    """The measurements by name; DataError names each damaged file."""
    found, faults = [], []
    for path in sorted((results_dir / "bench").glob("*.json")):
        try:
            found.append(_bench(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{path}: damaged ({error!r}); delete it and measure again: task=bench bench={path.stem}")
    if faults:
        raise DataError(faults)
    return found


def _bench(raw: Mapping[str, Any]) -> Bench:
    verdict = {True: ", met", False: ", not met", None: ""}[raw["met"]]
    parts = ", ".join(f"{part} {value:,.1f}" for part, value in raw.get("parts", {}).items())
    what = f"{raw['rounds']['ours']['what']}; against: {raw['rounds']['peer']['what']}"
    machine = [raw["device"], counted(raw["threads"], "thread"), counted(raw["workers"], "worker")]
    return Bench(
        (
            raw["name"],
            f"{raw['ours']:,.1f}",
            f"{raw['peer']:,.1f}",
            raw["unit"],
            f"{raw['ratio']:.2f} ({raw['ratio_min']:.2f} to {raw['ratio_max']:.2f})",
            raw["requirement"] + verdict,
            ", ".join([raw["cpu"], *machine] if raw.get("cpu") else machine),
            what + (f"; parts: {parts}" if parts else ""),
            ", ".join(f"{name} {raw['versions'][name]}" for name in _VERSIONS),
            raw["git"]["commit"][:10] + (" with changes" if raw["git"]["dirty"] else ""),
            raw["command"],
        )
    )


def readme(results_dir: Path) -> str:
    """Markdown of all measurements, for results_dir/bench; "" where there are none."""
    found = benches(results_dir)
    if not found:
        return ""
    lines = [bar(Bench.heads), bar(["---"] + ["---:"] * 2 + ["---"] * (len(Bench.heads) - 3))]
    for each in found:
        name, *rest = map(md, each.cells)
        lines.append(bar([f"[{name}]({name}.json)", *rest]))
    end = "Made by `python -m spprepro task=report` from the records beside it; do not edit."
    return "\n\n".join(["# Speed, measured against a peer", Bench.note, "\n".join(lines), end]) + "\n"
