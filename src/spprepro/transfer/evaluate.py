"""Metrics of transferred features, and their bootstrap replicates over the test images."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int8
from numpy import ndarray
from numpy.typing import NDArray

from spprepro import outcomes
from spprepro.average_precision import ap11, bootstrap_ap11, curve, mean_of_classes
from spprepro.records import Metric
from spprepro.transfer.learning import judged

Measured = tuple[dict[str, Metric], dict[str, NDArray[np.float32]]]
"""Metrics, and (1000,) replicates of them, one for each of `outcomes.resamples`."""


def evaluate_voc(
    scores: Mapping[str, Float[ndarray, "n k"]], labels: Int8[ndarray, "n k"], classes: Sequence[str]
) -> Measured:
    """`<layer>_ap_<class>` (VOC2007's 11-point AP of the classification task, where an image shows the class) and their
    mean `<layer>_map`, in % over the n test images; difficult ones of a class are left out of its AP."""
    copies = outcomes.resamples(len(labels))
    metrics: dict[str, Metric] = {}
    replicates: dict[str, NDArray[np.float32]] = {}
    for layer, values in scores.items():
        matches = judged(values, labels, classes)
        aps = {name: ap11(*curve(each)) for name, each in matches.items()}
        spread = {name: bootstrap_ap11(each, copies) for name, each in matches.items()}
        means = {f"{layer}_map": sum(aps.values()) / len(aps)} | {f"{layer}_ap_{name}": ap for name, ap in aps.items()}
        metrics |= {key: Metric(100 * value, "%", len(labels)) for key, value in means.items()}
        drawn = {f"{layer}_map": mean_of_classes(list(spread.values()))}
        drawn |= {f"{layer}_ap_{name}": each for name, each in spread.items()}
        replicates |= {key: (100 * each).astype(np.float32) for key, each in drawn.items()}
    return metrics, replicates


def evaluate_caltech(
    right: Mapping[str, Bool[ndarray, "splits n"]],
    tested: Bool[ndarray, "splits n"],
    labels: Int[ndarray, " n"],
) -> Measured:
    """`<layer>_accuracy` (the mean over the classes of each one's share of right images, mean over the splits) and
    `<layer>_accuracy_std` (over the splits), in % over the n images that are tested in any split.

    right: whether an image is taken for its class in a split that tests it. A resample draws images, not splits, which
    are the same for all networks; an image counts in all splits that test it. Accuracy alone has replicates.
    """
    copies = outcomes.resamples(len(labels))
    metrics: dict[str, Metric] = {}
    replicates: dict[str, NDArray[np.float32]] = {}
    for layer, hits in right.items():
        drawn, values = [], []
        for own, hit in zip(tested, hits, strict=True):
            drawn.append(_mean_accuracies(copies, own, hit, labels))
            values.append(float(_mean_accuracies(np.ones((1, len(labels)), np.int64), own, hit, labels)[0]))
        metrics[f"{layer}_accuracy"] = Metric(100 * float(np.mean(values)), "%", len(labels))
        metrics[f"{layer}_accuracy_std"] = Metric(100 * float(np.std(values, ddof=1)), "%", len(labels))
        replicates[f"{layer}_accuracy"] = (100 * np.mean(drawn, 0)).astype(np.float32)
    return metrics, replicates


def _mean_accuracies(
    copies: Int[ndarray, "resamples n"],
    tested: Bool[ndarray, " n"],
    hit: Bool[ndarray, " n"],
    labels: Int[ndarray, " n"],
) -> NDArray[np.float64]:
    """(resamples,) mean over the classes of the share of right images among those tested, in [0, 1]."""
    each = []
    for label in np.unique(labels):
        own = np.flatnonzero(tested & (labels == label))
        drawn = copies[:, own]
        with np.errstate(invalid="ignore"):
            each.append(drawn @ hit[own] / drawn.sum(1))
    return mean_of_classes(each)
