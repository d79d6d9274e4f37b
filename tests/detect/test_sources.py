"""Windows of a split: faulty ones are refused, empty lists refused or counted; overlaps with the objects."""

from dataclasses import replace

import numpy as np
import pytest

from spprepro.data.voc import fingerprint
from spprepro.detect.sources import Source, overlaps, usable
from spprepro.errors import DataError
from tests.detect.toys import annotation, in_memory, toy

GOOD = [[0, 0, 99, 49], [10, 10, 20, 20]]
IMAGES = [annotation(name, 50, 100, [[10, 10, 30, 30]], [1]) for name in ("one", "two", "three")]


def source(**windows) -> Source:
    return in_memory(*IMAGES, windows={"one": GOOD, "two": GOOD, "three": GOOD} | windows)


def test_good_windows_pass_unchanged():
    found, without = usable(source(), "refuse")
    assert without == [] and [image.id for image in found.split.images] == ["one", "two", "three"]
    assert found.windows(1).tolist() == GOOD and found.windows(1).dtype == np.float64


def test_windows_are_read_once():
    class Disk(dict):
        reads = 0

        def __getitem__(self, key):
            Disk.reads += 1
            return super().__getitem__(key)

    given = replace(source(), proposals=Disk(source().proposals))
    found, _ = usable(given, "refuse")
    for number in [0, 1, 2] * 3:
        found.windows(number)
    assert Disk.reads == 3


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ([0, 0, 100, 20], "outside the 100x50 image"),
        ([-1, 0, 9, 20], "outside the 100x50 image"),
        ([0, 0, 49, 99], "outside the 100x50 image"),
        ([20, 10, 10, 20], "no area"),
        ([10, 20, 20, 19], "no area"),
        ([0, 0, np.nan, 20], "NaN"),
        ([0, 0, np.inf, 20], "infinity"),
    ],
)
@pytest.mark.parametrize("unusable", ["refuse", "skip"])
def test_faulty_windows_are_refused_whatever_is_done_about_empty_lists(box, says, unusable):
    with pytest.raises(DataError) as caught:
        usable(source(two=[*GOOD, box], three=[box]), unusable)
    assert len(caught.value.faults) == 2
    assert "image two" in caught.value.faults[0] and "1 of 3" in caught.value.faults[0]
    assert "image three" in caught.value.faults[1] and all(says in fault for fault in caught.value.faults)


def test_a_fault_is_found_beyond_the_limit_too():
    with pytest.raises(DataError, match="image one"):
        usable(replace(source(one=[*GOOD, [5, 5, 4, 4]]), limit=2), "refuse")


@pytest.mark.parametrize("rows", [4, 3])
def test_five_columns_are_no_windows(rows):
    """Four rows of five would be five windows."""
    given = source()
    strange = replace(given, proposals={**given.proposals, "two": np.ones((rows, 5))})
    with pytest.raises(DataError, match=rf"image two: boxes of shape \({rows}, 5\)"):
        usable(strange, "refuse")


@pytest.mark.parametrize("nothing", [np.empty((0, 4)), np.empty(0), np.empty((0, 0))])
def test_empty_lists_are_refused_or_left_out_and_named(nothing):
    given = replace(source(), proposals={**source().proposals, "two": nothing})
    with pytest.raises(DataError, match=r"none for 1 images \(two\); voc.unusable=skip"):
        usable(given, "refuse")
    found, without = usable(given, "skip")
    assert without == ["two"]
    assert [image.id for image in found.split.images] == ["one", "three"] and len(found) == 2
    assert replace(found, split=given.split).windows(1).shape == (0, 4)
    assert replace(found, split=given.split).training_windows(1).tolist() == [[10, 10, 30, 30]]


def test_an_image_without_objects_stays_and_overlaps_nothing():
    given = in_memory(annotation("bare", 50, 100, [], []), windows={"bare": GOOD})
    found, without = usable(given, "refuse")
    assert not without and len(found) == 1
    beside = overlaps(found, 0)
    assert beside.best.tolist() == [0, 0] and beside.object.tolist() == [0, 0] and beside.by_class.shape == (2, 3)
    assert not beside.by_class.any()


def test_limit_takes_the_first_windows_and_all_objects():
    found = replace(source(one=[[0, 0, 9, 9], [0, 0, 8, 8], [0, 0, 7, 7]]), limit=2)
    assert found.windows(0).tolist() == [[0, 0, 9, 9], [0, 0, 8, 8]]
    assert found.training_windows(0).tolist() == [[10, 10, 30, 30], [0, 0, 9, 9], [0, 0, 8, 8]]


def test_overlaps_with_the_best_object_and_with_the_best_of_each_class():
    """Squares of 10 pixels a side; the third shares half its pixels with the first, or 1/3 of both."""
    objects = [[0, 0, 9, 9], [20, 0, 29, 9], [5, 0, 14, 9]]
    image = annotation("one", 50, 100, objects, [2, 2, 0])
    found = overlaps(in_memory(image, windows={"one": [[0, 0, 9, 19], [60, 20, 70, 30], [20, 0, 29, 9]]}), 0)
    third = 1 / 3
    assert found.object.tolist() == [0, 1, 2, 0, 0, 1]
    np.testing.assert_allclose(found.best, [1, 1, 1, 0.5, 0, 1])
    np.testing.assert_allclose(found.by_class[:, 2], [1, 1, third, 0.5, 0, 1])
    np.testing.assert_allclose(found.by_class[:, 0], [third, 0, 1, 0.2, 0, 0])
    assert not found.by_class[:, 1].any()


def test_fingerprint_changes_with_everything_that_a_split_says(tmp_path):
    split = toy(tmp_path).split
    first, *others = split.images

    def changed(**parts):
        return fingerprint(replace(split, images=[replace(first, **parts), *others]))

    kinds = [
        fingerprint(split),
        changed(labels=first.labels + 1),
        changed(boxes=first.boxes + 1),
        changed(difficult=~first.difficult),
        changed(height=first.height + 1),
        fingerprint(replace(split, images=split.images[::-1])),
        fingerprint(replace(split, images=others)),
    ]
    assert fingerprint(toy(tmp_path).split) == kinds[0]
    with (tmp_path / "JPEGImages" / f"{first.id}.jpg").open("ab") as picture:
        picture.write(b"x")
    kinds.append(fingerprint(split))
    assert len(set(kinds)) == len(kinds)
