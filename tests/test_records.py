"""record.json: round trip, refusals, and how all faults of a results folder are reported together."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spprepro import records
from spprepro.errors import DataError
from spprepro.records import Metric, Record


@pytest.fixture
def record() -> Record:
    return Record(
        schema=records.SCHEMA,
        status="ok",
        experiment="some_job",
        tier="mini",
        seed=0,
        overrides={"training": "multisize", "trainer": {"epochs": 2}},
        metrics={"top1_error": Metric(34.6, "%", 400)},
        needs=[],
        config_sha256="0" * 64,
        git={"commit": "abc", "dirty": False},
        versions={"python": "3.11.7"},
        data={"name": "mini", "fingerprint": "f1", "train": 2000, "test": 400, "crops": "random"},
        device="cpu",
        precision="bf16-mixed",
        deterministic="yes",
        wall_s=12.5,
        started="2026-01-01T00:00:00+00:00",
        command="python -m spprepro",
    )


def place(results: Path, record: Record) -> Path:
    return results / record.tier / record.experiment / f"seed{record.seed}"


def changed(path: Path, **keys: Any) -> Path:
    """The file again with some top-level keys replaced."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    return path


def test_round_trip_leaves_one_plain_json_file(tmp_path: Path, record: Record) -> None:
    path = records.write(record, tmp_path / "new")
    assert records.read(path) == record
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]
    assert json.loads(path.read_text())["metrics"] == {"top1_error": {"value": 34.6, "unit": "%", "n": 400}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_neither_written_nor_read(tmp_path: Path, record: Record, value: float) -> None:
    bad = replace(record, metrics={"top1_error": Metric(value, "%", 400)})
    with pytest.raises(DataError, match=r"not written: metrics\.top1_error\.value"):
        records.write(bad, tmp_path)
    assert not list(tmp_path.iterdir())
    path = changed(records.write(record, tmp_path), metrics={"top1_error": {"value": value, "unit": "%", "n": 400}})
    with pytest.raises(DataError, match="finite"):
        records.read(path)


@pytest.mark.parametrize(("status", "written"), [("ok", False), ("partial", False), ("smoke", True)])
def test_a_metric_counts_every_test_sample_once(tmp_path: Path, record: Record, status: str, written: bool) -> None:
    padded = replace(record, status=status, metrics={"top1_error": Metric(34.6, "%", 402)})
    if written:
        assert records.read(records.write(padded, tmp_path)) == padded
    else:
        with pytest.raises(DataError, match="402 samples, but the data set has 400"):
            records.write(padded, tmp_path)


@pytest.mark.parametrize("tier", ["smoke", "dry"])
def test_a_record_of_tier_smoke_or_dry_cannot_call_itself_ok(tmp_path: Path, record: Record, tier: str) -> None:
    with pytest.raises(DataError, match=f"tier {tier} are 'smoke'"):
        records.write(replace(record, tier=tier), tmp_path)


def test_a_failed_write_keeps_the_record_that_was_there(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = records.write(record, tmp_path)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        records.write(replace(record, device="other"), tmp_path)
    assert records.read(path) == record
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"schema": 99}, "schema: 99"),
        ({"status": "done"}, "status: 'done' is not one of"),
        ({"seed": True}, "seed: True"),
        ({"seed": "0"}, "seed: '0'"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"git": {"commit": "abc"}}, "git.dirty: missing"),
        ({"data": {"name": "mini", "fingerprint": "f1", "train": 2000}}, "data.test: missing"),
        ({"metrics": {"top1_error": 34.6}}, "metrics.top1_error: 34.6 is not a mapping"),
        (
            {"metrics": {"top1_error": {"value": "34.6", "unit": "%", "n": 400}}},
            "metrics.top1_error.value: '34.6'",
        ),
    ],
)
def test_foreign_or_damaged_keys_are_named(tmp_path: Path, record: Record, keys: dict[str, Any], fault: str) -> None:
    path = changed(records.write(record, tmp_path), **keys)
    with pytest.raises(DataError) as caught:
        records.read(path)
    assert any(str(path) in line and fault in line for line in caught.value.faults)


def test_every_fault_of_a_file_is_reported(tmp_path: Path, record: Record) -> None:
    path = records.write(record, tmp_path)
    raw = json.loads(path.read_text())
    del raw["device"]
    path.write_text(json.dumps({**raw, "tier": "huge", "note": ""}))
    with pytest.raises(DataError) as caught:
        records.read(path)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("text", ["", "{", "[1]", '"ok"', "\x80"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"record\.json"):
        records.read(path)


def test_find_sorts_by_number_of_seed_and_filters_by_tier(tmp_path: Path, record: Record) -> None:
    for tier, seed in (("small", 0), ("mini", 10), ("mini", 2)):
        new = replace(record, tier=tier, seed=seed)
        records.write(new, place(tmp_path, new))
    (tmp_path / "mini" / "tables").mkdir()
    assert [(r.tier, r.seed) for _, r in records.find(tmp_path)] == [("mini", 2), ("mini", 10), ("small", 0)]
    found = records.find(tmp_path, "mini")
    assert [(f.record.seed, f.path) for f in found] == [
        (seed, tmp_path / "mini" / "some_job" / f"seed{seed}" / "record.json") for seed in (2, 10)
    ]
    assert records.find(tmp_path / "nothing") == []


def test_find_reports_damaged_and_misplaced_records_together(tmp_path: Path, record: Record) -> None:
    records.write(record, place(tmp_path, record))
    records.write(record, tmp_path / "mini" / "some_job" / "seed1")  # seed 0, copied
    damaged = replace(record, seed=2)
    records.write(damaged, place(tmp_path, damaged)).write_text("{")
    with pytest.raises(DataError) as caught:
        records.find(tmp_path)
    assert len(caught.value.faults) == 2
    assert "seed1" in caught.value.faults[0] and "seed2" in caught.value.faults[1]


def test_git_state_knows_commit_and_dirt(tmp_path: Path) -> None:
    assert records.git_state(tmp_path) == {"commit": "unknown", "dirty": False}
    repo = tmp_path / "repo"
    (repo / "src").mkdir(parents=True)
    (repo / "site").mkdir()

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(["git", *who, *arguments], cwd=repo, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (repo / "src" / "code.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    assert records.git_state(repo / "src") == {"commit": commit, "dirty": False}
    (repo / "site" / "code.py").write_text("x = 1\n")  # installed inside somebody's repository, not part of it
    assert records.git_state(repo / "site") == {"commit": "unknown", "dirty": False}
    assert records.git_state(repo / "src") == {"commit": commit, "dirty": False}
    (repo / "src" / "new.py").write_text("")
    assert records.git_state(repo / "src") == {"commit": commit, "dirty": True}


def test_git_state_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert records.git_state(tmp_path) == {"commit": "unknown", "dirty": False}


def test_config_sha256_depends_on_values_not_on_order() -> None:
    one = records.config_sha256({"a": 1, "b": {"c": [1, 2], "d": None}})
    assert one == records.config_sha256({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert one != records.config_sha256({"a": 1, "b": {"c": [2, 1], "d": None}})
    assert one != records.config_sha256({"a": 1.5, "b": {"c": [1, 2], "d": None}})


def test_versions_names_python_and_packages() -> None:
    found = records.versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "spprepro"} <= set(found)


def test_importing_records_loads_nothing_heavy() -> None:
    code = "import sys, spprepro.records; print(sorted({'torch', 'numpy', 'pandas', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
