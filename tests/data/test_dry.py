"""The set of 1000 classes."""

import numpy as np

from spprepro.data import dry
from spprepro.data.imagenet import Image, Survey, class_ids, list_classes, list_split, list_unlabelled, truth_of


def test_a_thousand_classes_with_pictures_labels_and_their_numbers(tmp_path):
    root = dry.generate(tmp_path / "set", test=3, seed=0)
    classes = list_classes(root)
    assert len(classes) == 1000 and class_ids(root, classes) == list(range(1, 1001))
    for split in ("train", "val"):
        assert [label for _, label in list_split(root, split, classes)] == list(range(1000))
    assert len(list_unlabelled(root / "test")) == 3
    assert truth_of(root / "test", root, classes, 3).tolist() == [0, 1, 2]
    first = (root / "train" / classes[0] / f"{classes[0]}.JPEG").read_bytes()
    assert first != (root / "val" / classes[0] / f"{classes[0]}.JPEG").read_bytes()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "photos").mkdir()
    assert dry.generate(tmp_path / "photos", test=3, seed=0) == tmp_path / "photos"
    assert not list((tmp_path / "photos").iterdir())


def test_so_many_images_are_used_and_all_classes(tmp_path):
    images = [Image(f"{k}.JPEG", k, "", 300, 300) for k in range(1000)]
    whole = Survey(tmp_path, [str(k) for k in range(1000)], images, images, np.zeros((3, 2, 2)), np.eye(3))
    found = dry.thinned(whole, 32, 4)
    assert (len(found.train), len(found.val), len(found.classes)) == (32, 4, 1000)
    assert [image.label for image in found.val] == [0, 250, 500, 750]
