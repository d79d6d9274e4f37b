"""Linear SVMs against the exact optimum of the released detectors' liblinear call."""

import numpy as np
import pytest

from spprepro.errors import DataError
from spprepro.training.svm import PLAIN, RCNN, Objective, train_svms


def scattered(rows=400, length=24, classes=4, seed=0, dtype=np.float32):
    """Features like those after a ReLU, and the labels of `classes` overlapping classes; some rows have none."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, classes + 2, rows)
    x = np.maximum(rng.normal(size=(classes + 2, length))[own] + rng.normal(size=(rows, length)), 0)
    x *= 20 / np.linalg.norm(x, axis=1).mean()
    return x.astype(dtype), np.where(own[:, None] == np.arange(classes), 1, -1).astype(np.int8)


def value(x, labels, weights, bias, objective):
    """The module's formula for one class."""
    hinge = np.maximum(0, 1 - labels * (x.astype(float) @ weights + bias))
    price = objective.c * np.where(labels > 0, objective.positive, 1.0) * (labels != 0)
    return weights @ weights / 2 + (bias / objective.bias) ** 2 / 2 + price @ hinge


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize(("kind", "gap", "near"), [(np.float64, 1e-12, 1e-6), (np.float32, 1e-5, 2e-3)])
def test_solution_is_the_released_detectors(golden, name, kind, gap, near):
    keys = [f"{name}_{key}" for key in ("X", "y", "tight_w", "tight_b", "tight_obj")]
    x, y, weights, bias, optimum = golden("svm.npz", *keys).values()
    found = train_svms(x.astype(kind), y.astype(np.int8)[:, None], RCNN, gap=gap)
    assert found.gaps[0] <= gap
    assert found.objectives[0] == pytest.approx(optimum, rel=max(gap, 1e-9))
    assert value(x, y, found.weights[0].astype(float), float(found.biases[0]), RCNN) == pytest.approx(
        optimum, rel=max(gap, 1e-9)
    )
    np.testing.assert_allclose(found.weights[0], weights, atol=near * np.abs(weights).max())
    assert found.biases[0] == pytest.approx(float(bias), rel=near, abs=near * np.abs(weights).max())
    np.testing.assert_allclose(found.scores(x)[:, 0], x @ weights + bias, atol=20 * near * np.linalg.norm(weights))


@pytest.mark.parametrize("objective", [RCNN, PLAIN, Objective(c=0.01, positive=5, bias=3)])
def test_objectives_are_within_the_gap_of_their_optima(objective):
    x, labels = scattered()
    if objective is PLAIN:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    best = train_svms(x.astype(float), labels, objective, gap=1e-10)
    loose = train_svms(x, labels, objective)
    assert loose.weights.dtype == np.float32
    assert (loose.gaps <= 1e-3).all()
    for k, optimum in enumerate(best.objectives):
        reached = value(x, labels[:, k], loose.weights[k].astype(float), float(loose.biases[k]), objective)
        assert -1e-6 <= reached / optimum - 1 <= 1e-3
        assert loose.objectives[k] == pytest.approx(reached, rel=1e-5)
    rng = np.random.default_rng(1)
    for _ in range(20):  # no other separator is better than the optimum
        weights = best.weights[0] + rng.normal(size=x.shape[1]) * 10.0 ** rng.uniform(-6, 0)
        bias = best.biases[0] + rng.normal() * 0.01
        assert value(x, labels[:, 0], weights, bias, objective) > best.objectives[0] * (1 - 1e-9)


def test_duals_are_prices_of_violated_margins():
    x, labels = scattered(dtype=np.float64)
    found = train_svms(x, labels, RCNN, gap=1e-10)
    margins = labels * found.scores(x)
    upper = np.where(labels > 0, 0.002, 0.001)
    np.testing.assert_allclose(found.weights, (found.duals * labels.T) @ x, atol=1e-12)
    assert (found.duals.T[margins > 1.001] == 0).all()
    np.testing.assert_array_equal(found.duals.T[margins < 0.999], upper[margins < 0.999])


def test_rows_labelled_0_are_not_there():
    x, labels = scattered(dtype=np.float64)
    labels[:100, 0] = 0
    some = train_svms(x, labels[:, :2], RCNN, gap=1e-10)
    alone = train_svms(x[100:], labels[100:, :1], RCNN, gap=1e-10)
    np.testing.assert_allclose(some.weights[0], alone.weights[0], atol=1e-6)
    assert (some.duals[0, :100] == 0).all()


def test_threads_change_nothing():
    x, labels = scattered()
    alone, many = (train_svms(x, labels, RCNN, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(alone.weights, many.weights)
    np.testing.assert_array_equal(alone.duals, many.duals)


def test_going_on_from_earlier_duals_ends_at_the_same_optimum():
    """As in mining: rows are added, rows that do not matter leave."""
    x, labels = scattered(800, dtype=np.float64)
    first = train_svms(x[:500], labels[:500], RCNN, gap=1e-10)
    kept = np.flatnonzero((first.duals > 0).any(0))
    rows = np.concatenate([kept, np.arange(500, 800)])
    start = np.hstack([first.duals[:, kept], np.zeros((labels.shape[1], 300))])
    warm, cold = (train_svms(x[rows], labels[rows], RCNN, gap=1e-10, start=each) for each in (start, None))
    np.testing.assert_allclose(warm.weights, cold.weights, atol=1e-6)
    again = train_svms(x[rows], labels[rows], RCNN, gap=1e-3, start=warm.duals)
    np.testing.assert_allclose(again.objectives, warm.objectives, rtol=1e-9)


def test_classes_with_one_label_or_no_rows():
    x, labels = scattered(50)
    labels[:, 0], labels[:, 1], labels[:, 2] = 1, -1, 0
    found = train_svms(x, labels, RCNN)
    assert (found.scores(x)[:, 0] > 0).all() and (found.scores(x)[:, 1] < 0).all()
    assert not found.weights[2].any() and found.biases[2] == found.objectives[2] == found.gaps[2] == 0


def test_features_that_are_not_finite_are_refused():
    x, labels = scattered(50)
    x[3, 4], x[7, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="2 of 50 rows"):
        train_svms(x, labels, RCNN)


def test_arguments_stay_as_they_were():
    x, labels = scattered(50)
    start = np.full((labels.shape[1], 50), 1e-4)
    train_svms(np.asfortranarray(x), labels, RCNN, start=start)
    assert (start == 1e-4).all()
