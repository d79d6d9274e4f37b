"""Windows: found where objects are, the same whoever computes them, kept, resumed and never stale."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from spprepro.detect import proposals
from spprepro.detect.proposals import KeptWindows, propose
from spprepro.detection import SelectiveSearch
from spprepro.errors import DataError
from tests.detect.conftest import OBJECT, overlap, picture

SETTINGS = SelectiveSearch()


def arrays(windows: KeptWindows) -> dict[str, npt.NDArray[np.float32]]:
    return {name: windows[name] for name in windows}


def assert_same(first: KeptWindows, second: KeptWindows) -> None:
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def kept_files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


def test_selective_search_finds_the_object_and_the_whole_picture() -> None:
    boxes = proposals.selective_search(picture(1), SETTINGS, seed=0)
    assert boxes.dtype == np.float32 and boxes.shape[1] == 4
    assert overlap(boxes, OBJECT).max() > 0.9
    assert [0, 0, 159, 119] in boxes.tolist()  # both ends inclusive
    assert (boxes >= 0).all() and (boxes[:, 2] <= 159).all() and (boxes[:, 3] <= 119).all()
    assert (boxes[:, 2:] - boxes[:, :2] + 1 >= 20).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 20


def test_smaller_windows_come_with_a_smaller_least_side() -> None:
    smaller = proposals.selective_search(picture(1), replace(SETTINGS, min_side=8), seed=0)
    usual = proposals.selective_search(picture(1), SETTINGS, seed=0)
    assert {tuple(box) for box in usual.tolist()} < {tuple(box) for box in smaller.tolist()}


@pytest.mark.parametrize("state", [1, 2, 3])
def test_order_does_not_come_from_the_librarys_rand(state: int) -> None:
    first = proposals.selective_search(picture(2), SETTINGS, seed=5)
    ctypes.CDLL(None).srand(state)
    proposals.selective_search(picture(3), SETTINGS, seed=5)
    np.testing.assert_array_equal(proposals.selective_search(picture(2), SETTINGS, seed=5), first)


def test_large_windows_tend_to_come_first_in_an_order_of_the_seed() -> None:
    first, second = (proposals.selective_search(picture(2), SETTINGS, seed=seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == sorted(second.tolist())
    areas = (first[:, 2:] - first[:, :2] + 1).prod(1)
    half = len(areas) // 2
    assert areas[:half].mean() > 1.5 * areas[half:].mean()


def test_a_large_picture_is_searched_small_and_its_windows_are_scaled_back() -> None:
    large = cv2.resize(picture(1), (640, 480), interpolation=cv2.INTER_NEAREST)
    boxes = proposals.selective_search(large, replace(SETTINGS, long_side=160), seed=0)
    assert [0, 0, 639, 479] in boxes.tolist()
    assert overlap(boxes, (240, 120, 479, 319)).max() > 0.9
    sizes = boxes[:, 2:] - boxes[:, :2] + 1
    assert (sizes >= 80).all() and (sizes % 4 == 0).all()


@pytest.mark.parametrize("height, width", [(1, 1), (19, 160), (160, 19), (3, 400)])
def test_a_picture_too_thin_for_a_window_has_none(height: int, width: int) -> None:
    assert proposals.selective_search(picture(0, height, width), SETTINGS, seed=0).shape == (0, 4)


def test_flat_and_grey_pictures() -> None:
    flat = np.full((40, 50, 3), 128, np.uint8)
    assert proposals.selective_search(flat, SETTINGS, seed=0).tolist() == [[0, 0, 49, 39]]
    grey = np.repeat(picture(1)[..., :1], 3, 2)
    assert overlap(proposals.selective_search(grey, SETTINGS, seed=0), OBJECT).max() > 0.9


def test_same_windows_from_other_processes_and_in_another_order(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    alone = propose(images, SETTINGS, tmp_path / "a", workers=1)
    seen: list[tuple[int, int]] = []
    spread = propose(
        images[::-1], SETTINGS, tmp_path / "b", workers=2, progress=lambda done, total: seen.append((done, total))
    )
    assert_same(alone, propose(images, SETTINGS, tmp_path / "b"))
    assert list(spread) == [name for name, _ in images[::-1]]
    assert seen[0] == (0, 7) and seen[-1] == (7, 7) and seen == sorted(seen)


def test_ctrl_c_stops_the_workers_and_keeps_what_they_did(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        propose(images, SETTINGS, tmp_path / "a", workers=2, progress=stop)
    assert not multiprocessing.active_children()
    done = kept_files(tmp_path / "a")
    assert len(done) >= 3
    propose(images, SETTINGS, tmp_path / "a", workers=1)
    assert done.items() <= kept_files(tmp_path / "a").items()


def test_workers_leave_with_a_killed_parent(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    script = f"""
import multiprocessing, os, signal
from pathlib import Path
from spprepro.detect.proposals import propose
from spprepro.detection import SelectiveSearch
def die(done, total):
    if done:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    images = [(path.stem, path) for path in sorted(Path({str(images[0][1].parent)!r}).iterdir())]
    propose(images, SelectiveSearch(), Path({str(tmp_path / "a")!r}), workers=2, progress=die)
"""
    (tmp_path / "main.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, timeout=60)
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2, done.stderr
    for _ in range(100):
        if not any(
            Path(f"/proc/{pid}/cmdline").is_file() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers
        ):
            break
        time.sleep(0.1)
    else:
        pytest.fail("workers go on without their parent")


def test_a_killed_run_goes_on_where_it_stopped(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from spprepro.detect.proposals import propose
from spprepro.detection import SelectiveSearch
images = [(path.stem, path) for path in sorted(Path({str(images[0][1].parent)!r}).iterdir())]
die = lambda done, total: os._exit(9) if done else None
propose(images, SelectiveSearch(), Path({str(tmp_path / "a")!r}), workers=1, progress=die)
"""
    assert subprocess.run([sys.executable, "-c", script], env=os.environ).returncode == 9
    before = kept_files(tmp_path / "a")
    assert len(before) == proposals.CHUNK
    seen: list[int] = []
    resumed = propose(images, SETTINGS, tmp_path / "a", workers=1, progress=lambda done, total: seen.append(done))
    assert seen == [proposals.CHUNK, len(images)]
    assert before.items() <= kept_files(tmp_path / "a").items()
    assert_same(resumed, propose(images, SETTINGS, tmp_path / "b", workers=1))


def test_settings_and_content_decide_what_is_reused(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    images = images[:2]
    cache = tmp_path / "cache"
    first = arrays(propose(images, SETTINGS, cache, workers=1))
    before = kept_files(cache)
    propose([("other", images[0][1])], SETTINGS, cache, workers=1)  # the same picture by another name
    assert kept_files(cache) == before
    changed = propose(images, replace(SETTINGS, min_side=40), cache, workers=1)
    assert all(len(changed[name]) < len(first[name]) for name in first)
    cv2.imwrite(str(images[0][1]), picture(99))
    again = propose(images, SETTINGS, cache, workers=1)
    assert again[images[0][0]].tolist() != first[images[0][0]].tolist()
    np.testing.assert_array_equal(again[images[1][0]], first[images[1][0]])
    assert before.items() <= kept_files(cache).items()


def test_every_setting_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"thresholds": [50], "sigma": 0.5, "min_side": 10, "long_side": 400}
    keys = {proposals.settings_key(replace(SETTINGS, **{name: value})) for name, value in changed.items()}
    keys.add(proposals.settings_key(SETTINGS))
    assert set(changed) == set(asdict(SETTINGS)) - {"method"} and len(keys) == 5
    monkeypatch.setattr(cv2, "__version__", "0")
    assert proposals.settings_key(SETTINGS) not in keys


def test_a_damaged_kept_file_is_never_used(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    windows = propose(images[:1], SETTINGS, tmp_path / "a", workers=1)
    expected = windows[images[0][0]]
    (path,) = kept_files(tmp_path / "a")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + bytes([whole[200] ^ 255]) + whole[201:], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            windows[images[0][0]]
        again = propose(images[:1], SETTINGS, tmp_path / "a", workers=1)
        np.testing.assert_array_equal(again[images[0][0]], expected)


def test_unreadable_images_are_named_together_and_the_rest_is_kept(
    images: list[tuple[str, Path]], tmp_path: Path
) -> None:
    images[1][1].write_bytes(b"no picture")
    images[3][1].write_bytes(images[3][1].read_bytes()[:300])
    images[5][1].unlink()
    with pytest.raises(DataError) as caught:
        propose(images, SETTINGS, tmp_path / "a", workers=1)
    named = " ".join(caught.value.faults)
    assert len(caught.value.faults) == 3 and all(str(images[i][1]) in named for i in (1, 3, 5))
    assert len(kept_files(tmp_path / "a")) == 4


def test_shards_share_the_work_and_a_last_job_finds_it_done(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    cache = tmp_path / "a"
    shards = [propose(images, SETTINGS, cache, workers=1, rank=rank, world=3) for rank in range(3)]
    assert sorted(name for shard in shards for name in shard) == [name for name, _ in images]
    before = kept_files(cache)
    assert len(before) == 7 and len(propose(images, SETTINGS, cache)) == 7 and kept_files(cache) == before


def test_an_image_without_windows_has_an_empty_list(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    cv2.imwrite(str(images[1][1]), picture(0, 15, 160))
    windows = propose(images[:3], SETTINGS, tmp_path / "a", workers=1)
    assert [len(windows[name]) > 0 for name, _ in images[:3]] == [True, False, True]
    assert windows[images[1][0]].shape == (0, 4)


def test_an_id_given_twice_is_refused(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 images have 2 different ids"):
        propose([*images[:2], images[0]], SETTINGS, tmp_path)


def test_an_image_that_opencv_refuses_is_named(
    images: list[tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        cv2.resize(np.empty((0, 0), np.uint8), (5, 5))

    monkeypatch.setattr(proposals, "selective_search", refuse)
    with pytest.raises(DataError) as caught:
        propose(images[:2], SETTINGS, tmp_path / "a", workers=1)
    assert [str(path) in each for (_, path), each in zip(images, caught.value.faults, strict=False)] == [True, True]
