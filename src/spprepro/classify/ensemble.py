"""Test trained networks: one by other views (Table 4), or several with their softmax scores averaged (Table 5)."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from spprepro import ranks
from spprepro.classify.module import Classifier
from spprepro.classify.score import score_images
from spprepro.classify.train import build_classifier, viewing_of
from spprepro.config import WHOLE, Config, Test, config_of
from spprepro.data.imagenet import Image
from spprepro.errors import DataError
from spprepro.files import read_arrays, replacing
from spprepro.training.checkpoint import newest, read_checkpoint, sha256_file


@dataclass(frozen=True)
class Trained:
    """A network as its training left it, the configuration of that job, and the hash of the checkpoint."""

    config: Config
    module: Classifier
    sha256: str

    @property
    def classes(self) -> int:
        return len(list(self.module.network.parameters())[-1])


def trained(folder: Path) -> Trained:
    """The network that a finished training left in its run folder.

    Raises DataError where there is no checkpoint, or one whose layers are not those of the configuration beside it.
    """
    config = config_of(folder)
    path = newest(folder / "checkpoints")
    if path is None:
        raise DataError(
            f"{folder}/checkpoints: no checkpoint (weights do not travel with records); train it again with "
            f"experiment={config.name} seed={config.seed} overwrite=true"
        )
    state = read_checkpoint(path)["state_dict"]
    last = [value for name, value in state.items() if name.endswith("weight")][-1]
    module = build_classifier(config, len(last), state["mean"].numpy(), state["colour"].numpy())
    own = module.state_dict()
    title = f"{config.backbone.name} x {config.width:g}, pyramid {config.pyramid.levels}"
    faults = [
        f"{path}: {name} is {_shape(state, name)}, but the network of config.yaml beside it ({title}) has "
        f"{_shape(own, name)}; it is a checkpoint of another architecture: put the right one there, or train it again"
        for name in sorted(own.keys() | state.keys())
        if _shape(own, name) != _shape(state, name)
    ]
    if faults:
        raise DataError(faults)
    module.load_state_dict(state)
    return Trained(config, module.eval(), sha256_file(path).read_text())


def _shape(state: dict[str, torch.Tensor], name: str) -> str:
    return "x".join(map(str, state[name].shape)) or "a number" if name in state else "absent"


def average(
    config: Config, classes: list[str], models: dict[str, Path], pictures: tuple[Path, list[Image]], folder: Path
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """(test -> (n, classes) scores averaged over config.models, seconds); `models`: job -> its run folder;
    `pictures`: a folder and the images in it.

    Every network is loaded and compared with the data before the first is tested. What is scored is kept in `folder`
    until all are, so that an interrupted job goes on with the next network.
    """
    loaded = {job: trained(where) for job, where in models.items()}
    faults = [
        f"models: {job} in {models[job]} tells {its.classes} classes apart, but the data has "
        f"{len(classes)} ({', '.join(classes[:3])}, ...); test it on data with the classes that it was trained on"
        for job, its in loaded.items()
        if its.classes != len(classes)
    ]
    faults += [
        f"models: {entry} has no SPP, so it takes no full image; choose other views"
        for entry in config.models
        if not loaded[entry.partition(":")[0]].config.pyramid.levels
        and not set(WHOLE).isdisjoint([entry.partition(":")[2]] if ":" in entry else config.views.tests)
    ]
    if faults:
        raise DataError(faults)
    sums: dict[str, NDArray[np.float32]] = {}
    seconds = 0.0
    for entry in config.models:
        job, _, test = entry.partition(":")
        its = loaded[job]
        views = replace(config.views, tests=[cast(Test, test)] if test else config.views.tests)
        its.module.viewing = viewing_of(replace(its.config, views=views))
        path = folder / "scores" / f"{job}-{test or 'as_asked'}-{its.sha256[:16]}.npz"
        scores, took = _kept_scores(path, config, its.module, pictures)
        seconds += took
        for name in config.views.tests:
            share = scores[test or name] / np.float32(len(config.models))
            sums[name] = sums[name] + share if name in sums else share
    if ranks.leads():
        shutil.rmtree(folder / "scores")
    return sums, seconds


def _kept_scores(
    path: Path, config: Config, module: Classifier, pictures: tuple[Path, list[Image]]
) -> tuple[dict[str, NDArray[np.float32]], float]:
    if path.is_file():
        scores = read_arrays(path)
        return scores, float(scores.pop("seconds"))
    scores, seconds = score_images(config, module, *pictures)
    if ranks.leads():
        with replacing(path) as out:
            np.savez(out, seconds=seconds, **scores)  # type: ignore[arg-type]
    return scores, seconds
