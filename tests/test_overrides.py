"""Overrides before Hydra sees them."""

import pytest

from spprepro import folders
from spprepro.overrides import group_options, preflight

GROUPS = {"backbone": ["zf5", "zf6"], "experiment": ["table1_a", "table1_b"]}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("seed=1", "++seed=1"),
        ("training.sizes=[224,180]", "++training.sizes=[224,180]"),
        ("backbone=zf5", "backbone=zf5"),
        ("+x=1", "+x=1"),
        ("~seed", "~seed"),
        ("hydra.verbose=true", "hydra.verbose=true"),
        ("data.root=/a/b c", "++data.root=/a/b c"),
    ],
)
def test_plain_values_reach_the_schema(given, seen):
    assert preflight([given], GROUPS, multirun=False) == ([seen], [])


@pytest.mark.parametrize(
    "given", ["experiment=table1_a,table1_b", "experiment=glob(table1_*)", "seed=0,1", "seed=range(3)"]
)
def test_sweeps_need_multirun(given):
    assert preflight([given], GROUPS, multirun=True)[1] == []
    assert "add -m" in preflight([given], GROUPS, multirun=False)[1][0]


def test_every_wrong_choice_is_named_with_what_is_allowed():
    kept, faults = preflight(["backbone=vgg", "experiment=glob(table9_*)", "seed=3"], GROUPS, multirun=True)
    assert kept == ["++seed=3"]
    assert [fault.split(":")[0] for fault in faults] == ["backbone", "experiment"]
    assert "zf5, zf6" in faults[0]


def test_groups_are_the_folders_of_conf(tmp_path):
    (tmp_path / "pyramid").mkdir()
    (tmp_path / "pyramid" / "mine.yaml").write_text("levels: [2, 1]\n")
    options = group_options([folders.conf(), tmp_path])
    assert "mine" in options["pyramid"] and "p6321" in options["pyramid"]
    assert "base" not in options["training"]
