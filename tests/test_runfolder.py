"""Who may be in a run folder at the same time."""

import threading
from contextlib import ExitStack

import pytest

from spprepro import runfolder
from spprepro.config import check
from spprepro.errors import ConfigError, DataError
from tests.test_config import compose


@pytest.fixture
def job(tmp_path):
    def make(*overrides):
        return check(compose("experiment=table9_zf5_1sc", "tier=smoke", f"results_dir={tmp_path}", *overrides))

    return make


def test_a_job_is_run_by_one_process(job):
    with runfolder.claimed(job()), pytest.raises(DataError, match="another process is running this job"):
        runfolder.claimed(job()).__enter__()


def begun(claim, inside):
    """A thread that wants to be in the folder, and says so once it is."""

    def enter():
        with claim:
            inside.set()

    thread = threading.Thread(target=enter)
    thread.start()
    return thread


def test_shards_are_there_together_and_the_job_waits_for_them(job, capfd):
    inside = threading.Event()
    with ExitStack() as shards:
        for shard in (0, 1):
            shards.enter_context(runfolder.shared(job(f"shard={shard}", "shards=2")))
        thread = begun(runfolder.claimed(job()), inside)
        assert not inside.wait(0.3)
    assert inside.wait(10)
    thread.join()
    assert "waiting for table9_zf5_1sc" in capfd.readouterr().err


def test_a_shard_waits_for_the_job(job):
    inside = threading.Event()
    with runfolder.claimed(job()):
        thread = begun(runfolder.shared(job("shard=0", "shards=2")), inside)
        assert not inside.wait(0.3)
    assert inside.wait(10)
    thread.join()


def test_a_shard_of_other_settings_is_refused(job):
    with runfolder.claimed(job()):
        pass
    with pytest.raises(ConfigError, match=r"detection\.windows: 5 now"):
        runfolder.shared(job("shard=0", "shards=2", "detection.windows=5")).__enter__()


def test_a_run_of_another_version_is_refused_a_fault_a_line(job):
    with runfolder.claimed(job()) as folder:
        path = folder / "config.yaml"
        path.write_text(path.read_text() + "colour: red\nshape: round\n")
    with pytest.raises(DataError) as caught:
        runfolder.refuse_other_settings(job())
    assert len(caught.value.faults) == 2
    for fault, key in zip(caught.value.faults, ("colour", "shape"), strict=True):
        assert fault.startswith(f"{path}: {key}: no such key") and fault.endswith("start again with overwrite=true")
