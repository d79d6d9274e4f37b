"""Jobs about detectors: make one of a trained network, combine several, measure times; and look at one picture."""

import copy
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from spprepro import folders, outcomes, ranks, records, runfolder
from spprepro.composing import needs, ordered
from spprepro.config import Config, check, config_of
from spprepro.data.decode import decode
from spprepro.data.prepare import prepare_voc
from spprepro.data.voc import CLASSES, Split, fingerprint, read_split
from spprepro.detect import detector as detectors
from spprepro.detect import export, times
from spprepro.detect.detector import Detector
from spprepro.detect.drawing import draw
from spprepro.detect.evaluate import evaluate, reevaluate
from spprepro.detect.features import SppFeatures
from spprepro.detect.learning import inference, learn
from spprepro.detect.monitor import ABOVE, show
from spprepro.detect.proposal_files import read_mat
from spprepro.detect.proposals import propose
from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.sources import Source, usable
from spprepro.detect.testing import test
from spprepro.detect.traced import trace
from spprepro.detect.trunk import Head
from spprepro.detection import EdgeBoxes, MatFiles, SelectiveSearch
from spprepro.errors import ConfigError, DataError
from spprepro.files import replacing, write_text
from spprepro.nets.geometry import head_inputs
from spprepro.nets.network import Network
from spprepro.nets.pixels import Trunk, trunk_of, trunk_of_torchvision
from spprepro.nets.trunks import Backbone
from spprepro.pretrained import pretrained, read_voc, weights_sha256
from spprepro.records import Outcome
from spprepro.terminal import bars
from spprepro.training.checkpoint import newest, read_checkpoint
from spprepro.training.cpu import set_threads

RCNN_AT_MOST = 500  # windows of R-CNN's growth at the quick tiers, where it would take most of the job
SMOKE_WINDOWS = 60


def detect_job(config: Config, folder: Path) -> Outcome:
    """Learn a detector on trainval, test it on test."""
    started = time.monotonic()
    there = (folder / "checkpoints" / detectors.NAME).is_file()
    start = None if there else pretrained(config)  # before hours of other work, as it may be refused
    splits = {name: read_voc(config, name) for name in ("trainval", "test")}
    source, without = usable(source_of(config, splits["trainval"]), config.voc.unusable)
    if start is None:
        found = load(config, folder)
    else:
        identity = {
            **config.identity(),
            "trainer.devices x trainer.num_nodes": config.trainer.devices * config.trainer.num_nodes,
            "data fingerprint": fingerprint(source.split),
            "weights": weights_sha256(config),
        }
        found = learn(config, features_of(config, start), source, folder, identity) or load(config, folder)
    learned = time.monotonic()
    metrics, data_said = _tested(config, [found], splits["test"], config.detection.rows, folder)
    seconds = time.monotonic() - started
    data_said |= {
        "train": len(source),
        "train_fingerprint": fingerprint(source.split),
        "train_without_windows": len(without),
        "windows": sum(len(source.windows(number)) for number in range(len(source))),
        "train_s": round(learned - started, 1),
        "test_s": round(seconds - (learned - started), 1),
        "weights": weights_sha256(config) or config.backbone.weights or "",
        "negatives": {row: svm.rows for row, svm in found.svms.items()},
    }
    return metrics, data_said, seconds


def unreadable(config: Config) -> list[str]:
    """The folder and files that the job names and that are not there; they are looked for before what it needs runs."""
    faults: list[str] = []
    settings = config.proposals
    if config.voc.root is not None:
        try:
            prepare_voc(config.voc)
        except DataError as error:
            faults += error.faults
    if isinstance(settings, EdgeBoxes) and not (settings.model and Path(settings.model).is_file()):
        faults.append(f"proposals.model: {settings.model} is no file; it must be OpenCV's model.yml.gz for EdgeBoxes")
    if isinstance(settings, MatFiles):
        for name in ("trainval", "test")[config.kind != "detect" :]:
            path = settings.files.get(name)
            if path is None or not Path(path).is_file():
                faults.append(f"proposals.files.{name}: {path} is no file; name the .mat file with its windows")
    return faults


def propose_part(config: Config) -> None:
    """The proposals of this shard's images, kept where the job itself looks for them."""
    for name in ("trainval", "test"):
        source_of(config, read_voc(config, name))


def combine_job(config: Config, folder: Path) -> Outcome:
    """Several detectors together: NMS over the union of the windows that all have scored (section 4.4)."""
    started = time.monotonic()
    jobs = [ordered([name])[-1] for name in needs(config)]
    found = [load(job, runfolder.path_of(job)) for job in jobs]
    rows = [row for row in config.detection.rows if all(row in each.rows for each in found)]
    if not rows:
        raise DataError(f"detection.rows: {', '.join(needs(config))} have none of {config.detection.rows} in common")
    metrics, data = _tested(config, found, read_voc(config, "test"), rows, folder)
    return metrics, data, time.monotonic() - started


def _tested(
    config: Config, found: list[Detector], split: Split, rows: Sequence[str], folder: Path
) -> tuple[dict[str, records.Metric], dict[str, Any]]:
    """Metrics of the detectors together, and what the record says of the data; both empty where others lead."""
    source, empty = usable(source_of(config, split), "skip")
    source = replace(source, split=split)  # an image without windows counts: nothing is found in it
    with inference(config):
        detections = test(config, found, source, rows, folder)
    if not ranks.leads():
        return {}, {}
    metrics, replicates = evaluate(folder, split, detections)
    outcomes.write(folder, {}, replicates)
    last = detections[list(detections)[-1]]
    show(folder, split, last, source.picture)
    trace(folder, split, last)
    data = {
        "name": "mini" if config.voc.root is None else "voc07",
        "fingerprint": fingerprint(split),
        "train": 0,
        "test": len(split.images),
        "test_without_windows": len(empty),
        "classes": len(split.classes),
    }
    return metrics, data


def times_job(config: Config, folder: Path) -> Outcome:
    """Times of SPP-net and R-CNN on detection.timed test images; models: the SPP-net's network, then R-CNN's own."""
    started = time.monotonic()
    source = _timed(config)
    methods, setting = _to_time(config, source)
    set_threads(config.trainer.threads)
    one, five, zf5 = methods["spp_1sc"], methods["spp_5sc"], methods["rcnn_zf5"]
    with inference(config):
        seconds = times.measure(methods, source, setting)
        most = RCNN_AT_MOST if config.tier in ("mini", "dry", "smoke") else times.COUNTS[-1]
        growth = times.grow(one, zf5, five.scales, source, setting, most)
    write_text(folder / times.GROWTH, growth)
    metrics, replicates = times.evaluate(seconds)
    outcomes.write(folder, {}, replicates)
    data = {
        "name": "mini" if config.voc.root is None else "voc07",
        "fingerprint": fingerprint(source.split),
        "train": 0,
        "test": len(source),
        "windows": round(float(np.mean([len(source.windows(number)) for number in range(len(source))])), 1),
        "booked": times.BOOKED,
    }
    return metrics, data, time.monotonic() - started


def _timed(config: Config) -> Source:
    """detection.timed images of test, drawn by the seed, without those that have no window; in their order."""
    split = read_voc(config, "test")
    drawn = np.random.default_rng(config.seed).permutation(len(split.images))[: config.detection.timed]
    part = replace(split, images=[split.images[number] for number in sorted(drawn)])
    source, _ = usable(source_of(config, part), "skip")
    if not len(source):
        raise DataError(f"proposals: none for any of the {len(drawn)} images to be timed; there is nothing to measure")
    return replace(source, limit=SMOKE_WINDOWS) if config.tier == "smoke" and not source.limit else source


def _to_time(config: Config, source: Source) -> tuple[dict[str, Any], times.Setting]:
    """The four methods, with fc layers as pre-trained: fine-tuned ones have the same sizes. One ZF-5 serves three."""
    if len(config.models) != 2:
        raise DataError(f"models: {config.models} must be two: the job of SPP-net's network, then that of R-CNN's")

    def features(model: str, method: Any) -> Any:
        its = ordered([model])[-1]
        detection = replace(config.detection, method=method, rows=["ftfc7"], keep_maps=False)
        job = replace(
            config, models=[model], backbone=its.backbone, width=its.width, pyramid=its.pyramid, detection=detection
        )
        return features_of(job, pretrained(job)).to(device).eval()

    device = torch.device("cuda" if config.trainer.accelerator == "gpu" else "cpu")
    first, second = config.models
    one, alex5 = features(first, "spp"), features(second, "rcnn")
    zf5 = RcnnFeatures(None, CropNet(one.trunk, one.levels, one.tuned), one.trunk.backbone.crop).eval()
    five = times.with_scales(one, config.protocol.scales)
    methods = {"spp_1sc": one, "spp_5sc": five, "rcnn_alex5": alex5, "rcnn_zf5": zf5}
    return methods, times.Setting(config.protocol, source.split.classes, device)


def detect_picture(config: Config) -> Path:
    """What the detector of the job models=[NAME] sees in the picture config.image, drawn on it; returns the drawing."""
    path = Path(str(config.image))
    if not path.is_file():
        raise DataError(f"image: {path} is not a file; name a picture, e.g. image=street.jpg")
    job = ordered(config.models)[-1]
    found = load(job, runfolder.path_of(job))
    picture = decode(path)
    with bars() as tell:
        settings = SelectiveSearch() if isinstance(job.proposals, MatFiles) else job.proposals
        cache = folders.cache_home() / "proposals"
        boxes = propose([(path.name, path)], settings, cache, progress=partial(tell, "proposals"))[path.name]
    with inference(job):
        (row,) = found.rows[-1:]
        classes = found.find(picture, boxes.astype(np.float64), [row])[row]
    labels = np.repeat(np.arange(len(classes)), [len(scores) for _, scores in classes])
    places, scores = (np.concatenate([each[k] for each in classes]) for k in (0, 1))
    shown = [k for k in np.argsort(-scores) if scores[k] >= ABOVE]
    for k in shown:
        x1, y1, x2, y2 = places[k]
        print(f"{found.classes[labels[k]]} {scores[k]:.2f} at x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f}")
    if not shown:
        print(f"nothing scores over {ABOVE} among {len(boxes)} windows")
    drawing = draw(picture, places[shown], labels[shown], scores[shown], found.classes)
    out = Path(config.results_dir) / config.tier / "detections" / f"{path.stem}_{job.name}.png"
    with replacing(out) as file:
        Image.fromarray(drawing.transpose(1, 2, 0)).save(file, "png")
    return out


def evaluate_again(config: Config) -> None:
    """The metrics of a job from its results files, beside those of its record."""
    if config.tables or config.kind not in ("detect", "combine"):
        raise ConfigError("task=reeval: takes one job of kind=detect or combine, e.g. experiment=table9_zf5_1sc")
    folder = runfolder.path_of(config)
    metrics = reevaluate(folder, read_voc(config, "test"), list(config.detection.rows))
    path = folder / records.NAME
    kept = records.read(path).metrics if path.exists() else {}
    for key, metric in metrics.items():
        before = f", {kept[key].value:.2f} in the record" if key in kept else ""
        print(f"{key}: {metric.value:.2f} {metric.unit} of {metric.n} images{before}")


def source_of(config: Config, split: Split) -> Source:
    """The split with its proposals, computed now if they are not kept; of a shard only its images have any."""
    settings = config.proposals
    if isinstance(settings, MatFiles):
        path = settings.files.get(split.name)
        if path is None:
            raise DataError(f"proposals.files.{split.name}: not set; name the .mat file with its windows")
        every = read_split(split.root, split.name).images  # the file is that of the whole set
        found: Any = read_mat(Path(path), {image.id: (image.height, image.width) for image in every})
    else:
        images = [(image.id, split.path(number)) for number, image in enumerate(split.images)]
        first, shards = config.shard or 0, config.shards
        with bars() as tell:
            kept, progress = folders.cache_home() / "proposals", partial(tell, f"proposals of {split.name}")
            if ranks.world() > 1:  # each its share, then all find them all
                cores = max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"]))
                own, parts = first + shards * ranks.rank(), shards * ranks.world()
                propose(images, settings, kept, workers=cores, rank=own, world=parts)
                ranks.barrier()
            threads = config.trainer.threads or None
            found = propose(images, settings, kept, workers=threads, rank=first, world=shards, progress=progress)
    return Source(split, found, config.detection.windows)


def features_of(config: Config, start: tuple[Trunk, Network | None]) -> Any:
    """SppFeatures or RcnnFeatures with the fc layers that the job's rows need, of the classifier or new ones."""
    trunk, network = start
    d, levels, backbone = config.detection, config.pyramid.levels, trunk.backbone
    inputs = head_inputs(backbone, levels, backbone.crop)
    generator = torch.Generator().manual_seed(config.seed)

    def head() -> Head:
        made = Head(inputs, backbone.fc, len(CLASSES) + 1, d.dropout, generator)
        if network is not None:
            made.take_hidden(network)
        return made

    plain = head() if "fc6" in d.rows else None
    tuned = head() if any(row.startswith("ft") for row in d.rows) else None
    if d.method == "spp":
        trunk.requires_grad_(False)
        return SppFeatures(trunk, levels, d.scales, config.protocol, plain, tuned, halve=d.keep_maps)
    first = CropNet(copy.deepcopy(trunk), levels, plain or head()) if {"pool5", "fc6"} & set(d.rows) else None
    return RcnnFeatures(first, CropNet(trunk, levels, tuned) if tuned else None, backbone.crop)


def load(config: Config, folder: Path) -> Detector:
    """The detector that the job `config` left in `folder`, put together by the configuration that lies there.

    Raises ConfigError for a job of another kind, DataError where the detector is not there or damaged.
    """
    if config.kind != "detect":
        raise ConfigError(f"models: {config.name} is of kind={config.kind}; detectors come of jobs of kind=detect")
    path = newest(folder / "checkpoints")
    if path is None or path.name != detectors.NAME or not (folder / "config.yaml").is_file():
        raise DataError(
            f"{folder}: checkpoints/{detectors.NAME} or config.yaml is not there or damaged; make them anew: "
            f"experiment={config.name} seed={config.seed} overwrite=true"
        )
    its = config_of(folder)
    features = features_of(its, _empty(its))
    return detectors.restore(read_checkpoint(path), features, its.protocol, detectors.regressed(its.detection.method))


def save_exported(path: Path, found: Detector, config: Config, said: Mapping[str, str]) -> None:
    """A detector as safetensors, with the configuration of its job but for the paths of this machine."""
    job = replace(
        config,
        results_dir="results",
        data=replace(config.data, root=None),
        voc=replace(config.voc, root=None),
        proposals=SelectiveSearch(),
        backbone=replace(config.backbone, weights=config.backbone.weights and "pretrained"),
    )
    export.save(path, found, {"config": json.dumps(asdict(job)), **said})


def load_exported(path: Path) -> Detector:
    """What `save_exported` wrote, for use alone: its weights take no gradients. Raises DataError for other files."""
    said, content = export.load(path)
    try:
        config = check(json.loads(said["config"]))
    except (KeyError, ValueError, ConfigError) as error:
        raise DataError(f"{path}: no configuration of a detector in it ({error}); export it again") from error
    regress = detectors.regressed(config.detection.method)
    features = features_of(config, _empty(config)).requires_grad_(False)
    return detectors.restore(content, features, config.protocol, regress, str(path))


def _empty(config: Config) -> tuple[Trunk, Network | None]:
    """What `pretrained` gives, before any weights."""
    if config.backbone.torchvision:
        return trunk_of_torchvision(config.backbone.scaled(config.width), trained=False), None
    backbone: Backbone = config.backbone.scaled(config.width)
    network = Network(backbone, levels=config.pyramid.levels, classes=2, crop=backbone.crop)
    return trunk_of(network, backbone, config.training.input_scale), None
