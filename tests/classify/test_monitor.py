"""Pictures with predictions."""

import numpy as np
import torch

from spprepro.classify.monitor import captioned, grid


def test_bar_is_green_when_right_and_red_when_wrong():
    image = torch.full((3, 60, 80), 7, dtype=torch.uint8)
    right = captioned(image, 1, torch.tensor([0.1, 0.9]), ["cat", "dog"])
    wrong = captioned(image, 0, torch.tensor([0.1, 0.9]), ["cat", "dog"])
    assert right.shape == wrong.shape == (3, 60, 80)
    assert right[1, 0, 79] > right[0, 0, 79] and wrong[0, 0, 79] > wrong[1, 0, 79]
    assert (right[:, 18:] == 7).all()
    assert (right[:, :18] == 255).any()  # the caption


def test_grid_fills_its_last_row_with_white():
    pictures = [np.full((3, 2, 3), i, np.uint8) for i in range(6)]
    whole = grid(pictures)
    assert whole.shape == (3, 4, 12)
    assert whole[0, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert whole[0, 2].tolist() == [4] * 3 + [5] * 3 + [255] * 6
