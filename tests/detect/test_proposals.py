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
import yaml

from spprepro import folders
from spprepro.detect import proposals
from spprepro.detect.proposal_files import MatFiles
from spprepro.detect.proposals import EdgeBoxes, KeptWindows, SelectiveSearch, propose
from spprepro.errors import ConfigError, DataError

SETTINGS = SelectiveSearch()
OBJECT = (60, 30, 119, 79)  # of `picture`


def picture(seed: int, height: int = 120, width: int = 160) -> npt.NDArray[np.uint8]:
    """Noise, a few ellipses and one flat rectangle at OBJECT."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(90, 6, (height, width, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(8, 40)), int(rng.integers(8, 40)))
        cv2.ellipse(pixels, centre, axes, 0, 0, 360, [int(v) for v in rng.integers(0, 256, 3)], -1)
    cv2.rectangle(pixels, OBJECT[:2], OBJECT[2:], (250, 240, 10), -1)
    return pixels


@pytest.fixture
def images(tmp_path: Path) -> list[tuple[str, Path]]:
    """Seven pictures as (id, file)."""
    found = []
    for number in range(7):
        path = tmp_path / "images" / f"{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture(number)[..., ::-1])
        found.append((path.stem, path))
    return found


def arrays(windows: KeptWindows) -> dict[str, npt.NDArray[np.float32]]:
    return {name: windows[name] for name in windows}


def assert_same(first: KeptWindows, second: KeptWindows) -> None:
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def overlap(boxes: npt.NDArray[np.float32], box: tuple[int, ...]) -> npt.NDArray[np.float32]:
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]) + 1
    shared = np.clip(sides, 0, None).prod(1)
    own = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    return shared / (own + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - shared)


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
    assert alone.counts == {name: len(boxes) for name, boxes in arrays(alone).items()}
    assert alone.empty == []


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
from spprepro.detect.proposals import SelectiveSearch, propose
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
from spprepro.detect.proposals import SelectiveSearch, propose
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
    with pytest.raises(ConfigError, match="rank=3"):
        propose(images, SETTINGS, cache, rank=3, world=3)


def test_an_image_without_windows_is_reported(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    cv2.imwrite(str(images[1][1]), picture(0, 15, 160))
    windows = propose(images[:3], SETTINGS, tmp_path / "a", workers=1)
    assert windows.empty == [images[1][0]] and windows[images[1][0]].shape == (0, 4)
    assert propose(images[:3], SETTINGS, tmp_path / "a").empty == windows.empty


def test_an_id_given_twice_is_refused(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 images have 2 different ids"):
        propose([*images[:2], images[0]], SETTINGS, tmp_path)


def outline(x1: int, y1: int, x2: int, y2: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Edges and their directions of a rectangle in a picture of 150 x 200."""
    edges, directions = np.zeros((2, 150, 200), np.float32)
    for column in (x1, x2):
        edges[y1 : y2 + 1, column] = 1
        directions[y1 : y2 + 1, column] = np.pi / 2
    for row in (y1, y2):
        edges[row, x1 : x2 + 1] = 1
    return edges, directions


def test_edge_boxes_encloses_an_outline_by_a_pixel_or_two() -> None:
    best = proposals.boxes_of_edges(*outline(40, 30, 120, 110), EdgeBoxes())[0]
    outside = best - [40, 30, 120, 110]
    assert (outside[:2] <= 0).all() and (outside[2:] >= 0).all() and (abs(outside) <= 2).all()


def test_edge_boxes_reach_the_last_pixel_and_not_beyond() -> None:
    boxes = proposals.boxes_of_edges(*outline(2, 2, 197, 147), EdgeBoxes())
    assert boxes.min() == 0 and boxes[:, 2].max() == 199 and boxes[:, 3].max() == 149


def test_no_edges_no_boxes() -> None:
    edges = np.zeros((60, 80), np.float32)
    assert proposals.boxes_of_edges(edges, edges, EdgeBoxes()).shape == (0, 4)


def test_edge_boxes_settings_arrive() -> None:
    edges = outline(40, 30, 120, 110)
    usual = proposals.boxes_of_edges(*edges, EdgeBoxes())
    assert len(proposals.boxes_of_edges(*edges, EdgeBoxes(max_boxes=7))) == 7
    for other in (
        EdgeBoxes(alpha=0.5),
        EdgeBoxes(beta=0.5),
        EdgeBoxes(beta=0.75, eta=0.99),
        EdgeBoxes(min_score=0.2),
        EdgeBoxes(max_aspect_ratio=1.5),
        EdgeBoxes(min_box_area=4000),
        EdgeBoxes(kappa=1.0),
    ):
        assert proposals.boxes_of_edges(*edges, other).tolist() != usual.tolist(), other


def write_forest(path: Path) -> Path:
    """A forest of one question a tree: is the gradient at the middle of the patch strong? Then an edge is there."""
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    store.startWriteStruct("options", cv2.FILE_NODE_MAP)
    options = {
        "stride": 2,
        "shrinkNumber": 2,
        "patchSize": 32,
        "patchInnerSize": 16,
        "numberOfGradientOrientations": 4,
        "gradientSmoothingRadius": 0,
        "regFeatureSmoothingRadius": 2,
        "ssFeatureSmoothingRadius": 8,
        "gradientNormalizationRadius": 4,
        "selfsimilarityGridSize": 5,
        "numberOfTrees": 8,
        "numberOfTreesToEvaluate": 4,
    }
    for key, value in options.items():
        store.write(key, value)
    store.endWriteStruct()
    middle = 3 * 16 * 16 + 8 * 16 + 8  # channel 3, the gradient's magnitude
    marks = [16 * y + x for y in range(3, 13) for x in range(3, 13)]
    trees = {
        "childs": [2, 0, 0],
        "featureIds": [middle, 0, 0],
        "thresholds": [0.8, 0.0, 0.0],
    }
    for key, tree in trees.items():
        store.startWriteStruct(key, cv2.FILE_NODE_SEQ)
        for _ in range(8):
            store.startWriteStruct("", cv2.FILE_NODE_SEQ + cv2.FILE_NODE_FLOW)
            for value in tree:
                store.write("", value)
            store.endWriteStruct()
        store.endWriteStruct()
    bounds = [0]
    for tree_number in range(8):
        bounds += [100 * tree_number, 100 * tree_number, 100 * tree_number + 100]
    for key, values in {"edgeBoundaries": bounds, "edgeBins": marks * 8}.items():
        store.startWriteStruct(key, cv2.FILE_NODE_SEQ)
        store.startWriteStruct("", cv2.FILE_NODE_SEQ + cv2.FILE_NODE_FLOW)
        for value in values:
            store.write("", value)
        store.endWriteStruct()
        store.endWriteStruct()
    store.release()
    return path


def test_edge_boxes_with_a_forest(images: list[tuple[str, Path]], tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml.gz")
    settings = EdgeBoxes(model=str(model))
    windows = propose(images[:3], settings, tmp_path / "a", workers=1)
    for boxes in arrays(windows).values():
        assert overlap(boxes, OBJECT).max() > 0.65
        assert (boxes >= 0).all() and (boxes[:, 2] <= 159).all() and (boxes[:, 3] <= 119).all()
    np.testing.assert_array_equal(
        propose(images[2:3], settings, tmp_path / "b", workers=1)[images[2][0]], windows[images[2][0]]
    )


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (200, 15), (16, 40)])
def test_edge_boxes_of_a_thin_picture(height: int, width: int, tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml")
    assert proposals.edge_boxes(picture(0, height, width), EdgeBoxes(model=str(model))).shape == (0, 4)


def test_an_image_that_opencv_refuses_is_named(
    images: list[tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        cv2.resize(np.empty((0, 0), np.uint8), (5, 5))

    monkeypatch.setattr(proposals, "selective_search", refuse)
    with pytest.raises(DataError) as caught:
        propose(images[:2], SETTINGS, tmp_path / "a", workers=1)
    assert [str(path) in each for (_, path), each in zip(images, caught.value.faults, strict=False)] == [True, True]


def test_another_model_by_the_same_name_is_another_key(tmp_path: Path) -> None:
    model = write_forest(tmp_path / "model.yml")
    settings = EdgeBoxes(model=str(model))
    key = proposals.settings_key(settings)
    moved = model.rename(tmp_path / "elsewhere.yml")
    assert proposals.settings_key(EdgeBoxes(model=str(moved))) == key
    model.write_text(moved.read_text().replace("904", "905"))
    assert proposals.settings_key(settings) != key


@pytest.mark.parametrize("model", [None, "nowhere/model.yml.gz"])
def test_a_missing_model_says_what_to_fetch(model: str | None, images: list[tuple[str, Path]], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        propose(images, EdgeBoxes(model=model), tmp_path)
    for part in (f"proposals.model={model}", "model.yml.gz", "opencv_extra, testdata/cv/ximgproc"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"%YAML:1.0\n---\noptions:\n   numberOfTrees: 0\n", b"\x00\x01no yaml"])
def test_another_file_as_the_model_is_refused(content: bytes, images: list[tuple[str, Path]], tmp_path: Path) -> None:
    (tmp_path / "model.yml").write_bytes(content)
    with pytest.raises(DataError, match="not a structured forest, or damaged"):
        propose(images, EdgeBoxes(model=str(tmp_path / "model.yml")), tmp_path)


@pytest.mark.parametrize("kind", [SelectiveSearch, EdgeBoxes, MatFiles])
def test_conf_mirrors_the_dataclass(kind: type[SelectiveSearch | EdgeBoxes | MatFiles]) -> None:
    values = yaml.safe_load((folders.conf() / "proposals" / f"{kind().method}.yaml").read_text())
    assert values == asdict(MatFiles(files={"trainval": None, "test": None}) if kind is MatFiles else kind())
