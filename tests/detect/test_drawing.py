"""Boxes and bars on pictures of any size."""

import cv2
import numpy as np
import pytest
import torch

from spprepro.data.voc import CLASSES
from spprepro.detect.drawing import colour, draw

GREY = 90


def blank(height, width):
    return torch.full((3, height, width), GREY, dtype=torch.uint8)


def drawn(height, width, boxes, labels, scores=None, truth=None):
    """(h, w, 3)"""
    numbers = np.arange(len(boxes), dtype=float) if scores is None else np.array(scores)
    found = draw(blank(height, width), np.array(boxes, float).reshape(-1, 4), np.array(labels), numbers, CLASSES, truth)
    assert found.shape == (3, height, width) and found.dtype == np.uint8
    return found.transpose(1, 2, 0)


def has(picture, own):
    return (picture == own).all(-1)


def test_a_box_is_drawn_where_it_is():
    picture = drawn(300, 400, [[100.4, 80, 299, 219]], [14])
    own = has(picture, colour(14))
    assert own[80, 110:299].all() or own[219, 110:299].all()  # the bar is at one of them
    assert own[80:220, 100].all() and own[80:220, 299].all() and own[219, 100:300].all()
    changed = (picture != GREY).any(-1)
    assert not changed[90:210, 110:290].any()
    assert not changed[:, :97].any() and not changed[:, 303:].any() and not changed[223:].any()


def test_the_picture_itself_stays_and_nothing_draws_nothing():
    picture = blank(50, 60)
    found = draw(picture, np.empty((0, 4)), np.empty(0, int), np.empty(0), CLASSES)
    assert (found == GREY).all()
    draw(picture, np.array([[5.0, 5, 40, 40]]), np.array([0]), np.array([1.0]), CLASSES)
    assert (picture == GREY).all()


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (6, 200), (200, 6), (24, 40), (120, 160), (375, 500), (1500, 2000)]
)
@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_bars_are_whole_at_every_size_and_corner(height, width, corner):
    x, y = (width - 1) * corner[0], (height - 1) * corner[1]
    picture = drawn(height, width, [[x, y, x, y]], [7])
    ys, xs = np.nonzero(has(picture, colour(7)))
    if min(height, width) < 10:
        return  # no letters fit: it must only not fail
    bar_height, bar_width = np.ptp(ys) + 1, np.ptp(xs) + 1
    assert bar_height >= 8 and bar_width >= 24  # as much as letters need
    ink = (picture != GREY).any(-1) & ~has(picture, colour(7))
    assert ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].sum() >= 40


def test_letters_grow_with_the_picture():
    heights = []
    for side in (300, 1200):
        ys, _ = np.nonzero(has(drawn(side, side, [[0, side - 1, 0, side - 1]], [3]), colour(3)))
        heights.append(np.ptp(ys))
    assert 2.5 < heights[1] / heights[0] < 5


def test_the_best_score_is_on_top():
    box = [50, 60, 250, 260]
    for scores, top in (([1, 2], 7), ([2, 1], 4)):
        picture = drawn(300, 300, [box, box], [4, 7], scores)
        assert has(picture, colour(top))[150:250, 50].all()
        assert has(picture, colour(4 + 7 - top)).sum() > 200  # the bar of the other one has another place


def test_bars_of_one_place_do_not_hide_each_other():
    box = [100, 150, 300, 300]
    picture = drawn(400, 400, [box] * 4, [1, 2, 3, 0])
    for label in (1, 2, 3):
        bar = has(drawn(400, 400, [box], [label]), colour(label))[:148].sum()  # above the box
        assert has(picture, colour(label)).sum() > 0.8 * bar > 300


def test_objects_are_dashed():
    truth = np.array([[40.0, 50, 199, 149]])
    picture = drawn(200, 300, [], [], truth=truth)
    for line in (picture[50, 40:200], picture[149, 40:200], picture[50:150, 40], picture[50:150, 199]):
        white, black = has(line, (255, 255, 255)), has(line, (0, 0, 0))
        assert (white | black).all()
        assert 0.3 < white.mean() < 0.7
        assert np.abs(np.diff(white.astype(int))).sum() >= 4
    assert (picture[60:140, 50:190] == GREY).all()


def test_boxes_outside_are_cut_to_the_picture():
    own = has(drawn(100, 150, [[-50, -20, 400, 300]], [5]), colour(5))
    assert own[:, 0].all() and own[:, -1].all() and own[-1].all()


def seen(colours, matrix):
    """Lab of sRGB colours seen through a matrix on linear RGB."""
    values = np.array(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ np.array(matrix).T
    linear = np.clip(linear, 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(shown[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ],
    ids=["normal", "red-blind", "green-blind"],
)
def test_colours_of_all_classes_can_be_told_apart(matrix):
    lab = seen([colour(label) for label in range(20)], matrix)
    distance = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e3 * np.eye(20)
    assert distance.min() > 12  # 2.3 is a just noticeable difference side by side
