"""The generated data set: layouts, determinism, resuming, the manifest."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from spprepro.data import mini, scene
from spprepro.data.mini import CLASSES, Amounts, Part, contact_sheet, generate, manifest_path, verify
from spprepro.errors import DataError

FEW = Amounts(imagenet_train=40, imagenet_val=60, imagenet_test=10, voc_trainval=41, voc_test=20, caltech_per_class=2)
NAMES = [each.name for each in CLASSES]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three parts, drawn in this process."""
    root = tmp_path_factory.mktemp("mini")
    for part in ("imagenet", "voc", "caltech101"):
        generate(root, part=part, seed=3, amounts=FEW, workers=1)
    return root


@pytest.fixture
def caltech(tmp_path: Path) -> Iterator[Path]:
    generate(tmp_path, part="caltech101", seed=3, amounts=FEW, workers=1)
    yield tmp_path


def refill(root: Path, seed: int = 3, amounts: Amounts = FEW) -> Path:
    return generate(root, part="caltech101", seed=seed, amounts=amounts, workers=1)


def test_imagenet_layout_is_balanced_and_in_range(made: Path) -> None:
    for split, per_class in (("train", 2), ("val", 3)):
        folders = sorted((made / "imagenet" / split).iterdir())
        assert [folder.name for folder in folders] == [each.wnid for each in CLASSES]
        assert {len(list(folder.glob("*.JPEG"))) for folder in folders} == {per_class}
    shapes = np.array([cv2.imread(str(path)).shape[:2] for path in (made / "imagenet").rglob("*.JPEG")])
    assert shapes.min() >= 200 and shapes.min(axis=1).max() <= 420
    aspect = shapes[:, 1] / shapes[:, 0]
    assert aspect.min() >= 0.49 and aspect.max() <= 2.01
    assert aspect.min() < 0.8 and aspect.max() > 1.25 and len({tuple(shape) for shape in shapes}) > 60


def test_train_and_val_pictures_all_differ(made: Path) -> None:
    found = [*hashes(made / "imagenet").values(), *hashes(made / "101_ObjectCategories").values()]
    assert len(set(found)) == len(found)


def test_voc_annotations_fit_their_pictures(made: Path) -> None:
    voc = made / "VOCdevkit" / "VOC2007"
    pictures = sorted(voc.glob("JPEGImages/*.jpg"))
    assert [path.stem for path in pictures] == [f"{k:06d}" for k in range(1, 62)]
    truncated, difficult, count = 0, 0, 0
    for path in pictures:
        height, width = cv2.imread(str(path)).shape[:2]
        root = ElementTree.parse(voc / "Annotations" / f"{path.stem}.xml").getroot()
        assert root.findtext("folder") == "VOC2007" and root.findtext("filename") == path.name
        assert [root.findtext(f"size/{key}") for key in ("width", "height", "depth")] == [
            str(width),
            str(height),
            "3",
        ]
        objects = root.findall("object")
        assert 1 <= len(objects) <= 4
        for node in objects:
            assert node.findtext("name") in NAMES
            x1, y1, x2, y2 = (int(node.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
            assert 1 <= x1 < x2 <= width and 1 <= y1 < y2 <= height
            truncated += node.findtext("truncated") == "1"
            difficult += node.findtext("difficult") == "1"
            count += 1
    assert 0 < truncated < count and 0 < difficult < count


def test_voc_image_sets_agree_with_the_annotations(made: Path) -> None:
    voc = made / "VOCdevkit" / "VOC2007"
    sets = {
        name: (voc / f"ImageSets/Main/{name}.txt").read_text().split() for name in ("train", "val", "trainval", "test")
    }
    assert sets["train"] + sets["val"] == sets["trainval"] and len(sets["trainval"]) == 41 and len(sets["test"]) == 20
    assert not set(sets["trainval"]) & set(sets["test"])
    seen = set()
    for split, ids in sets.items():
        for name in NAMES:
            lines = (voc / f"ImageSets/Main/{name}_{split}.txt").read_text().splitlines()
            assert [line.split()[0] for line in lines] == ids
            for line in lines:
                stem, mark = line.split()
                nodes = ElementTree.parse(voc / f"Annotations/{stem}.xml").findall("object")
                flags = [node.findtext("difficult") for node in nodes if node.findtext("name") == name]
                assert int(mark) == (-1 if not flags else 1 if "0" in flags else 0)
                seen.add(mark)
    assert {"1", "-1"} <= seen


def test_caltech_layout(made: Path) -> None:
    folders = sorted((made / "101_ObjectCategories").iterdir())
    assert [folder.name for folder in folders] == sorted([*NAMES, "BACKGROUND_Google"])
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["image_0001.jpg", "image_0002.jpg"]


def test_any_number_of_processes_writes_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini, "CHUNK", 20)
    calls: list[tuple[int, int]] = []
    args = {"seed": 3, "amounts": FEW, "workers": 2}
    generate(tmp_path, part="voc", progress=lambda done, total: calls.append((done, total)), **args)
    assert hashes(tmp_path / "VOCdevkit") == hashes(made / "VOCdevkit")
    assert manifest_path(tmp_path, "voc").read_bytes() == manifest_path(made, "voc").read_bytes()
    assert calls[-1] == (61, 61) and [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_another_seed_gives_other_pictures(made: Path, tmp_path: Path) -> None:
    refill(tmp_path, seed=4)
    assert not set(hashes(tmp_path / "101_ObjectCategories").values()) & set(
        hashes(made / "101_ObjectCategories").values()
    )


@pytest.mark.parametrize("interrupted", [False, True])
def test_only_what_is_missing_is_made_again(made: Path, tmp_path: Path, interrupted: bool) -> None:
    generate(tmp_path, part="voc", seed=3, amounts=FEW, workers=1)
    folder = tmp_path / "VOCdevkit/VOC2007"
    if interrupted:  # what a killed call leaves behind: its mark, no manifest, an unfinished file
        manifest = json.loads(manifest_path(tmp_path, "voc").read_text())
        del manifest["files"]
        (tmp_path / "VOCdevkit.partial.json").write_text(json.dumps(manifest))
        manifest_path(tmp_path, "voc").unlink()
        (folder / "JPEGImages/.000009.jpg.77.tmp").write_bytes(b"half")
    (folder / "JPEGImages/000003.jpg").unlink()
    (folder / "Annotations/000005.xml").unlink()
    (folder / "JPEGImages/000008.jpg").write_bytes((folder / "JPEGImages/000008.jpg").read_bytes()[:900])
    (folder / "ImageSets/Main/test.txt").unlink()
    untouched = folder / "JPEGImages/000020.jpg"
    before, drawn = untouched.stat().st_ino, []
    generate(tmp_path, part="voc", seed=3, amounts=FEW, workers=1, progress=lambda done, total: drawn.append(total))
    assert drawn == [3] and untouched.stat().st_ino == before
    assert hashes(tmp_path / "VOCdevkit") == hashes(made / "VOCdevkit")
    assert manifest_path(tmp_path, "voc").read_bytes() == manifest_path(made, "voc").read_bytes()
    assert not (tmp_path / "VOCdevkit.partial.json").exists()


def test_a_finished_part_is_returned_without_drawing(caltech: Path) -> None:
    calls: list[int] = []
    generate(caltech, part="caltech101", seed=3, amounts=FEW, progress=lambda done, total: calls.append(done))
    assert not calls


def test_files_of_unknown_origin_are_drawn_again(made: Path, caltech: Path) -> None:
    manifest_path(caltech, "caltech101").unlink()
    (caltech / "101_ObjectCategories/car/image_0001.jpg").write_bytes(b"\xff\xd8 of another seed \xff\xd9")
    refill(caltech)
    assert hashes(caltech / "101_ObjectCategories") == hashes(made / "101_ObjectCategories")


@pytest.mark.parametrize("content", [b"", b'{"files": {', b"[1]", b"\xff"])
def test_a_damaged_manifest_is_named(caltech: Path, content: bytes) -> None:
    manifest_path(caltech, "caltech101").write_bytes(content)
    for read in (refill, lambda root: verify(root, "caltech101")):
        with pytest.raises(DataError, match=r"manifest\.json: damaged .*; delete it, and the next job draws"):
            read(caltech)


@pytest.mark.parametrize("part", ["imagenet", "voc", "caltech101"])
def test_verify_finds_nothing_wrong_with_a_fresh_part(made: Path, part: Part) -> None:
    assert verify(made, part) == []


def test_verify_names_each_damaged_file(caltech: Path) -> None:
    folder = caltech / "101_ObjectCategories"
    (folder / "bird/image_0001.jpg").unlink()
    (folder / "boat/extra.jpg").write_bytes(b"x")
    whole = (folder / "bus/image_0002.jpg").read_bytes()
    (folder / "bus/image_0002.jpg").write_bytes(whole[:-100])
    whole = (folder / "car/image_0002.jpg").read_bytes()
    (folder / "car/image_0002.jpg").write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    faults = "\n".join(verify(caltech, "caltech101"))
    assert faults.count("\n") == 3
    for name, word in (
        ("bird/image_0001", "missing"),
        ("boat/extra", "extra"),
        ("bus/image_0002", "bytes"),
        ("car/image_0002", "altered"),
    ):
        assert any(name in line and word in line for line in faults.splitlines()), faults
    manifest_path(caltech, "caltech101").unlink()
    assert "manifest" in verify(caltech, "caltech101")[0]


@pytest.mark.parametrize(("seed", "amounts"), [(4, FEW), (3, Amounts(caltech_per_class=3))])
@pytest.mark.parametrize("interrupted", [False, True])
def test_other_settings_in_the_same_folder_are_refused(
    caltech: Path, seed: int, amounts: Amounts, interrupted: bool
) -> None:
    if interrupted:
        manifest_path(caltech, "caltech101").rename(caltech / "101_ObjectCategories.partial.json")
    with pytest.raises(DataError) as caught:
        refill(caltech, seed, amounts)
    asked, has = (seed, amounts.caltech_per_class), (3, 2)
    for pair in (asked, has):
        assert f'"seed": {pair[0]}, "amounts": {{"caltech_per_class": {pair[1]}}}' in str(caught.value)


def test_amounts_of_the_other_parts_do_not_matter(caltech: Path) -> None:
    assert refill(caltech, amounts=Amounts(imagenet_train=7, caltech_per_class=2)).name == "101_ObjectCategories"


def test_strange_files_are_refused(caltech: Path) -> None:
    (caltech / "101_ObjectCategories/car/holiday.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match="holiday"):
        refill(caltech)


def test_boxes_are_tight_around_what_was_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NOISE", (0, 0)), ("BLUR_CHANCE", 0), ("SHADOW_CHANCE", 0), ("OCCLUSION_CHANCE", 0)):
        monkeypatch.setattr(scene, name, value)
    extents, cuts = [], 0
    for seed in range(40):
        empty, _ = scene._canvas(np.random.default_rng(seed))
        picture, placed = scene.draw_objects([seed % 20], np.random.default_rng(seed))
        changed = np.abs(picture.astype(int) - empty).sum(axis=2) > 40
        xs, ys = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
        assert np.abs(np.array(placed[0].box) - (xs[0], ys[0], xs[-1], ys[-1])).max() <= 6, seed
        extents.append(max(xs[-1] - xs[0], ys[-1] - ys[0]) / min(picture.shape[:2]))
        height, width = changed.shape
        touches = xs[0] == 0 or ys[0] == 0 or xs[-1] == width - 1 or ys[-1] == height - 1
        assert touches or not placed[0].truncated, seed
        cuts += placed[0].truncated
    assert 0.1 < min(extents) < 0.45 and 0.7 < max(extents) < 0.95 and 0 < cuts < 20


def test_later_objects_hide_earlier_ones() -> None:
    shown = [scene.draw_objects([k % 20] * 4, np.random.default_rng(k))[1] for k in range(20)]
    assert any(len(placed) < 4 for placed in shown) or any(p.difficult for placed in shown for p in placed)


def test_contact_sheet_shows_every_class(made: Path, tmp_path: Path) -> None:
    sheet = contact_sheet(made, tmp_path / "docs" / "mini.jpg", per_class=2)
    assert sheet.stat().st_size < 400_000 and cv2.imread(str(sheet)).std() > 20
    with pytest.raises(DataError, match=r"n90000001.*3 pictures, 9 needed"):
        contact_sheet(made, tmp_path / "mini.jpg", per_class=9)
