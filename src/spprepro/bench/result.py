"""What a measurement leaves: a short table on the terminal and results_dir/bench/<name>.json."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import torch

from spprepro import records
from spprepro.config import Config
from spprepro.files import write_text


@dataclass(frozen=True)
class Side:
    """One of the two that were measured: what it is, and its value in each round."""

    what: str
    values: Sequence[float]


@dataclass(frozen=True)
class Measurement:
    """Two sides measured in turn in one run; the ratio ours / peer of each round is to be `sign` `limit` (None: any).

    amount: {"images": n} or {"steps": n}, of each side in all its timed rounds; settings: what the values depend on
    beside the machine; parts: what ours is made of, in `unit`.
    """

    name: str
    ours: Side
    peer: Side
    unit: str
    sign: Literal[">=", "<="]
    limit: float | None
    amount: dict[str, int]
    settings: dict[str, Any]
    started: str
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in zip(self.ours.values, self.peer.values, strict=True)]

    @property
    def requirement(self) -> str:
        return "none" if self.limit is None else f"{self.sign} {self.limit}"

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        ratio = median(self.ratios)
        return ratio >= self.limit if self.sign == ">=" else ratio <= self.limit


def now() -> str:
    """The time as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def training_device(config: Config) -> torch.device:
    """Where the network runs."""
    return torch.device("cuda" if config.trainer.accelerator == "gpu" else "cpu")


def cpu() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that the clock tells its time and not that of the calls."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(run: Callable[[], Any], count: int, device: torch.device) -> float:
    """How many of `count`, which one `run` does, are done in a second."""
    since = perf_counter()
    run()
    synchronise(device)
    return count / (perf_counter() - since)


def finish(measurement: Measurement, config: Config) -> Path:
    """Write the record, print the table; returns the record's path."""
    record = _record(measurement, config)
    path = Path(config.results_dir) / "bench" / f"{measurement.name}.json"
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
    print(_table(measurement, record))
    print(f"record: {path}")
    return path


def _record(m: Measurement, config: Config) -> dict[str, Any]:
    return {
        "name": m.name,
        "ours": median(m.ours.values),
        "peer": median(m.peer.values),
        "unit": m.unit,
        "ratio": median(m.ratios),
        "ratio_min": min(m.ratios),
        "ratio_max": max(m.ratios),
        "requirement": m.requirement,
        "met": m.met,
        **m.amount,
        **({"parts": dict(m.parts)} if m.parts else {}),
        "rounds": {"ours": asdict(m.ours), "peer": asdict(m.peer)},
        "settings": m.settings,
        "workers": config.data.workers,
        "threads": torch.get_num_threads(),
        "cpu": cpu(),
        "cpu_count": os.cpu_count(),
        "device": records.device(config.trainer.accelerator),
        "versions": {**records.versions(), "pillow": metadata.version("pillow")},
        "git": records.git_state(Path(__file__).parents[1]),
        "command": records.command(),
        "started": m.started,
    }


def _table(m: Measurement, record: dict[str, Any]) -> str:
    amount = ", ".join(f"{count} {what}" for what, count in m.amount.items())
    width = max(len(m.ours.what), len(m.peer.what))
    settings = ", ".join(f"{key} {value}" for key, value in m.settings.items())
    spread = f"{record['ratio_min']:.3f} .. {record['ratio_max']:.3f} in {len(m.ratios)} rounds"
    verdict = {True: ": met", False: ": NOT met", None: ""}[m.met]
    length = max(map(len, m.parts), default=0)
    return "\n".join(
        (
            f"{m.name}: {amount} each on {record['device']}, {record['threads']} threads, {record['workers']} workers",
            f"  {settings}",
            f"  ours   {m.ours.what:<{width}}  {record['ours']:10.1f} {m.unit}",
            f"  peer   {m.peer.what:<{width}}  {record['peer']:10.1f} {m.unit}",
            f"  ratio  {record['ratio']:.3f} ({spread}); required {record['requirement']}{verdict}",
            *(f"  {part:<{length}}  {value:8.2f} {m.unit}" for part, value in m.parts.items()),
        )
    )
