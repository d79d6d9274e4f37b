"""Overlap, suppression and box regression against the released code's outputs."""

import time

import numpy as np
import pytest

from spprepro.detect.boxes import (
    clip,
    fit_box_regressor,
    iou,
    moved,
    nms,
    regression_targets,
)
from spprepro.detect.detector import Regressors

SETS = ("rand", "ties", "frac", "dups", "allequal", "exact", "single", "big")


def some_boxes(count, seed=0, side=500):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, side, (count, 2, 2))
    return np.hstack([corners.min(1), corners.max(1) + 1]).astype(float)


@pytest.mark.parametrize("tenths", [3, 5, 7])
@pytest.mark.parametrize("name", SETS)
def test_nms_picks_what_the_released_code_picks(golden, name, tenths):
    rows, kept = golden("nms.npz", f"{name}_boxes", f"{name}_keep_{tenths}").values()
    np.testing.assert_array_equal(nms(rows[:, :4], rows[:, 4], tenths / 10), kept)


def test_nms_of_each_class_is_the_released_multi_class_one(golden):
    keys = [f"multi_keep_3_class{k}" for k in range(4)]
    rows, *kept = golden("nms.npz", "multi_boxes", *keys).values()
    boxes, scores = rows[:, :4], rows[:, 4:]
    for column, expected in zip(scores.T, kept, strict=True):
        np.testing.assert_array_equal(nms(boxes, column, 0.3)[:150], expected)


def test_nms_of_ten_thousand_boxes_is_fast():
    """Against a quadratic loop in Python, which takes over a minute."""
    boxes = some_boxes(10_000)
    since = time.process_time()
    nms(boxes, np.random.default_rng(1).random(10_000), 0.3)
    assert time.process_time() - since < 2


def test_no_boxes():
    none = np.empty((0, 4))
    assert nms(none, np.empty(0), 0.3).tolist() == []
    assert iou(none, some_boxes(3)).shape == (0, 3)


def test_overlap_counts_pixels():
    box = np.array([[0.0, 0, 9, 9]])
    others = np.array([[0.0, 0, 9, 9], [5, 0, 14, 9], [9, 9, 9, 9], [10, 0, 19, 9], [40, 40, 30, 30]])
    np.testing.assert_allclose(iou(box, others[:4])[0], [1, 50 / 150, 1 / 100, 0])


def test_overlap_is_that_of_the_released_code(golden):
    boxes, truth, expected = golden("bbox_regression.npz", "ex_boxes", "gt_boxes", "overlap").values()
    np.testing.assert_allclose(np.diag(iou(boxes, truth)), expected, rtol=1e-6)


def test_targets_are_those_of_the_released_code(golden):
    boxes, truth, expected = golden("bbox_regression.npz", "ex_boxes", "gt_boxes", "targets").values()
    np.testing.assert_allclose(regression_targets(boxes - 1, truth - 1), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("name", "ridge", "above"), [("spp4000", 4000, 0.5), ("spp1000", 1000, 0.5), ("rcnn1000", 1000, 0.6)]
)
@pytest.mark.parametrize(("suffix", "kind", "rtol"), [("_f64", np.float64, 1e-10), ("", np.float32, 1e-4)])
def test_regressor_is_that_of_the_released_code(golden, name, ridge, above, number, suffix, kind, rtol):
    prefix = f"{name}_c{number}{suffix}"
    keys = ("X", "ex_boxes", "gt_boxes", "overlap", "class", "X_test", "ex_boxes_test")
    x, boxes, truth, overlap, label, x_test, boxes_test = golden("bbox_regression.npz", *keys).values()
    expected = golden("bbox_regression.npz", *(f"{prefix}_{key}" for key in ("mu", "Tinv", "Beta", "pred")))
    rows = (label == number) & (overlap > above)
    found = fit_box_regressor(x[rows].astype(kind), boxes[rows] - 1, truth[rows] - 1, ridge)
    assert found.weights.dtype == kind
    for ours, theirs in zip((found.mean, found.colour, found.weights), expected.values(), strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())
    predicted = moved(boxes_test - 1, Regressors([found], 1.0).targets(x_test.astype(kind))[:, 0]) + 1
    theirs = expected[f"{prefix}_pred"]
    np.testing.assert_allclose(predicted, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


@pytest.mark.parametrize("count", [5, 40, 41, 200])
def test_either_gram_matrix_gives_the_same_ridge(count):
    rng = np.random.default_rng(count)
    x, boxes, truth = rng.normal(size=(count, 40)), some_boxes(count, 1), some_boxes(count, 2)
    found = fit_box_regressor(x, boxes, truth, 10.0)
    wide = np.hstack([x, np.ones((count, 1))])
    whitened = (regression_targets(boxes, truth) - found.mean) @ np.linalg.inv(found.colour)
    expected = np.linalg.solve(wide.T @ wide + 10 * np.eye(41), wide.T @ whitened)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-8, atol=1e-10)
    spread = np.cov(regression_targets(boxes, truth).T, bias=True)
    np.testing.assert_allclose(found.colour @ found.colour, spread + 0.001 * np.eye(4), rtol=1e-9, atol=1e-12)


def test_moves_invert_targets():
    boxes, truth = some_boxes(50, 3), some_boxes(50, 4)
    np.testing.assert_allclose(moved(boxes, regression_targets(boxes, truth)), truth, atol=1e-9)


def test_without_windows_nothing_is_moved_and_the_image_ends_what_is():
    regressor = fit_box_regressor(np.empty((0, 3), np.float32), *[np.empty((0, 4))] * 2, 1000)
    still = Regressors([regressor], 1.0).targets(np.ones((3, 3), np.float32))[:, 0]
    boxes = np.array([[-4.0, 5, 20, 80], [10, 10, 20, 20], [60, 70, 130, 90]])
    found = clip(moved(boxes, still), 60, 100)
    np.testing.assert_allclose(found, [[0, 5, 20, 59], [10, 10, 20, 20], [60, 59, 99, 59]], atol=1e-9)
    wild = moved(boxes, np.full((3, 4), 1000.0))
    assert np.isinf(wild).any()
