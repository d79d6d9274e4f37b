"""Metrics of transfer and their replicates."""

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.transfer.evaluate import evaluate_caltech, evaluate_voc


def test_voc_metrics_are_means_of_the_classes_that_are_shown():
    rng = np.random.default_rng(0)
    labels = rng.choice([1, 0, -1], (50, 3), p=[0.3, 0.1, 0.6]).astype(np.int8)
    labels[:, 2] = -1
    metrics, replicates = evaluate_voc({"fc7": rng.normal(size=(50, 3)) + labels}, labels, ["cat", "cow", "dog"])
    assert set(metrics) == set(replicates) == {"fc7_map", "fc7_ap_cat", "fc7_ap_cow"}
    values = {key: metric.value for key, metric in metrics.items()}
    assert values["fc7_map"] == pytest.approx((values["fc7_ap_cat"] + values["fc7_ap_cow"]) / 2)
    assert {(metric.unit, metric.n) for metric in metrics.values()} == {("%", 50)}
    for key, each in replicates.items():
        assert each.shape == (outcomes.RESAMPLES,) and each.dtype == np.float32
        assert each.min() <= values[key] <= each.max() and each.std() > 0


def splits(seed=0):
    """Three splits of 40 images of two classes, 30 of the first and 10 of the second; who was right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [30, 10])
    tested = rng.random((3, 40)) < 0.6
    return labels, tested, tested & (rng.random((3, 40)) < 0.7)


def accuracy(labels, tested, right, times):
    """Mean over the classes, one split."""
    return np.mean([(times * right)[labels == k].sum() / (times * tested)[labels == k].sum() for k in (0, 1)])


def test_caltech_accuracy_is_the_mean_over_classes_then_splits():
    labels, tested, right = splits()
    metrics, replicates = evaluate_caltech({"spp": right}, tested, labels)
    each = [100 * accuracy(labels, own, hit, np.ones(40)) for own, hit in zip(tested, right, strict=True)]
    assert metrics["spp_accuracy"].value == pytest.approx(np.mean(each)) and metrics["spp_accuracy"].n == 40
    assert metrics["spp_accuracy_std"].value == pytest.approx(np.std(each, ddof=1))
    assert set(replicates) == {"spp_accuracy"}


def test_replicates_draw_images_once_for_all_splits():
    labels, tested, right = splits(1)
    found = evaluate_caltech({"spp": right}, tested, labels)[1]["spp_accuracy"]
    copies = outcomes.resamples(40)
    for row in (0, 17, 999):
        each = [accuracy(labels, own, hit, copies[row]) for own, hit in zip(tested, right, strict=True)]
        assert found[row] == pytest.approx(100 * np.mean(each), abs=1e-4)
