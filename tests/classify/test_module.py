"""The classifier's tests: cuts that two tests share are scored once, and each test is the mean of its own views."""

import numpy as np
import torch

from spprepro import ranks
from spprepro.classify.module import Classifier
from spprepro.classify.views import Viewing, crop_view, full_view, score, ten_views
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
    viewing = Viewing(["ten", "crop", "full"], [], side=10, crop=8, window=1, stride=1)
    return Classifier(Mean(), training, mean=mean, colour=colour, viewing=viewing, channels_last=False).eval()


def scored(module, images):
    return score(module.network, module.prepare_test, {10: images}, module.viewing)


def test_each_test_is_the_mean_of_its_views_and_shared_views_are_scored_once():
    module = make()
    images = torch.randint(0, 256, (3, 3, 10, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = scored(module, images)
    assert module.network.seen == 3 * (10 + 1)
    for name, views in {"ten": ten_views, "crop": crop_view, "full": full_view}.items():
        alone = [module((view.float() - 100) * module.scale).softmax(1) for view in views(images, 8)]
        torch.testing.assert_close(found[name], torch.stack(alone).mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(module.crop_scores(images), found["crop"])


def test_whole_image_of_crop_size_is_the_crop():
    module = make()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    module.viewing = Viewing(["crop", "full"], [], side=10, crop=8, window=1, stride=1)
    found = scored(module, images)
    assert module.network.seen == 2
    assert torch.equal(found["crop"], found["full"])


def test_a_process_that_had_no_batch_adds_no_scores(monkeypatch):
    worked, idle, gathered = make(), make(), []
    worked.indices, worked.scores = (
        [torch.tensor([2, 0]), torch.tensor([1])],
        {"crop": [torch.eye(2), torch.ones(1, 2)]},
    )
    monkeypatch.setattr(ranks, "everyone", lambda mine: gathered.append(mine) or gathered)
    for module in (worked, idle):
        index, scores = module.gathered_scores()
        assert index.tolist() == [0, 1, 2] and scores["crop"].tolist() == [[0, 1], [1, 1], [1, 0]]
