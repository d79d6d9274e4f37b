"""Windows and features made by several commands, as the tasks of an array do: the job has the numbers of one alone."""

import shutil

import pytest

from spprepro import records

JOBS = ("table6_zf5_full", "table9_zf5_1sc")
QUICK = ("tier=smoke", "training.epochs=1", "detection.rows=[pool5]")
CHOICE = ("-m", f"experiment={','.join(JOBS)}", *QUICK)
SHARDS = ("shard=0,1", "shards=2")


def outcome(results, job):
    kept = records.read(results / "smoke" / job / "seed0" / "record.json")
    same = {key: kept.data[key] for key in ("fingerprint", "train_fingerprint", "weights")}
    return kept.metrics, same, kept.config_sha256


@pytest.mark.slow  # trains two networks, twice, and runs two jobs on them: about 45 s
def test_jobs_find_what_their_shards_have_left(cli, tmp_path):
    def run(*arguments):
        done = cli(*CHOICE, *arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def windows():
        return {path.name: path.read_bytes() for path in (tmp_path / "cache" / "spprepro" / "proposals").rglob("*.npz")}

    run()
    alone = {job: outcome(tmp_path / "results", job) for job in JOBS}
    found = windows()
    shutil.rmtree(tmp_path / "cache" / "spprepro" / "proposals")
    (tmp_path / "results").rename(tmp_path / "alone")

    assert run(*SHARDS).count("shard 1 of 2: done") == 2
    assert windows() == found
    transfer, detector = (tmp_path / "results" / "smoke" / job / "seed0" for job in JOBS)
    stores = sorted(path.name for path in (transfer / "features").iterdir())
    assert stores == [f"{part}_224_{shard}of2" for part in ("test", "trainval") for shard in (0, 1)]
    assert not (transfer / "record.json").exists() and not (detector / "record.json").exists()
    run()
    assert {job: outcome(tmp_path / "results", job) for job in JOBS} == alone
    assert run(*SHARDS).count("done") == 4  # nothing is left to do
    assert not (transfer / "features").exists()
