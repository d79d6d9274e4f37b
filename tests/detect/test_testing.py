"""Every test image through a detector once: parts that are kept, only the missing again, any number of devices."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spprepro.config import Trainer
from spprepro.detect import testing
from spprepro.detect.sources import Source
from spprepro.errors import DataError
from tests.conftest import two_processes
from tests.detect.toys import CLASSES, learned, toy

IMAGES, PART, ROWS = 8, 3, ["pool5", "ftfc7", "ftfc7_bb"]
SETTINGS = SimpleNamespace(trainer=Trainer("cpu"), data=SimpleNamespace(workers=0))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(testing, "CHUNK", PART)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    found = toy(tmp_path_factory.mktemp("toy"), count=IMAGES)
    found.proposals[found.split.images[4].id] = np.empty((0, 4))  # an image without windows
    return found


@pytest.fixture
def looked_at(monkeypatch) -> list[int]:
    """The images that were decoded, in order."""
    numbers: list[int] = []
    picture = Source.picture

    def counted(self, number):
        numbers.append(number)
        return picture(self, number)

    monkeypatch.setattr(Source, "picture", counted)
    return numbers


def run(source, folder, settings=SETTINGS):
    return testing.test(settings, [learned()], source, ROWS, folder)


def assert_same(ours, theirs):
    assert list(ours) == list(theirs) == ROWS
    for row in ROWS:
        assert list(ours[row]) == list(CLASSES)
        for name, expected in theirs[row].items():
            for part in ("image", "score", "boxes"):
                np.testing.assert_array_equal(getattr(ours[row][name], part), getattr(expected, part))


def test_each_image_once_by_image_then_by_score(tmp_path, source, looked_at):
    found = run(source, tmp_path)
    assert looked_at == list(range(IMAGES))
    detector = learned()
    for number in range(IMAGES):
        expected = detector.find(source.picture(number), source.windows(number), ROWS)
        for row in ROWS:
            for label, name in enumerate(CLASSES):
                of_image = found[row][name].image == number
                np.testing.assert_array_equal(found[row][name].boxes[of_image], expected[row][label][0])
                np.testing.assert_array_equal(found[row][name].score[of_image], expected[row][label][1])
                assert (number != 4) or not of_image.any()
    for each in found["ftfc7"].values():
        assert len(each.image) and (np.diff(each.image) >= 0).all()
        assert all((np.diff(each.score[each.image == number]) <= 0).all() for number in range(IMAGES))


def test_parts_are_kept_and_only_what_is_missing_runs_again(tmp_path, source, looked_at):
    whole = run(source, tmp_path)
    (folder,) = (tmp_path / "found").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["000000.npz", "000003.npz", "000006.npz"]
    looked_at.clear()
    assert_same(run(source, tmp_path), whole)
    assert looked_at == []
    (folder / "000003.npz").unlink()
    assert_same(run(source, tmp_path), whole)
    assert looked_at == [3, 4, 5]
    looked_at.clear()
    for name in ("000000.npz", "000006.npz"):
        (folder / name).unlink()
    assert_same(run(source, tmp_path), whole)
    assert looked_at == [0, 1, 2, 6, 7]


def test_goes_on_after_an_interruption(tmp_path, source, looked_at, monkeypatch):
    picture = Source.picture

    def stopping(self, number):
        if number == 5:
            raise KeyError("stopped")
        return picture(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "picture", stopping)
        with pytest.raises(KeyError):
            run(source, tmp_path)
    assert looked_at == [0, 1, 2, 3, 4]
    looked_at.clear()
    found = run(source, tmp_path)
    assert looked_at == [3, 4, 5, 6, 7]
    assert_same(found, run(source, tmp_path / "whole"))


def test_parts_of_other_windows_are_not_taken(tmp_path, source, looked_at):
    run(source, tmp_path)
    looked_at.clear()
    run(replace(source, limit=5), tmp_path)
    assert looked_at == list(range(IMAGES))


def test_worker_processes_change_nothing(tmp_path, source):
    settings = SimpleNamespace(trainer=SETTINGS.trainer, data=SimpleNamespace(workers=1))
    assert_same(run(source, tmp_path / "one", settings), run(source, tmp_path / "none"))


def test_parts_of_other_images_are_refused(tmp_path, source):
    run(source, tmp_path)
    (folder,) = (tmp_path / "found").iterdir()
    (folder / "000003.npz").rename(folder / "000000.npz")
    run_again = folder / "000003.npz"
    with pytest.raises(DataError, match="other images than the 8"):
        run(source, tmp_path)
    assert run_again.is_file()


SCRIPT = """
import pickle, sys
from pathlib import Path
import torch
from types import SimpleNamespace
from spprepro import ranks
from spprepro.config import Trainer
from spprepro.detect import testing
from tests.detect.test_testing import PART, ROWS, run

if __name__ == "__main__":
    testing.CHUNK = PART
    source = pickle.loads(Path(sys.argv[1]).read_bytes())
    settings = SimpleNamespace(trainer=Trainer("cpu", devices=2), data=SimpleNamespace(workers=0))
    with ranks.connected("cpu"), torch.inference_mode():
        found = run(source, Path(sys.argv[2]), settings)
        rank = torch.distributed.get_rank()
        assert torch.distributed.get_world_size() == 2
    Path(sys.argv[2], f"rank{rank}.pickle").write_bytes(pickle.dumps(found))
"""


@pytest.mark.slow  # two Python processes that load torch and Lightning, and find each other: about 25 s
def test_two_processes_find_what_one_does(tmp_path, source):
    (tmp_path / "source.pickle").write_bytes(pickle.dumps(source))
    two_processes(tmp_path, SCRIPT, "source.pickle", "both")
    expected = run(source, tmp_path / "alone")
    for rank in range(2):
        assert_same(pickle.loads(Path(tmp_path, "both", f"rank{rank}.pickle").read_bytes()), expected)
