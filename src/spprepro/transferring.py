"""Jobs of transfer: VOC2007 or Caltech-101 classified by SVMs on the frozen features of a trained network."""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spprepro import outcomes, ranks, records
from spprepro.config import Config
from spprepro.data.caltech101 import Categories, draw_split, read_categories
from spprepro.data.imagenet import Image
from spprepro.data.prepare import prepare_caltech, prepare_voc
from spprepro.data.voc import Split, fingerprint, read_labels, read_split
from spprepro.detection import Voc
from spprepro.errors import DataError
from spprepro.files import replacing
from spprepro.kept import Kept
from spprepro.pretrained import pretrained, weights_sha256
from spprepro.records import Outcome
from spprepro.terminal import bars
from spprepro.training.gram_svm import inner_products, train_gram_svms
from spprepro.training.svm import Objective
from spprepro.transfer.evaluate import evaluate_caltech, evaluate_voc
from spprepro.transfer.extraction import extract
from spprepro.transfer.layers import Layers
from spprepro.transfer.learning import Halves, choose_on_val, predict
from spprepro.transfer.store import Store
from spprepro.transfers import Caltech

FEATURES = "features"  # in the job's folder, while it runs


def transfer_job(config: Config, folder: Path) -> Outcome:
    """Extract the features of all images once, learn each layer's SVMs on them, test these."""
    started = time.monotonic()
    learn = _caltech if config.transfer.set == "caltech101" else _voc
    metrics, data, scores = learn(config, _layers(config), folder)
    ranks.barrier()  # all have read the features
    if ranks.leads():
        with replacing(folder / "predictions.npz") as out:
            np.savez_compressed(out, **scores)
        shutil.rmtree(folder / FEATURES)
    data |= {
        "view": config.transfer.view,
        "features": config.transfer.precision,
        "weights": weights_sha256(config) or config.backbone.weights or "",
    }
    return metrics, data, time.monotonic() - started


def extract_part(config: Config, folder: Path) -> None:
    """The features of this shard's images, kept where the job itself looks for them.

    Not those of VOC's test where there are several sides: the one that it has is chosen by trainval's features.
    """
    layers, sides = _layers(config), config.transfer.sides
    if config.transfer.set == "caltech101":
        _caltech_features(config, layers, _categories(config), folder)
        return
    known, trainval, test = _parts(config)
    for part in [trainval, test] if len(sides) == 1 else [trainval]:
        for side in sides:
            _voc_features(config, layers, folder, known, part, side)


def unreadable(config: Config) -> list[str]:
    """What is wrong with the folder that the job names; it is read before the network that the job needs is trained."""
    t = config.transfer
    if t.set == "voc07":
        return [] if config.voc.root is None else _faults_of_voc(config.voc)
    return [] if config.caltech.root is None else _faults_of_caltech(config.caltech, t.train)


class _Voc(NamedTuple):
    """A split and its classification labels."""

    split: Split
    labels: NDArray[np.int8]

    @property
    def images(self) -> list[Image]:
        root, path = self.split.root, self.split.path
        return [
            Image(path(number).relative_to(root).as_posix(), -1, "", each.height, each.width)
            for number, each in enumerate(self.split.images)
        ]


def _voc(config: Config, layers: Layers, folder: Path) -> tuple[dict[str, records.Metric], dict[str, Any], Any]:
    """Learn trainval, test test; the side of the images, and C, are chosen on val where there are several."""
    t, threads = config.transfer, config.trainer.threads or torch.get_num_threads()
    known, trainval, test = _parts(config)
    halves = _halves(trainval.split) if len(t.sides) > 1 or len(t.c) > 1 else Halves(np.arange(0), np.arange(0))
    started = time.monotonic()

    features = partial(_voc_features, config, layers, folder, known)
    stores = {side: features(trainval, side) for side in t.sides}
    on_val: dict[int, float] = {}
    side = t.sides[0]
    if len(t.sides) > 1:
        for each, store in stores.items():
            last = store.layer(t.layers[-1])
            _, on_val[each] = choose_on_val(inner_products(last, last), trainval.labels, halves, t.c, threads)
        side = max(on_val, key=lambda each: on_val[each])
    seen, unseen = stores[side], features(test, side)
    extracted = time.monotonic()

    def learn(layer: str) -> dict[str, NDArray[Any]]:
        learnt = seen.layer(layer)
        products = inner_products(learnt, learnt)
        c = t.c[0] if len(t.c) == 1 else choose_on_val(products, trainval.labels, halves, t.c, threads)[0]
        svms = train_gram_svms(products, trainval.labels, Objective(c=c), threads=threads)
        return {"scores": svms.scores(inner_products(unseen.layer(layer), learnt)), "c": np.array(c)}

    kept = Kept(folder / FEATURES / f"test_{side}")
    found = _each_layer(t.layers, lambda layer: kept.get(f"{layer}_scores", partial(learn, layer)))
    scores = {layer: each["scores"] for layer, each in found.items()}
    metrics, replicates = evaluate_voc(scores, test.labels, test.split.classes)
    outcomes.write(folder, {}, replicates)
    data = {
        "name": "mini" if config.voc.root is None else "voc07",
        "fingerprint": known["test"],
        "train": len(trainval.labels),
        "test": len(test.labels),
        "classes": len(test.split.classes),
        "train_fingerprint": known["trainval"],
        "side": side,
        "map_on_val": {str(each): round(100 * value, 2) for each, value in on_val.items()},
        "c": {layer: float(each["c"]) for layer, each in found.items()},
        "extract_s": round(extracted - started, 1),
        "svm_s": round(time.monotonic() - extracted, 1),
    }
    return metrics, data, scores


def _caltech(config: Config, layers: Layers, folder: Path) -> tuple[dict[str, records.Metric], dict[str, Any], Any]:
    """Learn and test every split; all of them, and all layers, share one extraction."""
    t, threads = config.transfer, config.trainer.threads or torch.get_num_threads()
    found = _categories(config)
    labels = found.labels()
    draw = partial(draw_split, labels, seed=config.caltech.seed, train=t.train, test=t.test)
    splits = [draw(number) for number in range(t.splits)]
    (side,) = t.sides
    started = time.monotonic()
    store, kept = _caltech_features(config, layers, found, folder), Kept(folder / FEATURES / f"all_{side}")
    extracted = time.monotonic()

    def learn(layer: str) -> dict[str, NDArray[Any]]:
        products = inner_products(store.layer(layer), store.layer(layer))
        results = [predict(products, labels, split, t.c, threads) for split in splits]
        right = np.zeros((len(splits), len(labels)), bool)
        for own, split, (classes, _) in zip(right, splits, results, strict=True):
            own[split.test] = classes == labels[split.test]
        return {"right": right, "c": np.array([c for _, c in results])}

    layer_results = _each_layer(t.layers, lambda layer: kept.get(f"{layer}_right", partial(learn, layer)))
    tested = np.zeros((len(splits), len(labels)), bool)
    for own, split in zip(tested, splits, strict=True):
        own[split.test] = True
    ever = tested.any(0)
    right = {layer: each["right"][:, ever] for layer, each in layer_results.items()}
    metrics, replicates = evaluate_caltech(right, tested[:, ever], labels[ever])
    outcomes.write(folder, {}, replicates)
    drawn = f"{found.fingerprint()} {config.caltech.seed} {t.splits} {t.train} {t.test}"
    data = {
        "name": "mini" if config.caltech.root is None else "caltech101",
        "fingerprint": hashlib.sha256(drawn.encode()).hexdigest(),
        "train": len(splits[0].train),
        "test": int(ever.sum()),
        "classes": len(found.classes),
        "test_of_a_split": len(splits[0].test),
        "side": side,
        "c": {layer: t.c[0] if len(t.c) == 1 else each["c"].tolist() for layer, each in layer_results.items()},
        "extract_s": round(extracted - started, 1),
        "svm_s": round(time.monotonic() - extracted, 1),
    }
    return metrics, data, {**right, "tested": tested[:, ever], "label": labels[ever]}


def _layers(config: Config) -> Layers:
    trunk, network = pretrained(config)
    return Layers(trunk, network, config.pyramid.levels, config.transfer.layers).eval()


def _parts(config: Config) -> tuple[dict[str, str], _Voc, _Voc]:
    """The fingerprints of trainval and test, and both."""
    root = prepare_voc(config.voc)
    trainval, test = (_read_voc(root, name, config.voc.images) for name in ("trainval", "test"))
    return {part.split.name: fingerprint(part.split) for part in (trainval, test)}, trainval, test


def _voc_features(
    config: Config, layers: Layers, folder: Path, known: Mapping[str, str], part: _Voc, side: int
) -> Store:
    where = folder / FEATURES / f"{part.split.name}_{side}"
    return extract(config, layers, part.split.root, part.images, side, where, known)


def _categories(config: Config) -> Categories:
    with bars() as tell:
        return read_categories(prepare_caltech(config.caltech, tell), config.transfer.train)


def _caltech_features(config: Config, layers: Layers, found: Categories, folder: Path) -> Store:
    (side,) = config.transfer.sides
    known, where = {"images": found.fingerprint()}, folder / FEATURES / f"all_{side}"
    return extract(config, layers, found.root, found.images, side, where, known)


def _each_layer(layers: Sequence[str], learn: Any) -> Mapping[str, Mapping[str, NDArray[Any]]]:
    """What `learn` gives for each layer, with a bar on the terminal."""
    found = {}
    with bars() as tell:
        for number, layer in enumerate(layers):
            tell("learning on each layer", number, len(layers))
            found[layer] = learn(layer)
        tell("learning on each layer", len(layers), len(layers))
    return found


def _read_voc(root: Path, name: str, images: int) -> _Voc:
    """A split with its labels, no longer than `images` (0: all)."""
    split = read_split(root, name)
    labels = read_labels(split)
    return _Voc(replace(split, images=split.images[:images]), labels[:images]) if images else _Voc(split, labels)


def _halves(trainval: Split) -> Halves:
    """Which images of trainval are of VOC's train, and which of its val."""
    ids = [image.id for image in trainval.images]
    parts = []
    for name in ("train", "val"):
        own = {image.id for image in read_split(trainval.root, name).images}
        parts.append(np.flatnonzero([each in own for each in ids]))
        if not len(parts[-1]):
            raise DataError(
                f"{trainval.root}: no image of {name} is among the {len(ids)} of trainval; raise voc.images"
            )
    return Halves(*parts)


@cache
def _faults_of_voc(voc: Voc) -> list[str]:
    try:
        root = prepare_voc(voc)
    except DataError as error:
        return error.faults
    faults: list[str] = []
    for name in ("trainval", "test"):
        try:
            _read_voc(root, name, voc.images)
        except DataError as error:
            faults += error.faults
    return faults


@cache
def _faults_of_caltech(caltech: Caltech, train: int) -> list[str]:
    try:
        read_categories(prepare_caltech(caltech), train)
    except DataError as error:
        return error.faults
    return []
