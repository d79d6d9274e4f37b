"""Seconds per training step under Lightning against a bare PyTorch loop of the same steps.

A callback runs one bare step after each step of Lightning, on a second copy of the network and the same batches. So a
change in the load of the machine meets both, and the time of a Lightning step is all that passes from the end of one
bare step to the start of the next: hooks, logging, progress bar and the way round Lightning's loop included.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from spprepro.bench.result import Measurement, Side, finish, now, synchronise, training_device
from spprepro.classify.module import Classifier
from spprepro.classify.monitor import Monitor
from spprepro.classify.train import ImageData, build_classifier
from spprepro.config import Config
from spprepro.data.imagenet import Survey
from spprepro.data.loader import Batch, whole
from spprepro.data.prepare import prepare
from spprepro.training.checkpoint import Snapshots
from spprepro.training.cpu import keep_memory, set_threads
from spprepro.training.lightning import fitting

ALLOWED = 1.05  # times the bare loop
BATCHES = 4  # decoded beforehand and served again and again
STEPS, ROUNDS = 10, 12  # ten steps a round: what Lightning does every tenth step only (logging) is in each


class BareSteps(pl.Callback):
    """Runs `step` after each of Lightning's steps; keeps the seconds of both, without the first `warm` steps."""

    def __init__(self, step: Callable[[], None], device: torch.device, warm: int) -> None:
        self.step, self.device, self.warm = step, device, warm
        self.lightning: list[float] = []
        self.bare: list[float] = []
        self.mark = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        synchronise(self.device)
        reached = perf_counter()
        self.step()
        synchronise(self.device)
        done = perf_counter()
        if batch_idx >= self.warm:
            self.lightning.append(reached - self.mark)
            self.bare.append(done - reached)
        self.mark = perf_counter()


def measure(config: Config) -> None:
    """Lightning's step and the bare one in turn; leaves the record."""
    started = now()
    keep_memory()
    set_threads(config.trainer.threads, spare=1)  # as in training, though no worker runs here
    steps, rounds, warm = (2, 2, 1) if config.tier == "smoke" else (STEPS, ROUNDS, STEPS // 2)
    print(f"preparing data={config.data.name} ...", file=sys.stderr)
    survey = prepare(config.data)
    batches = _decoded(config, survey)
    folder = Path(config.results_dir) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".train_loop-", dir=folder) as scratch:
        lightning, bare = _seconds(config, survey, batches, Path(scratch), warm=warm, timed=steps * rounds)
    settings = {
        "backbone": config.backbone.name,
        "width": config.width,
        "size": batches[0].size,
        "batch": config.training.batch,
        "precision": config.trainer.precision,
    }
    finish(
        Measurement(
            name="train_loop",
            ours=Side("Lightning with log, monitor, progress bar", _means(lightning, steps)),
            peer=Side("bare PyTorch loop", _means(bare, steps)),
            unit="ms/step",
            sign="<=",
            limit=ALLOWED,
            amount={"steps": steps * rounds},
            settings=settings,
            started=started,
        ),
        config,
    )


def _decoded(config: Config, survey: Survey) -> list[Batch]:
    """The first batches of the job's first epoch."""
    loader = ImageData(replace(config, data=replace(config.data, workers=0)), survey).train_dataloader()
    return list(islice(loader, BATCHES))


def _seconds(
    config: Config, survey: Survey, batches: list[Batch], scratch: Path, *, warm: int, timed: int
) -> tuple[list[float], list[float]]:
    """Seconds of each timed step: (under Lightning, bare)."""
    pl.seed_everything(config.seed, verbose=False)
    count = warm + timed
    loader = DataLoader([batches[i % len(batches)] for i in range(count)], batch_size=None, collate_fn=whole)  # type: ignore[arg-type,var-annotated]
    device = training_device(config)

    def fresh() -> Classifier:
        return build_classifier(config, len(survey.classes), survey.mean, survey.colour)

    step = bare_steps(fresh(), loader, config.trainer.precision, device)
    bare = BareSteps(step, device, warm)
    snapshots = Snapshots(scratch / "checkpoints", every=count + 1, identity={})  # saves after the last step only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Lightning has to say about loaders made for this measurement
        trainer = fitting(config.trainer, scratch, 1, [snapshots, Monitor(survey.classes), bare], None)
        trainer.fit(fresh(), train_dataloaders=loader)
    return bare.lightning, bare.bare


def bare_steps(
    module: Classifier, loader: Iterable[Batch], precision: Literal["fp32", "bf16"], device: torch.device
) -> Callable[[], None]:
    """A function that takes one step as one would write it without Lightning: same network, loss and optimiser."""
    module.to(device).train()
    optimizer = module.configure_optimizers()
    bf16 = precision == "bf16"
    data = iter(loader)

    def step() -> None:
        batch = next(data).to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(module.network(module.prepare(batch)).float(), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _means(seconds: list[float], steps: int) -> list[float]:
    """Milliseconds a step, averaged over each round."""
    return [1000 * sum(seconds[i : i + steps]) / steps for i in range(0, len(seconds), steps)]
