"""The speed measurements beside the records (results_dir/bench), as rows of a table, on the page and as a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spprepro.errors import DataError
from spprepro.report.markdown import bar, md
from spprepro.report.sheets import counted

NAME = "README.md"  # of the file, beside the measurements
_VERSIONS = ("python", "torch", "torchvision", "torchcodec", "pytorch-lightning", "numpy", "pillow")
_HEADS = (
    "bench", "ours", "peer", "unit", "ratio", "required", "on", "what was measured", "versions", "commit", "command",
)  # fmt: skip
_ONCE = ("versions", "commit")  # told before the table where they are the same in all rows


@dataclass(frozen=True)
class Benches:
    """Measurements of ours against a peer: texts under `heads`, and what holds for all."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str


def benches(results_dir: Path) -> Benches | None:
    """The measurements by name, None where there are none; DataError names each damaged file."""
    found, faults = [], []
    for path in sorted((results_dir / "bench").glob("*.json")):
        try:
            found.append(dict(zip(_HEADS, _texts(json.loads(path.read_text(encoding="utf-8"))), strict=True)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{path}: damaged ({error!r}); delete it and measure again: make bench")
    if faults:
        raise DataError(faults)
    if not found:
        return None
    once = [head for head in _ONCE if len({row[head] for row in found}) == 1]
    heads = [head for head in _HEADS if head not in once]
    note = (
        "Each was measured in turn with its peer in one run, round by round: medians, of the ratio with its range. "
        "Parts are those of ours."
    )
    shared = "".join(f" {head.capitalize()}: {found[0][head]}." for head in once)
    return Benches(heads, [[row[head] for head in heads] for row in found], note + shared)


def _texts(raw: Mapping[str, Any]) -> tuple[str, ...]:
    verdict = {True: ", met", False: ", not met", None: ""}[raw["met"]]
    parts = ", ".join(f"{part} {value:,.1f}" for part, value in raw.get("parts", {}).items())
    what = f"{raw['rounds']['ours']['what']}; against: {raw['rounds']['peer']['what']}"
    machine = [raw["device"], counted(raw["threads"], "thread"), counted(raw["workers"], "worker")]
    return (
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


def readme(results_dir: Path) -> str:
    """Markdown of all measurements, for results_dir/bench; "" where there are none."""
    found = benches(results_dir)
    if found is None:
        return ""
    lines = [bar(found.heads), bar(["---"] + ["---:"] * 2 + ["---"] * (len(found.heads) - 3))]
    for row in found.rows:
        name, *rest = map(md, row)
        lines.append(bar([f"[{name}]({name}.json)", *rest]))
    end = "Made by `python -m spprepro task=report` from the records beside it; do not edit."
    return "\n\n".join(["# Speed, measured against a peer", found.note, "\n".join(lines), end]) + "\n"
