"""What a run of tier=dry says at its end: what was cut of tier=paper, and what each job did with the rest."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spprepro import records
from spprepro.composing import needs, ordered
from spprepro.config import Config
from spprepro.files import write_text
from spprepro.identity import flatten
from spprepro.plan import parameters_of
from spprepro.runfolder import path_of

NAME = "dry_run.txt"
HEADS = ("job", "parameters", "classes", "batch", "pixels", "steps", "loss", "seconds", "GiB")
NOTE = """\
parameters: of all networks that the job runs. batch: images of a training, windows of a detector's fine-tuning; paper's
-> here. pixels: input sizes in the order they came, or scales. loss: of the first -> of the last step. GiB: the most
memory that the process held."""
_OWN = ("tier", "task", "results_dir", "overwrite", "tables", "seed")  # of the command


def cut(paper: Config, dry: Config) -> dict[str, tuple[Any, Any]]:
    """The settings in which a job at tier=dry differs from itself at tier=paper: key -> (paper's, here)."""
    before, now = flatten(asdict(paper)), flatten(asdict(dry))
    keys = [key for key in before | now if key not in _OWN and before.get(key) != now.get(key)]
    return {key: (before.get(key), now.get(key)) for key in keys}


def write(jobs: Sequence[Config]) -> Path:
    """Writes dry_run.txt into the folder of the tier: what was cut, and a line a finished job of `jobs`; its path."""
    names = [job.name for job in jobs]
    papers = {job.name: job for job in ordered(names, overrides=["tier=paper", "task=plan"])}
    changes: dict[str, dict[str, None]] = {}
    for job in jobs:
        for key, (before, now) in cut(papers[job.name], job).items():
            changes.setdefault(key, {})[f"{before} -> {now}"] = None
    by_name = {job.name: job for job in jobs}
    rows = [_row(job, papers[job.name], by_name) for job in jobs if (path_of(job) / records.NAME).exists()]
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    width = max(map(len, changes))
    minutes, trainer = sum(float(row[-2]) for row in rows) / 60, jobs[0].trainer
    lines = [
        f"tier=dry: tier=paper but for {len(changes)} settings, each paper's -> here (0 images: all of the set):",
        *(f"  {key:<{width}}  {', '.join(values)}" for key, values in changes.items()),
        "",
        *("  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in (HEADS, *rows)),
        "",
        f"{len(rows)} of {len(jobs)} jobs done in {minutes:.0f} minutes on {records.device(trainer.accelerator)}, "
        f"{trainer.precision}.",
        NOTE,
    ]
    path = path_of(jobs[0]).parents[1] / NAME
    write_text(path, "\n".join(lines) + "\n")
    return path


def lighten(jobs: Sequence[Config]) -> None:
    """Delete the weights that no job without a record needs, and older checkpoints: all together take 40 GB."""
    from spprepro.training.checkpoint import AtomicCheckpointIO

    done = {job.name: (path_of(job) / records.NAME).exists() for job in jobs}
    wanted = {need for job in jobs if not done[job.name] for need in needs(job)}
    for job in jobs:
        if done[job.name]:
            checkpoints = path_of(job) / "checkpoints"
            shutil.rmtree(checkpoints / "finetune", ignore_errors=True)
            for path in sorted(checkpoints.glob("*.ckpt"))[: -1 if job.name in wanted else None]:
                AtomicCheckpointIO().remove_checkpoint(path)


def _row(job: Config, paper: Config, jobs: dict[str, Config]) -> tuple[str, ...]:
    """The texts of a finished job under HEADS."""
    record = records.read(path_of(job) / records.NAME)
    batches = [each.detection.batch if job.detects else each.training.batch for each in (paper, job)]
    losses, sizes = _logged(path_of(job), job)
    return (
        job.name,
        f"{_parameters(job, jobs) / 1e6:.1f} M",
        str(record.data.get("classes", "")),
        " -> ".join(map(str, dict.fromkeys(batches))) if losses else "",
        " ".join(map(str, sizes)),
        str(len(losses) or ""),
        f"{losses[0]:.3f} -> {losses[-1]:.3f}" if losses else "",
        f"{record.wall_s:.1f}",
        f"{record.data['peak_gib']:.1f}",
    )


def _parameters(job: Config, jobs: dict[str, Config]) -> int:
    """Of the job's network, with its 1000 outputs or a detector's 21; of several, where it tests or times them."""
    if job.kind in ("test", "times", "combine"):
        return sum(_parameters(jobs[name], jobs) for name in needs(job))
    return parameters_of(job, 21 if job.kind == "detect" else 1000)


def _logged(folder: Path, job: Config) -> tuple[list[float], list[int]]:
    """The loss of each step, and the input sizes in pixels."""
    from spprepro.training.lightning import scalars

    if job.kind == "train":
        logged = scalars(folder)
        return list(logged["train/loss"].values()), [round(size) for size in logged["train/size"].values()]
    if job.kind == "detect":
        rcnn = job.detection.method == "rcnn"
        losses = list(scalars(folder)["finetune/loss"].values())
        return losses, [job.backbone.crop] if rcnn else job.detection.scales
    if job.kind == "transfer":
        return [], job.transfer.sides
    if job.kind == "test":
        return [], job.views.scales if job.multiscale else [job.data.crop]
    return [], job.detection.scales if job.detects else []
