"""Views, sizes and errors."""

import numpy as np
import pytest
import torch

from spprepro.classify.evaluate import check_complete, wrong_at
from spprepro.classify.sizes import size_of_epoch
from spprepro.classify.views import crop_view, full_view, ten_views
from spprepro.errors import DataError


def test_ten_views_are_centre_corners_and_their_mirrors():
    image = torch.arange(256 * 300).view(1, 1, 256, 300).expand(1, 3, -1, -1)
    views = ten_views(image, 224)
    assert len(views) == 10 and {tuple(view.shape) for view in views} == {(1, 3, 224, 224)}
    corners = [tuple(divmod(int(view[0, 0, 0, 0]), 300)) for view in views[:5]]
    assert corners == [(16, 38), (0, 0), (0, 76), (32, 0), (32, 76)]
    for view, mirrored in zip(views[:5], views[5:], strict=True):
        assert torch.equal(view.flip(-1), mirrored)
    assert torch.equal(crop_view(image, 224)[0], views[0])
    assert full_view(image, 224)[0] is image


def test_sizes_alternate_whole_epochs():
    assert [size_of_epoch("multisize", [224, 180], 0, e) for e in range(4)] == [224, 180, 224, 180]
    assert [size_of_epoch("singlesize", [224], 0, e) for e in range(3)] == [224] * 3


def test_random_sizes_cover_the_range_and_repeat():
    sizes = [size_of_epoch("randomsize", [180, 224], 0, e) for e in range(500)]
    assert (min(sizes), max(sizes)) == (180, 224)
    assert sizes == [size_of_epoch("randomsize", [180, 224], 0, e) for e in range(500)]
    assert sizes != [size_of_epoch("randomsize", [180, 224], 1, e) for e in range(500)]


def test_errors_at_k():
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    labels = np.array([1, 1, 0])
    assert wrong_at(scores, labels, 1).tolist() == [False, True, True]
    assert wrong_at(scores, labels, 2).tolist() == [False, False, True]


def test_ties_count_against_the_label():
    assert wrong_at(np.full((1, 4), 0.25), np.array([0]), 1).tolist() == [True]
    assert wrong_at(np.full((1, 4), 0.25), np.array([0]), 4).tolist() == [False]


@pytest.mark.parametrize("index", [[0, 1, 1], [0, 1], [0, 1, 3]])
def test_no_error_is_computed_from_an_incomplete_set(index):
    check_complete(np.arange(3), 3)
    with pytest.raises(DataError, match="missing"):
        check_complete(np.array(index), 3)
