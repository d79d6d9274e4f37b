"""The folder of a run: one configuration, one process at a time, found again by the same command."""

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import yaml

from spprepro import outcomes, records, traces
from spprepro.config import Config, config_of
from spprepro.errors import ConfigError, DataError
from spprepro.files import write_text


def path_of(config: Config) -> Path:
    """Where a job keeps everything; no time in it, so that the same command resumes."""
    return Path(config.results_dir) / config.tier / config.name / f"seed{config.seed}"


@contextmanager
def claimed(config: Config, *, wait: bool = False) -> Iterator[Path]:
    """The job's folder, locked and holding its configuration; the lock goes with the process, however it ends.

    wait: for another process that has it, which otherwise raises DataError; shards of the job are always waited for.
    Raises ConfigError when the folder belongs to another configuration.
    """
    folder = path_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w+") as lock:  # NFS grants shared locks on what can be read
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not (wait or _has_shards_alone(lock)):
                raise DataError(
                    f"{folder}: another process is running this job; wait for it, or use results_dir=..."
                ) from None
            _wait(config, lock, fcntl.LOCK_EX)
        if config.overwrite:
            _clear(folder)
        refuse_other_settings(config)
        if not (folder / "config.yaml").exists():
            write_text(folder / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
        yield folder


@contextmanager
def shared(config: Config) -> Iterator[Path]:
    """The job's folder for one of its shards, beside the others; waits while the job itself is run.

    Raises ConfigError when the folder belongs to another configuration.
    """
    folder = path_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w+") as lock:
        _wait(config, lock, fcntl.LOCK_SH)
        refuse_other_settings(config)
        yield folder


def _wait(config: Config, lock: IO[str], kind: int) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for {config.name}, which another process is running", file=sys.stderr, flush=True)
        fcntl.flock(lock, kind)


def _has_shards_alone(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


def refuse_other_settings(config: Config) -> None:
    """Raises ConfigError with each key in which the run that lies in the job's folder differs from `config`.

    Raises DataError where its configuration is damaged or unknown to this version.
    """
    folder = path_of(config)
    try:
        then = config_of(folder).identity()  # keys that are newer than the run have their default
    except FileNotFoundError:
        return
    except ConfigError as error:
        raise DataError(
            [f"{folder / 'config.yaml'}: {fault}; start again with overwrite=true" for fault in error.faults]
        ) from error
    now = config.identity()
    if config.kind == "import" and not config.weights.file:  # a job that needs it does not say how it was imported
        then, now = ({key: v for key, v in each.items() if not key.startswith("weights.")} for each in (then, now))
    faults = [
        f"{key}: {now.get(key)!r} now, but {folder} holds a run with {then.get(key)!r}; set it back, give the new run "
        "another name=..., or start again with overwrite=true"
        for key in now | then
        if then.get(key) != now.get(key)
    ]
    if faults:
        raise ConfigError(faults)


def _clear(folder: Path) -> None:
    """Forget an earlier run: its record first, so that a crash leaves no record without its run."""
    (folder / records.NAME).unlink(missing_ok=True)
    for name in ("checkpoints", "scores", "learning", "found", "detections", "features", "export"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in (
        "events.out.tfevents.*",
        "predictions.npz",
        outcomes.NAME,
        *traces.NAMES,
        "submission*.txt",
        "growth.csv",
        "layers.txt",
        "not_finite.json",
        "config.yaml",
    ):
        for path in folder.glob(pattern):
            path.unlink()
