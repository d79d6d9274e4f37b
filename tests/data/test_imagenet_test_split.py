"""The unlabelled test split: listed, surveyed, numbered as the devkit does, judged only where the truth is known."""

import numpy as np
import pytest

from spprepro.data.imagenet import class_ids, list_unlabelled, survey, survey_unlabelled, truth_of
from spprepro.errors import DataError
from tests.conftest import write_picture


@pytest.fixture
def with_test(tree):
    for i in (2, 0, 1):
        write_picture(tree / "test" / f"test_{i}.JPEG", 70, 90 + i, seed=i)
    (tree / "test" / "notes.txt").write_text("no picture")
    return tree


def test_pictures_are_listed_by_name_and_leave_the_labelled_splits_alone(with_test, tree):
    mark = survey(tree, min_side=64, crop=56, workers=0).fingerprint
    found = survey_unlabelled(with_test / "test", min_side=64, crop=56)
    assert [image.path for image in found] == [f"test_{i}.JPEG" for i in range(3)]
    assert [(image.label, image.width) for image in found] == [(-1, 90), (-1, 91), (-1, 92)]
    for path in (tree / "test").glob("*.JPEG"):
        path.unlink()
    assert survey(tree, min_side=64, crop=56, workers=0).fingerprint == mark
    with pytest.raises(DataError, match=r"test: no pictures.*data\.test=DIR"):
        survey_unlabelled(tree / "test", min_side=64, crop=56)


def test_pictures_in_folders_count_too(tree):
    assert len(list_unlabelled(tree)) == 18 and list_unlabelled(tree / "nowhere") == []


def test_an_unreadable_test_picture_is_named(with_test):
    (with_test / "test" / "test_1.JPEG").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"test_1\.JPEG"):
        survey_unlabelled(with_test / "test", min_side=64, crop=56)


def test_classes_are_numbered_by_synsets_or_by_wnid(tmp_path):
    assert class_ids(tmp_path, ["n01", "n02"]) == [1, 2]
    (tmp_path / "synsets.txt").write_text("n02 second\nn09\nn01\n")
    assert class_ids(tmp_path, ["n01", "n02"]) == [3, 1]
    with pytest.raises(DataError, match=r"synsets\.txt: lacks n05"):
        class_ids(tmp_path, ["n01", "n05"])


def test_a_thousand_classes_are_not_numbered_by_guess(tmp_path):
    with pytest.raises(DataError, match="ILSVRC2012_ID"):
        class_ids(tmp_path, [f"n{k:08d}" for k in range(1000)])


def test_truth_is_read_in_the_devkits_numbers(tmp_path):
    assert truth_of(tmp_path / "test", tmp_path, ["n01", "n02"], 3) is None
    (tmp_path / "synsets.txt").write_text("n02\nn01\n")
    (tmp_path / "test_ground_truth.txt").write_text("1\n2\n2\n")
    assert np.array_equal(truth_of(tmp_path / "test", tmp_path, ["n01", "n02"], 3), [1, 0, 0])
    for text, fault in (("1\n2\n", "2 lines for 3"), ("1\n2\n7\n", "'7' is no class"), ("1\n2\nx\n", "'x'")):
        (tmp_path / "test_ground_truth.txt").write_text(text)
        with pytest.raises(DataError, match=fault):
            truth_of(tmp_path / "test", tmp_path, ["n01", "n02"], 3)
