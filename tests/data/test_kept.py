"""Kept pixels: the same images as from the files, decoded once, made again when damaged, and never above the limit."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image as PilImage

from spprepro.config import Data
from spprepro.data import kept
from spprepro.data.imagenet import Survey, survey
from spprepro.data.kept import Kept, KeptImages, copy_all, kept_as
from spprepro.data.loader import TrainImages
from spprepro.errors import DataError
from spprepro.files import full_disk_told
from tests.conftest import write_picture


@pytest.fixture
def found(tree: Path) -> Survey:
    return survey(tree, min_side=64, crop=56, workers=0)


def images(found: Survey, where: Kept | None) -> KeptImages:
    return KeptImages(found.root, found.train, min_side=64, kept=where)


def files(where: Kept) -> list[Path]:
    return sorted(path for path in where.folder.rglob("*") if path.is_file())


def batches(found: Survey, *kept: Kept | None) -> list[TrainImages]:
    return [
        TrainImages(found.root, found.train, seed=0, crops="random", min_side=64, crop=56, kept=where) for where in kept
    ]


KEYS = [(3, index, 56) for index in range(12)]


@pytest.mark.parametrize("form", [None, "raw"])
def test_second_pass_needs_no_files_and_gives_the_same_batches(found: Survey, form: Literal["raw"] | None) -> None:
    plain, keeping = batches(found, None, kept_as(found.train, 64, form, 1.0))
    expected = plain.__getitems__(KEYS)
    assert torch.equal(keeping.__getitems__(KEYS).images, expected.images)
    for image in found.train:
        (found.root / image.path).unlink()
    assert torch.equal(keeping.__getitems__(KEYS).images, expected.images)


def test_jpeg_differs_a_little_and_is_the_same_in_every_pass(found: Survey) -> None:
    where = kept_as(found.train, 64, "jpeg", 0.0)
    assert where is not None
    plain, keeping = batches(found, None, where)
    first, raw = keeping.__getitems__(KEYS).images, plain.__getitems__(KEYS).images
    apart = (first.int() - raw.int()).abs()
    assert 0 < apart.max() < 40 and apart.float().mean() < 3
    with PilImage.open(files(where)[0]) as opened:
        assert opened.format == "JPEG" and min(opened.size) == 64
        assert [part[1:3] for part in opened.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]  # 4:4:4
    for image in found.train:
        (found.root / image.path).unlink()
    assert torch.equal(keeping.__getitems__(KEYS).images, first)


@pytest.mark.parametrize("form", ["raw", "jpeg"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_copy_is_made_once_and_goes_on(found: Survey, form: Literal["raw", "jpeg"], workers: int) -> None:
    where = kept_as(found.train, 64, form, 0.0)
    assert where is not None
    data = Data(name="imagenet", root=None, crops="random", min_side=64, crop=56, workers=workers, cache=form)
    told: list[tuple[int, int]] = []
    copy_all(found, data, lambda what, done, total: told.append((done, total)))
    made = {path: path.stat().st_mtime_ns for path in files(where)}
    assert len(made) == 12 and told[-1] == (12, 12)
    assert not [path for path in made if path.name.endswith(".tmp")]
    for path in list(made)[:5]:
        path.unlink()
    copy_all(found, data, lambda what, done, total: told.append((done, total)))
    assert told[-1] == (5, 5) and made.keys() == set(files(where))
    assert all(path.stat().st_mtime_ns == made[path] for path in list(made)[5:])
    for each in found.train:
        (found.root / each.path).unlink()
    assert len(images(found, where)[0]) == 3  # from the copy alone


def test_a_copy_follows_its_source(found: Survey) -> None:
    data = Data(name="imagenet", root=None, crops="random", min_side=64, crop=56, workers=0, cache="raw")
    copy_all(found, data, lambda *_: None)
    where = kept_as(found.train, 64, "raw", 0.0)
    write_picture(found.root / found.train[0].path, 70, 90, seed=77)
    changed = survey(found.root, min_side=64, crop=56, workers=0)
    assert torch.equal(images(changed, where)[0], images(changed, None)[0])
    assert not torch.equal(images(changed, where)[0], images(found, where)[0])


def test_a_full_disk_stops_the_copy_with_its_number(found: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    data = Data(name="imagenet", root=None, crops="random", min_side=64, crop=56, workers=2, cache="raw")
    with pytest.raises(DataError, match="make room, and the same command goes on"), full_disk_told(found.root):
        copy_all(found, data, lambda *_: None)


@pytest.mark.parametrize(
    "harm", [lambda c: c[:-1], lambda c: b"", lambda c: bytes(len(c)), lambda c: c[:50] + b"!" + c[51:]]
)
@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_damaged_file_is_made_again(found: Survey, harm: object, form: Literal["raw", "jpeg"]) -> None:
    where = kept_as(found.train, 64, form, 1.0)
    assert where is not None
    expected = images(found, where)[0].clone()
    (path,) = files(where)
    whole = path.read_bytes()
    path.write_bytes(harm(whole))  # type: ignore[operator]
    assert torch.equal(images(found, where)[0], expected)
    assert path.read_bytes() == whole


def test_nothing_is_kept_above_the_limit(found: Survey) -> None:
    size = sum(3 * min(i.height, i.width) * max(i.height, i.width) for i in found.train)
    assert kept_as(found.train, 64, None, 0.0) is None
    assert kept_as(found.train, 64, None, size * 0.2 / 2**30) is None
    assert kept_as(found.train, 64, None, size * 5 / 2**30) is not None


def test_full_disk_does_not_stop_training(found: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    where = kept_as(found.train, 64, None, 1.0)
    assert where is not None
    monkeypatch.setattr(kept.os, "replace", full)
    assert torch.equal(images(found, where)[0], images(found, None)[0])
    assert not files(where)
