"""record.json, which a finished job leaves behind: written, checked and read here only.

The layout is `<results_dir>/<tier>/<experiment>/seed<k>/record.json`; the schema is stable and plain JSON,
so that scripts outside this package can read it too. Only the standard library is imported.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spprepro.errors import DataError
from spprepro.files import write_text

SCHEMA = 1
NAME = "record.json"
TIERS = ("mini", "small", "paper", "dry", "smoke")
MARKED = ("dry", "smoke")  # tiers whose records have the status "smoke"
STATUSES = ("ok", "smoke", "partial")
_AGAIN = "delete the file and run the job again"


@dataclass(frozen=True)
class Metric:
    """One measured number: `value` in `unit`, over `n` test samples."""

    value: float
    unit: str
    n: int


Outcome = tuple[dict[str, Metric], dict[str, Any], float]
"""What a job hands over for its record: metrics, what is to be said of the data, seconds."""


@dataclass(frozen=True)
class Record:
    """What one job did and measured.

    `status`: "ok" (complete, may fill a cell of a table), "smoke" or "partial" (never do). `data` has at
    least `name`, `fingerprint`, `train` and `test` (numbers of samples); `git` is what `git_state` returns;
    `wall_s` is in seconds; `started` is an ISO 8601 time.
    """

    schema: int
    status: str
    experiment: str
    tier: str
    seed: int
    overrides: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    needs: list[str]
    config_sha256: str
    git: Mapping[str, Any]
    versions: Mapping[str, str]
    data: Mapping[str, Any]
    device: str
    precision: str
    deterministic: str
    wall_s: float
    started: str
    command: str


class Found(NamedTuple):
    """A record and the file that it was read from."""

    path: Path
    record: Record


def write(record: Record, folder: Path) -> Path:
    """Writes `record` as `folder/record.json`, whole or not at all, and returns that path.

    Raises DataError, and writes nothing, where `read` would refuse the file: a metric that is not finite, a
    metric whose `n` is not the data set's `test` (smoke records excepted), a field of the wrong type.
    """
    path = folder / NAME
    found = _record_faults(asdict(record))
    if found:
        raise DataError([f"{path} not written: {fault}" for fault in found])
    text = json.dumps(asdict(record), indent=2, allow_nan=False) + "\n"
    write_text(path, text)
    return path


def read(path: Path) -> Record:
    """The record in the file `path`; DataError names the file and each key missing, foreign or wrong."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run the job that writes it") from error
    except ValueError as error:
        raise DataError(f"{path}: damaged, not JSON ({error}); {_AGAIN}") from error
    faults = _record_faults(raw)
    if faults:
        raise DataError([f"{path}: {fault}; {_AGAIN}" for fault in faults])
    metrics = {key: Metric(**metric) for key, metric in raw["metrics"].items()}
    return Record(**{**raw, "metrics": metrics})


def find(results_dir: Path, tier: str | None = None) -> list[Found]:
    """Every record under `results_dir` (of `tier`, if given), sorted by tier, experiment and seed.

    All damaged records, and records that lie in another job's folder, raise one DataError together. Without
    records: [].
    """
    found, faults = [], []
    for path in results_dir.glob(f"{tier or '*'}/*/seed*/{NAME}"):
        try:
            record = read(path)
        except DataError as error:
            faults += error.faults
            continue
        place = Path(record.tier, record.experiment, f"seed{record.seed}")
        if path.parent.relative_to(results_dir) == place:
            found.append(Found(path, record))
        else:
            faults.append(f"{path}: is the record of {place}; move it to {results_dir / place / NAME} or delete it")
    if faults:
        raise DataError(sorted(faults))
    return sorted(found, key=lambda item: (item.record.tier, item.record.experiment, item.record.seed))


def git_state(folder: Path) -> dict[str, Any]:
    """`{"commit", "dirty"}` of the tracked `folder`: dirty if anything below it differs from the commit.

    The commit is "unknown" without git, or where `folder` is not part of a repository (an installed wheel).
    """
    try:
        if _git(folder, "ls-files", "--", "."):  # else: a site-packages inside somebody else's checkout
            dirty = bool(_git(folder, "status", "--porcelain", "--", "."))
            return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, ValueError):
        pass
    return {"commit": "unknown", "dirty": False}


def versions() -> dict[str, str]:
    """Versions of Python, this package and what numbers can depend on; "none" if not installed."""
    import platform
    from importlib import metadata

    from spprepro import __version__

    found = {"python": platform.python_version(), "spprepro": __version__}
    names = ("torch", "torchvision", "torchcodec", "pytorch-lightning", "hydra-core", "omegaconf", "numpy")
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def device(accelerator: str) -> str:
    """What a job ran on: the GPU's name, or "cpu x <cores>"."""
    if accelerator == "gpu":
        import torch

        return torch.cuda.get_device_name()
    return f"cpu x {os.cpu_count()}"


def command() -> str:
    """The command of this process as typed, without what the command line added to it."""
    import shlex
    import sys

    return shlex.join(["python", "-m", "spprepro", *(text.removeprefix("++") for text in sys.argv[1:])])


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of `config` (plain dicts, lists and scalars) as canonical JSON: key order does not count."""
    import hashlib

    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; ValueError where it fails."""
    import subprocess

    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # a hook sets GIT_DIR
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout.strip()


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


_Rule = tuple[Callable[[Any], bool], str]
_COUNT: _Rule = (lambda value: _is_int(value) and value >= 0, "a whole number >= 0")
_TEXT: _Rule = (_is_text, "a text")
_NAME: _Rule = (_is_name, "a text that is not empty")
_FINITE: _Rule = (_is_number, "a finite number")
_MAPPING: _Rule = (_is_mapping, "a mapping")
_FIELDS: dict[str, _Rule] = {
    "schema": (
        lambda value: _is_int(value) and value == SCHEMA,
        f"{SCHEMA}, the schema that this version reads",
    ),
    "status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "experiment": _NAME,
    "tier": (lambda value: value in TIERS, f"one of {', '.join(TIERS)}"),
    "seed": _COUNT,
    "overrides": _MAPPING,
    "metrics": _MAPPING,
    "needs": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
    "config_sha256": _NAME,
    "git": _MAPPING,
    "versions": (
        lambda value: _is_mapping(value) and all(map(_is_text, value.values())),
        "a mapping to texts",
    ),
    "data": _MAPPING,
    "device": _TEXT,
    "precision": _TEXT,
    "deterministic": _TEXT,
    "wall_s": _FINITE,
    "started": _TEXT,
    "command": _TEXT,
}
_GIT: dict[str, _Rule] = {"commit": _NAME, "dirty": (lambda value: isinstance(value, bool), "true or false")}
_DATA: dict[str, _Rule] = {"name": _NAME, "fingerprint": _TEXT, "train": _COUNT, "test": _COUNT}
_METRIC: dict[str, _Rule] = {"value": _FINITE, "unit": _TEXT, "n": _COUNT}


def _rule_faults(raw: Mapping[str, Any], rules: Mapping[str, _Rule], where: str, extra: bool = False) -> list[str]:
    """What breaks `rules`; keys without a rule are faults too, unless `extra`."""
    faults = [f"{where}{key}: missing" for key in rules if key not in raw]
    faults += [f"{where}{key}: unknown key" for key in raw if key not in rules and not extra]
    for key, (fits, wanted) in rules.items():
        if key in raw and not fits(raw[key]):
            faults.append(f"{where}{key}: {raw[key]!r} is not {wanted}")
    return faults


def _record_faults(raw: Any) -> list[str]:
    """Everything that is wrong with `raw` as a record; [] for a good one."""
    if not isinstance(raw, Mapping):
        return ["not a record (a JSON mapping)"]
    faults = _rule_faults(raw, _FIELDS, "")
    if faults:
        return faults
    faults += _rule_faults(raw["git"], _GIT, "git.")
    faults += _rule_faults(raw["data"], _DATA, "data.", extra=True)
    if raw["tier"] in MARKED and raw["status"] != "smoke":
        faults.append(f"status: {raw['status']!r}, but the records of tier {raw['tier']} are 'smoke'")
    for key, metric in raw["metrics"].items():
        if not isinstance(metric, Mapping):
            faults.append(f"metrics.{key}: {metric!r} is not a mapping")
            continue
        faults += _rule_faults(metric, _METRIC, f"metrics.{key}.")
        test = raw["data"].get("test")
        if raw["status"] != "smoke" and metric.get("n") != test:
            faults.append(f"metrics.{key}.n: {metric.get('n')!r} samples, but the data set has {test!r} (data.test)")
    return faults
