"""What a job would do and cost, computed from its configuration alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from spprepro import records
from spprepro.classify.sizes import size_of_epoch
from spprepro.config import GENERATED, ON_MAPS, Config, Test, Views, config_of
from spprepro.nets.geometry import forward_multiply_adds, head_inputs, head_parameters, layer_sizes
from spprepro.nets.trunks import Backbone
from spprepro.runfolder import path_of

ILSVRC = {"train": 1_281_167, "val": 50_000, "test": 100_000, "classes": 1000}
IMAGENETTE = {"train": 9469, "val": 3925, "test": 0, "classes": 10}
VOC2007 = {"trainval": 5011, "test": 4952}
CALTECH101 = 9144
WINDOWS = 2000  # of an image, about
CHECKPOINT = 3 * 8  # bytes a parameter: three files of weights and momentum
RATE = {"cpu": 100e9, "gpu": 10e12}  # floating-point operations a second where nothing has been measured yet


def counts(config: Config) -> dict[str, int]:
    """Training images, test images and classes, by listing folders (ILSVRC-2012's where there is no folder)."""
    data = config.data
    if data.name in GENERATED:
        amounts = data.amounts
        counts = {"train": amounts.imagenet_train, "val": amounts.imagenet_val, "test": amounts.imagenet_test}
        return {**counts, "classes": 20 if data.name == "mini" else ILSVRC["classes"]}
    from spprepro.data.prepare import root_of
    from spprepro.folders import located

    root = root_of(data)
    if not root.is_dir():
        return IMAGENETTE if data.name == "imagenette" else ILSVRC
    from spprepro.data.imagenet import list_classes, list_split, list_unlabelled

    classes = list_classes(root)
    return {
        "train": sum(1 for _ in list_split(root, "train", classes)),
        "val": sum(1 for _ in list_split(root, "val", classes)),
        "test": len(list_unlabelled(located(data.test) if data.test else root / "test")),
        "classes": len(classes),
    }


def training_operations(config: Config, backbone: Backbone, images: int, classes: int) -> float:
    """Floating-point operations of the whole training: three forward passes (one forward, two backward) an image."""
    t, total = config.training, 0.0
    for epoch in range(t.epochs):
        side = size_of_epoch(t.mode, t.sizes, config.seed, epoch)
        forward = forward_multiply_adds(backbone, config.pyramid.levels, classes, side, side, config.data.crop)
        total += 6.0 * forward * (images // t.batch) * t.batch
    return total


def test_operations(config: Config, backbone: Backbone, images: int, classes: int) -> float:
    """Floating-point operations of a network's tests; pictures are taken as 4:3."""
    crop, side, levels = config.data.crop, config.data.min_side, config.pyramid.levels
    tests = set(config.tests)

    def forward(height: int, width: int) -> float:
        return forward_multiply_adds(backbone, levels, classes, height, width, crop)

    total = (10 * ("ten" in tests) + ("crop" in tests)) * forward(crop, crop)
    total += ("full" in tests) * forward(side, side * 4 // 3)
    if not tests.isdisjoint(ON_MAPS):  # the fc layers of 17 views more a map, mirrored or not
        head = head_parameters(backbone, head_inputs(backbone, levels, crop), classes)
        total += sum(2 * (forward(scale, scale * 4 // 3) + 17 * head) for scale in config.views.scales)
    return 2.0 * total * images


def operations(config: Config, jobs: Mapping[str, Config], amount: Mapping[str, int]) -> tuple[float, float]:
    """(training, testing) operations of a job of any kind; `jobs`: those that it needs, by name."""
    if config.kind in ("layers", "import"):
        return 0.0, 0.0
    if config.detects:
        return detection_operations(config, [jobs[name] for name in config.models])
    if config.kind == "transfer":
        return transfer_operations(config)
    images, classes = _tested(config, amount), amount["classes"]
    if config.kind == "train":
        backbone = config.backbone.scaled(config.width)
        learning = training_operations(config, backbone, amount["train"], classes)
        return learning, test_operations(config, backbone, images, classes)
    testing = 0.0
    for model in config.models:
        job, _, test = model.partition(":")
        its = jobs[job]
        views = Views(tests=[cast(Test, test)] if test else config.views.tests, scales=config.views.scales)
        testing += test_operations(replace(its, views=views), its.backbone.scaled(its.width), images, classes)
    return 0.0, testing


def _tested(config: Config, amount: Mapping[str, int]) -> int:
    """Images of a classification job's test; a training is tested on val, whatever data.split says."""
    return amount["test" if config.kind == "test" and config.data.split == "test" else "val"]


def detection_operations(config: Config, needed: Sequence[Config]) -> tuple[float, float]:
    """(learning, testing) operations of a detection job; pictures are taken as 4:3, a torchvision trunk is not counted.

    SPP-net: the maps of each training image (anew for every block of fine-tuning where they are not kept), the fc
    layers of each window. R-CNN: the whole network for each window, twice where the pre-trained one is a row too.
    """
    if config.kind == "combine":
        return 0.0, sum(detection_operations(each, [])[1] for each in needed)
    d, backbone, levels = config.detection, config.backbone.scaled(config.width), config.pyramid.levels
    windows = d.windows or WINDOWS
    maps = sum(layer.multiply_adds for s in d.scales for layer in layer_sizes(backbone, s, s * 4 // 3))
    crop = sum(layer.multiply_adds for layer in layer_sizes(backbone, backbone.crop, backbone.crop))
    inputs = head_inputs(backbone, levels, backbone.crop) if backbone.layers else 0
    head = head_parameters(backbone, inputs, 21)
    heads = sum(any(row in rows for row in d.rows) for rows in (("fc6",), ("ftfc6", "ftfc7")))
    if config.kind == "times":
        return 0.0, 2.0 * d.timed * (2 * windows * (crop + head) + maps + 2 * windows * head)
    schedule = config.protocol.finetune[d.method]
    tuned = 6.0 * sum(schedule.steps) * d.batch * (head + (crop if d.method == "rcnn" else 0)) if heads else 0.0
    image = windows * (crop + head) * max(heads, 1) if d.method == "rcnn" else maps + windows * head * heads
    train, test = voc_counts(config)
    passes = 1 if d.keep_maps or d.method == "rcnn" else 2 + sum(schedule.steps) // 250
    again = 2.0 * (passes - 1) * train * maps
    return tuned + again + 2.0 * train * image, 2.0 * test * image


def transfer_operations(config: Config) -> tuple[float, float]:
    """(inner products, extraction) operations of a transfer job; pictures are taken as 4:3, of a torchvision trunk
    nothing is counted. The SVMs themselves take next to nothing beside the inner products that they work on.
    """
    t, backbone, levels = config.transfer, config.backbone.scaled(config.width), config.pyramid.levels
    if not backbone.layers:
        return 0.0, 0.0
    crop = backbone.crop
    maps = {f"conv{n}": each for n, each in enumerate(layer_sizes(backbone, crop, crop), 1)}
    inputs = head_inputs(backbone, levels, crop)
    lengths = {
        layer: maps[layer].channels * maps[layer].height * maps[layer].width for layer in t.layers if layer in maps
    }
    lengths |= {"pool": backbone.channels * max(levels) ** 2 if levels else inputs, "spp": inputs}
    lengths |= {"fc6": backbone.fc, "fc7": backbone.fc}
    numbers = sum(lengths[layer] for layer in t.layers)

    def forward(side: int) -> float:
        longer = side * 4 // 3 if t.view == "full" else crop
        return forward_multiply_adds(backbone, levels, 0, side if t.view == "full" else crop, longer, crop)

    if t.set == "caltech101":
        images = caltech_count(config)
        return 2.0 * images**2 * numbers, 2.0 * images * forward(t.sides[0])
    train, test = voc_counts(config)
    extraction = train * sum(map(forward, t.sides)) + test * forward(t.sides[-1])
    return 2.0 * train * (train + test) * numbers, 2.0 * extraction


def caltech_count(config: Config) -> int:
    """Images of Caltech-101, by listing its folder (the number of the whole set where there is none)."""
    from spprepro.data.layouts import CLASSES
    from spprepro.folders import located

    if config.caltech.root is None and config.caltech.per_class:
        return (len(CLASSES) + 1) * config.caltech.per_class
    found = sum(1 for _ in located(config.caltech.root).glob("**/*.jpg")) if config.caltech.root else 0
    return found or CALTECH101


def voc_counts(config: Config) -> tuple[int, int]:
    """Images of trainval and test, from their lists (VOC2007's where there is no folder)."""
    from spprepro.folders import located

    counts = []
    for split, made in (("trainval", config.voc.trainval), ("test", config.voc.test)):
        count = made
        if config.voc.root or not made:
            root = located(config.voc.root) if config.voc.root else Path()
            lists = [root / place / "ImageSets" / "Main" / f"{split}.txt" for place in (".", "VOC2007")]
            there = [path for path in lists if path.is_file()]
            count = len(there[0].read_text().split()) if there else VOC2007[split]
        counts.append(min(count, config.voc.images or count))
    return counts[0], counts[1]


def images(config: Config, amount: Mapping[str, int]) -> tuple[int, int]:
    """(learned, tested) images of a job, each as often as the job learns from it or tests it."""
    if config.kind == "train":
        t = config.training
        return t.epochs * (amount["train"] // t.batch) * t.batch, amount["val"]
    if config.kind == "test":
        return 0, len(config.models) * _tested(config, amount)
    if config.kind == "times":
        return 0, config.detection.timed
    if config.kind == "transfer" and config.transfer.set == "caltech101":
        return caltech_count(config), caltech_count(config)
    train, test = voc_counts(config)
    return (train, test) if config.kind in ("detect", "transfer") else (0, len(config.models) * test)


def parameters_of(config: Config, classes: int) -> int:
    """Weights and biases of the job's network."""
    backbone, crop = config.backbone.scaled(config.width), config.data.crop
    trunk = sum(layer.parameters for layer in layer_sizes(backbone, crop, crop))
    return trunk + head_parameters(backbone, head_inputs(backbone, config.pyramid.levels, crop), classes)


def disk_bytes(config: Config, amount: Mapping[str, int]) -> float:
    """Checkpoints and scores that a job leaves, at most; a detector's kept maps and results files are not counted."""
    scores = 2.0 * _tested(config, amount) * amount["classes"] * len(config.views.tests)
    if config.kind == "train":
        return CHECKPOINT * parameters_of(config, amount["classes"]) + scores
    if config.kind == "detect":
        return CHECKPOINT * parameters_of(config, 21)
    return scores if config.kind == "test" else 0.0


def memory_bytes(config: Config, backbone: Backbone, parameters: int) -> float:
    """Weights, gradients and momentum in fp32, and the activations of one batch at its largest size.

    Each convolution's map is kept about five times (input, ReLU, the parts of LRN and pooling); an estimate.
    """
    side, width = max(config.training.sizes), 2 if config.trainer.precision == "bf16" else 4
    maps = sum(layer.channels * layer.height * layer.width for layer in layer_sizes(backbone, side, side))
    share = config.training.batch // (config.trainer.devices * config.trainer.num_nodes)
    return 12.0 * parameters + share * (5.0 * maps * width + 3 * side * side * 5)


def measured_rate(config: Config) -> tuple[float, str]:
    """Operations a second of the newest job here on the same kind of device and precision, else a stated guess."""
    kind, precision = config.trainer.accelerator, config.trainer.precision
    found = [item for item in records.find(Path(config.results_dir)) if item.record.status == "ok"]
    for path, record in sorted(found, key=lambda item: item.record.started, reverse=True):
        if record.device.startswith("cpu") != (kind == "cpu") or record.precision != precision:
            continue
        done = config_of(path.parent)
        if done.kind != "train":
            continue
        amount = {"train": record.data["train"], "val": record.data["test"], "classes": record.data["classes"]}
        return sum(operations(done, {}, amount)) / record.wall_s, f"measured: {path}"
    return RATE[kind], "a guess: no record of such a device here yet"


def plan(config: Config, jobs: Sequence[Config]) -> str:
    """The plan of one job as text, one quantity a line; runs nothing and loads no torch. `jobs`: it and its needs."""
    if config.kind != "train":
        return plan_all(jobs)
    backbone, t, levels = config.backbone.scaled(config.width), config.training, config.pyramid.levels
    amount = counts(config)
    classes = amount["classes"]
    parameters = parameters_of(config, classes)
    steps = amount["train"] // t.batch
    learning, testing = operations(config, {}, amount)
    rate, source = measured_rate(config)
    devices = config.trainer.devices * config.trainer.num_nodes
    memory = memory_bytes(config, backbone, parameters)
    seconds = (learning + testing) / rate / devices
    lines = {
        "job": f"{config.name}, tier={config.tier}, seed={config.seed}",
        "run folder": str(path_of(config)),
        "network": f"{backbone.title} x {config.width:g}, {classes} classes, "
        + (f"pyramid {levels}, {sum(n * n for n in levels)} bins" if levels else "no SPP"),
        "parameters": f"{parameters:,}",
        "data": f"{config.data.name}: {amount['train']:,} training and {amount['val']:,} test images",
        "steps": f"{steps * t.epochs:,} ({t.epochs} epochs of {steps:,} batches of {t.batch})",
        "training images": f"{steps * t.epochs * t.batch:,} at {_sizes(config)} pixels",
        "tests": f"{amount['val']:,} images: {', '.join(config.tests)}",
        "operations": f"{learning:.3g} training + {testing:.3g} testing (floating point)",
        "memory": f"about {memory / 2**30:.1f} GiB a device ({config.trainer.precision})",
        "checkpoints": f"{CHECKPOINT * parameters / 2**20:.0f} MiB on disk at most",
        "expected time": f"{_duration(seconds)} on {devices} x {config.trainer.accelerator} at "
        f"{rate / 1e9:.3g} GFLOP/s a device ({source}); {os.cpu_count()} CPU cores here",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def plan_all(jobs: Sequence[Config]) -> str:
    """What of these jobs would run, in this order, and what it would cost; runs nothing and loads no torch."""
    if not jobs:
        return "nothing to run: every number is quoted"
    by_name = {job.name: job for job in jobs}
    amount, (rate, source) = counts(jobs[0]), measured_rate(jobs[0])
    trainer = jobs[0].trainer
    devices = trainer.devices * trainer.num_nodes
    width = max(map(len, by_name))
    lines = [f"{'job':<{width}}  {'state':<7}  operations  expected time"]
    total = 0.0
    for job in jobs:
        done = (path_of(job) / records.NAME).exists() and not job.overwrite
        cost = sum(operations(job, by_name, amount))
        total += 0.0 if done else cost
        time = "" if done else _duration(cost / rate / devices)
        lines.append(f"{job.name:<{width}}  {'there' if done else 'to run':<7}  {cost:10.3g}  {time}".rstrip())
    lines.append(f"{'to run in all':<{width}}  {'':<7}  {total:10.3g}  {_duration(total / rate / devices)}")
    lines.append(f"on {devices} x {trainer.accelerator} at {rate / 1e9:.3g} GFLOP/s a device ({source})")
    return "\n".join(lines)


def _sizes(config: Config) -> str:
    t = config.training
    if t.mode == "randomsize":
        return f"[{t.sizes[0]}, {t.sizes[1]}], drawn for each epoch,"
    return " and ".join(map(str, t.sizes))


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
