"""Scores by views: shared views are scored once, and every set gets the mean of its own."""

import numpy as np
import torch

from spprepro.classify.module import Classifier
from spprepro.classify.views import crop_view, full_view, ten_views
from spprepro.config import check
from tests.test_config import compose


class Mean(torch.nn.Module):
    """Scores from the mean of each channel; counts the pictures that it saw."""

    seen = 0

    def forward(self, x):
        self.seen += len(x)
        return x.mean((2, 3)) / 10


def make():
    training = check(compose("tier=smoke")).training
    mean, colour = np.full((3, 8, 8), 100, np.float32), np.eye(3, dtype=np.float32)
    return Classifier(Mean(), training, mean=mean, colour=colour, channels_last=False).eval()


def test_each_set_is_the_mean_of_its_views_and_shared_views_are_scored_once():
    module = make()
    images = torch.randint(0, 256, (3, 3, 10, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = {"ten": ten_views, "crop": crop_view, "full": full_view}
    found = module.scores_by_view(images, sets)
    assert module.network.seen == 3 * (10 + 1)
    for name, views in sets.items():
        alone = [module((view.float() - 100) * module.scale).softmax(1) for view in views(images, 8)]
        torch.testing.assert_close(found[name], torch.stack(alone).mean(0), rtol=1e-5, atol=1e-5)


def test_whole_image_of_crop_size_is_the_crop():
    module = make()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    found = module.scores_by_view(images, {"crop": crop_view, "full": full_view})
    assert module.network.seen == 2
    assert torch.equal(found["crop"], found["full"])
