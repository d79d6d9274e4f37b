"""What a training leaves for pictures, from its own files."""

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from spprepro import traces
from spprepro.classify.traced import trace
from spprepro.config import check
from tests.test_config import compose

CONFIG = check(compose("experiment=table1_zf5_multisize", "tier=smoke"))


def log(folder, epochs, purge=None):
    """Epochs of 20 steps as Lightning logs them: a loss every ten steps, and errors and rate at the end."""
    with SummaryWriter(str(folder), purge_step=purge) as writer:
        for epoch in epochs:
            for step in (20 * epoch + 9, 20 * epoch + 19):
                writer.add_scalar("train/loss", step, step)
            for name, value in (("train/lr", 0.5**epoch), ("train/error", 90 - epoch), ("val/error", 80 - epoch)):
                writer.add_scalar(name, value, 20 * epoch + 19)


def predict(folder, labels, best, classes):
    scores = np.eye(len(classes), dtype=np.float16)[best]
    np.savez(folder / "predictions.npz", labels=labels, classes=classes, scores__ten=scores, scores__crop=0 * scores)


def test_curves_have_an_epoch_a_row_with_its_size(tmp_path):
    log(tmp_path, [0, 1, 2])
    trace(CONFIG, tmp_path)
    found = traces.read_curves(tmp_path)
    assert [(each.epoch, each.size) for each in found] == [(1, 224), (2, 180), (3, 224)]
    assert [each.loss for each in found] == [14, 34, 54]
    assert [each.error for each in found] == [90, 89, 88] and [each.test_error for each in found] == [80, 79, 78]
    assert [each.rate for each in found] == [1, 0.5, 0.25]


def test_an_interrupted_training_has_each_epoch_once(tmp_path):
    log(tmp_path, [0, 1])
    log(tmp_path, [1, 2], purge=20)
    trace(CONFIG, tmp_path)
    assert [each.loss for each in traces.read_curves(tmp_path)] == [14, 34, 54]


def test_a_rate_that_was_not_told_again_is_the_one_before(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:  # killed in epochs 0 and 2, whose rates came before
        for epoch in range(4):
            for name, value in (("epoch", epoch), ("train/error", 90), ("val/error", 80)):
                writer.add_scalar(name, value, 20 * epoch + 19)
            if epoch in (1, 3):
                writer.add_scalar("train/lr", 0.1**epoch, 20 * epoch + 19)
    trace(CONFIG, tmp_path)
    rates = [each.rate for each in traces.read_curves(tmp_path)]
    np.testing.assert_allclose(rates, [CONFIG.training.lr, 0.1, 0.1, 0.001], rtol=1e-5)


def test_confusion_counts_images_by_truth_and_best_score(tmp_path):
    labels, best = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 2, 1, 0, 2])
    predict(tmp_path, labels, best, ["n01440764", "n90000001", "n2"])
    trace(CONFIG, tmp_path)
    found = traces.read_confusion(tmp_path)
    assert found.counts == [[2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0]]
    assert found.classes == ["tench", "aeroplane", "n2"] and found.total == 3


def test_of_many_classes_the_most_confused_are_kept(tmp_path):
    labels = np.repeat(np.arange(30), 10)
    best = labels.copy()
    best[[255, 256, 257]] = 28  # of class 25
    best[0] = 1
    predict(tmp_path, labels, best, [f"c{k}" for k in range(30)])
    trace(CONFIG, tmp_path)
    found = traces.read_confusion(tmp_path)
    assert len(found.classes) == 20 and {"c25", "c28", "c0", "c1"} <= set(found.classes) and found.total == 30
    assert found.counts[found.classes.index("c25")][found.classes.index("c28")] == 3
    assert all(sum(row) == 10 for row in found.counts)


def test_what_is_there_stays_and_without_sources_nothing_is_written(tmp_path):
    trace(CONFIG, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / traces.CURVES).write_text("kept")
    log(tmp_path, [0])
    trace(CONFIG, tmp_path)
    assert (tmp_path / traces.CURVES).read_text() == "kept"
