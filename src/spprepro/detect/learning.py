"""From a pre-trained network and a training split to a detector: fine-tuning, SVMs, box regression (section 4)."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from spprepro import ranks
from spprepro.config import Config
from spprepro.detect.boxes import fit_box_regressor
from spprepro.detect.detector import BB, Detector, Regressors, regressed, save
from spprepro.detect.draws import draw, pools
from spprepro.detect.finetune import Blocks, crop_fill, finetune, spp_fill
from spprepro.detect.mining import LayerSvms, Miner, feature_scale, negatives
from spprepro.detect.rcnn import RcnnFeatures, warp
from spprepro.detect.sources import POSITIVE, Source, overlaps, state
from spprepro.detect.store import RcnnStore, SppStore

SAMPLE = 200  # images, and windows of each, from which the mean norm of a layer is taken
EVERY = 500  # mini-batches from one checkpoint of the fine-tuning to the next


def learn(config: Config, features: Any, source: Source, folder: Path, identity: Mapping[str, Any]) -> Detector | None:
    """The detector that `features` (SppFeatures or RcnnFeatures) makes of `source`, kept in `folder`; None for a
    process that does not lead, as soon as it is there.

    Goes on where an earlier run of the same job stopped; `identity` must be the same then.
    """
    spp, rows = config.detection.method == "spp", config.detection.rows
    device = torch.device("cuda" if config.trainer.accelerator == "gpu" else "cpu")
    regress = regressed(config.detection.method)
    layers: list[str] = [row for row in rows if row != BB]
    asked = layers + ([regress] if BB in rows and regress not in layers else [])
    work = folder / "learning" / state(source)
    kept = work if config.detection.keep_maps else None
    maps = SppStore(features, source, kept / "maps" if kept else None)
    features.to(device)
    if features.tuned is not None:
        _finetune(config, features, maps, source, folder, identity)
    store = maps if spp else RcnnStore(features, source, kept / "features" if kept else None, asked)
    features.to(device).eval()  # Lightning leaves what it trained on the CPU
    if not ranks.leads():  # SVMs are learned from one stream of images
        ranks.barrier()
        return None
    with inference(config):
        svms, regressors = _learn_layers(config, store, source, work, layers, regress if BB in rows else None)
    detector = Detector(features, config.protocol, list(source.split.classes), svms, regressors, regress)
    save(detector, folder)
    shutil.rmtree(work.parent, ignore_errors=True)
    ranks.barrier()
    return detector


@contextmanager
def inference(config: Config) -> Iterator[None]:
    """No gradients, and the job's precision."""
    device, low = "cuda" if config.trainer.accelerator == "gpu" else "cpu", config.trainer.precision == "bf16"
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=low):
        yield


def _finetune(
    config: Config, features: Any, maps: SppStore, source: Source, folder: Path, identity: Mapping[str, Any]
) -> None:
    """Train the fc layers on pooled features (SPP-net), or the whole network on warped windows (R-CNN)."""
    d, protocol = config.detection, config.protocol
    schedule, rcnn = protocol.finetune[d.method], isinstance(features, RcnnFeatures)
    if rcnn:
        fill = crop_fill(maps, lambda picture, boxes: warp(picture, boxes, features.size))
        item = 3 * features.size**2
    else:
        inner = spp_fill(maps, seed=config.seed, random_scale=protocol.finetune_scale == "random")

        def fill(drawn: Any) -> torch.Tensor:
            with inference(config):
                return inner(drawn).clone()

        item = 2 * features.inputs
    found = pools(source)
    if config.backbone.torchvision:  # its fc layers are new
        with inference(config):
            few = fill(draw(found, seed=config.seed, block=0, steps=1, batch=d.batch, flips=False))
            network = features.tuned
            (network.head if rcnn else network).adapt(network.features(few) if rcnn else few)
    blocks = Blocks(found, fill, item, sum(schedule.steps), d.batch, seed=config.seed, flips=protocol.flips)
    files = [source.split.path(number) for number in range(len(source))]
    finetune(
        features.tuned,
        blocks,
        schedule,
        config.trainer,
        folder,
        seed=config.seed,
        identity=identity,
        every=EVERY,
        files=files,
    )


def _learn_layers(
    config: Config, store: Any, source: Source, work: Path, layers: list[str], regress: str | None
) -> tuple[dict[str, LayerSvms], Regressors | None]:
    """The SVMs of each layer, and the box regressors on layer `regress` (None: none)."""
    survey = _survey(config, store, source, work, [*layers, *([regress] if regress and regress not in layers else [])],
                     regress)  # fmt: skip
    classes, threads = len(source.split.classes), config.trainer.threads or torch.get_num_threads()
    labels = np.concatenate([image.labels for image in source.split.images])
    miners = {
        layer: Miner(survey.positives[layer], labels, classes, feature_scale(survey.norms[layer]), threads)
        for layer in layers
    }
    for number in _passing(range(len(source)), "mining hard negatives"):
        eligible = negatives(overlaps(source, number).by_class, at_limit=config.protocol.at_limit)
        boxes = source.training_windows(number)
        described = store.describe(number, np.arange(len(boxes)), layers)
        for layer, miner in miners.items():
            values = described.layers[layer].cpu().numpy()
            miner.see(values, described.inverse, described.kinds, boxes, eligible, config.protocol.negatives)
    svms = {layer: miner.finish() for layer, miner in miners.items()}
    if regress is None:
        return svms, None
    return svms, _regressors(source, survey, feature_scale(survey.norms[regress]), config.protocol.ridge)


class _Survey:
    """What one pass over the training images collects.

    positives: layer -> (objects, D); norms: layer -> norms of a sample of windows; pairs: (image, row, object) of the
    windows that box regression learns from; features: their (pairs, D) in fp16, on disk.
    """

    def __init__(self) -> None:
        self.positives: dict[str, NDArray[np.float32]] = {}
        self.norms: dict[str, list[float]] = {}
        self.pairs: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self.features: Any = None


def _survey(config: Config, store: Any, source: Source, work: Path, layers: list[str], regress: str | None) -> _Survey:
    rng = np.random.default_rng(config.seed)
    sampled = set(rng.permutation(len(source))[:SAMPLE].tolist())
    found = _Survey()
    parts: dict[str, list[NDArray[np.float32]]] = {layer: [] for layer in layers}
    found.norms = {layer: [] for layer in layers}
    beside = [overlaps(source, number) for number in range(len(source))]
    pairs = [np.flatnonzero(each.best > POSITIVE) if regress else np.empty(0, np.int64) for each in beside]
    at = 0
    for number in _passing(range(len(source)), "features of objects"):
        objects = np.arange(len(source.split.images[number].labels))
        count = len(beside[number].best)
        sample = rng.permutation(count)[:SAMPLE] if number in sampled else np.empty(0, np.int64)
        rows = np.unique(np.concatenate([objects, pairs[number], sample]))
        if not len(rows):
            continue
        described = store.describe(number, rows, layers)
        for layer in layers:
            values = described.layers[layer].cpu().numpy()[described.inverse]
            parts[layer].append(values[np.searchsorted(rows, objects)])
            found.norms[layer] += np.linalg.norm(values[np.searchsorted(rows, sample)], axis=1).tolist()
            if layer == regress and len(pairs[number]):
                if found.features is None:
                    work.mkdir(parents=True, exist_ok=True)
                    shape = (sum(map(len, pairs)), values.shape[1])
                    found.features = np.lib.format.open_memmap(work / "pairs.npy", "w+", np.float16, shape)
                found.features[at : at + len(pairs[number])] = values[np.searchsorted(rows, pairs[number])]
                at += len(pairs[number])
    found.positives = {layer: np.concatenate(each) for layer, each in parts.items()}
    found.pairs = np.concatenate(
        [
            np.stack([np.full(len(rows), number), rows, beside[number].object[rows]], 1)
            for number, rows in enumerate(pairs)
        ]
    )
    return found


def _regressors(source: Source, survey: _Survey, scale: float, ridge: float) -> Regressors:
    """One box regressor a class, of the windows whose best object is of it."""
    images = source.split.images
    numbers, rows, which = survey.pairs.T
    owners, boxes, truth = np.empty(len(rows), np.int64), np.empty((len(rows), 4)), np.empty((len(rows), 4))
    for number in np.unique(numbers):
        own = numbers == number
        owners[own], truth[own] = images[number].labels[which[own]], images[number].boxes[which[own]]
        boxes[own] = source.training_windows(number)[rows[own]]
    each = []
    for label in _passing(range(len(source.split.classes)), "box regression"):
        own = np.flatnonzero(owners == label)
        values = np.asarray(survey.features[own], np.float32) * np.float32(scale)
        each.append(fit_box_regressor(values, boxes[own], truth[own], ridge))
    return Regressors(each, scale)


def _passing(items: range, what: str) -> Iterable[int]:
    """With a bar on the terminal."""
    return track(items, what, console=Console(stderr=True))
