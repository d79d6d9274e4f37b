"""Hard negative mining: what enters, what leaves, and that nothing is lost on the way to the SVM of all negatives."""

import numpy as np
import pytest

from spprepro.detect import mining
from spprepro.detect.boxes import iou
from spprepro.detect.mining import LayerSvms, Miner, feature_scale, negatives
from spprepro.training.svm import RCNN, train_svms

CLASSES, LENGTH = 3, 16


def apart(count: int) -> np.ndarray:
    """Windows that do not touch one another."""
    left = 20.0 * np.arange(count)
    return np.stack([left, left * 0, left + 9, left * 0 + 9], 1)


def positives(rng: np.random.Generator, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % CLASSES
    return features(rng, count, labels + 1), labels


def features(rng: np.random.Generator, count: int, kind: np.ndarray | int = 0) -> np.ndarray:
    """Like those after a ReLU, of a mean norm of about 20; kind 0 looks like nothing much."""
    centres = np.random.default_rng(9).normal(size=(CLASSES + 1, LENGTH))
    return (5 * np.maximum(centres[kind] + rng.normal(size=(count, LENGTH)), 0)).astype(np.float32)


def show(miner: Miner, x: np.ndarray, eligible: np.ndarray | None = None, rule: str = "overlap") -> None:
    """An image whose windows all have their own features and cells, and do not overlap."""
    count = len(x)
    each = np.arange(count)
    eligible = np.ones((count, CLASSES), bool) if eligible is None else eligible
    miner.see(x, each, each, apart(count), eligible, rule)


def kept(miner: Miner, label: int) -> set[bytes]:
    """The negatives of a class."""
    rows = np.flatnonzero(miner.labels[: miner.count, label] < 0)
    return {miner.features[row].tobytes() for row in rows}


def value(x, labels, weights, bias) -> float:
    hinge = np.maximum(0, 1 - labels * (x.astype(float) @ weights.astype(float) + float(bias)))
    price = RCNN.c * np.where(labels > 0, RCNN.positive, 1.0) * (labels != 0)
    return float(weights.astype(float) @ weights / 2 + (bias / RCNN.bias) ** 2 / 2 + price @ hinge)


def everything(rng: np.random.Generator, images: int = 6, each: int = 80):
    """Positives, and for each image the features of its windows and which of them are whose negatives."""
    shown = [(features(rng, each, rng.integers(0, CLASSES + 1, each)), rng.random((each, CLASSES)) < 0.7)
             for _ in range(images)]  # fmt: skip
    return *positives(rng), shown


def all_rows(x, labels, shown):
    rows = np.concatenate([x, *(part for part, _ in shown)])
    table = np.zeros((len(rows), CLASSES), np.int8)
    table[np.arange(len(x)), labels] = 1
    table[len(x) :] = -np.concatenate([eligible for _, eligible in shown]).astype(np.int8)
    return rows, table


@pytest.mark.parametrize("limit", [50, 10_000])
@pytest.mark.parametrize("rule", ["overlap", "cells"])
def test_without_dropping_it_is_the_svm_of_everything(monkeypatch, limit, rule):
    monkeypatch.setattr(mining, "LIMIT", limit)
    monkeypatch.setattr(mining, "HARD", -np.inf)
    monkeypatch.setattr(mining, "EASY", -np.inf)
    x, labels, shown = everything(np.random.default_rng(0))
    miner = Miner(x, labels, CLASSES, 1.0, threads=1)
    for part, eligible in shown:
        show(miner, part, eligible, rule)
    found = miner.finish()
    rows, table = all_rows(x, labels, shown)
    assert found.rows == (table < 0).any(1).sum()
    best = train_svms(rows.astype(float), table, RCNN, gap=1e-9)
    for label, optimum in enumerate(best.objectives):
        reached = value(rows, table[:, label], found.weights[label], found.biases[label])
        assert -1e-6 <= reached / optimum - 1 <= 1.1e-3
    np.testing.assert_allclose(found.scores(rows), best.scores(rows), atol=0.1)


@pytest.mark.parametrize("limit", [20, 100])
def test_mined_svms_are_nearly_those_of_everything_with_fewer_rows(monkeypatch, limit):
    monkeypatch.setattr(mining, "LIMIT", limit)
    x, labels, shown = everything(np.random.default_rng(1), images=12)
    miner = Miner(x, labels, CLASSES, 1.0, threads=1)
    for part, eligible in shown:
        show(miner, part, eligible)
    found = miner.finish()
    rows, table = all_rows(x, labels, shown)
    assert found.rows < 0.8 * (table < 0).any(1).sum()
    best = train_svms(rows.astype(float), table, RCNN, gap=1e-9)
    for label, optimum in enumerate(best.objectives):
        reached = value(rows, table[:, label], found.weights[label], found.biases[label])
        assert reached / optimum - 1 <= 0.01


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_mined_objective_is_the_released_detectors(golden, name):
    x, y, optimum = golden("svm.npz", *(f"{name}_{key}" for key in ("X", "y", "tight_obj"))).values()
    x, own = x.astype(np.float32), y > 0
    miner = Miner(x[own], np.zeros(own.sum(), np.int64), 1, 1.0, threads=1)
    for part in np.array_split(x[~own], 5):
        each = np.arange(len(part))
        miner.see(part, each, each, apart(len(part)), np.ones((len(part), 1), bool), "overlap")
    found = miner.finish()
    assert value(x, np.sign(y), found.weights[0], found.biases[0]) == pytest.approx(float(optimum), rel=2e-3)


def test_the_first_image_gives_all_and_later_ones_the_hard():
    rng = np.random.default_rng(2)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    first, later = features(rng, 60), np.concatenate([features(rng, 40), features(rng, 10, 1)])
    show(miner, first, np.ones((60, CLASSES), bool))
    assert miner.trained.all()
    scores = first @ miner.weights.T + miner.biases
    for label in range(CLASSES):
        assert kept(miner, label) == {row.tobytes() for row in first[scores[:, label] >= mining.EASY]}
    before = [kept(miner, label) for label in range(CLASSES)]
    scores = later @ miner.weights.T + miner.biases
    assert ((scores > mining.HARD).any(0) & (scores < mining.HARD).any(0)).all()
    show(miner, later)
    for label in range(CLASSES):
        hard = {row.tobytes() for row in later[scores[:, label] > mining.HARD]}
        assert kept(miner, label) == before[label] | hard
        assert miner.fresh[label] == len(hard)


def test_only_eligible_windows_enter():
    rng = np.random.default_rng(3)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    x, eligible = features(rng, 30), np.zeros((30, CLASSES), bool)
    eligible[:10, 0], eligible[10:20, 1] = True, True
    show(miner, x, eligible)
    assert miner.trained.tolist() == [True, True, False]
    assert kept(miner, 0) <= {row.tobytes() for row in x[:10]} and kept(miner, 1) <= {row.tobytes() for row in x[10:20]}
    assert not kept(miner, 2)
    show(miner, x, np.ones((30, CLASSES), bool))  # now class 2's first
    assert miner.trained.all() and kept(miner, 2)


def test_a_class_is_trained_again_after_more_than_limit_new_negatives(monkeypatch):
    monkeypatch.setattr(mining, "LIMIT", 10)
    rng = np.random.default_rng(4)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    show(miner, features(rng, 40))
    trained = []
    original = miner.train
    monkeypatch.setattr(miner, "train", lambda classes: trained.append(classes.tolist()) or original(classes))
    like_class_1 = features(rng, 10, 2)  # hard for class 1: 10 are not enough, one more is
    scores = like_class_1 @ miner.weights.T + miner.biases
    assert (scores[:, 1] > mining.HARD).all()
    only = np.zeros((10, CLASSES), bool)
    only[:, 1] = True
    show(miner, like_class_1, only)
    assert trained == [] and miner.fresh.tolist() == [0, 10, 0]
    show(miner, features(rng, 1, 2), only[:1])
    assert trained == [[1]] and miner.fresh.tolist() == [0, 0, 0]


def test_compaction_keeps_rows_labels_and_duals_together(monkeypatch):
    """More rows than are moved at a time; duals still give the weights, and positives stay in front."""
    monkeypatch.setattr(mining, "LIMIT", 300)
    rng = np.random.default_rng(5)
    x, labels = positives(rng, 60)
    miner = Miner(x, labels, CLASSES, 1.0, threads=1)
    dropped = 0
    for _ in range(8):
        before = miner.count
        part = features(rng, 1500, rng.integers(0, CLASSES + 1, 1500))
        show(miner, part)
        dropped += before + 1500 - miner.count
        y, duals, rows = miner.labels[: miner.count], miner.duals[:, : miner.count], miner.features[: miner.count]
        assert (y != 0).any(1).all()
        assert np.array_equal(rows[: len(x)], x)
        assert np.array_equal(y[: len(x)] > 0, labels[:, None] == np.arange(CLASSES))
        assert (duals[y.T == 0] == 0).all() and (duals >= 0).all()
        old = miner.fresh == 0  # just trained: the dual solution is that of the rows beside it
        signed = duals * y.T
        np.testing.assert_allclose((signed @ rows)[old], miner.weights[old], atol=2e-4)
        np.testing.assert_allclose(RCNN.bias**2 * signed.sum(1)[old], miner.biases[old], atol=2e-3)
    assert dropped > 5000 and miner.count > 1024


def test_positives_never_leave():
    """Not even those that look like the background."""
    rng = np.random.default_rng(6)
    x, labels = positives(rng)
    x[:5] = features(rng, 5)
    miner = Miner(x, labels, CLASSES, 1.0, threads=1)
    for _ in range(4):
        show(miner, features(rng, 200))
        miner.train(np.arange(CLASSES))
        assert np.array_equal(miner.features[: len(x)], x)
        assert (miner.labels[np.arange(len(x)), labels] == 1).all()


def test_of_negatives_that_overlap_by_more_than_70_percent_the_harder_stays():
    rng = np.random.default_rng(7)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    show(miner, features(rng, 60))
    first = kept(miner, 0)
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 6], [50, 50, 59, 59], [50, 50, 59, 59]], float)
    assert iou(boxes, boxes)[0, :3].tolist() == [1, 0.9, 0.7]  # exactly 70 % is not more
    x = features(rng, 5, 1)
    scores = (x @ miner.weights.T + miner.biases)[:, 0]
    assert (scores > mining.HARD).all()
    each, eligible = np.arange(5), np.zeros((5, CLASSES), bool)
    eligible[:, 0] = True
    miner.see(x, each, each, boxes, eligible, "overlap")
    best = [each[:2][scores[:2].argmax()], 3 + scores[3:].argmax()]
    third = iou(boxes[2:3], boxes[best[:1]])[0, 0] <= 0.7  # beside the second it is 0.78
    assert third or scores[2] < scores[1]
    assert kept(miner, 0) - first == {x[row].tobytes() for row in [*best, *([2] if third else [])]}


def test_of_negatives_with_the_same_cells_the_first_stays():
    rng = np.random.default_rng(8)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    x = features(rng, 4)
    inverse, kinds = np.array([2, 0, 2, 1, 3]), np.array([1, 0, 1, 2, 3])
    eligible = np.ones((5, CLASSES), bool)
    eligible[0, 0] = eligible[4] = False
    miner.see(x, inverse, kinds, apart(5), eligible, "cells")
    assert miner.count == 20 + 3  # of five windows four are eligible, two of these alike
    assert all(len(kept(miner, label)) <= 3 for label in range(CLASSES))


def test_rows_shared_by_windows_are_kept_once():
    rng = np.random.default_rng(8)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    x, inverse = features(rng, 2), np.array([0, 0, 0, 1, 1])
    miner.see(x, inverse, np.arange(5), apart(5), np.ones((5, CLASSES), bool), "overlap")
    assert miner.count <= 20 + 2


@pytest.mark.parametrize("rule", ["overlap", "cells"])
def test_images_without_windows_or_without_eligible_ones(rule):
    rng = np.random.default_rng(10)
    miner = Miner(*positives(rng), CLASSES, 1.0, threads=1)
    show(miner, features(rng, 0), rule=rule)
    show(miner, features(rng, 7), np.zeros((7, CLASSES), bool), rule)
    assert miner.count == 20 and not miner.trained.any()
    assert miner.finish().rows == 0


def test_a_class_without_objects_keeps_nothing_and_recognises_nothing():
    """Its SVM would score -1 everywhere: above HARD, so all windows of all images, and above -1.5, so found anywhere."""
    rng = np.random.default_rng(11)
    x, labels = positives(rng)
    miner = Miner(x[labels != 1], labels[labels != 1], CLASSES, 1.0, threads=1)
    for _ in range(3):
        show(miner, features(rng, 50))
    assert not kept(miner, 1)
    found = miner.finish()
    scores = found.scores(features(rng, 20, 2))
    assert (scores[:, 1] == -np.inf).all() and np.isfinite(scores[:, [0, 2]]).all()
    assert np.isfinite(found.weights).all()


def test_no_objects_at_all():
    miner = Miner(np.empty((0, LENGTH), np.float32), np.empty(0, np.int64), CLASSES, 1.0, threads=1)
    show(miner, features(np.random.default_rng(0), 9))
    found = miner.finish()
    assert found.rows == 0 and (found.scores(np.ones((2, LENGTH), np.float32)) == -np.inf).all()


def test_a_class_without_negatives_is_learned_from_its_objects():
    rng = np.random.default_rng(12)
    x, labels = positives(rng)
    miner = Miner(x, labels, CLASSES, 1.0, threads=1)
    show(miner, features(rng, 30), np.tile([True, False, True], (30, 1)))
    found = miner.finish()
    assert (found.scores(x)[labels == 1, 1] > 0).all()


def test_features_are_scaled_within():
    """Features a hundred times as long make the same detector."""
    found = []
    for factor in (1, 100):
        rng = np.random.default_rng(13)
        x, labels = positives(rng)
        miner = Miner(factor * x, labels, CLASSES, 1 / factor, threads=1)
        show(miner, factor * features(rng, 50))
        found.append(miner.finish().scores(factor * x))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


def test_scores_are_those_of_the_scaled_features():
    svms = LayerSvms(np.array([[1, 2], [0, -1]], np.float32), np.array([0.5, -1], np.float32), 0.25)
    assert svms.scores(np.array([[4, 8]], np.float32)).tolist() == [[0.25 * (4 + 16) + 0.5, 0.25 * -8 - 1]]


def test_the_limit_itself_is_a_negative_of_the_paper_and_none_of_the_released_code():
    by_class = np.array([[0.3, 0.0], [0.2999, 0.31]])
    assert negatives(by_class, at_limit=True).tolist() == [[True, True], [True, False]]
    assert negatives(by_class, at_limit=False).tolist() == [[False, True], [True, False]]
    exactly = iou(np.array([[0, 0, 9, 2.0]]), np.array([[0, 0, 9, 9.0]]))
    assert negatives(exactly, at_limit=True).all() and not negatives(exactly, at_limit=False).any()


def test_feature_scale_brings_the_mean_norm_to_20():
    assert feature_scale([5.0, 15.0]) == 2
    assert feature_scale([0.0, 0.0]) == feature_scale([]) == 1
