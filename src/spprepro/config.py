"""The schema of a job's configuration and every check that needs no data, no torch and no GPU.

Hydra composes plain YAML; `check` compares the result with the dataclasses below and reports all faults at
once, so that neither a typo in an experiment file nor a stray `+key` gets past it.
"""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from spprepro import detection, shards, transfers
from spprepro.detection import Detection, EdgeBoxes, MatFiles, Protocol, SelectiveSearch, Voc
from spprepro.errors import ConfigError, DataError
from spprepro.files import read_yaml
from spprepro.identity import identity
from spprepro.nets import trunks
from spprepro.nets.geometry import map_side, pooled
from spprepro.nets.trunks import Backbone
from spprepro.schema import build
from spprepro.transfers import Caltech, Transfer

Task = Literal[
    "run", "plan", "validate", "report", "compare", "prepare", "verify", "sheet", "bench", "detect", "reeval",
    "import_weights", "export",
]  # fmt: skip
Tier = Literal["smoke", "dry", "mini", "small", "paper"]
Bench = Literal[
    "input_pipeline", "train_step", "train_loop", "views", "window_pooling", "rcnn_vs_spp", "detection", "svm",
    "transfer",
]  # fmt: skip
GENERATED = ("mini", "dry")  # data sets
ON_MAPS = ("ten_maps", "multiview", "multiview_full")  # tests whose views are taken at views.scales
WHOLE = ("full", "multiview_full")  # tests of full images, which need SPP
Kind = Literal["train", "import", "layers", "test", "detect", "combine", "times", "transfer"]
Test = Literal["ten", "crop", "full", "ten_maps", "multiview", "multiview_full"]


@dataclass(frozen=True)
class Pyramid:
    """Bins per side of each level, in the order of concatenation; empty means no SPP."""

    levels: list[int]


@dataclass(frozen=True)
class Init:
    """Initial weights: N(0, 0.01) as released, or He's for runs of a few minutes."""

    method: Literal["gaussian", "he"] = "gaussian"
    std: float = 0.01
    draw: int = 0  # another number, another independent draw of the same seed (Table 12)


@dataclass(frozen=True)
class Training:
    """How a network is trained; what the paper leaves out follows AlexNet and the released ZF-5."""

    mode: Literal["nospp", "singlesize", "multisize", "randomsize"]
    sizes: list[int]  # one: that size; several: one epoch each in turn; randomsize: lowest and highest
    epochs: int
    batch: int  # over all devices
    lr: float
    momentum: float
    weight_decay: float
    dropout: float
    lr_drops: list[float]  # latest moment of each division by 10, as a share of the epochs
    patience: int  # epochs without a better training error before the rate is divided by 10
    init: Init = field(default_factory=Init)
    input_scale: float = 1.0  # pixels less the mean are multiplied by it; 1 as in Caffe
    snapshot_steps: int = 1000  # a checkpoint at least every so many steps, besides one an epoch


@dataclass(frozen=True)
class Views:
    """How test images are seen: the tests, each an average over views, and the scales of those on feature maps."""

    tests: list[Test] = field(default_factory=lambda: ["ten", "crop", "full"])
    scales: list[int] = field(default_factory=lambda: [224, 256, 300, 360, 448, 560])  # of multiview: shorter side


@dataclass(frozen=True)
class MiniAmounts:
    """How many images of the generated sets; of data.name=dry so many are used, spread over its 1000 classes."""

    imagenet_train: int = 0
    imagenet_val: int = 0
    imagenet_test: int = 0


@dataclass(frozen=True)
class Data:
    """A folder in ILSVRC's layout, or a generated set; voc07 and caltech101 are for task=prepare and task=verify."""

    name: Literal["mini", "dry", "imagenet", "imagenette", "voc07", "caltech101"]
    root: str | None
    crops: Literal["corners", "random"]
    min_side: int = 256
    crop: int = 224
    workers: int = 1
    keep_gib: float = 4.0  # a training set that takes no more than this as resized pixels is decoded once; 0: never
    cache: Literal["raw", "jpeg"] | None = None  # a resized copy of a training set of any size; None: see keep_gib
    source: list[str] = field(default_factory=list)  # archives that task=prepare unpacks into root: files or URLs
    split: Literal["val", "test"] = "val"  # what a job of kind test scores; test has no labels
    test: str | None = None  # the folder of unlabelled pictures; None: test/ beside train/
    seed: int = 0  # of the generator
    amounts: MiniAmounts = field(default_factory=MiniAmounts)


@dataclass(frozen=True)
class Weights:
    """A network from elsewhere, of jobs of kind=import: a .caffemodel and what the file does not say of itself."""

    file: str | None = None
    scale_train: bool | None = None  # whether its Caffe scaled in training what dropout left; false halves fc7 and fc8
    mean: list[float] = field(default_factory=lambda: [128.0, 128.0, 128.0])  # of red, green and blue, in pixel values
    mean_file: str | None = None  # instead: a .binaryproto, the mean image that its Caffe took from pixels
    new: list[str] = field(default_factory=list)  # fc layers that the file may lack; they get initial weights


@dataclass(frozen=True)
class Trainer:
    """Where and in which precision a job runs."""

    accelerator: Literal["cpu", "gpu"]
    devices: int = 1
    num_nodes: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    threads: int = 0  # CPU threads of the process; 0: as many as cores, in training one fewer
    deterministic: bool = True


@dataclass(frozen=True)
class Config:
    """A whole job.

    kind: train (and test) a network; import one; count its layers; test trained ones; make a detector of one; combine
    detectors; measure times; learn other photos on the features of one. `models` are the trained jobs it needs; of kind
    test each a job's name, or name:test where the view differs. `tables`: the jobs of these tables instead of one job.
    """

    name: str
    task: Task
    tier: Tier
    seed: int
    width: float
    results_dir: str
    overwrite: bool
    backbone: Backbone
    pyramid: Pyramid
    training: Training
    data: Data
    trainer: Trainer
    protocol: Protocol = field(default_factory=Protocol)  # of detection jobs, as the next two groups
    proposals: SelectiveSearch | EdgeBoxes | MatFiles = field(default_factory=SelectiveSearch)
    detection: Detection = field(default_factory=Detection)
    voc: Voc = field(default_factory=Voc)  # of detection and transfer jobs
    transfer: Transfer = field(default_factory=Transfer)  # of transfer jobs, as the next group
    caltech: Caltech = field(default_factory=Caltech)
    tables: list[int] = field(default_factory=list)
    bench: Bench | None = None
    kind: Kind = "train"
    weights: Weights = field(default_factory=Weights)  # of kind=import
    views: Views = field(default_factory=Views)
    models: list[str] = field(default_factory=list)
    image: str | None = None  # of task=detect
    a: str | None = None  # of task=compare: two results folders
    b: str | None = None
    shard: int | None = None  # one of `shards`, each of which makes a part of the job's windows or features; no record
    shards: int = 1
    widths: dict[str, float] = field(default_factory=dict)  # of the tier, for networks that differ; `width` reads it

    def identity(self) -> dict[str, Any]:
        """The settings that the result depends on, by dotted key; where and how fast it runs is not among them."""
        return identity(self)

    @property
    def detects(self) -> bool:
        """Whether the job is about detectors."""
        return self.kind in ("detect", "combine", "times")

    @property
    def multiscale(self) -> bool:
        """Whether a test sees the images at views.scales."""
        asked = {*self.views.tests, *(model.partition(":")[2] for model in self.models)}
        return not asked.isdisjoint(ON_MAPS)

    @property
    def tests(self) -> list[Test]:
        """Those of views.tests that the network can take."""
        return [test for test in self.views.tests if self.pyramid.levels or test not in WHOLE]


def check(raw: Mapping[str, Any]) -> Config:
    """The composed configuration as a `Config`; raises ConfigError with every fault."""
    faults: list[str] = []
    config = build(Config, raw, "", faults)
    if isinstance(config, Config) and not faults:
        faults.extend(_cross_faults(config))
    if faults:
        raise ConfigError(faults)
    return typing.cast(Config, config)


def config_of(folder: Path) -> Config:
    """The configuration of the run in `folder`.

    Raises ConfigError for one that this version does not know, DataError for a damaged file.
    """
    path = folder / "config.yaml"
    try:
        return check(read_yaml(path))
    except (ValueError, yaml.YAMLError, AttributeError) as error:
        told = " ".join(str(error).split())
        raise DataError(f"{path}: damaged ({told}); run the job again with overwrite=true") from error


def _cross_faults(c: Config) -> Iterator[str]:
    """Values that are fine alone but wrong in range or together."""
    t, d = c.training, c.data
    positive = {
        "width": c.width, "training.epochs": t.epochs, "training.batch": t.batch, "training.lr": t.lr,
        "training.patience": t.patience, "training.snapshot_steps": t.snapshot_steps,
        "data.crop": d.crop, "trainer.devices": c.trainer.devices, "trainer.num_nodes": c.trainer.num_nodes,
    }  # fmt: skip
    yield from (f"{key}: {n} must be over 0" for key, n in positive.items() if n <= 0)
    least = {"data.workers": d.workers, "data.keep_gib": d.keep_gib, "trainer.threads": c.trainer.threads}
    yield from (f"{key}: {n} must be 0 or more" for key, n in {**least, "seed": c.seed}.items() if n < 0)
    if not 0 <= t.dropout < 1:
        yield f"training.dropout: {t.dropout} must be in [0, 1)"
    if t.lr_drops != sorted(t.lr_drops) or not all(0 < share <= 1 for share in t.lr_drops):
        yield f"training.lr_drops: {t.lr_drops} must rise and lie in (0, 1]"
    if d.name in GENERATED and min(d.amounts.imagenet_train, d.amounts.imagenet_val) < 1:
        yield f"data.amounts: {d.amounts}; imagenet_train and imagenet_val must be over 0"
    if d.min_side < d.crop:
        yield f"data.min_side: {d.min_side} is under data.crop: {d.crop}; a crop would not fit"
    needs_data = c.kind in ("train", "test") and not c.tables and c.task in ("run", "prepare", "bench")
    if d.name == "imagenet" and not d.root and needs_data:
        yield "data.root: data=imagenet needs the folder that holds train/<wnid>/ and val/<wnid>/; set data.root=DIR"
    if d.name in ("voc07", "caltech101") and c.task not in ("prepare", "verify"):
        yield f"data: {d.name} is for task=prepare and task=verify; jobs take its folder by a key such as voc.root"
    if d.source and (c.task != "prepare" or d.name in GENERATED):
        yield f"data.source: {d.source} with task={c.task} data={d.name}; only task=prepare takes any, never of mini"
    devices = c.trainer.devices * c.trainer.num_nodes
    if devices > 0 and t.batch % devices:
        yield f"training.batch: {t.batch} is no multiple of trainer.devices x trainer.num_nodes: {devices}"
    yield from shards.faults(c)
    yield from _network_faults(c)
    yield from _test_faults(c)
    if c.task == "detect" and not (c.image and len(c.models) == 1):
        yield f"image: {c.image}, models: {c.models}; task=detect needs both, a picture and the job of a detector"
    if c.task == "compare" and not (c.a and c.b):
        yield f"a: {c.a}, b: {c.b}; task=compare needs both, the results folders of two sets of records"
    if c.detects:
        yield from _detection_faults(c)
    yield from _weights_faults(c)
    if c.kind == "transfer":
        yield from _transfer_faults(c)
    if c.task == "bench" and c.bench is None:
        yield f"bench: task=bench needs one of {', '.join(typing.get_args(Bench))}, e.g. bench=train_loop"


def _network_faults(c: Config) -> Iterator[str]:
    t, levels = c.training, c.pyramid.levels
    count = {"nospp": 1, "singlesize": 1, "randomsize": 2}.get(t.mode)
    if (count and len(t.sizes) != count) or not t.sizes:
        yield f"training.sizes: {t.sizes} does not fit training.mode={t.mode}, which takes {count or 'at least 1'}"
    if t.mode == "randomsize" and t.sizes != sorted(t.sizes):
        yield f"training.sizes: {t.sizes} must be the lowest and the highest size"
    if (t.mode == "nospp") != (not levels):
        wanted = "pyramid=none" if t.mode == "nospp" else "a pyramid such as pyramid=p6321"
        yield f"pyramid.levels: {levels} does not go with training.mode={t.mode}, which needs {wanted}"
    if not levels and t.sizes and t.sizes != [c.data.crop]:
        yield f"training.sizes: {t.sizes}; a network without SPP takes data.crop={c.data.crop} only"
    if len(set(levels)) != len(levels) or any(level < 1 for level in levels):
        yield f"pyramid.levels: {levels} must be different numbers over 0"
    if c.backbone.torchvision and not (c.detects or c.kind == "transfer" or c.tables):
        yield f"backbone.torchvision: set, with kind={c.kind}; it is for kind=detect, combine, times and transfer alone"
    yield from (broken := list(trunks.faults(c.backbone)))
    for size in [] if c.backbone.torchvision or broken else t.sizes:
        side, last = map_side(c.backbone, size), c.backbone.last_pool
        at = f"the last map, {side}x{side} at training size {size} of backbone={c.backbone.name}"
        if side < max(levels, default=0):
            yield f"pyramid.levels: level {max(levels)} is larger than {at}"
        if not levels and pooled(side, last.kernel, last.stride, ceil=c.backbone.ceil_pool) < 1:
            yield f"training.sizes: a window of backbone.last_pool is larger than {at}"


def _weights_faults(c: Config) -> Iterator[str]:
    w, first = c.weights, len(c.backbone.layers) + 1
    if c.task == "import_weights" and c.kind != "import":
        yield f"kind: {c.kind}; task=import_weights takes a job of kind=import: experiment=caffe_zf5 or caffe_alex5"
    if c.task == "export" and (c.tables or c.kind not in ("train", "import", "detect")):
        jobs = dict.fromkeys(f"experiment={model.partition(':')[0]}" for model in c.models)
        instead = f"export its models, each alone: {', '.join(jobs)}" if jobs else "e.g. experiment=table1_zf5_nospp"
        yield f"kind: {c.kind}; task=export takes one trained network or detector; {instead}"
    if len(w.mean) != 3 or not all(0 <= value <= 255 for value in w.mean):
        yield f"weights.mean: {w.mean} must be three values in [0, 255], of red, green and blue"
    known = [f"fc{number}" for number in range(first, first + 3)]
    if c.kind == "import" and not set(w.new) <= set(known):
        yield f"weights.new: {w.new}; only fc layers can be new: {', '.join(known)}"


def _test_faults(c: Config) -> Iterator[str]:
    if not c.views.tests or len(set(c.views.tests)) != len(c.views.tests):
        yield f"views.tests: {c.views.tests} must be one or more different tests"
    scales = c.views.scales
    if c.multiscale and (min(scales, default=0) < c.data.crop or len(set(scales)) != len(scales)):
        yield f"views.scales: {scales} must be different sides, none under data.crop={c.data.crop}"
    starts = c.detects or c.kind == "transfer"
    takes = c.kind == "test" or starts or c.task == "detect"
    if (c.models and not takes) or (c.kind == "test" and not c.models):
        yield f"models: {c.models} with kind={c.kind}; kind=test averages one or more trained jobs; training needs none"
    if c.kind == "combine" and len(c.models) < 2:
        yield f"models: {c.models}; kind=combine combines two or more"
    count = 0 if c.backbone.torchvision else 1
    if c.kind in ("detect", "transfer") and len(c.models) != count:
        wanted = "one, the trained network" if count else "none: its trunk is torchvision's"
        yield f"models: {c.models}; kind={c.kind} takes {wanted}"
    for model in c.models:
        test = model.partition(":")[2]
        if ":" in model and starts:
            yield f"models: {model!r}; a job of kind={c.kind} names jobs only"
        elif ":" in model and test not in typing.get_args(Test):
            yield f"models: {model!r}: {test!r} is no test; choose one of {', '.join(typing.get_args(Test))}"


def _detection_faults(c: Config) -> Iterator[str]:
    devices = c.trainer.devices * c.trainer.num_nodes if c.kind == "detect" else 1  # no other kind fine-tunes
    yield from detection.faults(c.detection, c.protocol, c.voc, devices)
    if not c.pyramid.levels and c.detection.method == "spp":
        yield "pyramid.levels: empty; a detector with detection.method=spp needs a pyramid, e.g. pyramid=p6321"
    if c.tier in ("small", "paper") and not c.voc.root and not c.tables and c.task == "run":
        yield "voc.root: this tier detects on VOC07; set voc.root to the folder VOCdevkit/VOC2007"
    if c.backbone.torchvision and "fc6" in c.detection.rows:
        yield "detection.rows: fc6 of a trunk from torchvision is new, so only fine-tuned rows can have it; remove fc6"


def _transfer_faults(c: Config) -> Iterator[str]:
    yield from transfers.faults(c.transfer, c.pyramid.levels, c.backbone.torchvision is not None, c.backbone.crop)
    if c.voc.images < 0:
        yield f"voc.images: {c.voc.images} must be 0 (all) or more"
    key, folder = ("voc", "VOCdevkit/VOC2007") if c.transfer.set == "voc07" else ("caltech", "101_ObjectCategories")
    if c.tier in ("small", "paper") and not getattr(c, key).root and not c.tables and c.task == "run":
        yield f"{key}.root: this tier learns real photos; set {key}.root to the folder {folder}"
