"""Pooling of all windows at once against the released kernel, torch and torchvision, to the bit."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import roi_pool

from spprepro.detect import pooling
from spprepro.detect.pooling import pool_image, pool_windows
from spprepro.detect.windows import to_cells
from spprepro.nets.geometry import receptive_field
from spprepro.nets.spp import SpatialPyramidPooling
from tests.nets.backbones import zf5

PYRAMIDS = ["6321", "4321", "421", "1236"]


def digits(levels: str) -> list[int]:
    return [int(digit) for digit in levels]


def random_cells(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Windows of all sizes; among them the whole map, its corner cells, a row and a column."""
    xs, ys = (np.sort(rng.integers(0, side, (count, 2)), 1) for side in (width, height))
    some = [[0, 0, width - 1, height - 1], [0, 0, 0, 0], [width - 1, height - 1] * 2]
    some += [[0, height - 1, width - 1, height - 1], [width - 1, 0, width - 1, height - 1]]
    return np.concatenate([np.stack([xs[:, 0], ys[:, 0], xs[:, 1], ys[:, 1]], 1), np.array(some)])


def one_by_one(feature_map: torch.Tensor, cells: np.ndarray, levels: list[int]) -> torch.Tensor:
    crops = [feature_map[:, y1 : y2 + 1, x1 : x2 + 1] for x1, y1, x2, y2 in cells.tolist()]
    return torch.stack([torch.cat([F.adaptive_max_pool2d(crop, n).flatten() for n in levels]) for crop in crops])


@pytest.mark.parametrize("levels", PYRAMIDS)
@pytest.mark.parametrize("case", "ABCD")
def test_pools_as_the_released_kernel(golden, case, levels):
    """On maps with negatives (B) after clamping at 0, where the released maximum starts."""
    keys = [f"{case}_{key}" for key in ("scales", "zf5_best_scale_idx", "zf5_window_cells", f"zf5_pool_{levels}")]
    scales, chosen, cells, expected = golden("spp_pool.npz", *keys).values()
    names = [f"{case}_map{k}" for k in range(len(scales))]
    maps = [torch.from_numpy(array) for array in golden("spp_pool.npz", *names).values()]
    pooled = pool_image(maps, chosen, cells - 1, digits(levels))
    negative = min(float(array.min()) for array in maps) < 0
    assert negative == (case == "B")
    found = pooled.features[pooled.inverse]
    if negative:
        assert not torch.equal(found, torch.from_numpy(expected))
        found = found.clamp(min=0)
    assert torch.equal(found, torch.from_numpy(expected))


@pytest.mark.parametrize("scale", [0, 1])
def test_pools_all_windows_at_one_scale_as_the_released_kernel(golden, scale):
    key = f"D_zf5_pool_6321_forced_scale{scale}"
    hw, scales, boxes, features, expected = golden(
        "spp_pool.npz", "D_image_hw", "D_scales", "D_boxes", f"D_map{scale}", key
    ).values()
    sizes = [features.shape[1:]] * len(scales)
    chosen = np.full(len(boxes), scale)
    cells = to_cells(boxes - 1, chosen, int(hw.min()), scales, sizes, receptive_field(zf5()), "released")
    assert torch.equal(pool_windows(torch.from_numpy(features), cells, [6, 3, 2, 1]), torch.from_numpy(expected))


@pytest.mark.parametrize("levels", [[n] for n in range(1, 7)] + [digits(p) for p in PYRAMIDS] + [[5, 4, 2], [1, 6, 5]])
@pytest.mark.parametrize(("height", "width"), [(13, 13), (1, 1), (3, 17), (29, 9), (43, 57)])
def test_each_window_is_adaptive_pooling_of_its_crop(height, width, levels):
    rng = np.random.default_rng([height, width, *levels])
    feature_map = torch.from_numpy(rng.standard_normal((5, height, width), np.float32))
    cells = random_cells(rng, 40, height, width)
    assert torch.equal(pool_windows(feature_map, cells, levels), one_by_one(feature_map, cells, levels))


def test_every_window_of_a_map_and_the_pyramid_of_the_network():
    """All 1620 windows of 8x9 cells: most have fewer cells than bins."""
    feature_map = torch.randn(2, 8, 9, generator=torch.Generator().manual_seed(0))
    pairs = [list(itertools.combinations_with_replacement(range(side), 2)) for side in (9, 8)]
    cells = np.array([[x1, y1, x2, y2] for (x1, x2), (y1, y2) in itertools.product(*pairs)])
    found = pool_windows(feature_map, cells, [6, 3, 2, 1])
    assert len(found) == 45 * 36
    layer = SpatialPyramidPooling([6, 3, 2, 1])
    for row, (x1, y1, x2, y2) in zip(found, cells.tolist(), strict=True):
        assert torch.equal(row, layer(feature_map[None, :, y1 : y2 + 1, x1 : x2 + 1])[0])


@pytest.mark.parametrize("levels", PYRAMIDS)
def test_equals_roi_pool_level_by_level(levels):
    rng = np.random.default_rng(3)
    feature_map = torch.from_numpy(rng.standard_normal((16, 43, 57), np.float32)).relu()
    cells = random_cells(rng, 300, 43, 57)
    rois = torch.cat([torch.zeros(len(cells), 1), torch.from_numpy(cells).float()], 1)
    expected = [roi_pool(feature_map[None], rois, (n, n), 1.0).flatten(1) for n in digits(levels)]
    assert torch.equal(pool_windows(feature_map, cells, digits(levels)), torch.cat(expected, 1))


@pytest.mark.parametrize("scratch", [1, 100_000, 1_000_000])
def test_parts_of_any_size_give_the_same(monkeypatch, scratch):
    """One channel at a time, parts that do not divide the channels, and blocks that do not divide the windows."""
    rng = np.random.default_rng(4)
    feature_map = torch.from_numpy(rng.standard_normal((7, 12, 15), np.float32))
    cells = random_cells(rng, 60, 12, 15)
    whole = pool_windows(feature_map, cells, [6, 4, 3])
    monkeypatch.setattr(pooling, "SCRATCH", scratch)
    monkeypatch.setattr(pooling, "WINDOWS", 7)
    monkeypatch.setattr(pooling, "BINS", 11)
    assert torch.equal(pool_windows(feature_map, cells, [6, 4, 3]), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_layouts(dtype):
    rng = np.random.default_rng(5)
    feature_map = torch.from_numpy(rng.standard_normal((1, 8, 20, 14))).to(dtype)
    feature_map = feature_map.to(memory_format=torch.channels_last)[0].requires_grad_()
    cells = random_cells(rng, 20, 20, 14)
    found = pool_windows(feature_map, cells, [6, 3, 2, 1])
    assert found.dtype == dtype and not found.requires_grad
    assert torch.equal(found, one_by_one(feature_map.detach().double(), cells, [6, 3, 2, 1]).to(dtype))


def test_equal_windows_of_a_scale_are_pooled_once():
    rng = np.random.default_rng(6)
    maps = [torch.randn(3, 20, 30), torch.randn(3, 28, 42), torch.randn(3, 9, 9)]
    once = random_cells(rng, 30, 20, 30)
    cells = np.concatenate([once, once, once])
    chosen = np.repeat([1, 0, 1], len(once))
    pooled = pool_image(maps, chosen, cells, [3, 1])
    assert len(pooled.features) == 2 * len(np.unique(once, axis=0))
    expected = [one_by_one(maps[scale], once, [3, 1]) for scale in (1, 0, 1)]
    assert torch.equal(pooled.features[pooled.inverse], torch.cat(expected))


def test_no_windows_no_features():
    cells = np.empty((0, 4), np.int64)
    pooled = pool_image([torch.randn(3, 9, 9)], np.empty(0, np.int64), cells, [2, 1])
    assert pooled.features.shape == (0, 15) and pooled.inverse.shape == (0,)


@pytest.mark.parametrize("window", [[-1, 0, 3, 3], [0, 0, 10, 3], [0, 0, 3, 8], [4, 0, 3, 3]])
def test_windows_off_the_map_are_refused(window):
    """A wrong index would read another row's maxima without a word."""
    cells = np.array([[0, 0, 9, 7], window])
    with pytest.raises(ValueError, match="8x10"):
        pool_windows(torch.zeros(2, 8, 10), cells, [1])


def test_wrong_levels_and_scales_are_refused():
    cells = np.array([[0, 0, 1, 1]])
    for levels in ([], [3, 0]):
        with pytest.raises(ValueError, match="over 0"):
            pool_windows(torch.zeros(1, 2, 2), cells, levels)
    for scale in (-1, 1):
        with pytest.raises(ValueError, match="1 maps"):
            pool_image([torch.zeros(1, 2, 2)], np.array([scale]), cells, [1])
