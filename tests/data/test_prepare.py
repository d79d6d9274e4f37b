"""Which folder is meant by voc.root, and the generated set in its place."""

import re

import pytest

from spprepro.data import mini
from spprepro.data.prepare import prepare_voc
from spprepro.data.voc import read_split
from spprepro.detection import Voc
from spprepro.errors import DataError


@pytest.fixture
def devkit(tmp_path):
    folder = tmp_path / "parent" / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("part", ["VOC2007", "VOCdevkit", "parent"])
def test_the_folder_or_one_that_holds_it(devkit, part):
    named = next(folder for folder in (devkit, *devkit.parents) if folder.name == part)
    assert prepare_voc(Voc(root=str(named))) == devkit


@pytest.mark.parametrize("part", ["voc/VOCdevkit/VOC2007", "voc/VOCdevkit", "voc"])
def test_a_name_is_looked_up_in_the_data_folder(tmp_path, monkeypatch, part):
    folder = tmp_path / "data" / "voc" / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets").mkdir(parents=True)
    monkeypatch.setenv("SPPREPRO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert prepare_voc(Voc(root=part)) == folder


def test_missing_or_empty_is_refused_with_the_name(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SPPREPRO_DATA", str(tmp_path / "data"))
    for name in ("nowhere", str(tmp_path / "empty")):
        with pytest.raises(DataError, match=f"voc.root: {re.escape(name)} holds no ImageSets.*VOCdevkit/VOC2007"):
            prepare_voc(Voc(root=name))


def test_the_generated_set_is_made_once(monkeypatch):
    told = []
    small = Voc(trainval=4, test=3)
    root = prepare_voc(small, lambda what, done, total: told.append((what, done, total)))
    assert root.name == "VOC2007" and told[-1][1:] == (7, 7)
    assert [len(read_split(root, name).images) for name in ("trainval", "test")] == [4, 3]
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert stamps

    def refused(*arguments, **named):
        raise AssertionError("drawn again")

    monkeypatch.setattr(mini, "_draw_all", refused, raising=False)
    assert prepare_voc(small) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == stamps


def test_other_amounts_and_seeds_are_other_sets():
    first = prepare_voc(Voc(trainval=2, test=2))
    others = [prepare_voc(Voc(trainval=3, test=2)), prepare_voc(Voc(trainval=2, test=2, seed=1))]
    assert len({first, *others}) == 3
    assert all(read_split(root, "trainval").images for root in others)
