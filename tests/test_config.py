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


@pytest.mark.parametrize("tier", ["smoke", "mini", "small", "paper"])
@pytest.mark.parametrize("experiment", sorted(path.stem for path in (folders.conf() / "experiment").glob("*.yaml")))
def test_every_experiment_is_valid_at_every_tier(tier, experiment):
    config = check(compose(f"experiment={experiment}", f"tier={tier}", "data.root=somewhere"))
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
        (["trainer.devices=3", "training.batch=32"], "no multiple of"),
        (["training.dropout=1.0"], "[0, 1)"),
        (["training.lr_drops=[0.8,0.5]"], "must rise"),
        (["pyramid.levels=[3,3]"], "different numbers"),
        (["training.batch=0"], "training.batch: 0"),
        (["seed=-1"], "seed: -1"),
        (["task=bench"], "bench="),
        (["backbone=squeezenet1_0"], "backbone.torchvision: set, with kind=train"),
        (["backbone=vgg16", "kind=layers"], "backbone.torchvision: set, with kind=layers"),
        (["kind=detect", "models=[x]", "backbone.torchvision=vgg16"], "torchvision's vgg16 brings its own"),
        (["backbone.weights=pretrained"], "backbone.weights: pretrained without backbone.torchvision"),
        (["backbone=alexnet", "backbone.torchvision=null"], "backbone.layers: empty"),
        (["backbone.layers.conv1.stride=0"], "conv1: filters, kernel and stride must be over 0"),
    ],
)
def test_values_that_do_not_go_together(overrides, part):
    assert any(part in fault for fault in faults(*overrides))


@pytest.mark.parametrize("backbone", ["squeezenet1_0", "alexnet", "vgg16"])
def test_detectors_take_trunks_of_torchvision(backbone):
    config = check(compose("kind=detect", f"backbone={backbone}", "detection.rows=[pool5,ftfc7]"))
    assert config.backbone.torchvision == backbone and not config.backbone.layers


def test_identity_is_what_the_result_depends_on():
    plain = check(compose())
    assert plain.identity() == check(compose("data.workers=4", "results_dir=x", "trainer.threads=2")).identity()
    for override in ("seed=1", "training.lr=0.5", "pyramid=p421", "width=0.5", "data.crops=corners"):
        assert plain.identity() != check(compose(override)).identity(), override


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        check(compose()).seed = 3
