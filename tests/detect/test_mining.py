"""Hard negative mining: what enters, what leaves, and that the SVMs are those of everything that was seen."""

import numpy as np
import pytest

from spprepro.detect import mining
from spprepro.detect.detector import ABOVE
from spprepro.detect.mining import EASY, HARD, LayerSvms, Miner, feature_scale, negatives
from spprepro.training.svm import RCNN, train_svms

LENGTH, CLASSES = 12, 3


def positives(rng: np.random.Generator, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Features of objects, each class about its own axis, with a mean norm of about 20."""
    labels = np.arange(count) % CLASSES
    values = rng.normal(0, 3, (count, LENGTH))
    values[np.arange(count), labels] += 16
    return values.astype(np.float32), labels


def images(rng: np.random.Generator, count: int = 8, windows: int = 50) -> list[np.ndarray]:
    """Features of windows that show none of the classes, some hard to tell from one."""
    found = []
    for _ in range(count):
        values = rng.normal(0, 4, (windows, LENGTH))
        values[np.arange(windows), rng.integers(CLASSES, size=windows)] += rng.uniform(-15, 14, windows)
        found.append(values.astype(np.float32))
    return found


def apart(count: int) -> np.ndarray:
    """Windows that do not touch one another."""
    x = 20.0 * np.arange(count)
    return np.stack([x, 0 * x, x + 9, 0 * x + 9], 1)


def show(miner: Miner, values: np.ndarray, eligible: np.ndarray | None = None, **more) -> None:
    """An image whose windows are all different negatives, unless told otherwise."""
    same, count = np.arange(len(values)), len(values)
    given = {"inverse": same, "kinds": same, "boxes": apart(count), "rule": "overlap"} | more
    allowed = np.ones((count, miner.labels.shape[1]), bool) if eligible is None else eligible
    miner.see(values, given["inverse"], given["kinds"], given["boxes"], allowed, given["rule"])


def miner_of(rng: np.random.Generator, **more) -> Miner:
    values, labels = positives(rng, **more)
    return Miner(values, labels, CLASSES, 1.0, 1)


def everything(known: tuple[np.ndarray, np.ndarray], seen: list[np.ndarray]):
    """One-against-rest SVMs of the objects and all windows at once."""
    values, labels = known
    x = np.concatenate([values, *seen])
    marks = np.full((len(x), CLASSES), -1, np.int8)
    marks[: len(values)] = 0
    marks[np.arange(len(values)), labels] = 1
    return x, marks, train_svms(x, marks, RCNN)


def objectives(svms: LayerSvms, x: np.ndarray, marks: np.ndarray) -> np.ndarray:
    margins = marks * (x @ svms.weights.T + svms.biases)
    price = np.where(marks > 0, RCNN.c * RCNN.positive, RCNN.c * (marks < 0))
    return (
        (price * np.maximum(1 - margins, 0)).sum(0) + (svms.weights**2).sum(1) / 2 + (svms.biases / RCNN.bias) ** 2 / 2
    )


@pytest.mark.parametrize("limit", [20, 2000], ids=["trained often", "trained at the ends"])
def test_mined_svms_are_those_of_all_windows_at_once(monkeypatch, limit):
    """Easy windows lie outside the margin, so what was dropped would not have changed the solution."""
    monkeypatch.setattr(mining, "LIMIT", limit)
    rng = np.random.default_rng(0)
    known, seen = positives(rng), images(rng)
    miner = Miner(*known, CLASSES, 1.0, 1)
    for values in seen:
        show(miner, values)
    found = miner.finish()
    x, marks, expected = everything(known, seen)
    assert 0 < found.rows < sum(map(len, seen))  # some were dropped
    np.testing.assert_allclose(objectives(found, x, marks), expected.objectives, rtol=2e-3)
    np.testing.assert_allclose(found.scores(x), expected.scores(x), atol=0.15)


def test_with_nothing_dropped_it_is_the_plain_svm(monkeypatch):
    monkeypatch.setattr(mining, "EASY", -np.inf)
    monkeypatch.setattr(mining, "HARD", -np.inf)
    rng = np.random.default_rng(1)
    known, seen = positives(rng), images(rng, 3)
    miner = Miner(*known, CLASSES, 1.0, 1)
    for values in seen:
        show(miner, values)
    found = miner.finish()
    x, marks, expected = everything(known, seen)
    assert found.rows == sum(map(len, seen))
    np.testing.assert_allclose(objectives(found, x, marks), expected.objectives, rtol=2e-3)


def test_the_first_image_gives_all_later_ones_the_hard_ones_only(monkeypatch):
    rng = np.random.default_rng(2)
    miner, (first, second) = miner_of(rng), images(rng, 2)
    monkeypatch.setattr(mining, "EASY", -np.inf)
    show(miner, first)
    assert miner.trained.all() and miner.count == 30 + len(first)
    assert (miner.labels[30 : miner.count] == -1).all()
    scores = second @ miner.weights.T + miner.biases
    hard = scores > HARD
    assert hard.any() and not hard.any(1).all()
    show(miner, second)
    used = hard.any(1)
    assert miner.count == 30 + len(first) + used.sum()
    np.testing.assert_array_equal(miner.features[30 + len(first) : miner.count], second[used])
    np.testing.assert_array_equal(miner.labels[30 + len(first) : miner.count], -hard[used].astype(np.int8))
    np.testing.assert_array_equal(miner.fresh, hard.sum(0))


def test_a_class_is_trained_again_after_more_than_limit_new_ones(monkeypatch):
    rng = np.random.default_rng(3)
    miner, (first, second) = miner_of(rng), images(rng, 2)
    show(miner, first)
    hard = second[(second @ miner.weights.T + miner.biases)[:, 0].argsort()[::-1][:5]]
    before = miner.weights.copy()
    only = np.zeros((5, CLASSES), bool)
    only[:, 0] = True
    monkeypatch.setattr(mining, "HARD", -np.inf)
    monkeypatch.setattr(mining, "LIMIT", 5)
    show(miner, hard, only)
    np.testing.assert_array_equal(miner.weights, before)
    assert miner.fresh.tolist() == [5, 0, 0]
    show(miner, hard[:1], only[:1])
    assert miner.fresh.tolist() == [0, 0, 0]
    assert not np.array_equal(miner.weights[0], before[0])
    np.testing.assert_array_equal(miner.weights[1:], before[1:])


def test_easy_negatives_leave_positives_stay_and_rows_stay_together(monkeypatch):
    monkeypatch.setattr(mining, "LIMIT", 30)
    rng = np.random.default_rng(4)
    known, seen = positives(rng), images(rng)
    miner = Miner(*known, CLASSES, 1.0, 1)
    origin = {values.tobytes() for image in [known[0], *seen] for values in image}
    for values in seen:
        show(miner, values)
        np.testing.assert_array_equal(miner.features[:30], known[0])
        np.testing.assert_array_equal(miner.labels[:30].argmax(1), known[1])
        assert (miner.labels[:30].sum(1) == 1).all() and (miner.labels[30 : miner.count] <= 0).all()
        assert {row.tobytes() for row in miner.features[: miner.count]} <= origin
        assert (miner.duals[:, : miner.count].T[miner.labels[: miner.count] == 0] == 0).all()
    miner.train(np.arange(CLASSES))
    x, marks = miner.features[: miner.count], miner.labels[: miner.count]
    scores = x @ miner.weights.T + miner.biases
    assert not ((marks < 0) & (scores < EASY - 1e-4)).any()
    assert (marks != 0).any(1).all() and miner.count < 30 + sum(map(len, seen))
    # the duals still belong to their rows: they give the weights back
    np.testing.assert_allclose((miner.duals[:, : miner.count] * marks.T) @ x, miner.weights, atol=2e-3)


def test_positives_that_look_easy_as_negatives_never_leave():
    """An object far on the wrong side is still an object."""
    values, labels = positives(np.random.default_rng(5))
    values[0] = -values[0] * 3
    miner = Miner(values, labels, CLASSES, 1.0, 1)
    for seen in images(np.random.default_rng(6)):
        show(miner, seen)
    miner.train(np.arange(CLASSES))
    assert (miner.labels[:30] == 1).sum() == 30


def test_of_negatives_that_overlap_over_70_percent_the_harder_stays():
    rng = np.random.default_rng(7)
    miner, values = miner_of(rng), images(rng, 1)[0][:4]
    show(miner, images(rng, 1)[0])
    before = miner.count
    scores = np.array([1.0, 5.0, 3.0, 2.0])
    axis = miner.weights[0] / (miner.weights[0] @ miner.weights[0])
    values = ((scores - miner.biases[0])[:, None] * axis).astype(np.float32)
    # 81 and 100 pixels of 100: IoU 0.81; then exactly 70 of 100, which stays
    boxes = np.array([[0, 0, 9, 9], [0, 0, 8, 8], [50, 0, 59, 9], [50, 0, 59, 6]], float)
    only = np.zeros((4, CLASSES), bool)
    only[:, 0] = True
    show(miner, values, only, boxes=boxes)
    np.testing.assert_array_equal(miner.features[before : miner.count], values[1:])


def test_of_negatives_with_the_same_cells_the_first_stays():
    rng = np.random.default_rng(8)
    miner, values = miner_of(rng), images(rng, 1)[0][:3]
    boxes = np.tile([0.0, 0, 9, 9], (4, 1))  # which the other rule would make one
    show(miner, values, inverse=np.array([0, 1, 1, 2]), kinds=np.array([0, 1, 1, 2]), boxes=boxes, rule="cells",
         eligible=np.ones((4, CLASSES), bool))  # fmt: skip
    assert (miner.fresh == 0).all() and miner.trained.all()
    miner = miner_of(rng)
    miner.train = lambda classes: None  # type: ignore[method-assign]
    show(miner, values, inverse=np.array([0, 1, 1, 2]), kinds=np.array([0, 1, 1, 2]), boxes=boxes, rule="cells",
         eligible=np.ones((4, CLASSES), bool))  # fmt: skip
    assert miner.count == 33 and (miner.fresh == 3).all()


def test_windows_that_are_not_eligible_do_not_enter():
    rng = np.random.default_rng(9)
    miner, values = miner_of(rng), images(rng, 1)[0]
    miner.train = lambda classes: None  # type: ignore[method-assign]
    eligible = rng.random((len(values), CLASSES)) < 0.3
    show(miner, values, eligible)
    np.testing.assert_array_equal(miner.labels[30 : miner.count], -eligible[eligible.any(1)].astype(np.int8))


@pytest.mark.parametrize("rule", ["overlap", "cells"])
def test_classes_without_objects_or_windows_and_images_without_windows(rule):
    values, labels = positives(np.random.default_rng(10))
    values, labels = values[labels < 2], labels[labels < 2]  # none of the third
    miner = Miner(values, labels, CLASSES, 1.0, 1)
    for seen in images(np.random.default_rng(11), 3):
        eligible = np.ones((len(seen), CLASSES), bool)
        eligible[:, 1] = False  # no negatives of the second
        show(miner, seen, eligible, rule=rule)
        show(miner, seen[:0], rule=rule)
    found = miner.finish()
    assert np.isfinite(found.weights).all() and np.isfinite(found.biases).all()
    scores = found.scores(np.concatenate(images(np.random.default_rng(12), 2)))
    assert (scores[:, 2] < -0.9).all()  # never seen: never found


def test_a_class_without_objects_keeps_no_window_and_finds_none():
    """The SVM of negatives alone scores -1 everywhere: it would keep them all, and find them all."""
    values, labels = positives(np.random.default_rng(10))
    miner = Miner(values[labels < 2], labels[labels < 2], CLASSES, 1.0, 1)
    seen = images(np.random.default_rng(11), 5)
    for each in seen:
        show(miner, each)
        assert not (miner.labels[: miner.count, 2] < 0).any()
    found = miner.finish()
    assert (found.scores(np.concatenate(seen))[:, 2] < ABOVE).all()
    assert 0 < found.rows < sum(map(len, seen))


def test_no_object_at_all():
    miner = Miner(np.empty((0, LENGTH), np.float32), np.empty(0, np.int64), CLASSES, 1.0, 1)
    assert np.isfinite(miner.finish().weights).all()
    miner = Miner(np.empty((0, LENGTH), np.float32), np.empty(0, np.int64), CLASSES, 1.0, 1)
    show(miner, images(np.random.default_rng(0), 1)[0])
    assert np.isfinite(miner.finish().biases).all()


def test_scaled_features_give_the_svms_of_the_scaled_ones():
    rng = np.random.default_rng(13)
    known, seen = positives(rng), images(rng, 3)
    plain, scaled = Miner(*known, CLASSES, 1.0, 1), Miner(known[0] * 4, known[1], CLASSES, 0.25, 1)
    for values in seen:
        show(plain, values)
        show(scaled, values * 4)
    ours, theirs = scaled.finish(), plain.finish()
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    np.testing.assert_allclose(ours.scores(seen[0] * 4), theirs.scores(seen[0]), rtol=1e-4, atol=1e-4)


def test_memory_grows_and_keeps_what_it_holds(monkeypatch):
    def mined() -> tuple[Miner, LayerSvms]:
        rng = np.random.default_rng(14)
        miner = miner_of(rng)
        for values in images(rng):
            show(miner, values)
        return miner, miner.finish()

    roomy, expected = mined()
    monkeypatch.setattr(mining, "ROOM", 1)
    tight, found = mined()
    assert len(tight.features) < len(roomy.features)
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(tight.features[: tight.count], roomy.features[: roomy.count])
    np.testing.assert_array_equal(tight.duals[:, : tight.count], roomy.duals[:, : roomy.count])


def test_where_the_room_is_not_to_be_had_it_does_with_less(monkeypatch):
    """As on machines that do not lend more memory than they have."""
    empty, refused = np.empty, []

    def strict(shape, *more, **named):
        found = empty(shape, *more, **named)
        if found.nbytes > 2**20:
            refused.append(found.nbytes)
            raise MemoryError
        return found

    rng = np.random.default_rng(15)
    miner, values = miner_of(rng), images(rng, 1)[0]
    monkeypatch.setattr(mining.np, "empty", strict)
    show(miner, values)
    assert refused and miner.count > 30
    monkeypatch.setattr(mining.np, "empty", lambda *a, **k: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):  # not even what is needed
        for _ in range(3000):
            miner._add(values, np.full((len(values), CLASSES), -1, np.int8))


def test_negatives_by_overlap_with_or_without_the_limit_itself():
    overlap = np.array([[0.0, 0.3, 0.31], [0.29, 1.0, 0.3]])
    assert negatives(overlap, at_limit=True).tolist() == [[True, True, False], [True, False, True]]
    assert negatives(overlap, at_limit=False).tolist() == [[True, False, False], [True, False, False]]


def test_feature_scale_brings_the_mean_norm_to_20():
    assert feature_scale([10.0, 30.0, 40.0]) == pytest.approx(0.75)
    assert feature_scale([0.0, 0.0]) == 1 and feature_scale([]) == 1
