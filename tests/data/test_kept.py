"""Kept pixels: the same images as from the files, decoded once, made again when damaged, and never above the limit."""

from pathlib import Path

import pytest
import torch

from spprepro.data import kept
from spprepro.data.imagenet import Survey, survey
from spprepro.data.kept import KeptImages, kept_folder
from spprepro.data.loader import TrainImages


@pytest.fixture
def found(tree: Path) -> Survey:
    return survey(tree, min_side=64, crop=56, workers=0)


def images(found: Survey, folder: Path | None) -> KeptImages:
    return KeptImages(found.root, found.train, min_side=64, folder=folder)


def test_second_pass_needs_no_files_and_gives_the_same_batches(found: Survey) -> None:
    folder = kept_folder(found.train, 64, 1.0)
    plain, keeping = (
        TrainImages(found.root, found.train, seed=0, crops="random", min_side=64, crop=56, kept=where)
        for where in (None, folder)
    )
    keys = [(3, index, 56) for index in range(12)]
    expected = plain.__getitems__(keys)
    assert torch.equal(keeping.__getitems__(keys).images, expected.images)
    for image in found.train:
        (found.root / image.path).unlink()
    assert torch.equal(keeping.__getitems__(keys).images, expected.images)


@pytest.mark.parametrize(
    "harm", [lambda c: c[:-1], lambda c: b"", lambda c: bytes(len(c)), lambda c: c[:50] + b"!" + c[51:]]
)
def test_damaged_file_is_made_again(found: Survey, harm: object) -> None:
    folder = kept_folder(found.train, 64, 1.0)
    assert folder is not None
    expected = images(found, folder)[0].clone()
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(harm(whole))  # type: ignore[operator]
    assert torch.equal(images(found, folder)[0], expected)
    assert path.read_bytes() == whole


def test_nothing_is_kept_above_the_limit(found: Survey) -> None:
    size = sum(3 * min(i.height, i.width) * max(i.height, i.width) for i in found.train)
    assert kept_folder(found.train, 64, 0.0) is None
    assert kept_folder(found.train, 64, size * 0.2 / 2**30) is None
    assert kept_folder(found.train, 64, size * 5 / 2**30) is not None


def test_full_disk_does_not_stop_training(found: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = kept_folder(found.train, 64, 1.0)
    monkeypatch.setattr(kept.os, "replace", full)
    assert torch.equal(images(found, folder)[0], images(found, None)[0])
    assert not [path for path in (folder or found.root).rglob("*") if path.is_file()]
