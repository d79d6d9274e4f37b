"""Which jobs a table needs, and in which order."""

import subprocess
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from spprepro import folders
from spprepro.composing import at_paper_scale, jobs_of, needs, ordered
from spprepro.config import Config, check
from spprepro.errors import ConfigError
from spprepro.paper.tables import load_all


@pytest.fixture(autouse=True)
def composing():
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        yield


def names(jobs: list[Config]) -> list[str]:
    return [job.name for job in jobs]


def test_every_cell_of_every_table_has_a_job_that_composes():
    tables = load_all(folders.experiments())
    ours = [cell for table in tables for cell in table.cells.values() if not cell.quoted]
    found = at_paper_scale()
    assert {cell.job for cell in ours if not cell.by_name} <= set(names(found))
    assert len(names(found)) == len(set(names(found)))
    assert {job.tier for job in found} == {"paper"}
    assert all(set(needs(job)) <= set(names(found)[:place]) for place, job in enumerate(found))
    assert at_paper_scale() == found  # kept from the first time


def test_jobs_that_run_by_name_are_not_among_those_of_a_table():
    tables = load_all(folders.experiments())
    named = {cell.job for table in tables for cell in table.cells.values() if cell.by_name}
    assert named and not named & set(jobs_of([table.number for table in tables]))
    for job in named:
        assert (folders.conf() / "experiment" / f"{job}.yaml").is_file(), job


def test_a_table_that_is_all_quoted_has_nothing_to_run():
    assert jobs_of([13]) == [] and ordered(jobs_of([13])) == []


def test_table_2_is_four_networks_three_trainings_and_two_trials_of_the_text():
    found = ordered(jobs_of([2]))
    networks = {"zf5", "convnet5", "overfeat5", "overfeat7"}
    kinds = {(job.backbone.name, job.training.mode, sum(n * n for n in job.pyramid.levels)) for job in found}
    expected = {(name, mode, bins) for name in networks for mode, bins in (("nospp", 0), ("singlesize", 50))}
    expected |= {(name, "multisize", 50) for name in networks}
    assert kinds == expected | {("zf5", "singlesize", 30), ("overfeat7", "randomsize", 50)}


def test_what_is_needed_comes_before_what_needs_it():
    found = names(ordered(jobs_of([5])))
    assert found[-1] == "table5_ensemble" and len(found) == 12  # eleven networks
    found = names(ordered(jobs_of([4, 3])))
    assert found.index("table1_overfeat7_multisize") < found.index("table4_overfeat7_multiview")
    assert found.count("table1_overfeat7_multisize") == 1


def test_every_member_of_the_ensemble_is_scored_once():
    (ensemble,) = [job for job in ordered(["table5_ensemble"]) if job.kind == "test"]
    assert len(ensemble.models) == len(needs(ensemble)) == 11


def test_all_is_every_table_that_has_a_file():
    found = hydra.compose("config", overrides=["experiment=all"])
    assert list(found.tables) == [table.number for table in load_all(folders.experiments())]


def test_unknown_jobs_are_named_together():
    with pytest.raises(ConfigError) as caught:
        ordered(["table1_zf5_nospp", "nosuch", "neither"])
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["nosuch", "neither"]


def test_a_table_without_a_file_is_refused():
    with pytest.raises(ConfigError, match=r"table99\.yaml"):
        jobs_of([99])


def test_testing_overrides_do_not_reach_the_trainings():
    """Else the training that Table 2 shares with Table 4 would be another job."""
    arguments = ["experiment=table4_overfeat7_multiview", "task=validate", "views.scales=[224,256]", "data.split=test"]
    done = subprocess.run([sys.executable, "-m", "spprepro", *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "valid: table1_overfeat7_multisize, tier=mini, seed=0",
        "valid: table4_overfeat7_multiview, tier=mini, seed=0",
    ]


def test_shards_are_of_the_job_asked_for_alone():
    (network,) = ordered(["table1_zf5_multisize"], overrides=["tier=smoke", "shard=1", "shards=2"])
    assert (network.shard, network.shards) == (None, 1)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ["kind=test", "models=[table9_zf5_1sc]"],
            "table9_zf5_1sc of kind=detect; it takes jobs of kind=train or import",
        ),
        (["experiment=table12_combined", "models=[table1_zf5_nospp,table9_zf5_1sc]"], "nospp of kind=train; it takes"),
    ],
)
def test_models_of_another_kind_are_refused(overrides, fault):
    raw = OmegaConf.to_container(hydra.compose("config", overrides=overrides), resolve=True)
    with pytest.raises(ConfigError, match=fault):
        ordered([], [check(raw)])
