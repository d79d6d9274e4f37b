"""Features of windows against a plain computation, one window after the other; and the released kernel's outputs."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spprepro.detect.features import SppFeatures
from spprepro.detect.windows import mapping_field, to_cells
from spprepro.detection import Protocol
from tests.detect.toys import RELEASED, anywhere, spp

LAYERS = ["pool5", "fc6", "ftpool5", "ftfc6", "ftfc7"]
PAPER = Protocol()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def picture(height: int = 120, width: int = 173) -> torch.Tensor:
    small = np.random.default_rng(5).integers(0, 256, (9, 13, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def windows(height: int = 120, width: int = 173) -> np.ndarray:
    """Random ones, the whole picture, a single pixel in a corner, one twice."""
    rng = np.random.default_rng(0)
    some = np.array([[0, 0, width - 1, height - 1], [0, 0, 0, 0], [width - 1, height - 1] * 2])
    boxes = np.concatenate([anywhere(height, width, 40, rng), some])
    return np.concatenate([boxes, boxes[3:4]])


def scale_of(box: np.ndarray, short: int, scales: list[int], protocol: Protocol) -> int:
    """Index of the scale at which a window is closest to 224x224, or, released, of the one closest to 208's."""
    area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    if protocol.scale_rule == "paper":
        return min(range(len(scales)), key=lambda k: abs(area * scales[k] ** 2 / short**2 - 224**2))
    wanted = math.floor(208 * short / math.sqrt(area) + 0.5)
    return min(range(len(scales)), key=lambda k: abs(scales[k] - wanted))


def plainly(features: SppFeatures, image: torch.Tensor, boxes: np.ndarray, scales: list[int]) -> torch.Tensor:
    """Each window cut out of the map of its scale and pooled level by level."""
    height, width = image.shape[1:]
    short, backbone = min(height, width), features.trunk.backbone
    field = mapping_field(backbone, features.protocol.mapping)
    maps, found = {}, []
    for scale in scales:
        sides = tuple(math.ceil(side * scale / short) for side in (width, height))
        resized = cv2.resize(image.permute(1, 2, 0).numpy(), sides, interpolation=cv2.INTER_LINEAR)
        maps[scale] = features.trunk.module((torch.from_numpy(resized).permute(2, 0, 1)[None].float() - 128) / 64)[0]
    for box in boxes:
        scale = scales[scale_of(box, short, scales, features.protocol)]
        feature_map = maps[scale]
        ((x1, y1, x2, y2),) = to_cells(
            box[None], np.array([0]), short, [scale], [tuple(feature_map.shape[1:])], field, features.protocol.mapping
        ).tolist()
        crop = feature_map[:, y1 : y2 + 1, x1 : x2 + 1]
        found.append(torch.cat([F.adaptive_max_pool2d(crop, n).flatten() for n in features.levels]))
    return torch.stack(found)


@pytest.mark.parametrize("protocol", [PAPER, RELEASED], ids=["paper", "released"])
@pytest.mark.parametrize("scales", [[300], [200, 300, 430]], ids=["one", "three"])
@pytest.mark.parametrize(("height", "width"), [(120, 173), (173, 120)])
def test_features_are_those_of_each_window_alone(protocol, scales, height, width):
    features, image, boxes = spp(scales, protocol), picture(height, width), windows(height, width)
    maps = features.prepare(image)
    assert len(maps) == len(scales) and all(each.dtype == torch.float32 for each in maps)
    found = features.describe(maps, boxes, (height, width), LAYERS)
    expected = plainly(features, image, boxes, scales)
    pool5 = found.layers["pool5"][found.inverse]
    assert pool5.shape == (len(boxes), features.inputs)
    torch.testing.assert_close(pool5, expected)
    assert len(found.layers["pool5"]) < len(boxes)  # the window that comes twice is one row
    for prefix, head in (("", features.plain), ("ft", features.tuned)):
        fc6 = F.linear(expected, head.fc6.weight, head.fc6.bias).relu()
        torch.testing.assert_close(found.layers[f"{prefix}fc6"][found.inverse], fc6)
    fc7 = F.linear(fc6, features.tuned.fc7.weight, features.tuned.fc7.bias).relu()
    torch.testing.assert_close(found.layers["ftfc7"][found.inverse], fc7)
    assert torch.equal(found.layers["ftpool5"], found.layers["pool5"])
    assert not torch.equal(found.layers["fc6"], found.layers["ftfc6"])


def test_only_what_is_asked_for_is_computed():
    features, image = spp([200]), picture()
    found = features.describe(features.prepare(image), windows(), (120, 173), ["ftfc7"])
    assert list(found.layers) == ["ftfc7"]


def test_windows_with_the_same_cells_share_a_row_and_kinds_are_as_in_the_released_code():
    """Two windows that leave the map at its border differ before they are clamped, and only then."""
    features, image = spp([240], RELEASED), picture()
    boxes = np.array([[0, 0, 60, 60], [0, 0, 60.4, 60.4], [0, 0, 172, 119], [30, 30, 90, 90]])
    found = features.describe(features.prepare(image), boxes, (120, 173), ["pool5"])
    assert found.inverse[0] == found.inverse[1] and found.kinds[0] == found.kinds[1]
    assert len(set(found.inverse.tolist())) == len(found.layers["pool5"]) == 3 == len(set(found.kinds.tolist()))
    many = windows()
    found = features.describe(features.prepare(image), many, (120, 173), ["pool5"])
    pairs = set(zip(found.inverse.tolist(), found.kinds.tolist(), strict=True))
    assert len(pairs) == len(set(found.kinds.tolist()))  # same kind, same features
    assert len(set(found.inverse.tolist())) <= len(pairs)


def test_chosen_scales_are_taken():
    features, image, boxes = spp([200, 300]), picture(), windows()
    maps = features.prepare(image)
    for scale in (0, 1):
        pooled, _ = features.pool(maps, boxes, (120, 173), np.full(len(boxes), scale))
        alone = spp([features.scales[scale]])
        expected, _ = alone.pool(maps[scale : scale + 1], boxes, (120, 173))
        assert torch.equal(pooled.features[pooled.inverse], expected.features[expected.inverse])


def test_halve_rounds_the_maps():
    image, boxes = picture(), windows()
    whole, half = (spp([200, 300], halve=halve) for halve in (False, True))
    exact, rounded = whole.prepare(image), half.prepare(image)
    assert all(each.dtype == torch.float16 for each in rounded)
    assert all(torch.equal(a.half(), b) for a, b in zip(exact, rounded, strict=True))
    found = half.describe(rounded, boxes, (120, 173), ["pool5", "ftfc7"])
    assert all(values.dtype == torch.float32 for values in found.layers.values())
    expected = whole.describe(exact, boxes, (120, 173), ["pool5"]).layers["pool5"]
    assert torch.equal(found.layers["pool5"], expected.half().float()) and not torch.equal(
        found.layers["pool5"], expected
    )


def test_no_windows():
    features = spp([200])
    found = features.describe(features.prepare(picture()), np.empty((0, 4)), (120, 173), ["pool5", "ftfc7"])
    assert found.layers["pool5"].shape == (0, features.inputs) and found.layers["ftfc7"].shape == (0, 24)
    assert len(found.inverse) == len(found.kinds) == 0


@pytest.mark.parametrize("levels", ["6321", "4321", "421", "1236"])
@pytest.mark.parametrize("case", "ABCD")
def test_pools_windows_of_the_image_as_the_released_code_from_end_to_end(golden, case, levels):
    """From pixels of the image: choice of the scale, mapping and pooling in one go; kinds are what it keeps."""
    keys = [f"{case}_{key}" for key in ("image_hw", "scales", "boxes", "zf5_dedup_keep", f"zf5_pool_{levels}")]
    hw, scales, boxes, kept, expected = golden("spp_pool.npz", *keys).values()
    names = [f"{case}_map{k}" for k in range(len(scales))]
    maps = [torch.from_numpy(array) for array in golden("spp_pool.npz", *names).values()]
    features = spp(scales.tolist(), RELEASED, tuple(int(digit) for digit in levels))
    pooled, kinds = features.pool(maps, boxes - 1, tuple(hw.tolist()))
    assert np.array_equal(pooled.features[pooled.inverse].clamp(min=0).numpy(), expected)
    assert np.array_equal(np.sort(np.unique(kinds, return_index=True)[1]), kept)
