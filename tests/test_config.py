"""The schema and the checks across fields, without the command line."""

import dataclasses

import hydra
import pytest
from omegaconf import OmegaConf

from spprepro import folders
from spprepro.config import check
from spprepro.errors import ConfigError
from spprepro.overrides import group_options, preflight


def compose(*overrides):
    kept, _ = preflight(overrides, group_options([folders.conf()]), multirun=False)
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        return OmegaConf.to_container(hydra.compose("config", overrides=kept), resolve=True)


def faults(*overrides):
    with pytest.raises(ConfigError) as error:
        check(compose(*overrides))
    return error.value.faults


@pytest.mark.parametrize("tier", ["smoke", "dry", "mini", "small", "paper"])
@pytest.mark.parametrize("experiment", sorted(path.stem for path in (folders.conf() / "experiment").glob("*.yaml")))
def test_every_experiment_is_valid_at_every_tier(tier, experiment):
    config = check(compose(f"experiment={experiment}", f"tier={tier}", "data.root=x", "voc.root=x", "caltech.root=x"))
    assert (config.name, config.tier) == (experiment, tier)


@pytest.mark.parametrize("training", ["singlesize", "multisize", "randomsize"])
@pytest.mark.parametrize("pyramid", ["p6321", "p4321", "p421"])
def test_pyramids_go_with_every_spp_training(training, pyramid):
    check(compose(f"training={training}", f"pyramid={pyramid}"))


def test_paper_tier_is_the_paper_to_the_letter():
    config = check(compose("experiment=table1_zf5_multisize", "tier=paper", "data.root=x"))
    assert (config.width, config.training.epochs, config.training.lr, config.training.dropout) == (1, 70, 0.01, 0.5)
    assert (config.data.crops, config.training.sizes, config.pyramid.levels) == ("corners", [224, 180], [6, 3, 2, 1])
    assert (config.trainer.precision, config.training.init.method, config.training.input_scale) == (
        "fp32",
        "gaussian",
        1,
    )


def test_experiment_files_are_lab_notes():
    for path in (folders.conf() / "experiment").glob("*.yaml"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 25, path
        assert f"python -m spprepro experiment={path.stem}" in path.read_text()
        assert sum(line.startswith("#") for line in lines) >= 4, path


def test_faults_of_all_kinds_come_together():
    found = faults("training.epoch=3", "seed=1.5", "trainer.precision=fp16", "backbone.layers.conv1.kernal=3")
    assert [fault.split(":")[0] for fault in sorted(found)] == [
        "backbone.layers.conv1.kernal",
        "seed",
        "trainer.precision",
        "training.epoch",
    ]
    assert any("did you mean training.epochs?" in fault for fault in found)
    assert any("choose one of fp32, bf16" in fault for fault in found)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["training=nospp"], "needs pyramid=none"),
        (["pyramid=none"], "needs a pyramid"),
        (["pyramid=p6321", "training.sizes=[224,80]"], "level 6 is larger than the last map, 4x4 at training size 80"),
        (["training.sizes=[]"], "training.sizes"),
        (["training=randomsize", "training.sizes=[224,180]"], "lowest and the highest"),
        (["training=nospp", "pyramid=none", "training.sizes=[180]"], "takes data.crop=224 only"),
        (["data.min_side=200"], "data.min_side: 200"),
        (["data.amounts.imagenet_train=0"], "imagenet_train and imagenet_val must be over 0"),
        (["trainer.devices=3", "training.batch=32"], "no multiple of"),
        (["training.dropout=1.0"], "[0, 1)"),
        (["training.lr_drops=[0.8,0.5]"], "must rise"),
        (["pyramid.levels=[3,3]"], "different numbers"),
        (["training.batch=0"], "training.batch: 0"),
        (["seed=-1"], "seed: -1"),
        (["task=bench"], "bench="),
        (["backbone=squeezenet1_0"], "backbone.torchvision: set, with kind=train"),
        (["task=compare", "a=results"], "task=compare needs both"),
        (["backbone=vgg16", "kind=layers"], "backbone.torchvision: set, with kind=layers"),
        (["kind=transfer"], "kind=transfer takes one, the trained network"),
        (["kind=transfer", "models=[x:full]"], "a job of kind=transfer names jobs only"),
        (["kind=transfer", "backbone=vgg16", "models=[x]"], "kind=transfer takes none"),
        (["kind=detect", "models=[x]", "backbone.torchvision=vgg16"], "torchvision's vgg16 brings its own"),
        (["backbone.weights=pretrained"], "backbone.weights: pretrained without backbone.torchvision"),
        (["backbone=alexnet", "backbone.torchvision=null"], "backbone.layers: empty"),
        (["backbone.layers.conv1.stride=0"], "conv1: filters, kernel, stride and groups must be over 0"),
        (["backbone.layers.conv1.groups=0"], "conv1: filters, kernel, stride and groups must be over 0"),
        (["backbone.last_pool.stride=0"], "last_pool.stride must be over 0"),
        (
            ["training=nospp", "pyramid=none", "data.crop=16", "training.sizes=[16]"],
            "a window of backbone.last_pool is larger than the last map, 0x0 at training size 16",
        ),
        (["training.lr=nan"], "training.lr: nan is not a number"),
        (["width=inf"], "width: inf is not a number"),
    ],
)
def test_values_that_do_not_go_together(overrides, part):
    assert any(part in fault for fault in faults(*overrides))


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("detection.windows=-1", "detection.windows: -1 must be 0 (all) or more"),
        ("voc.images=-1", "voc.images: -1 must be 0 (all) or more"),
        ("detection.batch=0", "detection.batch: 0 must be over 0"),
        ("detection.timed=0", "detection.timed: 0 must be over 0"),
        ("detection.batch=18", "detection.batch: 18 is no multiple of 4"),
        ("trainer.devices=3", "detection.batch: 16 is no multiple of 4 x 3"),
        ("detection.dropout=1.0", "detection.dropout: 1.0 must be in [0, 1)"),
        ("detection.dropout=-0.1", "detection.dropout: -0.1 must be in [0, 1)"),
        ("detection.scales=[]", "detection.scales: [] must be rising"),
        ("detection.scales=[688,480]", "detection.scales: [688, 480] must be rising"),
        ("detection.scales=[480,480]", "detection.scales: [480, 480] must be rising"),
        ("detection.scales=[1]", "detection.scales: [1] must be rising"),
        ("protocol.scales=[2,1]", "protocol.scales: [2, 1] must be rising"),
        ("detection.rows=[]", "detection.rows: [] must be one or more"),
        ("detection.rows=[pool5,pool5]", "must be one or more different rows"),
        ("detection.rows=[pool5,ftfc7_bb]", "add ftfc7"),
        ("detection.rows=[fc7]", "detection.rows"),
        ("protocol.finetune.spp={rates:[0.1],steps:[1,2]}", "protocol.finetune.spp: as many rates as steps"),
        ("protocol.finetune.spp={rates:[],steps:[]}", "protocol.finetune.spp: as many rates as steps"),
        ("protocol.finetune.spp={rates:[0.1],steps:[]}", "protocol.finetune.spp: as many rates as steps"),
        ("protocol.finetune.spp={rates:[0.1,0.1],steps:[3,0]}", "steps over 0"),
        ("protocol.finetune.spp={rates:[-0.1],steps:[3]}", "rates and steps over 0"),
        ("protocol.ridge=0", "protocol.ridge: 0"),
        ("protocol.mapping=caffe", "protocol.mapping"),
        ("voc.unusable=drop", "voc.unusable"),
    ],
)
def test_values_of_a_detection_job_that_are_wrong(override, part):
    found = faults("experiment=table9_zf5_1sc", "tier=smoke", override)
    assert any(part in fault for fault in found), found


def test_faults_of_a_detection_job_come_together():
    found = faults("experiment=table9_zf5_1sc", "tier=smoke", "detection.windows=-1", "protocol.ridge=-1", "seed=-1")
    assert len(found) == 3


def test_a_method_without_a_schedule_is_named():
    """A protocol of one's own may leave out what no job of it needs."""
    raw = compose("experiment=table9_zf5_1sc", "tier=smoke")
    del raw["protocol"]["finetune"]["rcnn"]
    check(raw)
    raw["detection"]["method"] = "rcnn"
    with pytest.raises(ConfigError, match=r"protocol\.finetune\.rcnn: missing"):
        check(raw)


@pytest.mark.parametrize("method", ["selective_search", "edge_boxes", "mat"])
def test_windows_may_come_from_three_places(method):
    config = check(compose("experiment=table9_zf5_1sc", "tier=smoke", f"proposals={method}"))
    assert config.proposals.method == method


def test_settings_of_the_windows_reach_the_job():
    config = check(compose("experiment=table9_zf5_1sc", "proposals=mat", "proposals.files.test=windows.mat"))
    assert config.proposals.files == {"trainval": None, "test": "windows.mat"}
    plain = check(compose("experiment=table9_zf5_1sc"))
    assert plain.proposals == check(compose("experiment=table9_zf5_1sc", "proposals=selective_search")).proposals
    assert plain.identity() != config.identity()
    found = faults("experiment=table9_zf5_1sc", "proposals=edge_boxes", "proposals.thresholds=[50]")
    assert any("proposals.thresholds" in fault for fault in found)


def test_the_released_protocol_differs_from_the_papers_where_it_says_so():
    paper, released = (
        check(compose("experiment=table9_zf5_5sc", "tier=paper", "voc.root=x", "data.root=x", f"protocol={name}"))
        for name in ("paper", "released")
    )
    differing = {
        item.name: getattr(released.protocol, item.name)
        for item in dataclasses.fields(paper.protocol)
        if getattr(paper.protocol, item.name) != getattr(released.protocol, item.name)
    }
    schedule = differing.pop("finetune")
    assert schedule["rcnn"] == paper.protocol.finetune["rcnn"]
    assert (schedule["spp"].rates, schedule["spp"].steps) == ([1e-3, 1e-4, 1e-5], [30000, 30000, 140000])
    assert differing == {
        "name": "released", "mapping": "released", "scale_rule": "released", "scales": [480, 576, 688, 874, 1200],
        "finetune_scale": "random", "flips": True, "negatives": "cells", "at_limit": False, "ridge": 4000.0,
        "regress": "after_nms",
    }  # fmt: skip
    assert dataclasses.replace(released, protocol=paper.protocol, detection=paper.detection) == paper
    assert released.detection.scales == released.protocol.scales and paper.detection.scales == paper.protocol.scales


@pytest.mark.parametrize("backbone", ["squeezenet1_0", "alexnet", "vgg16"])
def test_detectors_take_trunks_of_torchvision(backbone):
    config = check(compose("kind=detect", f"backbone={backbone}", "detection.rows=[pool5,ftfc7]"))
    assert config.backbone.torchvision == backbone and not config.backbone.layers


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["shard=2", "shards=2"], "shard: 2, shards: 2"),
        (["shard=-1", "shards=2"], "shard: -1, shards: 2"),
        (["shards=2"], "shard: None, shards: 2"),
        (["shard=0", "kind=combine", "models=[x,y]"], "one job of kind=detect"),
        (["shard=0", "tables=[9]"], "one job of kind=detect"),
        (["shard=0", "task=prepare"], "with task=run, has any"),
        (["shard=0", "proposals=mat"], "the file has the windows"),
        (["shard=0", "overwrite=true"], "would undo the others"),
    ],
)
def test_shards_that_cannot_be(overrides, part):
    assert part in str(faults("experiment=table9_zf5_1sc", "tier=smoke", *overrides))


def test_identity_is_what_the_result_depends_on():
    plain = check(compose())
    assert plain.identity() == check(compose("data.workers=4", "results_dir=x", "trainer.threads=2")).identity()
    detector = "experiment=table9_zf5_1sc"
    assert check(compose(detector)).identity() == check(compose(detector, "shard=1", "shards=2")).identity()
    for override in ("seed=1", "training.lr=0.5", "pyramid=p421", "width=0.5", "data.crops=corners"):
        assert plain.identity() != check(compose(override)).identity(), override


def test_a_detector_depends_on_its_own_schedule_alone():
    plain, job = check(compose("experiment=table9_zf5_1sc")), "experiment=table9_zf5_1sc"
    other = check(compose(job, "protocol.finetune.rcnn.steps=[7,7]"))
    own = check(compose(job, "protocol.finetune.spp.steps=[7,7]"))
    assert plain.identity() == other.identity() != own.identity()


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        check(compose()).seed = 3


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["transfer.layers=[]"], "transfer.layers: [] must be one or more"),
        (["transfer.layers=[fc6,fc6]"], "must be one or more different layers"),
        (["transfer.layers=[fc8]"], "transfer.layers[0]: 'fc8' is not allowed"),
        (["transfer.layers=[conv4,fc6]"], "conv4 of full images differ in size"),
        (["backbone=vgg16", "models=[]", "transfer.layers=[spp,fc6,conv4]"], "conv4, fc6: a trunk of torchvision"),
        (["training=nospp", "pyramid=none"], "full images need a pyramid"),
        (["training=nospp", "pyramid=none", "transfer.view=crop"], "the layer spp and full images need a pyramid"),
        (["transfer.sides=[]"], "transfer.sides: [] must be rising"),
        (["transfer.sides=[392,224]"], "transfer.sides: [392, 224] must be rising"),
        (["transfer.sides=[180]"], "none under 224"),
        (["transfer.view=warp", "transfer.sides=[256]"], "set transfer.sides=[224]"),
        (["transfer.set=caltech101", "transfer.sides=[224,256]"], "no validation images to choose by"),
        (["transfer.c=[]"], "transfer.c: [] must be"),
        (["transfer.c=[1,0]"], "transfer.c: [1.0, 0.0] must be"),
        (["transfer.splits=1"], "transfer.splits: 1 must be 2 or more"),
        (["transfer.train=2"], "transfer.train: 2 must be 3 or more"),
        (["transfer.test=0"], "transfer.test: 0 must be 1 or more"),
        (["voc.images=-1"], "voc.images: -1 must be"),
        (["tier=small", "data.root=x"], "voc.root: this tier learns real photos"),
        (["tier=small", "data.root=x", "transfer.set=caltech101"], "caltech.root: this tier learns real photos"),
    ],
)
def test_values_of_transfer(overrides, part):
    assert any(part in fault for fault in faults("kind=transfer", "models=[x]", *overrides))


def test_identity_of_transfer_jobs_is_what_their_numbers_depend_on():
    def identity(*overrides):
        return check(compose("kind=transfer", "models=[x]", *overrides)).identity()

    voc, caltech = identity(), identity("transfer.set=caltech101")
    for same in ("training.lr=9", "data.crops=corners", "detection.windows=5", "caltech.seed=3", "transfer.splits=3"):
        assert identity(same) == voc
    for same in ("training.lr=9", "voc.images=3", "voc.root=x", "caltech.root=x", "trainer.threads=1"):
        assert identity("transfer.set=caltech101", same) == caltech
    for other in ("transfer.c=[2]", "transfer.sides=[256]", "voc.images=3", "width=0.5", "transfer.precision=float32"):
        assert identity(other) != voc
    for other in ("caltech.seed=3", "transfer.splits=3", "transfer.view=warp", "caltech.per_class=50"):
        assert identity("transfer.set=caltech101", other) != caltech
    network = check(compose("experiment=table1_zf5_multisize")).identity()
    assert check(compose("experiment=table1_zf5_multisize", "transfer.c=[2]", "caltech.seed=1")).identity() == network
