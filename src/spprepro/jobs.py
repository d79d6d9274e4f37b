"""Run one job: make or find its data, train, test, and leave its record; or one of the small tasks."""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from spprepro import records
from spprepro.config import Config, flatten
from spprepro.errors import ConfigError, DataError, Faults
from spprepro.files import write_text


def start(config: Config) -> None:
    """Do what `config.task` says."""
    if config.task == "report":
        from spprepro.report.render import report

        for path in report(Path(config.results_dir)):
            print(path)
    elif config.task == "plan":
        from spprepro.plan import plan

        print(plan(config))
    elif config.task == "bench":
        from spprepro.bench import run_bench

        run_bench(config)
    elif config.task == "prepare":
        survey = _prepare(config)
        print(
            f"{survey.root}: {len(survey.train)} training and {len(survey.val)} test images of {len(survey.classes)} "
            f"classes, fingerprint {survey.fingerprint[:12]}"
        )
    elif config.task == "sheet":
        _sheet(config)
    else:
        run(config)


def run_folder(config: Config) -> Path:
    """Where a job keeps everything; the same command finds it again."""
    return Path(config.results_dir) / config.tier / config.name / f"seed{config.seed}"


def run(config: Config) -> Path:
    """Train and test one classifier unless its record is there; returns the record's path."""
    folder = run_folder(config)
    path = folder / records.NAME
    with _locked(folder):
        if config.overwrite:
            _clear(folder)
        _refuse_other_settings(config, folder)
        if not path.exists():
            _train(config, folder)
        _show(records.read(path))
    _refresh(config)
    print(f"record: {path}")
    return path


def _refresh(config: Config) -> None:
    """Tables and page of the tier with the new record; another record's fault must not fail this job."""
    from spprepro.report.render import report

    if config.tier == "smoke":
        return
    try:
        pages = [path for path in report(Path(config.results_dir), [config.tier]) if path.suffix == ".html"]
        print(f"tables beside the paper's: {pages[0]}")
    except Faults as error:
        print(f"the tables are not refreshed: {error}", file=sys.stderr)


def _train(config: Config, folder: Path) -> None:
    started, git = datetime.now(UTC).isoformat(timespec="seconds"), records.git_state(Path(__file__).parent)
    _save_config(config, folder)
    from spprepro.training.cpu import keep_memory  # torch from here on

    keep_memory()
    survey = _prepare(config)
    from spprepro.classify.evaluate import save_predictions, wrong_at
    from spprepro.classify.train import train_and_test
    from spprepro.training.checkpoint import Interrupted

    try:
        outcome = train_and_test(config, survey, folder)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    import numpy as np

    labels = np.array([image.label for image in survey.val])
    save_predictions(folder, labels, outcome.scores, [image.path for image in survey.val], survey.classes)
    metrics = {}
    for view, scores in outcome.scores.items():
        prefix = "" if view == "ten" else f"{view}_"  # Table 2's ten views are the standard test
        for k in (1, 5):
            error = 100 * float(wrong_at(scores, labels, k).mean())
            metrics[f"{prefix}top{k}_error"] = records.Metric(error, "%", len(labels))
    data = {
        "name": config.data.name if config.data.name == "mini" else survey.root.name,
        "fingerprint": survey.fingerprint,
        "train": len(survey.train),
        "test": len(survey.val),
        "classes": len(survey.classes),
        "crops": config.data.crops,
        "train_s": round(outcome.train_s, 1),
        "test_s": round(outcome.test_s, 1),
    }
    _write_record(config, folder, metrics, data, git, started, outcome.train_s + outcome.test_s)


def _write_record(
    config: Config,
    folder: Path,
    metrics: dict[str, records.Metric],
    data: dict[str, Any],
    git: dict[str, Any],
    started: str,
    wall_s: float,
) -> None:
    import torch

    device = torch.cuda.get_device_name() if config.trainer.accelerator == "gpu" else f"cpu x {os.cpu_count()}"
    record = records.Record(
        schema=records.SCHEMA,
        status="smoke" if config.tier == "smoke" else "ok",
        experiment=config.name,
        tier=config.tier,
        seed=config.seed,
        overrides=_overrides(),
        metrics=metrics,
        needs=[],
        config_sha256=records.config_sha256(config.identity()),
        git=git,
        versions=records.versions(),
        data=data,
        device=device,
        precision=config.trainer.precision,
        deterministic=str(config.trainer.deterministic).lower(),
        wall_s=round(wall_s, 1),
        started=started,
        command=_command(),
    )
    records.write(record, folder)


def _overrides() -> dict[str, str]:
    """What the command line changed: {"training.epochs": "3", ...}."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return dict(text.removeprefix("++").partition("=")[::2] for text in given)


def _command() -> str:
    """The command as typed, without what the command line added to it."""
    return shlex.join(["python", "-m", "spprepro", *(text.removeprefix("++") for text in sys.argv[1:])])


def _prepare(config: Config) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from spprepro.data.prepare import prepare

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = bar.add_task(what, total=total)
            bar.update(shown[what], completed=done)

        return prepare(config.data, tell)


def _sheet(config: Config) -> None:
    from spprepro.data.mini import contact_sheet

    if config.data.name != "mini":
        raise ConfigError(f"data: task=sheet shows the generated set; data={config.data.name} is not it, use data=mini")
    survey = _prepare(config)
    print(contact_sheet(survey.root.parent, Path(config.results_dir) / config.tier / "mini_sheet.jpg"))


def _save_config(config: Config, folder: Path) -> None:
    write_text(folder / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))


def _refuse_other_settings(config: Config, folder: Path) -> None:
    """A run folder belongs to one configuration; raises ConfigError with the keys that differ."""
    path = folder / "config.yaml"
    if not path.exists():
        return
    try:
        kept = flatten(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, AttributeError) as error:
        raise DataError(f"{path}: damaged; start again with overwrite=true") from error
    now = config.identity()
    faults = [
        f"{key}: {value!r} now, but {folder} holds a run with {kept.get(key)!r}; set it back, give the new run another "
        "name=..., or start again with overwrite=true"
        for key, value in now.items()
        if kept.get(key) != value
    ]
    if faults:
        raise ConfigError(faults)


def _clear(folder: Path) -> None:
    """Forget an earlier run: its record first, so that a crash leaves no record without its run."""
    import shutil

    (folder / records.NAME).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    for path in [*folder.glob("events.out.tfevents.*"), folder / "predictions.npz", folder / "config.yaml"]:
        path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two jobs must not share a run folder; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder}: another process is running this job; wait for it, or use results_dir=..."
            ) from None
        yield


def _show(record: records.Record) -> None:
    """The errors just measured, on the terminal."""
    for key, metric in record.metrics.items():
        print(f"{key}: {metric.value:.2f} {metric.unit} of {metric.n} images")
