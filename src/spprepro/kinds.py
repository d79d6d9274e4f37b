"""One job of each kind, from its configuration and folder to its record; with several devices, on each of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spprepro import ranks, records, runfolder
from spprepro.composing import given, needs, ordered
from spprepro.config import GENERATED, Config
from spprepro.errors import ConfigError


def perform(config: Config, folder: Path) -> None:
    """Do the job and leave its record, or one shard of it; processes that do not lead only do their share."""
    (_KINDS[config.kind] if config.shard is None else _shard)(config, folder)


def _shard(config: Config, folder: Path) -> None:
    """A part of the windows or features that the job needs, left where it finds them."""
    _start()
    if config.kind == "detect":
        from spprepro.detecting import propose_part

        propose_part(config)
    else:
        from spprepro.transferring import extract_part

        extract_part(config, folder)


def _train(config: Config, folder: Path) -> None:
    started, git = _start()
    survey = surveyed(config)
    import numpy as np

    from spprepro.classify.evaluate import errors, save_predictions
    from spprepro.classify.score import score_images
    from spprepro.classify.traced import trace
    from spprepro.classify.train import train

    module, train_s = train(config, survey, folder)
    scores, test_s = score_images(config, module, survey.root, survey.val)
    if not ranks.leads():
        return
    labels = np.array([image.label for image in survey.val])
    save_predictions(folder, scores, labels, survey.val, survey.classes)
    trace(config, folder)
    data = _data(config, survey) | {"train_s": round(train_s, 1), "test_s": round(test_s, 1)}
    _write_record(config, folder, errors(folder, scores, labels), data, git, started, train_s + test_s)


def _test(config: Config, folder: Path) -> None:
    """Networks trained before, on val or on the unlabelled test split."""
    started, git = _start()
    survey = surveyed(config)
    import numpy as np

    from spprepro.classify.ensemble import average
    from spprepro.classify.evaluate import errors, save_predictions, write_submission
    from spprepro.data.imagenet import class_ids, fingerprint, truth_of

    root, images, data = survey.root, survey.val, _data(config, survey)
    labels: Any = np.array([image.label for image in images])
    if config.data.split == "test":
        root, images = _unlabelled(config, survey.root)
        ids, truth = class_ids(survey.root, survey.classes), truth_of(root, survey.root, survey.classes, len(images))
        data |= {"split": "test", "fingerprint": fingerprint(images), "test": len(images)}
    models = {need: runfolder.path_of(ordered([need])[-1]) for need in needs(config)}
    scores, seconds = average(config, survey.classes, models, (root, images), folder)
    if not ranks.leads():
        return
    if config.data.split == "test":
        for test, values in scores.items():
            path = folder / (f"submission_{test}.txt" if len(scores) > 1 else "submission.txt")
            write_submission(path, values, ids)
            print(f"submission: {path}")
        labels = truth
    save_predictions(folder, scores, labels, images, survey.classes)
    metrics = {} if labels is None else errors(folder, scores, labels)
    _write_record(config, folder, metrics, data, git, started, seconds)


def _import(config: Config, folder: Path) -> None:
    """A network from elsewhere; nothing is measured, so its record is partial. A job of kind=test measures it."""
    started, git = _start()
    from spprepro.importing import import_job

    _write_record(config, folder, {}, import_job(config, folder), git, started, 0.0, "partial")


def _on_photos(config: Config, folder: Path) -> None:
    """A job about detectors, or on a trained network's features of other photos."""
    started, git = _start()
    if config.kind == "transfer":
        from spprepro.transferring import transfer_job as job
    else:
        from spprepro import detecting

        jobs = {"detect": detecting.detect_job, "combine": detecting.combine_job, "times": detecting.times_job}
        job = jobs[config.kind]
    metrics, data, seconds = job(config, folder)
    if ranks.leads():
        _write_record(config, folder, metrics, data, git, started, seconds)


def _layers(config: Config, folder: Path) -> None:
    """A network of Table 1 at full width, asked for its sizes, and compared with those that the paper prints."""
    started, git = _start()
    from spprepro import folders
    from spprepro.nets.measure import measured
    from spprepro.paper.tables import load

    metrics = {key: records.Metric(value, unit, 0) for key, (value, unit) in measured(config.backbone).items()}
    faults = []
    for cell in load(folders.experiments() / "table01.yaml").cells.values():
        wanted = cell.printed if cell.instead is None else cell.instead
        ours = metrics[str(cell.metric)].value if cell.job == config.name else wanted
        if wanted is not None and ours != wanted:
            faults.append(f"backbone={config.backbone.name}: {cell.metric} is {ours:g}, but Table 1 has {wanted:g}")
    if faults:
        raise ConfigError(faults)
    data = {"name": "none", "fingerprint": "", "train": 0, "test": 0}
    _write_record(config, folder, metrics, data, git, started, 0.0)


_KINDS = {
    "train": _train,
    "import": _import,
    "layers": _layers,
    "test": _test,
    "detect": _on_photos,
    "combine": _on_photos,
    "times": _on_photos,
    "transfer": _on_photos,
}


def _start() -> tuple[str, dict[str, Any]]:
    """When, and from which source; torch is loaded from here on."""
    started, git = datetime.now(UTC).isoformat(timespec="seconds"), records.git_state(Path(__file__).parent)
    from spprepro.training.cpu import forget_peak, keep_memory

    keep_memory()
    forget_peak()
    return started, git


def _data(config: Config, survey: Any) -> dict[str, Any]:
    return {
        "name": config.data.name if config.data.name in GENERATED else survey.root.name,
        "fingerprint": survey.fingerprint,
        "train": len(survey.train),
        "test": len(survey.val),
        "classes": len(survey.classes),
        "crops": config.data.crops,
        **({"cache": "jpeg, quality 95, 4:4:4"} if config.data.cache == "jpeg" else {}),
    }


def _write_record(
    config: Config,
    folder: Path,
    metrics: dict[str, records.Metric],
    data: dict[str, Any],
    git: dict[str, Any],
    started: str,
    wall_s: float,
    status: str = "ok",
) -> None:
    from spprepro.training.cpu import peak_bytes

    record = records.Record(
        schema=records.SCHEMA,
        status="smoke" if config.tier in records.MARKED else status,
        experiment=config.name,
        tier=config.tier,
        seed=config.seed,
        overrides=dict(text.removeprefix("++").partition("=")[::2] for text in given()),
        metrics=metrics,
        needs=needs(config),
        config_sha256=records.config_sha256(config.identity()),
        git=git,
        versions=records.versions(),
        data={**data, "peak_gib": round(peak_bytes() / 2**30, 2)},
        device=records.device(config.trainer.accelerator),
        precision=config.trainer.precision,
        deterministic=str(config.trainer.deterministic).lower(),
        wall_s=round(wall_s, 1),
        started=started,
        command=records.command(),
    )
    records.write(record, folder)
    from spprepro.report.board import show

    show(folder)


def surveyed(config: Config) -> Any:
    """The survey of the job's pictures; with several processes the first makes it, the others find it."""
    from spprepro.data.prepare import prepare
    from spprepro.terminal import bars

    with ranks.one_first(), bars() as tell:
        return prepare(config.data, tell)


def _unlabelled(config: Config, root: Path) -> tuple[Path, Any]:
    """The folder of unlabelled pictures and what it holds."""
    from spprepro.data.imagenet import survey_unlabelled
    from spprepro.folders import located

    folder = located(config.data.test) if config.data.test else root / "test"
    return folder, survey_unlabelled(folder, min_side=config.data.min_side, crop=config.data.crop)
