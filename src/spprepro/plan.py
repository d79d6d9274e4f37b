"""What a job would do and cost, computed from its configuration alone."""

import os
from pathlib import Path

import yaml

from spprepro import records
from spprepro.classify.sizes import size_of_epoch
from spprepro.config import Config, check
from spprepro.nets.geometry import forward_multiply_adds, head_inputs, head_parameters, layer_sizes
from spprepro.nets.trunks import Backbone
from spprepro.runfolder import path_of

ILSVRC = {"train": 1_281_167, "val": 50_000, "classes": 1000}
RATE = {"cpu": 100e9, "gpu": 10e12}  # floating-point operations a second where nothing has been measured yet


def counts(config: Config) -> dict[str, int]:
    """Training images, test images and classes, by listing folders (ILSVRC-2012's where there is no folder)."""
    data = config.data
    if data.name == "mini":
        return {"train": data.amounts.imagenet_train, "val": data.amounts.imagenet_val, "classes": 20}
    from spprepro.data.prepare import root_of

    root = root_of(data) if data.root else None
    if root is None or not root.is_dir():
        return ILSVRC
    from spprepro.data.imagenet import list_classes, list_split

    classes = list_classes(root)
    return {
        "train": sum(1 for _ in list_split(root, "train", classes)),
        "val": sum(1 for _ in list_split(root, "val", classes)),
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
    """Ten crops and one, and with SPP the full image, taken as 4:3."""
    crop, side, levels = config.data.crop, config.data.min_side, config.pyramid.levels
    forward = 11.0 * forward_multiply_adds(backbone, levels, classes, crop, crop, crop)
    if levels:
        forward += forward_multiply_adds(backbone, levels, classes, side, side * 4 // 3, crop)
    return 2.0 * forward * images


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
        done = check(yaml.safe_load((path.parent / "config.yaml").read_text()))
        backbone, classes = done.backbone.scaled(done.width), record.data["classes"]
        operations = training_operations(done, backbone, record.data["train"], classes)
        operations += test_operations(done, backbone, record.data["test"], classes)
        return operations / record.wall_s, f"measured: {path}"
    return RATE[kind], "a guess: no record of such a device here yet"


def plan(config: Config) -> str:
    """The plan as text, one quantity a line; runs nothing and loads no torch."""
    backbone, t, levels = config.backbone.scaled(config.width), config.training, config.pyramid.levels
    amount = counts(config)
    classes = amount["classes"]
    parameters = sum(layer.parameters for layer in layer_sizes(backbone, config.data.crop, config.data.crop))
    parameters += head_parameters(backbone, head_inputs(backbone, levels, config.data.crop), classes)
    steps = amount["train"] // t.batch
    learning = training_operations(config, backbone, amount["train"], classes)
    testing = test_operations(config, backbone, amount["val"], classes)
    rate, source = measured_rate(config)
    devices = config.trainer.devices * config.trainer.num_nodes
    memory = memory_bytes(config, backbone, parameters)
    seconds = (learning + testing) / rate / devices
    views = "10 views, 1 crop" + (", 1 full image" if levels else " (no full image without SPP)")
    lines = {
        "job": f"{config.name}, tier={config.tier}, seed={config.seed}",
        "run folder": str(path_of(config)),
        "network": f"{backbone.title} x {config.width:g}, {classes} classes, "
        + (f"pyramid {levels}, {sum(n * n for n in levels)} bins" if levels else "no SPP"),
        "parameters": f"{parameters:,}",
        "data": f"{config.data.name}: {amount['train']:,} training and {amount['val']:,} test images",
        "steps": f"{steps * t.epochs:,} ({t.epochs} epochs of {steps:,} batches of {t.batch})",
        "training images": f"{steps * t.epochs * t.batch:,} at {_sizes(config)} pixels",
        "tests": f"{amount['val']:,} images: {views}",
        "operations": f"{learning:.3g} training + {testing:.3g} testing (floating point)",
        "memory": f"about {memory / 2**30:.1f} GiB a device ({config.trainer.precision})",
        "checkpoints": f"{3 * 8 * parameters / 2**20:.0f} MiB on disk at most",
        "expected time": f"{_duration(seconds)} on {devices} x {config.trainer.accelerator} at "
        f"{rate / 1e9:.3g} GFLOP/s a device ({source}); {os.cpu_count()} CPU cores here",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


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
