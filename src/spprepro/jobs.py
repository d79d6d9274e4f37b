"""Run one job: make or find its data, train, test, and leave its record; or one of the small tasks."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spprepro import records, runfolder
from spprepro.config import Config
from spprepro.errors import ConfigError, Faults


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


def run(config: Config) -> Path:
    """Train and test one classifier unless its record is there; returns the record's path."""
    with runfolder.claimed(config) as folder:
        path = folder / records.NAME
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
    from spprepro.training.cpu import keep_memory  # torch from here on

    keep_memory()
    survey = _prepare(config)
    import numpy as np

    from spprepro.classify.evaluate import save_predictions, wrong_at
    from spprepro.classify.train import train_and_test

    outcome = train_and_test(config, survey, folder)
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
        device=records.device(config.trainer.accelerator),
        precision=config.trainer.precision,
        deterministic=str(config.trainer.deterministic).lower(),
        wall_s=round(wall_s, 1),
        started=started,
        command=records.command(),
    )
    records.write(record, folder)


def _overrides() -> dict[str, str]:
    """What the command line changed: {"training.epochs": "3", ...}."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return dict(text.removeprefix("++").partition("=")[::2] for text in given)


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


def _show(record: records.Record) -> None:
    """The errors just measured, on the terminal."""
    for key, metric in record.metrics.items():
        print(f"{key}: {metric.value:.2f} {metric.unit} of {metric.n} images")
