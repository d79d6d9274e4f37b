"""Metrics from detections, from their files alone, and their bootstrap."""

import math
from dataclasses import replace

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.average_precision import HIT, IGNORED, MISS, Matches, ap11, ap_area, bootstrap_ap11, curve, mean_ap
from spprepro.data.voc import Annotation, Split
from spprepro.detect.evaluate import LARGE, evaluate, reevaluate, saved
from spprepro.detect.voc_eval import Detections, Objects, class_objects, match
from spprepro.errors import DataError
from tests.detect.detections import guessed

CASES = "main ties many_difficult exact_half leading_difficult tenths shared all_fp".split()
KEYS = "n_images gt_image gt_boxes gt_difficult det_image det_score det_boxes".split()


def judged(seed, images=30, n=400, objects=40):
    """Random detections, already judged."""
    rng = np.random.default_rng(seed)
    state = rng.choice([HIT, MISS, IGNORED], n, p=[0.05, 0.85, 0.1]).astype(np.int8)
    positives = np.bincount(rng.integers(0, images, objects), minlength=images)
    return Matches(rng.integers(0, images, n), np.sort(rng.normal(size=n))[::-1], state, positives)


def assert_same_as_curves(matches, copies):
    expected = [ap11(*curve(matches, each)) for each in copies]
    np.testing.assert_array_equal(bootstrap_ap11(matches, copies), expected)


@pytest.mark.parametrize("case", CASES)
def test_every_image_once_is_the_ap_itself(golden, case):
    values = golden("voc_ap.npz", *(f"{case}_{key}" for key in KEYS))
    images, at, boxes, difficult, image, score, found = (values[f"{case}_{key}"] for key in KEYS)
    matches = match(Detections(image, score, found - 1), Objects(int(images), at, boxes - 1, difficult))
    assert_same_as_curves(matches, np.ones((1, int(images)), np.int64))


@pytest.mark.parametrize("seed", range(4))
def test_resamples_are_curves_with_copies(seed):
    matches = judged(seed)
    copies = np.random.default_rng(seed).multinomial(30, np.full(30, 1 / 30), 50)
    assert_same_as_curves(matches, copies)
    assert len(np.unique(bootstrap_ap11(matches, copies))) > 40


def test_recalls_on_a_threshold():
    # 10 objects, a hit and a miss in turn: recall is 0.3, 0.6 and 0.7 as divided, not as i * 0.1
    state = np.tile(np.array([HIT, MISS], np.int8), 10)
    matches = Matches(np.repeat(np.arange(10), 2), -np.arange(20.0), state, np.ones(10, np.int64))
    assert_same_as_curves(matches, np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 50))


def test_resamples_without_objects_or_hits():
    matches = Matches(
        np.array([0, 1, 1]), np.array([3.0, 2, 1]), np.array([MISS, HIT, MISS], np.int8), np.array([0, 1])
    )
    found = bootstrap_ap11(matches, np.array([[2, 0], [0, 2], [1, 1]]))
    np.testing.assert_array_equal(found, [math.nan, 1, 0.5])
    missed = replace(matches, state=np.array([MISS, IGNORED, MISS], np.int8))
    assert bootstrap_ap11(missed, np.array([[1, 1]])).tolist() == [0]
    nothing = Matches(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int8), np.array([0, 1]))
    assert bootstrap_ap11(nothing, np.array([[1, 1]])).tolist() == [0]


def test_metrics_are_those_of_the_files(tmp_path, mini_test):
    found = {"pool5": guessed(mini_test, 0), "ftfc7": guessed(mini_test, 1)}
    metrics, _ = evaluate(tmp_path, mini_test, found)
    classes = [name for k, name in enumerate(mini_test.classes) if class_objects(mini_test, k).difficult.size]
    assert set(LARGE) <= set(classes)
    for row, detections in saved(tmp_path, mini_test, found).items():
        matches = {name: match(detections[name], class_objects(mini_test, k)) for k, name in enumerate(classes)}
        aps = {name: 100 * ap11(*curve(each)) for name, each in matches.items()}
        expected = {f"{row}_ap_{name}": ap for name, ap in aps.items()}
        expected[f"{row}_map"] = 100 * mean_ap(matches)
        expected[f"{row}_map5"] = np.mean([aps[name] for name in ("bus", "car", "cat", "person", "train")])
        expected[f"{row}_map_area"] = 100 * np.mean([ap_area(*curve(each)) for each in matches.values()])
        own = {key: metric for key, metric in metrics.items() if key.startswith(f"{row}_")}
        assert {key: metric.value for key, metric in own.items()} == pytest.approx(expected, rel=1e-12)
        assert {(metric.unit, metric.n) for metric in own.values()} == {("%", 40)}
        assert 20 < own[f"{row}_map"].value < 95
    assert len(metrics) == 2 * (3 + len(classes))
    assert reevaluate(tmp_path, mini_test, ["pool5", "ftfc7"]) == metrics
    assert reevaluate(tmp_path, mini_test, ["ftfc7"])["ftfc7_map"] == metrics["ftfc7_map"]


def test_replicates_pair_the_rows(tmp_path, mini_test):
    metrics, replicates = evaluate(tmp_path, mini_test, {"pool5": guessed(mini_test, 0), "fc6": guessed(mini_test, 0)})
    assert replicates.keys() == {key for key in metrics if not key.endswith("_area")}
    copies = outcomes.resamples(40)
    for key, values in replicates.items():
        assert values.shape == (1000,) and values.dtype == np.float32
        np.testing.assert_array_equal(values, replicates[key.replace("pool5", "fc6")])
    detections = saved(tmp_path, mini_test, ["pool5"])["pool5"]
    matches = {name: match(detections[name], class_objects(mini_test, k)) for k, name in enumerate(mini_test.classes)}
    large = {name: matches[name] for name in LARGE}
    for i in range(0, 1000, 97):
        assert replicates["pool5_map"][i] == pytest.approx(100 * mean_ap(matches, copies[i]), rel=1e-6)
        assert replicates["pool5_map5"][i] == pytest.approx(100 * mean_ap(large, copies[i]), rel=1e-6)


def square(x):
    return [x, 0.0, x + 9, 9.0]


def small_split(tmp_path, **difficult):
    """One image; class -> whether its one object is difficult."""
    classes = ("bus", "car", "cat", "person", "train")
    boxes = np.array([square(20 * k) for k in range(len(difficult))]).reshape(-1, 4)
    labels = np.array([classes.index(name) for name in difficult], np.int64)
    hard = np.array(list(difficult.values()), bool)
    return Split(tmp_path, "test", classes, [Annotation("000001", 50, 200, labels, boxes, hard, np.zeros_like(hard))])


def one_each(split, score=1.0):
    return {name: Detections(np.array([0]), np.array([score]), np.array([square(0)])) for name in split.classes}


def test_classes_without_objects_have_no_ap(tmp_path):
    split = small_split(tmp_path, bus=False, car=True)
    metrics, replicates = evaluate(tmp_path, split, {"pool5": one_each(split)})
    assert metrics.keys() == {"pool5_map", "pool5_map_area", "pool5_ap_bus"}
    assert replicates.keys() == {"pool5_map", "pool5_ap_bus"}
    assert metrics["pool5_map"].value == 100
    assert len(list((tmp_path / "detections" / "pool5").iterdir())) == 5


def test_a_split_without_objects_is_refused(tmp_path):
    split = small_split(tmp_path, car=True)
    with pytest.raises(DataError, match=r"test\.txt.*no object"):
        evaluate(tmp_path, split, {"pool5": one_each(split)})


def test_scores_count_as_the_file_has_them(tmp_path):
    # the hit is better by less than the file's 6 decimals, so it comes second as in the file
    split = small_split(tmp_path, bus=False)
    boxes = np.array([square(100), square(0)])
    found = one_each(split) | {"bus": Detections(np.array([0, 0]), np.array([0.5, 0.5 + 1e-8]), boxes)}
    metrics, _ = evaluate(tmp_path, split, {"pool5": found})
    assert metrics["pool5_ap_bus"].value == pytest.approx(50)


def test_all_missing_files_and_wrong_lines_are_named(tmp_path):
    split = small_split(tmp_path, bus=False)
    evaluate(tmp_path, split, {"pool5": one_each(split), "fc6": one_each(split)})
    (tmp_path / "detections" / "pool5" / "comp4_det_test_car.txt").unlink()
    (tmp_path / "detections" / "fc6" / "comp4_det_test_cat.txt").write_text("000001 1 2 3\n")
    with pytest.raises(DataError) as error:
        reevaluate(tmp_path, split, ["pool5", "fc6", "ftfc7"])
    faults = error.value.faults
    assert len(faults) == 7
    assert "pool5/comp4_det_test_car.txt: not found" in faults[0]
    assert "fc6/comp4_det_test_cat.txt:1:" in faults[1]
    assert all("detections/ftfc7/comp4_det_test_" in fault for fault in faults[2:])
