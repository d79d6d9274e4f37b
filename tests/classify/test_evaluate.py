"""Errors, the outcomes behind them, and the file for ILSVRC's test server."""

import numpy as np

from spprepro import outcomes
from spprepro.classify.evaluate import errors, write_submission


def test_errors_are_the_means_of_the_kept_outcomes(tmp_path):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 9, 50)
    scores = {test: draw.random((50, 9)).astype(np.float32) for test in ("ten", "crop")}
    metrics = errors(tmp_path, scores, labels)
    kept = outcomes.read(tmp_path)
    assert list(metrics) == list(kept) == ["top1_error", "top5_error", "crop_top1_error", "crop_top5_error"]
    for key, metric in metrics.items():
        assert (metric.value, metric.unit, metric.n) == (100 * kept[key].mean(), "%", 50)
    best = scores["ten"].argmax(1)
    assert metrics["top1_error"].value == 100 * (best != labels).mean()


def test_submission_has_five_class_numbers_a_line_best_first(tmp_path):
    scores = np.array([[0.1, 0.2, 0.3, 0.15, 0.05, 0.2], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]], np.float32)
    ids = [60, 10, 20, 30, 40, 50]
    write_submission(tmp_path / "submission.txt", scores, ids)
    assert (tmp_path / "submission.txt").read_text() == "20 10 50 30 60\n60 10 20 30 40\n"


def test_submission_of_few_classes_names_each_once(tmp_path):
    write_submission(tmp_path / "s.txt", np.array([[0.2, 0.8]], np.float32), [1, 2])
    assert (tmp_path / "s.txt").read_text() == "2 1\n"
