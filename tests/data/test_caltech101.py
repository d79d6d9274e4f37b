"""Reading 101_ObjectCategories and drawing its splits: generated, real, and with everything wrong."""

import shutil

import numpy as np
import pytest

from spprepro.data import mini
from spprepro.data.caltech101 import draw_split, read_categories
from spprepro.data.decode import decode
from spprepro.data.prepare import prepare_caltech
from spprepro.errors import DataError
from spprepro.transfers import Caltech
from tests.conftest import write_picture


@pytest.fixture
def categories(tmp_path):
    """Three classes, the background among them, of 5, 4 and 3 images."""
    root = tmp_path / "101_ObjectCategories"
    for label, (name, count) in enumerate((("ant", 5), ("BACKGROUND_Google", 4), ("yin_yang", 3))):
        for i in range(count):
            write_picture(root / name / f"image_{i + 1:04d}.jpg", 40 + i, 50, seed=10 * label + i)
    return root


def faults_of(root, train):
    with pytest.raises(DataError) as error:
        read_categories(root, train)
    return error.value.faults


def test_the_background_is_a_class_and_other_files_are_none(categories):
    (categories / "BACKGROUND_Google" / "tmp").write_text("as in the archive")
    (categories / ".hidden").mkdir()
    found = read_categories(categories, 2)
    assert found.classes == ["BACKGROUND_Google", "ant", "yin_yang"]
    assert np.bincount(found.labels()).tolist() == [4, 5, 3]
    first = found.images[0]
    assert (first.path, first.height, first.width) == ("BACKGROUND_Google/image_0001.jpg", 40, 50)
    before = found.fingerprint()
    write_picture(categories / first.path, 40, 50, seed=99)
    assert read_categories(categories, 2).fingerprint() != before


def test_all_faults_are_named_at_once(categories):
    shutil.copy(categories / "ant" / "image_0001.jpg", categories / "yin_yang" / "image_0009.jpg")
    write_picture(categories / "ant" / "image_0002.png", 40, 50, seed=77)
    (categories / "ant" / "image_0003.jpg").write_bytes(b"no picture")
    expected = [
        ("BACKGROUND_Google: 4 images, but 4 train"),
        ("ant/image_0003.jpg: cannot be read as an image"),
        ("yin_yang: 4 images, but 4 train"),
        ("ant/image_0002.png: the same image as ant/image_0002.jpg"),
        ("yin_yang/image_0009.jpg: the same image as ant/image_0001.jpg"),
    ]
    found = faults_of(categories, 4)
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True)), found


def test_a_class_of_30_images_is_refused(categories):
    for i in range(31):
        for name in ("ant", "BACKGROUND_Google", "yin_yang"):
            write_picture(categories / name / f"image_{i + 1:04d}.jpg", 20, 20 + i, seed=1000 * len(name) + i)
    read_categories(categories, 30)
    (categories / "ant" / "image_0031.jpg").unlink()
    (fault,) = faults_of(categories, 30)
    assert "ant: 30 images, but 30 train and at least one tests" in fault


def test_a_folder_that_is_none_or_holds_no_classes_is_named(tmp_path):
    with pytest.raises(DataError, match=r"caltech\.root: nowhere is not a folder"):
        prepare_caltech(Caltech(root="nowhere"))
    assert "holds 0 classes" in faults_of(tmp_path, 30)[0]


def test_splits_are_disjoint_random_and_the_same_again():
    labels = np.repeat([0, 1, 2], [100, 31, 40])
    splits = [draw_split(labels, number, seed=0, train=30, test=50) for number in range(3)]
    for split in splits:
        assert np.bincount(labels[split.train]).tolist() == [30, 30, 30]
        assert np.bincount(labels[split.test]).tolist() == [50, 1, 10]
        assert not set(split.train.tolist()) & set(split.test.tolist())
    assert len({tuple(split.train.tolist()) for split in splits}) == 3
    again = draw_split(labels, 1, seed=0, train=30, test=50)
    assert (again.train == splits[1].train).all() and (again.test == splits[1].test).all()
    assert (draw_split(labels, 1, seed=1, train=30, test=50).train != again.train).any()


def test_the_generated_set_reads(tmp_path):
    root = mini.generate(tmp_path, part="caltech101", seed=0, amounts=mini.Amounts(caltech_per_class=2), workers=1)
    found = read_categories(root, 1)
    assert len(found.classes) == 21 and "BACKGROUND_Google" in found.classes
    for image in found.images[::7]:
        assert decode(root / image.path).shape[1:] == (image.height, image.width)


@pytest.mark.slow  # reads the headers and contents of 3,939 photos: about 5 s, longer from a cold disk
def test_real_photos_read(real_photos):
    found = read_categories(prepare_caltech(Caltech(root=str(real_photos("caltech101")))), 30)
    split = draw_split(found.labels(), 0, seed=0, train=30, test=50)
    assert len(found.classes) == 102 and len(split.train) == 3060 and len(split.test) == len(found.images) - 3060
