"""One linear SVM a class on a layer's features, with one pass of hard negative mining (section 4.1, spp_train.m).

Positives are the objects themselves. Negatives overlap the class's objects by at most 0.3. The first images give all of
theirs; of each later one those that the SVM of the moment does not yet keep out by the margin. After LIMIT new ones a
class is trained again and forgets the easy; so are all at the end. A class without objects is not learned: its SVM
scores -1 everywhere, which is over HARD, so it would keep nearly every window of every image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spprepro.detect.boxes import nms
from spprepro.detect.windows import Boxes
from spprepro.training.svm import RCNN, train_svms

NORM = 20.0  # mean length that features are scaled to
OVERLAP = 0.3  # with an object, at most, of a negative
SAME = 0.7  # overlap above which two negatives are as good as one
HARD, EASY = -1.0001, -1.2  # scores: above the first a window is added, below the second it is dropped
NEVER = -2.0  # score of every window for a class without objects: under that of any candidate (detector.ABOVE)
LIMIT = 2000  # new negatives of a class that make it train again
ROOM = 2**34  # bytes asked for at once for features; untouched pages take no memory, and copying as many would
GROWTH = 1.5  # of that room when it is full


@dataclass(frozen=True)
class LayerSvms:
    """SVMs of all classes on one layer: scores = scale * features @ weights.T + biases.

    weights: (classes, D); biases: (classes,); scale: NORM over the layer's mean norm; rows: negatives kept at the end.
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    scale: float
    rows: int = 0

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, D) -> (n, classes)."""
        found: NDArray[np.float32] = features @ (self.scale * self.weights).T + self.biases
        return found


class Miner:
    """The SVMs of one layer while images go by.

    positives: (P, D) features of objects, labels: (P,) their classes; scale: NORM over the mean norm of the layer.
    """

    def __init__(
        self, positives: NDArray[np.float32], labels: NDArray[np.int64], classes: int, scale: float, threads: int
    ) -> None:
        self.scale, self.threads = scale, threads
        self.features = positives * np.float32(scale)
        self.labels = np.zeros((len(positives), classes), np.int8)
        self.labels[np.arange(len(positives)), labels] = 1
        self.known = np.flatnonzero((self.labels > 0).any(0))  # classes that have objects
        self.duals = np.zeros((classes, len(positives)), np.float32)
        self.count = len(positives)  # rows in use; the arrays are longer
        self.weights = np.zeros((classes, positives.shape[1]), np.float32)
        self.biases = np.full(classes, NEVER, np.float32)
        self.trained = np.zeros(classes, bool)
        self.fresh = np.zeros(classes, np.int64)  # negatives since a class was last trained

    def see(
        self,
        features: NDArray[np.float32],
        inverse: NDArray[np.int64],
        kinds: NDArray[np.int64],
        boxes: Boxes,
        eligible: NDArray[np.bool_],
        rule: str,
    ) -> None:
        """Take an image's negatives, and train the classes that have enough new ones.

        features: (U, D), inverse: (N,) row of each window, kinds: (N,) windows that are the same to the released code;
        eligible: (N, classes); rule: "overlap" or "cells" of detection.Protocol.
        """
        scaled = features * np.float32(self.scale)
        scores = (scaled @ self.weights.T + self.biases)[inverse]
        marks = np.zeros((len(features), self.labels.shape[1]), np.int8)
        for label in self.known:
            wanted = eligible[:, label]
            if self.trained[label]:
                wanted = wanted & (scores[:, label] > HARD)
            rows = np.flatnonzero(wanted)
            if rule == "overlap":  # of two that are as good as one the harder stays
                kept = nms(boxes[rows], scores[rows, label], SAME)
            else:
                kept = np.unique(kinds[rows], return_index=True)[1]
            marks[inverse[rows[kept]], label] = -1
        self.fresh += (marks < 0).sum(0)
        used = np.flatnonzero(marks.any(1))
        self._add(scaled[used], marks[used])
        ready = np.flatnonzero(np.where(self.trained, self.fresh > LIMIT, self.fresh > 0))
        if len(ready):
            self.train(ready)

    def train(self, classes: NDArray[np.int64]) -> None:
        """Train these classes on all that is kept, then drop the negatives that turned out easy."""
        x, labels = self.features[: self.count], self.labels[: self.count]
        start = np.ascontiguousarray(self.duals[classes, : self.count])
        found = train_svms(x, labels[:, classes], RCNN, threads=self.threads, start=start)
        self.weights[classes], self.biases[classes] = found.weights, found.biases
        easy = (found.scores(x) < EASY) & (labels[:, classes] < 0)
        labels[:, classes] = np.where(easy, 0, labels[:, classes])
        self.duals[classes, : self.count] = np.where(easy.T, 0, found.duals)
        self.trained[classes], self.fresh[classes] = True, 0
        self._drop_unused()

    def finish(self) -> LayerSvms:
        """All classes that have objects, trained once more on everything that was found."""
        if len(self.known):
            self.train(self.known)
        negatives = int((self.labels[: self.count] < 0).any(1).sum())
        return LayerSvms(self.weights, self.biases, self.scale, negatives)

    def _add(self, features: NDArray[np.float32], marks: NDArray[np.int8]) -> None:
        need = self.count + len(features)
        if need > len(self.features):
            room = int(need * GROWTH)
            try:
                self.features = _longer(self.features[: self.count], max(room, ROOM // features[:1].nbytes))
            except MemoryError:  # where no more memory is lent than there is
                self.features = _longer(self.features[: self.count], room)
            room = len(self.features)
            self.labels = _longer(self.labels[: self.count], room)
            self.duals = _longer(self.duals[:, : self.count].T, room).T
        rows = slice(self.count, need)
        self.features[rows], self.labels[rows], self.duals[:, rows] = features, marks, 0
        self.count = need

    def _drop_unused(self) -> None:
        """Close the gaps of rows that are no class's any more; in place, as there may be gigabytes."""
        keep = np.flatnonzero((self.labels[: self.count] != 0).any(1))
        for start in range(0, len(keep), 1024):
            to = slice(start, min(start + 1024, len(keep)))
            self.features[to], self.labels[to] = self.features[keep[to]], self.labels[keep[to]]
        self.duals[:, : len(keep)] = self.duals[:, keep]
        self.count = len(keep)


def _longer(array: NDArray[Any], rows: int) -> NDArray[Any]:
    room = np.empty((rows, *array.shape[1:]), array.dtype)
    room[: len(array)] = array
    return room


def negatives(by_class: NDArray[np.float64], *, at_limit: bool) -> NDArray[np.bool_]:
    """(n, classes) whether windows may be a class's negatives, by their overlap with its objects."""
    return by_class <= OVERLAP if at_limit else by_class < OVERLAP


def feature_scale(norms: Sequence[float]) -> float:
    """What brings the mean of these norms to NORM; 1 for features that are all zero."""
    mean = float(np.mean(norms)) if len(norms) else 0.0
    return NORM / mean if mean > 0 else 1.0
