"""Warped windows against rcnn_im_crop.m's arithmetic, and the networks behind them against nets.network."""

from math import floor

import numpy as np
import pytest
import torch

from spprepro.detect.rcnn import BATCH, CropNet, RcnnFeatures, warp
from spprepro.detect.trunk import Head
from spprepro.errors import DataError
from spprepro.nets.geometry import head_inputs
from spprepro.nets.network import Network, initialise
from spprepro.nets.pixels import MEAN, trunk_of
from tests.nets.backbones import backbone

LEVELS = [3, 1]
LAYERS = ["pool5", "fc6", "ftpool5", "ftfc6", "ftfc7"]


def ramp(height: int, width: int) -> torch.Tensor:
    """Red rises by a level a column, green by a level a row."""
    red, green = np.meshgrid(np.arange(width), np.arange(height))
    return torch.from_numpy(np.stack([red, green, np.full_like(red, 200)]).astype(np.uint8))


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture without edges, where bilinear values do not depend on a rounded last digit."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [100 + 50 * np.sin(x / (5 + k)) * np.cos(y / (6 - k)) for k in range(3)]
    return torch.from_numpy(np.stack(waves).round().astype(np.uint8))


def framed(picture: torch.Tensor, box: list[float], size: int = 227, context: int = 16) -> np.ndarray:
    frames = warp(picture, np.array([box], np.float64), size, context)
    assert frames.dtype == torch.uint8 and frames.shape == (1, 3, size, size)
    return frames[0].numpy().astype(int)


def round_away(x: float) -> int:
    return floor(x + 0.5) if x >= 0 else -floor(0.5 - x)


def axis(low: float, high: float, limit: int, size: int, context: int) -> np.ndarray:
    """(size, limit) shares of the picture's columns (or rows) in each of the frame's; all 0 outside the picture."""
    half = (high - low + 1) / 2
    centre, reach = low + 1 + half, half * size / (size - 2 * context)  # counted from 1
    first, last = round_away(centre - reach), round_away(centre + reach)
    scale = size / (last - first + 1)
    shown = range(max(first, 1), min(last, limit) + 1)
    start = round_away((shown[0] - first) * scale)
    count = min(round_away(len(shown) * scale), size - start)
    shares = np.zeros((size, limit))
    for i in range(count):
        position = min(max((i + 0.5) * len(shown) / count - 0.5, 0), len(shown) - 1)
        left = min(floor(position), len(shown) - 2) if len(shown) > 1 else 0
        shares[start + i, shown[0] - 1 + left] += 1 - (position - left)
        if len(shown) > 1:
            shares[start + i, shown[0] + left] += position - left
    return shares


@pytest.mark.parametrize(("size", "context"), [(227, 16), (224, 16), (64, 4)])
def test_frames_are_those_of_the_released_arithmetic(size: int, context: int) -> None:
    picture, rng = smooth(90, 130), np.random.default_rng(0)
    corners = rng.integers(0, [130, 90], (60, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float64)
    borders = [[0, 0, 129, 89], [0, 0, 0, 0], [129, 89, 129, 89], [0, 40, 129, 40], [64, 44, 64, 44], [3.5, 2.25, 9, 7]]
    boxes = np.concatenate([boxes, borders])
    frames = warp(picture, boxes, size, context).numpy().astype(int)
    for box, frame in zip(boxes, frames, strict=True):
        across, down = (axis(box[k], box[k + 2], limit, size, context) for k, limit in ((0, 130), (1, 90)))
        shown = down.sum(1)[:, None] * across.sum(1)
        expected = np.where(shown > 0.5, down @ picture.numpy() @ across.T, MEAN)
        assert np.abs(frame - expected).max() <= 1, box.tolist()


def test_the_inner_square_shows_the_window() -> None:
    picture = torch.full((3, 300, 400), 40, dtype=torch.uint8)
    picture[:, 80:230, 110:290] = 220
    frame = framed(picture, [110, 80, 289, 229])
    assert (frame[:, 19:208, 19:208] == 220).all()
    ring = np.ones((227, 227), bool)
    ring[13:214, 13:214] = False
    assert (frame[:, ring] == 40).all()


def test_corners_of_the_window_come_to_the_corners_of_the_inner_square() -> None:
    frame = framed(ramp(200, 250), [60, 50, 179, 139])
    for row, y in ((16, 50), (210, 139)):
        for column, x in ((16, 60), (210, 179)):
            assert abs(frame[0, row, column] - x) <= 2 and abs(frame[1, row, column] - y) <= 2


@pytest.mark.parametrize(("corner", "low"), [((0, 0), True), ((70, 40), False)])
def test_what_lies_outside_the_picture_is_the_mean(corner: tuple[int, int], low: bool) -> None:
    x, y = corner
    frame = framed(torch.full((3, 100, 150), 7, dtype=torch.uint8), [x, y, x + 79, y + 59])
    assert np.isin(frame, [7, MEAN]).all()
    filled = (frame[0] == MEAN).all(0), (frame[0] == MEAN).all(1)
    for lines in filled:
        assert 15 <= lines.sum() <= 19  # 16 but for the rounding to whole pixels of the picture
        assert lines[: lines.sum()].all() if low else lines[-lines.sum() :].all()
    assert ((frame[0] == MEAN) == (filled[0] | filled[1][:, None])).all()


def test_an_enlarged_window_as_large_as_the_frame_is_not_resized() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 300, 400), np.uint8))
    frame = framed(picture, [100, 60, 293, 253])
    np.testing.assert_array_equal(frame, picture[:, 44:271, 84:311])


def test_a_window_of_one_pixel_and_none_at_all() -> None:
    picture = torch.full((3, 20, 30), 9, dtype=torch.uint8)
    assert (framed(picture, [15, 10, 15, 10]) == 9).all()
    assert warp(picture, np.zeros((0, 4)), 224).shape == (0, 3, 224, 224)


def test_boxes_outside_the_picture_are_refused() -> None:
    with pytest.raises(DataError, match=r"reach outside the 30x20 image"):
        warp(ramp(20, 30), np.array([[-9.0, 0, -5, 4]]), 64)


def crop_net(name: str, levels: list[int], seed: int = 0) -> tuple[CropNet, Network]:
    """A narrow network in both forms, with the same weights."""
    layers = backbone(name).scaled(1 / 16)
    network = Network(layers, levels=levels, classes=5, crop=layers.crop).eval()
    initialise(network, layers, method="he", std=0.1, seed=seed)
    inputs = head_inputs(layers, levels, layers.crop)
    head = Head(inputs, layers.fc, 5, 0.5, torch.Generator().manual_seed(0))
    head.take_hidden(network)
    head.fc8.load_state_dict(network.head[-1].state_dict())
    return CropNet(trunk_of(network, layers, 1 / 64), levels, head).eval(), network


@pytest.mark.parametrize(("name", "size", "levels"), [("alex5", 227, []), ("zf5", 224, []), ("zf5", 224, [6, 3, 2, 1])])
def test_crop_net_is_the_classifier_on_pixels_less_their_mean(name: str, size: int, levels: list[int]) -> None:
    ours, network = crop_net(name, levels)
    crops = warp(smooth(90, 130), np.array([[5.0, 5, 60, 60], [0, 0, 129, 89]]), size)
    with torch.no_grad():
        expected = network((crops.float() - 128) / 64)
        torch.testing.assert_close(ours(crops), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-3
        assert ours.features(crops).shape == (2, ours.head.fc6.in_features)


def test_every_layer_learns() -> None:
    net, _ = crop_net("zf5", LEVELS)
    net.train()(warp(smooth(90, 130), np.array([[5.0, 5, 60, 60]]), 224)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


@torch.no_grad()
def test_features_are_those_of_the_two_networks() -> None:
    (plain, _), (tuned, _) = crop_net("zf5", LEVELS, 0), crop_net("zf5", LEVELS, 1)
    features, picture = RcnnFeatures(plain, tuned, 96), smooth(90, 130)
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.integers(0, 40, (BATCH + 3, 2)), rng.integers(40, 90, (BATCH + 3, 2))], 1) * 1.0
    found = features.describe(features.prepare(picture), boxes, (90, 130), LAYERS)
    crops = warp(picture, boxes, 96)
    old, new = plain.features(crops), tuned.features(crops)
    hidden = tuned.head.fc6(new).relu()
    expected = [old, plain.head.fc6(old).relu(), new, hidden, tuned.head.fc7(hidden).relu()]
    assert list(found.layers) == LAYERS and features.inputs == old.shape[1]
    for name, values in zip(LAYERS, expected, strict=True):
        assert found.layers[name].dtype == torch.float32 and values.any()
        torch.testing.assert_close(found.layers[name], values, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.inverse, np.arange(BATCH + 3))
    np.testing.assert_array_equal(found.kinds, np.arange(BATCH + 3))


@torch.no_grad()
def test_only_the_networks_that_are_needed_run() -> None:
    (plain, _), (tuned, _) = crop_net("zf5", LEVELS, 0), crop_net("zf5", LEVELS, 1)
    ran = []
    plain.trunk.register_forward_hook(lambda *_: ran.append("plain"))
    tuned.trunk.register_forward_hook(lambda *_: ran.append("tuned"))
    features, boxes = RcnnFeatures(plain, tuned, 96), np.array([[5.0, 5, 60, 60]])
    for layers, names in ((["pool5"], ["plain"]), (["ftfc7"], ["tuned"]), (["fc6", "ftpool5"], ["plain", "tuned"])):
        ran.clear()
        assert list(features.describe(smooth(90, 130), boxes, (90, 130), layers).layers) == layers
        assert ran == names
    alone = RcnnFeatures(None, tuned, 96)
    assert alone.inputs == features.inputs
    assert list(alone.describe(smooth(90, 130), boxes, (90, 130), ["ftfc6"]).layers) == ["ftfc6"]


@torch.no_grad()
def test_no_windows_give_no_features() -> None:
    (plain, _), (tuned, _) = crop_net("zf5", LEVELS, 0), crop_net("zf5", LEVELS, 1)
    found = RcnnFeatures(plain, tuned, 96).describe(smooth(90, 130), np.zeros((0, 4)), (90, 130), LAYERS)
    assert [len(values) for values in found.layers.values()] == [0] * 5 and len(found.inverse) == 0
    assert found.layers["pool5"].shape[1] == plain.head.fc6.in_features


def test_no_network_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="plain, tuned or both"):
        RcnnFeatures(None, None, 224)
