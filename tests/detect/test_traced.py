"""What a detector leaves for pictures."""

import numpy as np
import pytest

from spprepro import traces
from spprepro.detect.evaluate import evaluate, saved
from spprepro.detect.monitor import ABOVE, MOST
from spprepro.detect.traced import FIRST, trace
from spprepro.traces import RECALLS
from tests.detect.detections import guessed


def test_curves_give_the_aps_of_the_record(tmp_path, mini_test):
    metrics, _ = evaluate(tmp_path, mini_test, {"pool5": guessed(mini_test, 0)})
    trace(tmp_path, mini_test, saved(tmp_path, mini_test, ["pool5"])["pool5"])
    found = traces.read_precision(tmp_path)
    aps = {key.removeprefix("pool5_ap_"): metric.value for key, metric in metrics.items() if "_ap_" in key}
    assert {each.name: each.ap for each in found} == pytest.approx(aps, abs=1e-4)
    for each in found:
        assert (np.diff(each.precision) <= 0).all()
        eleven = [height for recall, height in zip(RECALLS, each.precision, strict=True) if round(50 * recall) % 5 == 0]
        assert 100 * np.mean(eleven) == pytest.approx(each.ap, abs=10)  # a rounding at a recall moves one of eleven
        objects = sum((mini_test.classes[k] == each.name) for image in mini_test.images for k in image.labels)
        assert 0 < each.objects <= objects


def test_examples_are_the_first_images_with_their_best_detections(tmp_path, mini_test):
    detections = guessed(mini_test, 1)
    trace(tmp_path, mini_test, detections)
    found = traces.read_examples(tmp_path)
    assert [each.id for each in found] == [image.id for image in mini_test.images[:FIRST]]
    for example, image in zip(found, mini_test.images, strict=False):
        assert (example.width, example.height) == (image.width, image.height)
        assert [seen.box for seen in example.objects] == [tuple(box) for box in image.boxes.tolist()]
        scores = [seen.score for seen in example.found]
        assert scores == sorted(scores, reverse=True) and min(scores, default=0) >= ABOVE and len(scores) <= MOST
        names = {seen.name for seen in example.objects}
        assert all(seen.overlap == 0 for seen in example.found if seen.name not in names)
    assert any(seen.overlap > 0.5 for example in found for seen in example.found)
