"""What TensorBoard gets, read back from the event file."""

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from spprepro.average_precision import HIT, IGNORED, MISS, Matches
from spprepro.data.decode import decode
from spprepro.data.voc import Annotation, Split
from spprepro.detect.evaluate import evaluate, saved
from spprepro.detect.monitor import drawn, points, show
from spprepro.detect.voc_eval import Detections
from tests.detect.detections import guessed


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    found.Reload()
    return found


def test_pictures_curves_and_ap(tmp_path, mini_test):
    metrics, _ = evaluate(tmp_path, mini_test, {"pool5": guessed(mini_test, 0)})
    found = saved(tmp_path, mini_test, ["pool5"])["pool5"]
    asked = []

    def picture(number):
        asked.append(number)
        return decode(mini_test.path(number))

    show(tmp_path, mini_test, found, picture)
    board = events(tmp_path)
    assert board.Tags()["images"] == [f"detections/{mini_test.images[number].id}" for number in asked]
    assert len(asked) == 12 and asked[0] == 0 and asked[-1] == 39 and set(np.diff(asked)) <= {3, 4}
    encoded = board.Images(board.Tags()["images"][5])[0].encoded_image_string
    shown = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    expected = drawn(mini_test, found, asked[5], decode(mini_test.path(asked[5])))
    np.testing.assert_array_equal(shown, expected.transpose(1, 2, 0))
    aps = {key.removeprefix("pool5_ap_"): metric.value for key, metric in metrics.items() if "_ap_" in key}
    scalars = {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]}
    expected_scalars = {f"ap/{name}": value for name, value in aps.items()} | {"ap/mean": metrics["pool5_map"].value}
    assert scalars == pytest.approx(expected_scalars, rel=1e-6)
    assert sorted(board.Tags()["tensors"]) == sorted(f"pr/{name}" for name in aps)
    for name in aps:
        hits, misses, _, missed, precision, recall = tensor_util.make_ndarray(
            board.Tensors(f"pr/{name}")[0].tensor_proto
        )
        assert len(hits) == 127
        assert (np.diff(recall) <= 0).all()
        np.testing.assert_allclose(precision, hits / (hits + misses), rtol=1e-6)
        np.testing.assert_allclose(recall, hits / (hits + missed), rtol=1e-6)


def test_points_are_hits_and_the_end():
    state = np.array([HIT, MISS, MISS, HIT, IGNORED, MISS], np.int8)
    found = points(Matches(np.zeros(6, np.int64), -np.arange(6.0), state, np.array([4])))
    distinct = np.unique(found.T, axis=0)
    np.testing.assert_allclose(distinct, [[1, 0, 0, 3, 1, 0.25], [2, 2, 0, 2, 0.5, 0.5], [2, 3, 0, 2, 0.4, 0.5]])
    assert found[5].tolist() == sorted(found[5], reverse=True)


def test_points_of_many_hits_reach_both_ends():
    matches = Matches(np.zeros(900, np.int64), -np.arange(900.0), np.full(900, HIT, np.int8), np.array([1000]))
    found = points(matches)
    assert found.shape == (6, 127)
    assert found[0, 0] == 900 and found[0, -1] == 1
    assert np.diff(found[0]).max() < 0


def test_points_without_hits():
    found = points(Matches(np.zeros(2, np.int64), np.zeros(2), np.array([IGNORED, IGNORED], np.int8), np.array([1])))
    assert np.isfinite(found).all() and (found[[4, 5]] == 0).all()


@pytest.fixture
def two(tmp_path):
    """Two images of 60x80 pixels: a cat, nothing."""
    none = np.empty(0, bool)
    box = np.array([[10.0, 10, 40, 40]])
    cat = Annotation("000001", 60, 80, np.array([0]), box, np.array([False]), np.array([False]))
    empty = Annotation("000002", 60, 80, np.empty(0, np.int64), np.empty((0, 4)), none, none)
    return Split(tmp_path, "test", ("cat", "dog"), [cat, empty])


NOTHING = Detections(np.empty(0, np.int64), np.empty(0), np.empty((0, 4)))


def grey(_number):
    return torch.full((3, 60, 80), 90, dtype=torch.uint8)


def test_few_images_and_no_detections(tmp_path, two):
    show(tmp_path, two, {"cat": NOTHING, "dog": NOTHING}, grey)
    board = events(tmp_path)
    assert board.Tags()["images"] == ["detections/000001", "detections/000002"]
    assert {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]} == {"ap/cat": 0, "ap/mean": 0}
    assert board.Tags()["tensors"] == []


def test_the_best_few_are_drawn(two):
    boxes = np.tile([5.0, 5, 60, 50], (9, 1))
    many = Detections(np.array([1] * 9), np.linspace(1, 2, 9), boxes)
    poor = Detections(np.array([1, 1]), np.array([-0.51, -3]), boxes[:2])
    best = Detections(many.image[3:], many.score[3:], many.boxes[3:])
    first, again = (drawn(two, {"cat": each, "dog": poor}, 1, grey(1)) for each in (many, best))
    np.testing.assert_array_equal(first, again)
    assert (first != 90).any()
    assert (drawn(two, {"cat": NOTHING, "dog": poor}, 1, grey(1)) == 90).all()
    other = drawn(two, {"cat": many, "dog": poor}, 0, grey(0))
    assert (other == 255).any() and not (other == first).all()  # image 0 has an object and no detections
