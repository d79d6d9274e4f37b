"""Windows to cells: bit for bit as the released code on its own outputs, and as the printed formulas read for ZF-5."""

import math
from dataclasses import replace

import numpy as np
import pytest

from spprepro.detect.windows import (
    best_scale,
    check_boxes,
    clamp_cells,
    distinct,
    expected_scale,
    mapping_field,
    responses,
    scale_boxes,
    target_side,
    to_cells,
)
from spprepro.errors import DataError
from spprepro.nets.geometry import Field, map_side, receptive_field
from tests.nets.backbones import NAMES, backbone, zf5

X = np.concatenate([np.arange(-80.0, 1300.0, 0.25), np.random.default_rng(0).uniform(-80, 1300, 2000)])
EDGES = np.stack([X, X, X, X], 1)  # every coordinate as each corner

# case, net: the second one has cells 12 pixels apart, and 18 of them for 224; the maps are ZF-5's in all cases
CASES = [("A", "zf5"), ("B", "zf5"), ("C", "zf5"), ("D", "zf5"), ("D", "step12")]


def released(net: str) -> tuple[Field, int]:
    """Geometry and side of the square that a window is to resemble."""
    if net == "zf5":
        return mapping_field(zf5(), "released"), target_side(zf5(), "released")
    return Field(stride=12, size=113, centre=14.0), 18 * 12


def test_parameters_of_the_reference_are_those_of_the_layers(golden):
    """Cells of the map, stride, one-based centre of the first cell and shrink."""
    cells, step, offset0, offset = golden("spp_pool.npz", "zf5_params")["zf5_params"]
    field, side = released("zf5")
    assert (side, field.stride, field.centre + 1) == (cells * step, step, offset0)
    assert offset == 6.5


@pytest.mark.parametrize(("case", "net"), CASES)
def test_released_mapping_is_the_reference_to_the_bit(golden, case, net):
    outputs = ("best_scale_idx", "expected_scale", "scaled_boxes", "response_boxes", "window_cells", "dedup_keep")
    inputs = [f"{case}_{key}" for key in ("image_hw", "scales", "boxes")]
    hw, scales, boxes, best, expected, scaled, response, cells, kept = golden(
        "spp_pool.npz", *inputs, *(f"{case}_{net}_{key}" for key in outputs)
    ).values()
    field, side = released(net)
    boxes, short = boxes - 1, int(hw.min())
    sides = [[math.ceil(scale * int(pixels) / short) for pixels in hw] for scale in scales]
    maps = [(map_side(zf5(), height), map_side(zf5(), width)) for height, width in sides]

    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    chosen = best_scale(boxes, short, scales, side, "released")
    assert np.array_equal(expected_scale(area, short, side), expected)
    assert np.array_equal(chosen, best)
    ours = scale_boxes(boxes, short, scales[chosen])
    assert np.array_equal(ours + 1, scaled)
    found = responses(ours, field, "released")
    assert np.array_equal(found + 1, response)
    assert np.array_equal(to_cells(boxes, chosen, short, scales, maps, field, "released") + 1, cells)
    assert np.array_equal(np.sort(distinct(chosen, found)[0]), kept)


def test_reversal_and_clamping_are_the_reference(golden):
    """Case F: squares of a few pixels on and around a map of 10x10."""
    boxes, hw, cells, response = golden(
        "spp_pool.npz", "F_boxes", "F_map_hw", "F_window_cells", "F_response_boxes"
    ).values()
    found = responses(boxes - 1, receptive_field(zf5()), "released")
    assert np.array_equal(found + 1, response)
    assert (found[:, 0] > found[:, 2]).any()
    assert np.array_equal(clamp_cells(found, np.broadcast_to(hw, (len(boxes), 2))) + 1, cells)


def test_ties_and_halves_of_the_scale_choice_are_the_reference(golden):
    arrays = golden("spp_pool.npz", *(f"G_{key}" for key in ("boxes", "scales", "min_img_size", "best_scale_idx")))
    boxes, scales, short, best = arrays.values()
    assert np.array_equal(best_scale(boxes - 1, int(short), scales, 208, "released"), best)
    sides, box, expected = golden("spp_pool.npz", "G_half_min_img_size", "G_half_box", "G_half_expected_scale").values()
    area = np.array([(box[2] - box[0] + 1) * (box[3] - box[1] + 1)])
    assert [expected_scale(area, int(side), 208)[0] for side in sides] == expected.tolist()


def test_paper_takes_the_scale_with_the_nearest_number_of_pixels():
    """112 of 600 pixels is 224 at 1200; a long thin window has few pixels, so it takes the largest scale."""
    boxes = np.array([[0, 0, 111, 111], [50, 60, 273, 283], [0, 0, 599, 599], [0, 0, 599, 5]], float)
    scales = [480, 576, 688, 864, 1200]
    assert target_side(zf5(), "paper") == 224
    assert best_scale(boxes, 600, scales, 224, "paper").tolist() == [4, 1, 0, 4]


def test_rules_differ_in_target_and_in_distance():
    """A window of 100 pixels a side in 300: it has 224 at 672 and 208 at 624."""
    box = np.array([[0, 0, 99, 99]], float)
    assert target_side(zf5(), "released") == 208
    assert best_scale(box, 300, [560, 700], 224, "paper").tolist() == [1]
    assert best_scale(box, 300, [560, 700], 208, "released").tolist() == [0]
    # 800 is nearer to 672 than 540 is, but its pixels are not
    assert best_scale(box, 300, [540, 800], 224, "paper").tolist() == [0]
    assert best_scale(box, 300, [540, 800], 224, "released").tolist() == [1]


def test_first_and_last_pixel_stay_first_and_last():
    boxes = np.array([[0, 0, 374, 374], [0, 0, 374, 374]], float)
    assert scale_boxes(boxes, 375, np.array([480, 688])).tolist() == [[0, 0, 479, 479], [0, 0, 687, 687]]


def printed(first, last) -> list[list[int]]:
    """Formulas of one-based x, as printed, over all edges; cells from 1."""
    return [[first(x), first(x), last(x), last(x)] for x in (X + 1).tolist()]


@pytest.mark.parametrize(
    ("mapping", "first", "last"),
    [
        (
            "tpami",
            lambda x: math.floor((x - 139 / 2 + 63) / 16) + 1,
            lambda x: math.ceil((x + 139 / 2 - 75) / 16) - 1,
        ),
        (
            "released",
            lambda x: math.floor((x - 14.5) / 16 + 0.5) + 1,
            lambda x: math.ceil((x - 27.5) / 16 - 0.5) + 1,
        ),
        # v4's offset for padding that is not floor(p/2): cell 1 is centred at 21, not at 1 * 16
        ("arxiv_v4", lambda x: math.floor((x - 5) / 16) + 1, lambda x: math.ceil((x - 5) / 16) - 1),
        ("stride", lambda x: math.floor((x - 1) / 16) + 1, lambda x: math.floor((x - 1) / 16) + 1),
    ],
)
def test_zf5_reduces_to_the_printed_formula(mapping, first, last):
    found = responses(EDGES, mapping_field(zf5(), mapping), mapping)
    assert (found + 1).tolist() == printed(first, last)


def test_overfeat_reduces_to_the_released_formula():
    """Its offsets, 15 and 6.5, belong to another padding than that of Table 1's map sizes."""
    found = responses(EDGES, Field(12, 113, 14.0), "released") + 1
    first, last = (lambda x: math.floor((x - 8.5) / 12 + 0.5) + 1), (lambda x: math.ceil((x - 21.5) / 12 - 0.5) + 1)
    assert found.tolist() == printed(first, last)


def test_v4_without_offset_is_as_printed_where_cells_are_centred_at_multiples_of_the_stride():
    for stride in (12, 16):
        found = responses(EDGES, Field(stride, 139, 0.0), "arxiv_v4")
        assert found[:, 0].tolist() == [math.floor(x / stride) + 1 for x in X]
        assert found[:, 2].tolist() == [math.ceil(x / stride) - 1 for x in X]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mapping", ["tpami", "arxiv_v4"])
def test_any_trunk_takes_the_cells_centred_in_the_window(name, mapping):
    field = mapping_field(backbone(name), mapping)
    centres = field.centre + field.stride * np.arange(-20, 80)
    rng = np.random.default_rng(1)
    low = rng.integers(0, 400, 300).astype(float)
    high = low + rng.integers(30, 300, 300)
    found = responses(np.stack([low, low, high, high], 1), field, mapping)
    for a, b, (first, _, last, _) in zip(low, high, found, strict=True):
        inside = (centres >= a) & (centres <= b) if mapping == "tpami" else (centres > a) & (centres < b)
        assert (np.flatnonzero(inside)[[0, -1]] - 20).tolist() == [first, last]


@pytest.mark.parametrize("name", NAMES)
def test_released_takes_the_cells_centred_nearest_to_the_shrunk_corners(name):
    field = mapping_field(backbone(name), "released")
    centres = field.centre + field.stride * np.arange(60)
    low = np.arange(60.0, 200.0)
    found = responses(np.stack([low, low, low + 200, low + 200], 1), field, "released")
    for a, (first, _, last, _) in zip(low, found, strict=True):
        assert abs(centres[first] - (a + 6.5)) == np.abs(centres - (a + 6.5)).min()
        assert abs(centres[last] - (a + 200 - 6.5)) == np.abs(centres - (a + 200 - 6.5)).min()


@pytest.mark.parametrize("mapping", ["tpami", "arxiv_v4", "released", "stride"])
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_image_is_nearly_the_whole_map(name, mapping):
    net, scale = backbone(name), 688
    cells = to_cells(
        np.array([[0, 0, 299, 299]], float),
        np.array([0]),
        300,
        [scale],
        [(map_side(net, scale),) * 2],
        mapping_field(net, mapping),
        mapping,
    )
    x1, y1, x2, y2 = cells[0].tolist()
    assert x1 == y1 == 0 and x2 == y2 and map_side(net, scale) - 2 <= x2 + 1 <= map_side(net, scale)


def test_only_tpami_reckons_without_the_first_layers_padding():
    assert mapping_field(zf5(), "tpami") == replace(receptive_field(zf5()), centre=21.0)
    assert mapping_field(zf5(), "released") == mapping_field(zf5(), "stride") == receptive_field(zf5())
    assert zf5().layers["conv1"].pad == 1


def test_each_window_is_clamped_to_the_map_of_its_own_scale():
    boxes = np.array([[0, 0, 299, 299], [0, 0, 299, 299]], float)
    field = receptive_field(zf5())
    cells = to_cells(boxes, np.array([1, 0]), 300, [480, 688], [(29, 20), (42, 30)], field, "stride")
    assert cells.tolist() == [[0, 0, 29, 41], [0, 0, 19, 28]]


def test_distinct_windows():
    cells = np.array([[0, 0, 1, 1], [2, 0, 3, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    chosen = np.array([1, 0, 0, 1])
    first, inverse = distinct(chosen, cells)
    assert first.tolist() == [2, 1, 0] and inverse.tolist() == [2, 1, 0, 2]
    assert [len(found) for found in distinct(chosen[:0], cells[:0])] == [0, 0]


def test_good_boxes_pass():
    check_boxes(np.array([[0, 0, 499, 374], [3.5, 3.5, 3.5, 3.5]]), 375, 500, "here")
    check_boxes(np.empty((0, 4)), 375, 500, "here")


def test_all_faults_of_boxes_are_named_at_once():
    boxes = np.array([[0, 0, 9, 9], [0, np.nan, 5, 5], [9, 0, 5, 5], [0, 0, 374, 499], [0, 0, 500, 20], [-1, 0, 5, 5]])
    with pytest.raises(DataError) as caught:
        check_boxes(boxes, 375, 500, "boxes.mat: 000005")
    unknown, empty, outside = caught.value.faults
    assert all(fault.startswith("boxes.mat: 000005: ") for fault in caught.value.faults)
    assert "1 of 6" in unknown and "row 1" in unknown and "NaN" in unknown
    assert "1 of 6" in empty and "[9.0, 0.0, 5.0, 5.0]" in empty
    assert "3 of 6" in outside and "500x375" in outside and "row 3" in outside
    with pytest.raises(DataError, match="4"):
        check_boxes(np.zeros((3, 5)), 375, 500, "here")
    with pytest.raises(DataError, match="1x500"):
        check_boxes(np.zeros((1, 4)), 500, 1, "here")
