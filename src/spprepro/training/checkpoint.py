"""Checkpoints that are whole or not there, and a resume that is exact to the bit.

Lightning's own save goes through $TMPDIR and can leave a truncated file when that is another filesystem; its resume
restarts the random number generators.
"""

import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import CheckpointIO

from spprepro import ranks
from spprepro.errors import ConfigError, DataError, Interrupted
from spprepro.files import replacing, sha256, write_text

ASK = 5  # steps from one time that several processes ask one another about signals to the next
KEEP = 2  # the newest and the one before, for the day the newest is damaged


class AtomicCheckpointIO(CheckpointIO):
    """Temp file in the same folder, fsync, os.replace; sha256 beside it; loads tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replacing(Path(path)) as out:
            try:
                torch.save(checkpoint, out)
            except RuntimeError as error:  # of torch's writer; a full disk is what came before it
                if isinstance(error.__context__, OSError):
                    raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from error
                raise
            out.flush()
            write_text(sha256_file(Path(path)), sha256(Path(out.name)))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path), map_location=map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
        sha256_file(Path(path)).unlink(missing_ok=True)


def sha256_file(path: Path) -> Path:
    """Where the hash of a checkpoint is kept."""
    return path.with_name(path.name + ".sha256")


def read_checkpoint(path: Path, *, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values; code in it is refused and not run.

    Raises DataError for a file that cannot be read or that holds something else.
    """
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged pickle can raise anything
        loaded = error
    if not isinstance(loaded, dict):
        raise DataError(
            f"{path}: not a checkpoint of this program, but damaged, or with more than tensors and plain values "
            f"({type(loaded).__name__}); nothing in it was run: remove it"
        )
    return loaded


def newest(folder: Path) -> Path | None:
    """The newest checkpoint whose hash is right; a damaged one is named on stderr and passed over."""
    for path in sorted(folder.glob("*.ckpt"), reverse=True):
        kept = sha256_file(path)
        if kept.is_file() and kept.read_text() == sha256(path):
            return path
        print(f"{path}: damaged (its sha256 is not the one kept beside it); passed over", file=sys.stderr)
    return None


def refuse_other(path: Path, identity: Mapping[str, Any]) -> None:
    """Raises ConfigError naming each key in which the checkpoint's job differs from this one."""
    kept = read_checkpoint(path, mmap=True).get("identity")
    if not isinstance(kept, dict):
        raise DataError(f"{path}: not a checkpoint of this program's training; remove it")
    faults = [
        f"{key}: {identity.get(key)!r} now, {kept.get(key)!r} in the run to be resumed ({path}); set it back, give the "
        "new run another name=..., or start again with overwrite=true"
        for key in sorted(kept.keys() | identity.keys())
        if kept.get(key) != identity.get(key)
    ]
    if faults:
        raise ConfigError(faults)


class Snapshots(Checkpoint):
    """Saves at each epoch's end, every `every` steps and on SIGINT or SIGTERM; keeps the newest two.

    Holds the random number generators as they are after the saved step; they are put back at the first batch after a
    resume, when the loader's iterator exists and can no longer draw on them.
    """

    def __init__(self, folder: Path, *, every: int, identity: Mapping[str, Any]) -> None:
        self.folder, self.every, self.identity = folder, every, dict(identity)
        self.saved_rng: dict[str, Any] | None = None
        self.stop: int | None = None
        self.handlers: dict[int, Any] = {}
        self.started, self.before = time.monotonic(), 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.before + time.monotonic() - self.started

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity
        checkpoint["elapsed"] = self.elapsed
        checkpoint["rng"] = ranks.everyone({"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()})

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.saved_rng = checkpoint["rng"][ranks.rank()]
        self.before, self.started = checkpoint["elapsed"], time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number] = signal.signal(number, self._on_signal)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._restore_handlers()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.saved_rng is not None:
            torch.set_rng_state(self.saved_rng["cpu"])
            if self.saved_rng["cuda"]:
                torch.cuda.set_rng_state_all(self.saved_rng["cuda"])
            self.saved_rng = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            return  # a resume from here would not be exact; the end of the epoch is near
        stop = self._stopped(trainer.global_step)
        if stop or trainer.global_step % self.every == 0:
            self._save(trainer, "")
        self._leave(stop)

    def _stopped(self, step: int) -> int | None:
        """The signal that came; of several processes all must save after the same step, so they ask one another."""
        if ranks.world() == 1:
            return self.stop
        return max(filter(None, ranks.everyone(self.stop)), default=None) if step % ASK == 0 else None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._save(trainer, ".end")
        self._leave(self._stopped(0))

    def _leave(self, stop: int | None) -> None:
        if stop:
            raise Interrupted(signal.Signals(stop).name)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.stop = number

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def _save(self, trainer: pl.Trainer, mark: str) -> None:
        path = self.folder / f"step-{trainer.global_step:08d}{mark}.ckpt"  # ".ckpt" sorts before ".end.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("*.ckpt"))[:-KEEP]:
                AtomicCheckpointIO().remove_checkpoint(old)
