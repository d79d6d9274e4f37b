"""Linear SVMs on one layer's features, one a class (section 3.2), from inner products (training/gram_svm.py).

The objective is liblinear's (L2-regularised hinge loss, a constant feature of 1); that C is 1 only arXiv v1 says. The
paper cites libsvm, whose linear kernel has the same loss but does not regularise the bias. An image that shows a class
of VOC by difficult objects alone is not among that class's rows, as in the devkit's example. Where several C are given,
each layer takes the one that is best on the training side: on VOC's val after learning its train, on Caltech-101 on a
third of each split's training images after learning the rest; the first of equals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8
from numpy import ndarray
from numpy.typing import NDArray

from spprepro.average_precision import HIT, IGNORED, MISS, Matches, mean_ap
from spprepro.data.caltech101 import Split
from spprepro.training.gram_svm import train_gram_svms
from spprepro.training.svm import Objective

Floats = NDArray[np.float32]


class Halves(NamedTuple):
    """Numbers of the images of trainval that are VOC's train, and of those that are its val."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


def judged(scores: Float[ndarray, "n k"], labels: Int8[ndarray, "n k"], classes: Sequence[str]) -> dict[str, Matches]:
    """Images by falling score of each class, judged as VOCevalcls.m does; without classes that no image shows.

    labels: 1 shown, 0 shown by difficult objects only, which are left out, -1 not shown.
    """
    found = {}
    for name, score, label in zip(classes, scores.T, labels.T, strict=True):
        if (label == 1).any():
            order = np.argsort(-score, kind="stable")
            state = np.select([label == 1, label == 0], [HIT, IGNORED], MISS).astype(np.int8)
            found[name] = Matches(order, score[order].astype(np.float64), state[order], (label == 1).astype(np.int64))
    return found


def choose_on_val(
    products: Floats, labels: Int8[ndarray, "n k"], halves: Halves, cs: Sequence[float], threads: int
) -> tuple[float, float]:
    """(C, mAP on val in [0, 1]) of the C with the best one after learning train; products: of trainval."""
    train, val = halves
    inside, across = products[np.ix_(train, train)], products[np.ix_(val, train)]
    names = [str(k) for k in range(labels.shape[1])]
    values = []
    for c in cs:
        svms = train_gram_svms(inside, labels[train], Objective(c=c), threads=threads)
        values.append(mean_ap(judged(svms.scores(across), labels[val], names)))
    best = int(np.argmax(values))
    return cs[best], values[best]


def predict(
    products: Floats, labels: Int[ndarray, " n"], split: Split, cs: Sequence[float], threads: int
) -> tuple[NDArray[np.int64], float]:
    """(classes that the test images of a Caltech-101 split are taken for, C); one SVM against the rest each."""
    c = cs[0] if len(cs) == 1 else _choose_on_train(products, labels, split.train, cs, threads)
    return _against_rest(products, labels, split, c, threads), c


def mean_accuracy(labels: Int[ndarray, " n"], predicted: Int[ndarray, " n"]) -> float:
    """The mean over the classes of the share of each one's images that are taken for it, in [0, 1]."""
    hits, images = (np.bincount(each, minlength=labels.max() + 1) for each in (labels[labels == predicted], labels))
    return float((hits[images > 0] / images[images > 0]).mean())


def _against_rest(
    products: Floats, labels: Int[ndarray, " n"], split: Split, c: float, threads: int
) -> NDArray[np.int64]:
    classes = np.arange(labels.max() + 1)
    signs = np.where(labels[split.train][:, None] == classes, 1, -1).astype(np.int8)
    inside, across = products[np.ix_(split.train, split.train)], products[np.ix_(split.test, split.train)]
    found: NDArray[np.int64] = train_gram_svms(inside, signs, Objective(c=c), threads=threads).scores(across).argmax(1)
    return found


def _choose_on_train(
    products: Floats, labels: Int[ndarray, " n"], train: NDArray[np.int64], cs: Sequence[float], threads: int
) -> float:
    """The C that is best on the last third of each class's training images, which are in random order."""
    per_class = len(train) // (labels.max() + 1)
    place = np.arange(len(train)) % per_class
    part = Split(train[place < per_class - per_class // 3], train[place >= per_class - per_class // 3])
    accuracies = [mean_accuracy(labels[part.test], _against_rest(products, labels, part, c, threads)) for c in cs]
    return cs[int(np.argmax(accuracies))]
