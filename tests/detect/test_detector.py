"""What a detector gives of an image, and that its file gives it back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spprepro.detect.boxes import fit_box_regressor, iou
from spprepro.detect.detector import ABOVE, NAME, TOP, Detector, Regressors, detect, restore, save
from spprepro.detect.features import Described
from spprepro.detect.mining import LayerSvms
from spprepro.detection import Protocol
from spprepro.errors import DataError
from tests.detect.toys import CLASSES, RELEASED, anywhere, learned, spp

HEIGHT, WIDTH = 120, 160
PICTURE = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
LAYERS = ["pool5", "fc6", "ftfc6", "ftfc7"]
ROWS = [*LAYERS, "ftfc7_bb"]


def scored(scores: list[list[float]], protocol: Protocol | None = None, shift: np.ndarray | None = None) -> Detector:
    """A detector whose scores of an image's windows are (classes, n); `shift`: (classes, 4) targets of regression."""
    values = torch.tensor(scores, dtype=torch.float32).T.contiguous()
    count, classes = values.shape
    same = np.arange(count)
    features = SimpleNamespace(
        prepare=lambda picture: picture,
        describe=lambda maps, boxes, size, layers: Described(dict.fromkeys(layers, values), same, same),
    )
    svm = LayerSvms(np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32), 1.0)
    regressors = None
    if shift is not None:
        zero = fit_box_regressor(np.zeros((0, classes), np.float32), np.zeros((0, 4)), np.zeros((0, 4)), 1.0)
        regressors = Regressors([type(zero)(zero.weights, zero.colour, row) for row in shift], 1.0)
    names = [str(k) for k in range(classes)]
    return Detector(features, protocol or Protocol(), names, {"ftfc7": svm}, regressors, "pool5")


def grid(count: int) -> np.ndarray:
    """Windows of 4x4 pixels that do not touch."""
    y, x = np.divmod(np.arange(count), 20)
    return np.stack([8 * x, 8 * y, 8 * x + 3, 8 * y + 3], 1).astype(float)


def test_scores_over_the_limit_only_best_first():
    scores = [[-1.6, ABOVE, -1.4, 2.0]]
    ((boxes, found),) = scored(scores).find(PICTURE, grid(4), ["ftfc7"])["ftfc7"]
    np.testing.assert_array_equal(boxes, grid(4)[[3, 2]])
    np.testing.assert_allclose(found, [2.0, -1.4], rtol=1e-6)


def test_suppressed_over_30_percent_within_a_class_only():
    # of 10x10 pixels: 3 rows in 10 shared is IoU 3/17; 5 in 10 is 1/3; 30 of 100 inside is exactly 0.3
    boxes = np.array(
        [[0, 0, 9, 9], [0, 5, 9, 14], [50, 0, 59, 9], [50, 7, 59, 16], [80, 0, 89, 9], [80, 0, 89, 2]], float
    )
    assert iou(boxes[4:5], boxes[5:6])[0, 0] == 0.3
    one, two = scored([[3, 2, 3, 2, 3, 2], [-2, 2, -2, -2, -2, -2]]).find(PICTURE, boxes, ["ftfc7"])["ftfc7"]
    assert {tuple(box) for box in one[0]} == {tuple(boxes[k]) for k in (0, 2, 3, 4, 5)}
    np.testing.assert_array_equal(two[0], boxes[[1]])


def test_the_best_hundred_of_a_class():
    scores = np.random.default_rng(0).permutation(150) / 100
    (one, two) = scored([scores.tolist(), (-scores).tolist()]).find(PICTURE, grid(150), ["ftfc7"])["ftfc7"]
    np.testing.assert_allclose(one[1], np.sort(scores)[::-1][:TOP], rtol=1e-6)
    assert len(two[1]) == TOP and len(one[0]) == TOP


def test_no_windows_nothing_found():
    found = scored([[], []]).find(PICTURE, np.empty((0, 4)), ["ftfc7"])
    assert [(boxes.shape, scores.shape) for boxes, scores in found["ftfc7"]] == [((0, 4), (0,))] * 2
    found = scored([[-5.0], [-5.0]]).find(PICTURE, grid(1), ["ftfc7"])
    assert [(boxes.shape, scores.shape) for boxes, scores in found["ftfc7"]] == [((0, 4), (0,))] * 2


def test_several_suppress_over_the_union_of_what_all_scored():
    boxes = np.array([[0, 0, 9, 9], [0, 1, 9, 10], [50, 0, 59, 9]], float)
    first, second = scored([[1.0, 0.0, -3.0]]), scored([[0.5, 2.0, 0.7]])
    ((kept, scores),) = detect([first, second], PICTURE, boxes, ["ftfc7"])["ftfc7"]
    np.testing.assert_array_equal(kept, boxes[[1, 2]])  # the same window twice is one; each at its best score
    np.testing.assert_allclose(scores, [2.0, 0.7], rtol=1e-6)
    alone = second.find(PICTURE, boxes, ["ftfc7"])["ftfc7"][0]
    again = detect([second, second], PICTURE, boxes, ["ftfc7"])["ftfc7"][0]
    for ours, theirs in zip(again, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


BESIDE = np.array([[0, 0, 19, 19], [4, 0, 23, 19], [100, 60, 139, 99]], float)  # IoU of the first two: 16/24


def wider(by: float) -> np.ndarray:
    return np.array([[0, 0, np.log(by), np.log(by)]])


def test_windows_are_moved_before_nms_as_in_the_paper():
    """Small ones do not overlap any more, so that all stay; the released code suppresses first."""
    found = {}
    for name, protocol in (("paper", Protocol()), ("released", RELEASED)):
        detector = scored([[3.0, 2.0, 1.0]], protocol, wider(0.15))
        found[name] = detector.find(PICTURE, BESIDE, ["ftfc7", "ftfc7_bb"])
        assert len(found[name]["ftfc7"][0][1]) == 2  # without regression the first suppresses the second
    assert found["paper"]["ftfc7_bb"][0][1].tolist() == [3, 2, 1]
    assert found["released"]["ftfc7_bb"][0][1].tolist() == [3, 1]
    sides = 0.15 * np.array([19, 19, 39])
    boxes = found["paper"]["ftfc7_bb"][0][0]
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], sides, rtol=1e-5)
    np.testing.assert_allclose((boxes[:, 2] + boxes[:, 0]) / 2, [9.5, 13.5, 119.5], rtol=1e-5)


def test_moved_windows_are_suppressed_once_more_in_both():
    boxes = np.array([[40, 40, 59, 59], [62, 40, 81, 59]], float)  # apart, and on top of each other when they are wide
    for protocol in (Protocol(), RELEASED):
        ((kept, scores),) = scored([[2.0, 1.0]], protocol, wider(3)).find(PICTURE, boxes, ["ftfc7_bb"])["ftfc7_bb"]
        assert scores.tolist() == [2.0] and len(kept) == 1


@pytest.mark.parametrize("protocol", [Protocol(), RELEASED], ids=["paper", "released"])
def test_moved_windows_stay_inside_the_image(protocol):
    wild = np.array([[2.0, -3, 4, 800], [-9, 9, 0, 0]])
    found = scored([[3.0, 2.0, 1.0]] * 2, protocol, wild).find(PICTURE, BESIDE, ["ftfc7_bb"])["ftfc7_bb"]
    for boxes, _ in found:
        assert len(boxes) and np.isfinite(boxes).all()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [WIDTH - 1, HEIGHT - 1]).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()


def seen() -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)), anywhere(HEIGHT, WIDTH, 60, rng)


def other_weights(features):
    with torch.no_grad():
        for values in features.parameters():
            values.normal_()
    return features


@pytest.mark.parametrize("protocol", [Protocol(), RELEASED], ids=["paper", "released"])
@torch.no_grad()
def test_a_restored_detector_finds_the_same_to_the_bit(tmp_path, protocol):
    detector = learned(protocol)
    path = save(detector, tmp_path)
    assert path == tmp_path / "checkpoints" / NAME
    content = torch.load(path, weights_only=True)
    again = restore(content, other_weights(spp([160, 240], protocol)), protocol, "pool5")
    assert again.rows == detector.rows == ROWS and again.classes == list(CLASSES)
    assert {row: svm.rows for row, svm in again.svms.items()} == dict.fromkeys(LAYERS, 17)
    picture, boxes = seen()
    expected, found = detector.find(picture, boxes, ROWS), again.find(picture, boxes, ROWS)
    assert all(any(len(scores) for _, scores in expected[row]) for row in ROWS)
    for row in ROWS:
        for ours, theirs in zip(found[row], expected[row], strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])


@torch.no_grad()
def test_all_regressors_in_one_product_are_each_alone():
    regressors = learned().regressors
    assert regressors is not None
    features = np.random.default_rng(2).normal(0, 1, (7, len(regressors.each[0].weights) - 1)).astype(np.float32)
    alone = [(0.2 * features @ r.weights[:-1] + r.weights[-1]) @ r.colour + r.mean for r in regressors.each]
    expected = np.stack(alone, 1)
    np.testing.assert_allclose(regressors.targets(features), expected, rtol=1e-4, atol=1e-5)


def test_a_detector_without_regression_has_no_such_row(tmp_path):
    detector = learned()
    detector.regressors = None
    content = torch.load(save(detector, tmp_path), weights_only=True)
    again = restore(content, spp([160, 240]), Protocol(), "pool5")
    assert again.regressors is None and again.rows == again.layers == LAYERS


@pytest.mark.parametrize("lost", ["features", "classes", "svms"])
def test_a_file_of_something_else_is_named(tmp_path, lost):
    content = torch.load(save(learned(), tmp_path), weights_only=True)
    del content[lost]
    with pytest.raises(DataError, match=NAME):
        restore(content, spp([160, 240]), Protocol(), "pool5")


def test_weights_of_another_network_are_named(tmp_path):
    content = torch.load(save(learned(), tmp_path), weights_only=True)
    with pytest.raises(DataError, match="not those of its configuration"):
        restore(content, spp([160, 240], levels=(2, 1)), Protocol(), "pool5")
