"""What a training leaves for the report's pictures, made from its event files and its predictions."""

from pathlib import Path

import numpy as np

from spprepro import traces
from spprepro.classify.evaluate import predictions
from spprepro.classify.sizes import size_of_epoch
from spprepro.config import Config
from spprepro.data.layouts import CLASSES
from spprepro.traces import MOST, Confusion, Epoch
from spprepro.training.lightning import scalars


def trace(config: Config, folder: Path) -> None:
    """Writes what is missing of curves.csv and confusion.csv, where their sources are in the job's folder."""
    if not (folder / traces.CURVES).exists() and any(folder.glob("events.out.tfevents.*")):
        traces.write_curves(folder, _epochs(config, folder))
    if not (folder / traces.CONFUSION).exists() and (folder / "predictions.npz").exists():
        traces.write_confusion(folder, _confusion(folder))


def _epochs(config: Config, folder: Path) -> list[Epoch]:
    """From all event files of a run."""
    logged = scalars(folder)
    names = ("train/loss", "train/lr", "train/error", "val/error", "epoch")
    losses, rates, errors, looks, epochs = (logged.get(name, {}) for name in names)
    found, first, t = [], 0, config.training
    for place, last in enumerate(sorted(errors.keys() & looks.keys())):  # a kill may have taken an epoch's end with it
        number = int(epochs.get(last, place))
        loss = [losses[step] for step in range(first, last + 1) if step in losses]
        size = size_of_epoch(t.mode, t.sizes, config.seed, number)
        mean = float(np.mean(loss)) if loss else None
        told = [step for step in rates if step <= last]  # at an epoch's start, so not where it was gone on with
        rate = rates[max(told)] if told else t.lr
        found.append(Epoch(number + 1, size, rate, mean, errors[last], looks[last]))
        first = last + 1
    return found


def _confusion(folder: Path) -> Confusion:
    """By the best score of the job's first test, the ten views; of more than MOST classes those most confused."""
    from torchvision.datasets import Imagenette

    with predictions(folder) as kept:
        test, *_ = (key for key in kept.files if key.startswith("scores__"))
        labels, best, classes = kept["labels"], kept[test].argmax(1), kept["classes"].tolist()
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, best), 1)
    wrong = counts - np.diag(np.diag(counts))
    pairs = np.stack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape), 1)
    shown = sorted(list(dict.fromkeys(pairs.ravel().tolist()))[:MOST])
    table = np.column_stack([counts[np.ix_(shown, shown)], counts[shown].sum(1) - counts[np.ix_(shown, shown)].sum(1)])
    words = {each.wnid: each.name for each in CLASSES}
    words |= {wnid: names[0] for wnid, names in getattr(Imagenette, "_WNID_TO_CLASS", {}).items()}
    return Confusion([words.get(classes[k], classes[k]) for k in shown], table.tolist(), len(classes))
