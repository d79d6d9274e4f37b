"""Lightning as all jobs use it: a trainer that logs to TensorBoard in the run folder, without tips; what it logged."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from spprepro import ranks
from spprepro.config import Trainer
from spprepro.training.checkpoint import AtomicCheckpointIO


def fitting(
    t: Trainer,
    folder: Path,
    epochs: int,
    callbacks: Sequence[pl.Callback],
    resume_step: int | None,
    *,
    steps: int = 100,
    **more: Any,
) -> pl.Trainer:
    """A trainer for `epochs` epochs; resume_step: of the checkpoint it goes on from, None for a new run; steps: of the
    whole run, of which a tenth is logged, and all of a short one."""
    quiet()
    return pl.Trainer(
        **_common(t),
        max_epochs=epochs,
        logger=TensorBoardLogger(folder, name="", version="", purge_step=resume_step),
        callbacks=[*callbacks, RichProgressBar(refresh_rate=5)],
        plugins=[_environment(), AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=max(1, min(10, steps // 10)),
        **more,
    )


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What the event files of a run hold, interrupted or not: name -> step -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1}).Reload()
    return {name: {each.step: each.value for each in events.Scalars(name)} for name in events.Tags()["scalars"]}


def testing(t: Trainer) -> pl.Trainer:
    """A trainer that runs a test loop and leaves nothing."""
    quiet()
    return pl.Trainer(
        **_common(t),
        plugins=[_environment()],
        logger=False,
        enable_checkpointing=False,
        callbacks=[RichProgressBar(refresh_rate=5)],
    )


def _environment() -> ClusterEnvironment:
    """Named, as Lightning would take any process in a Slurm job for one that Slurm started as one of several."""
    return TorchElasticEnvironment() if ranks.world() > 1 else LightningEnvironment()


def _common(t: Trainer) -> dict[str, Any]:
    return {
        "strategy": "ddp" if ranks.world() > 1 else "auto",
        "accelerator": t.accelerator,
        "devices": t.devices,
        "num_nodes": t.num_nodes,
        "precision": "bf16-mixed" if t.precision == "bf16" else "32-true",
        "use_distributed_sampler": False,  # it would count some test images twice; the loaders are sharded here
        "enable_model_summary": False,
        "deterministic": t.deterministic,
    }


def quiet() -> None:
    """Silence Lightning's tips, and its warnings about what this project does otherwise on purpose."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for message in (
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 with torch 2.14
        "The '.*_dataloader' does not have many workers",  # the worker count is the user's
        ".*is smaller than the logging interval",  # small sets have few steps
        "The `srun` command is available on your system",  # processes are ours to start
        "Experiment logs directory .* exists and is not empty",  # that is what resuming looks like
        "Total length of `DataLoader` across ranks is zero",  # all parts of a test were there
        "You are using a custom batch sampler .* for prediction",  # ours drop nothing
        "predict returned None",  # features go to disk
        "You're resuming from a checkpoint that ended before the epoch ended",  # our loader is stateful
    ):
        warnings.filterwarnings("ignore", message=message)
