"""SVMs from inner products: the same solutions as those from features, and as liblinear's."""

import numpy as np
import pytest

from spprepro.training.gram_svm import inner_products, train_gram_svms
from spprepro.training.svm import Objective, train_svms


def problem(seed=0, n=120, d=400, classes=4):
    """Features of norm 1, as after a ReLU; each row shows a class; the second class leaves some rows out."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, classes, n)
    x = np.maximum(rng.normal(size=(n, d)) + 0.3 * rng.normal(size=(classes, d))[shown], 0).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.where(shown[:, None] == np.arange(classes), 1, -1).astype(np.int8)
    labels[rng.permutation(n)[:20], 1] = 0
    return x, labels


@pytest.mark.parametrize("objective", [Objective(1.0), Objective(0.05), Objective(20.0), Objective(1.0, 2.0, 3.0)])
def test_solutions_are_those_of_the_features(objective):
    x, labels = problem()
    ours = train_gram_svms(inner_products(x, x), labels, objective, gap=1e-4)
    theirs = train_svms(x.astype(np.float64), labels, objective, gap=1e-7)
    assert (ours.gaps <= 1e-4).all()
    np.testing.assert_allclose(ours.objectives, theirs.objectives, rtol=2e-4)
    test, _ = problem(seed=1)
    scores = ours.scores(inner_products(test, x))
    np.testing.assert_allclose(scores, test @ (ours.coefficients @ x).T + ours.biases, atol=1e-4)
    np.testing.assert_allclose(scores, theirs.scores(test.astype(np.float64)), atol=0.05)


def test_objective_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.svm")
    x, labels = problem(seed=3)
    ours = train_gram_svms(inner_products(x, x), labels, Objective(1.0), gap=1e-4)
    y = labels[:, 0]
    model = sklearn.LinearSVC(loss="hinge", C=1.0, tol=1e-6, max_iter=100_000, random_state=0).fit(x, y)
    margins = y * (x @ model.coef_[0] + model.intercept_[0])
    objective = (model.coef_**2).sum() / 2 + model.intercept_[0] ** 2 / 2 + np.maximum(1 - margins, 0).sum()
    assert ours.objectives[0] == pytest.approx(objective, rel=1e-3)


def test_rows_left_out_have_no_part():
    x, labels = problem()
    found = train_gram_svms(inner_products(x, x), labels, Objective(1.0))
    out = labels[:, 1] == 0
    assert (found.coefficients[1, out] == 0).all() and (found.coefficients[1, ~out] != 0).any()
    kept = np.flatnonzero(~out)
    alone = train_gram_svms(inner_products(x[kept], x[kept]), labels[kept, 1:2], Objective(1.0))
    np.testing.assert_allclose(alone.objectives, found.objectives[1:2], rtol=2e-3)


def test_threads_change_nothing():
    x, labels = problem(classes=7)
    one, three = (train_gram_svms(inner_products(x, x), labels, Objective(1.0), threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.coefficients, three.coefficients)


def test_a_class_without_positives_scores_every_image_alike():
    x, labels = problem()
    found = train_gram_svms(inner_products(x, x), np.full_like(labels, -1), Objective(1.0))
    assert (found.scores(inner_products(x, x)) < 0).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_inner_products_of_long_mapped_features(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(7, 9000)).astype(kind)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    exact = x.astype(np.float64)
    np.testing.assert_allclose(inner_products(mapped, mapped), exact @ exact.T, atol=0.02)
    np.testing.assert_allclose(inner_products(mapped[:3], mapped), exact[:3] @ exact.T, atol=0.02)
