"""Scoring a whole set: every image once, in its order, whatever its size."""

from dataclasses import replace

import numpy as np
import pytest

from spprepro.classify.score import score_images
from spprepro.classify.train import build_classifier, viewing_of
from spprepro.config import check
from spprepro.data.imagenet import survey, survey_unlabelled
from tests.test_config import compose

SMALL = ["tier=smoke", "data.workers=0", "data.min_side=72", "data.crop=64", "training.sizes=[64]"]


def classifier(config, classes=10):
    crop = config.data.crop
    return build_classifier(config, classes, np.full((3, crop, crop), 110, np.float32), np.eye(3, dtype=np.float32))


def test_scores_come_in_the_order_of_the_images(tree):
    config = check(compose(*SMALL, "pyramid.levels=[2,1]", "views.scales=[64,90]", "views=multiview"))
    found = survey(tree, min_side=72, crop=64, workers=0)
    module = classifier(config)
    scores, seconds = score_images(config, module, found.root, found.val)
    assert set(scores) == {"ten_maps", "multiview", "multiview_full"} and seconds > 0
    for place in (0, 2, 5):
        alone, _ = score_images(config, module, found.root, [found.val[place]])
        for test, values in scores.items():
            np.testing.assert_allclose(values[place], alone[test][0], rtol=1e-4, atol=1e-6)


def test_a_network_without_spp_skips_the_full_image(tree):
    config = check(compose(*SMALL, "training=nospp", "training.sizes=[64]", "pyramid=none"))
    assert viewing_of(config).tests == ["ten", "crop"]
    multiview = replace(config, views=replace(config.views, tests=["ten_maps", "multiview_full"]))
    assert viewing_of(multiview).tests == ["ten_maps"]


@pytest.mark.slow  # photos7 holds large photos, decoded twice: about 20 s
@pytest.mark.parametrize(("name", "count"), [("sample50", 50), ("photos7", 182)])
def test_full_images_of_real_photos_of_all_sizes_are_scored(real_photos, name, count):
    config = check(compose("tier=smoke", "views.tests=[full]"))
    folder = real_photos(name)
    images = survey_unlabelled(folder, min_side=256, crop=224)
    assert len(images) == count and len({(image.height, image.width) for image in images}) > 10
    scores, _ = score_images(config, classifier(config), folder, images)
    assert scores["full"].shape == (count, 10)
    np.testing.assert_allclose(scores["full"].sum(1), 1, rtol=1e-4)
