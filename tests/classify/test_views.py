"""Views, sizes and errors."""

import numpy as np
import pytest
import torch

from spprepro.classify import views
from spprepro.classify.evaluate import check_complete, wrong_at
from spprepro.classify.sizes import size_of_epoch
from spprepro.classify.views import Viewing, crop_view, full_view, places, score, ten_views, window_scores
from spprepro.data.decode import short_side_size
from spprepro.errors import DataError
from spprepro.nets.geometry import map_side, receptive_field
from spprepro.nets.network import Network, initialise
from tests.nets.backbones import backbone


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


SCALES = [224, 256, 300, 360, 448, 560]


def network_of(name):
    table = backbone(name).scaled(1 / 16)
    network = Network(table, levels=[6, 3, 2, 1], classes=7).eval()
    initialise(network, table, method="he", std=0.5, seed=0)  # a wide classifier: scores that differ
    return network, map_side(table, 224), receptive_field(table).stride


def pictures(height, width, seed=0):
    small = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic") * 255).clamp(0, 255).byte()


def plain(images):
    return (images.float() - 110) / 64


@pytest.mark.parametrize("name", ["zf5", "convnet5", "overfeat7"])
def test_a_view_of_the_map_of_its_own_crop_is_the_crop(name):
    """At 224 the only window of a square picture is its whole map: both ways are defined, and agree to rounding."""
    network, window, stride = network_of(name)
    viewing = Viewing(["multiview", "full"], [224], side=224, crop=224, window=window, stride=stride)
    images = pictures(224, 224)
    with torch.inference_mode():
        found = score(network, plain, {224: images}, viewing)
        both = torch.stack([network(plain(view)).softmax(1) for view in (images, images.flip(-1))])
    torch.testing.assert_close(found["multiview"], both.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["zf5", "overfeat7"])
def test_a_window_is_its_crop_up_to_the_padding(name):
    """In the middle, far from the padding, both maps are nearly the same; one cell off they are not."""
    network, window, stride = network_of(name)
    image = plain(pictures(360, 480))
    with torch.inference_mode():
        maps = network.trunk(image)
        for row, column in ((0, 0), (2, 3), (5, 7)):
            crop = image[..., row * stride : row * stride + 224, column * stride : column * stride + 224]
            own, shared = network.trunk(crop), maps[..., row : row + window, column : column + window]
            middle = slice(window // 2 - 1, window // 2 + 1)
            difference = (own - shared)[..., middle, middle].abs().max() / shared.abs().max()
            shifted = maps[..., row + 1 : row + 1 + window, column : column + window]
            assert difference < 0.3 * (own - shifted)[..., middle, middle].abs().max() / shared.abs().max()


@pytest.mark.parametrize("aspect", [3 / 4, 1, 4 / 3])
def test_96_views_and_two_full_ones(aspect):
    network, window, stride = network_of("overfeat7")
    seen = []

    def counted(network, maps, rows, columns, size):
        seen.append(2 * len(rows) * len(columns))
        return window_scores(network, maps, rows, columns, size)

    viewing = Viewing(["ten_maps", "multiview", "multiview_full"], SCALES, 256, 224, window, stride)
    assert viewing.sides == SCALES
    images = {side: pictures(*short_side_size(400, round(400 * aspect), side)) for side in viewing.sides}
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(views, "window_scores", counted)
        found = score(network, plain, images, viewing)
    assert seen == [6, 18, 18, 18, 18, 18] and sum(seen) == 96
    with torch.inference_mode():
        full = [network(plain(view)).softmax(1) for view in (images[256], images[256].flip(-1))]
    expected = (96 * found["multiview"] + full[0] + full[1]) / 98
    torch.testing.assert_close(found["multiview_full"], expected, rtol=1e-4, atol=1e-5)
    for scores in found.values():
        torch.testing.assert_close(scores.sum(1), torch.ones(2))


def test_ten_views_on_the_map_are_the_centre_and_the_corners():
    network, window, stride = network_of("zf5")
    viewing = Viewing(["ten_maps"], [256], 256, 224, window, stride)
    images = pictures(256, 320)
    found = []
    with torch.inference_mode():
        for image in (images, images.flip(-1)):
            maps = network.trunk(plain(image))
            for row, column in ((1, 3), (0, 0), (0, 6), (2, 0), (2, 6)):  # 16 and 48 pixels; 32 and 96 at the far ends
                part = maps[..., row : row + 13, column : column + 13]
                found.append(network.head(network.pool(part)).softmax(1))
        ours = score(network, plain, {256: images}, viewing)["ten_maps"]
    torch.testing.assert_close(ours, torch.stack(found).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["zf5", "overfeat7"])
def test_windows_never_leave_the_map(name):
    table = backbone(name)
    window, stride = map_side(table, 224), receptive_field(table).stride
    viewing = Viewing(["multiview"], [224], 256, 224, window, stride)
    for pixels in range(224, 1200):
        cells = map_side(table, pixels)
        found = places(pixels, cells, viewing)
        assert found == sorted(found) and found[0] == 0 and found[-1] + window <= cells
        assert pixels == 224 or abs(found[-1] * stride - (pixels - 224)) <= stride


def test_a_network_without_spp_has_views_on_maps_too():
    table = backbone("zf5").scaled(1 / 16)
    network = Network(table, levels=[], classes=7).eval()
    viewing = Viewing(["multiview"], [224, 300], 256, 224, 13, 16)
    images = {side: pictures(side, side) for side in viewing.sides}
    with torch.inference_mode():
        assert score(network, plain, images, viewing)["multiview"].shape == (2, 7)
