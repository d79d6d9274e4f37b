"""Average precision against the devkit's, and results files that say it again."""

import math
from pathlib import Path

import numpy as np
import pytest

from spprepro.average_precision import HIT, IGNORED, MISS, ap11, ap_area, curve, mean_ap
from spprepro.data.voc import Annotation, Split
from spprepro.detect.voc_eval import (
    Detections,
    Objects,
    class_objects,
    match,
    read_results,
    results_path,
    write_results,
)
from spprepro.errors import DataError

CASES = "main ties many_difficult exact_half leading_difficult tenths shared all_fp npos0".split()
KEYS = "n_images gt_image gt_boxes gt_difficult det_image det_score det_boxes".split()


def reference(golden, case):
    """Detections and objects of a case; its boxes are 1-based."""
    values = golden("voc_ap.npz", *(f"{case}_{key}" for key in KEYS))
    images, *rest = (values[f"{case}_{key}"] for key in KEYS)
    image, boxes, difficult, det_image, score, det_boxes = rest
    return Detections(det_image, score, det_boxes - 1), Objects(int(images), image, boxes - 1, difficult)


@pytest.mark.parametrize("case", CASES)
def test_curve_and_ap_are_the_devkits(golden, case):
    recall, precision = curve(match(*reference(golden, case)))
    expected = golden("voc_ap.npz", *(f"{case}_voc_{key}" for key in ("rec", "prec", "ap11", "ap_area")))
    np.testing.assert_array_equal(precision, expected[f"{case}_voc_prec"])
    np.testing.assert_array_equal(recall, expected[f"{case}_voc_rec"])
    np.testing.assert_allclose(ap11(recall, precision), expected[f"{case}_voc_ap11"], rtol=1e-14)
    np.testing.assert_allclose(ap_area(recall, precision), expected[f"{case}_voc_ap_area"], rtol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_saved_detections_give_the_same_ap(golden, tmp_path, case):
    found, objects = reference(golden, case)
    ids = [f"{number:06d}" for number in range(objects.images)]
    path = results_path(tmp_path, "test", "cat")
    write_results(path, ids, found)
    again = read_results({"cat": path}, ids)["cat"]
    np.testing.assert_array_equal(again.image, found.image)
    np.testing.assert_array_equal(again.score, found.score)  # the reference has 6 decimals already
    np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-7)
    np.testing.assert_array_equal(match(again, objects).state, match(found, objects).state)


def test_results_are_lines_of_the_devkit(tmp_path):
    found = Detections(np.array([1, 0]), np.array([-0.12345678, 2]), np.array([[0.0, 4, 10, 20], [0.25, 1, 2, 3]]))
    path = results_path(tmp_path / "Main", "test", "cat")
    write_results(path, ["000005", "2008_000007"], found)
    assert path.name == "comp4_det_test_cat.txt"
    assert path.read_text() == "2008_000007 -0.123457 1 5 11 21\n000005 2.000000 1.25 2 3 4\n"


def test_all_wrong_lines_are_named(tmp_path):
    path = tmp_path / "cat.txt"
    lines = ("a 0.5 1 1 2 2", "b 0.5 1 1 2 2", "a 0.5 1 1 2", "a x 1 1 2 2", "a nan 1 1 2 2", "a 0.5 9 1 2 2", "")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as error:
        read_results({"cat": path, "dog": tmp_path / "dog.txt"}, ["a"])
    assert [fault.split(": ")[0] for fault in error.value.faults] == [
        *(f"{path}:{number}" for number in range(2, 8)),
        str(tmp_path / "dog.txt"),
    ]
    assert "'b' is not in the split" in error.value.faults[0]


def square(x, side=10):
    return [x, 0, x + side - 1, side - 1]


def test_a_class_without_detections(tmp_path):
    none = Detections(np.empty(0, np.int64), np.empty(0), np.empty((0, 4)))
    write_results(tmp_path / "cat.txt", [], none)
    again = read_results({"cat": tmp_path / "cat.txt"}, [])["cat"]
    assert again.boxes.shape == (0, 4)
    objects = Objects(1, np.array([0]), np.array([square(0.0)]), np.array([False]))
    matches = match(again, objects)
    assert ap11(*curve(matches)) == ap_area(*curve(matches)) == 0
    empty = Objects(3, np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, bool))
    assert math.isnan(mean_ap({"cat": match(again, empty)}))
    assert mean_ap({"cat": match(again, empty), "dog": matches}) == 0


def test_states_of_repeats_difficult_and_stray_detections():
    objects = Objects(2, np.array([0, 0]), np.array([square(0.0), square(50.0)]), np.array([False, True]))
    boxes = np.array([square(1.0), square(0.0), square(50.0), square(51.0), square(0.0), square(30.0)])
    found = Detections(np.array([0, 0, 0, 0, 1, 0]), np.array([0.5, 0.9, 0.4, 0.3, 0.8, 0.5]), boxes)
    matches = match(found, objects)
    assert matches.state.tolist() == [HIT, MISS, MISS, MISS, IGNORED, IGNORED]
    assert matches.image.tolist() == [0, 1, 0, 0, 0, 0]
    assert matches.positives.tolist() == [1, 0]


def test_copies_of_images_count_as_if_they_were_in_the_split(golden):
    """The bootstrap's shortcut against evaluating a split that really holds the copies."""
    found, objects = reference(golden, "main")
    copies = np.random.default_rng(3).multinomial(objects.images, np.full(objects.images, 1 / objects.images))
    drawn = np.repeat(np.arange(objects.images), copies)
    det = [(number, row) for number, image in enumerate(drawn) for row in np.flatnonzero(found.image == image)]
    det.sort(key=lambda pair: pair[1])  # equal scores in file order, copies together
    gt = [(number, row) for number, image in enumerate(drawn) for row in np.flatnonzero(objects.image == image)]
    (images, rows), (gt_images, gt_rows) = np.array(det).T, np.array(gt).T
    real = match(
        Detections(images, found.score[rows], found.boxes[rows]),
        Objects(len(drawn), gt_images, objects.boxes[gt_rows], objects.difficult[gt_rows]),
    )
    matches = match(found, objects)
    assert ap11(*curve(matches, copies)) == pytest.approx(ap11(*curve(real)), abs=1e-12)
    assert ap11(*curve(matches, copies)) != ap11(*curve(matches))
    assert mean_ap({"cat": matches}, copies) == pytest.approx(ap11(*curve(real)), abs=1e-12)


def test_objects_of_a_class_keep_their_images():
    def image(name, labels, difficult):
        n = len(labels)
        boxes = np.array([square(20.0 * i) for i in range(n)]).reshape(n, 4)
        marks = np.array(difficult, bool)
        return Annotation(name, 60, 80, np.array(labels, np.int64), boxes, marks, np.zeros(n, bool))

    images = [image("a", [1, 0, 1], [0, 0, 1]), image("b", [], []), image("c", [1], [0])]
    split = Split(Path("VOC2007"), "test", ("cat", "dog"), images)
    objects = class_objects(split, 1)
    assert objects.image.tolist() == [0, 0, 2]
    assert objects.boxes[:, 0].tolist() == [0, 40, 0]
    matches = match(Detections(objects.image, np.array([3.0, 2, 1]), objects.boxes), objects)
    assert matches.state.tolist() == [HIT, IGNORED, HIT]
    assert matches.positives.tolist() == [1, 0, 1]
    assert ap11(*curve(matches)) == pytest.approx(1)
