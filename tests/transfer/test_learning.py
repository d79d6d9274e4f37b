"""Judging images as VOCevalcls does, choosing C on the training side only, and splits against the rest."""

import numpy as np
import pytest

from spprepro.average_precision import ap11, curve
from spprepro.data.caltech101 import draw_split
from spprepro.training.gram_svm import inner_products
from spprepro.transfer import learning
from spprepro.transfer.learning import Halves, choose_on_val, judged, mean_accuracy, predict


def voc_eval_cls(scores, truth):
    """VOCevalcls.m line by line, in numpy."""
    order = np.argsort(-scores, kind="stable")
    hits, misses = np.cumsum(truth[order] > 0), np.cumsum(truth[order] < 0)
    recall = hits / (truth > 0).sum()
    precision = hits / np.maximum(hits + misses, 1)
    return sum(precision[recall >= t].max(initial=0) for t in np.arange(11) * 0.1) / 11


@pytest.mark.parametrize("seed", range(5))
def test_ap_is_the_devkits_with_difficult_images_left_out(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 0, -1], (60, 3), p=[0.2, 0.2, 0.6]).astype(np.int8)
    scores = (rng.normal(size=(60, 3)) + labels).round(1)  # with equal scores
    found = judged(scores, labels, ["a", "b", "c"])
    for k, name in enumerate("abc"):
        assert ap11(*curve(found[name])) == pytest.approx(voc_eval_cls(scores[:, k], labels[:, k]))


def test_a_difficult_image_changes_nothing_wherever_it_is():
    labels, scores = np.array([[1], [-1], [1], [0]], np.int8), np.array([[0.9], [0.5], [0.4], [2.0]])
    first = ap11(*curve(judged(scores, labels, ["a"])["a"]))
    scores[3] = -2
    assert ap11(*curve(judged(scores, labels, ["a"])["a"])) == first == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_a_class_that_no_image_shows_is_left_out():
    labels = np.array([[1, -1], [-1, 0]], np.int8)
    assert list(judged(np.zeros((2, 2)), labels, ["a", "b"])) == ["a"]


def features(seed, n, classes=5, d=40, noise=1.0):
    rng = np.random.default_rng(seed)
    shown = np.arange(n) % classes
    x = np.random.default_rng(0).normal(size=(classes, d))[shown] + noise * rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), shown


def test_c_is_chosen_on_val_and_never_sees_test():
    x, shown = features(1, 100, noise=3.0)
    labels = np.where(shown[:, None] == np.arange(5), 1, -1).astype(np.int8)
    products, halves = inner_products(x, x), Halves(np.arange(60), np.arange(60, 100))
    alone = {c: choose_on_val(products, labels, halves, [c], 1)[1] for c in (1e-4, 0.1, 10.0)}
    c, value = choose_on_val(products, labels, halves, list(alone), 1)
    assert len(set(alone.values())) > 1 and value == max(alone.values()) and alone[c] == value


def test_splits_are_learnt_and_tested_apart():
    x, shown = features(2, 100)
    split = draw_split(shown, 0, seed=0, train=10, test=10)
    predicted, c = predict(inner_products(x, x), shown, split, [1.0], 2)
    assert c == 1.0 and mean_accuracy(shown[split.test], predicted) > 0.9
    spoilt = x.copy()
    spoilt[split.test] = 0  # a zero tells nothing: only the training images were learnt
    again, _ = predict(inner_products(spoilt, spoilt), shown, split, [1.0], 2)
    assert len(set(again.tolist())) == 1


def test_c_of_a_split_is_chosen_on_its_training_images_alone(monkeypatch):
    x, shown = features(3, 100, noise=2.0)
    split = draw_split(shown, 0, seed=0, train=12, test=8)
    seen = []
    whole = learning._against_rest

    def watch(products, labels, part, c, threads):
        seen.append((part, c))
        return whole(products, labels, part, c, threads)

    monkeypatch.setattr(learning, "_against_rest", watch)
    _, c = predict(inner_products(x, x), shown, split, [0.01, 1.0, 100.0], 1)
    assert [each for _, each in seen] == [0.01, 1.0, 100.0, c]
    for part, _ in seen[:3]:
        assert set(part.train.tolist()) | set(part.test.tolist()) == set(split.train.tolist())
        assert np.bincount(shown[part.train]).tolist() == [8] * 5 and np.bincount(shown[part.test]).tolist() == [4] * 5
    assert seen[3][0] is split


def test_accuracy_is_the_mean_over_classes():
    labels, predicted = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    assert mean_accuracy(labels, predicted) == 0.5
