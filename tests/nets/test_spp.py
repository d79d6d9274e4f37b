"""The pyramid against torch's adaptive pooling and the authors' kernel, to the bit."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from spprepro.nets.geometry import bins
from spprepro.nets.spp import SpatialPyramidPooling, pool_bins

SIDES = [(13, 13), (10, 10), (18, 18), (1, 1), (5, 3), (7, 19), (43, 57), (6, 24)]


@pytest.mark.parametrize(("size", "n"), list(itertools.product(SIDES, (1, 2, 3, 4, 5, 6, 7))))
def test_bins_equal_adaptive_pooling_to_the_bit(size, n):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(n))
    assert torch.equal(pool_bins(x, n), F.adaptive_max_pool2d(x, n))


@pytest.mark.parametrize("levels", [(6, 3, 2, 1), (4, 3, 2, 1), (4, 2, 1), (1, 2, 3, 6), (5, 4)])
@pytest.mark.parametrize("size", SIDES)
def test_pyramid_is_its_levels_in_the_given_order(levels, size):
    x = torch.randn(2, 4, *size)
    expected = torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in levels], 1)
    assert torch.equal(SpatialPyramidPooling(levels)(x), expected)


def test_gradient_is_that_of_adaptive_pooling():
    x = torch.randn(2, 3, 13, 10, dtype=torch.double)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn(2, 3 * 50, dtype=torch.double)
    (SpatialPyramidPooling((6, 3, 2, 1))(ours) * weight).sum().backward()
    (torch.cat([F.adaptive_max_pool2d(theirs, n).flatten(1) for n in (6, 3, 2, 1)], 1) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_and_layouts(dtype):
    x = torch.randn(2, 8, 13, 13).to(dtype).to(memory_format=torch.channels_last)
    assert torch.equal(pool_bins(x, 6), F.adaptive_max_pool2d(x, 6))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8])
def test_bins_are_those_of_the_authors_kernel(golden, n):
    first_last = golden("spp_pool.npz", f"bins_{n}")[f"bins_{n}"]
    for length, reference in enumerate(first_last, 1):
        assert [(a + 1, b) for a, b in bins(length, n)] == [tuple(row) for row in reference.tolist()]


@pytest.mark.parametrize("levels", ["6321", "4321", "421", "1236"])
def test_windows_pool_as_the_authors_kernel_does(golden, levels):
    """Case C: one scale, ReLU-like map, windows as 1-based inclusive cells."""
    arrays = golden("spp_pool.npz", "C_map0", "C_zf5_window_cells", f"C_zf5_pool_{levels}")
    feature, cells, expected = (torch.from_numpy(value) for value in arrays.values())
    layer = SpatialPyramidPooling([int(digit) for digit in levels])
    for (x1, y1, x2, y2), reference in zip(cells.tolist(), expected, strict=True):
        assert torch.equal(layer(feature[None, :, y1 - 1 : y2, x1 - 1 : x2])[0], reference)


def test_levels_are_checked():
    with pytest.raises(ValueError, match="over 0"):
        SpatialPyramidPooling([3, 0])
