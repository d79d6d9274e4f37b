"""Epoch, image and size travel with the index."""

import numpy as np
import pytest
import torch

from spprepro.data.imagenet import survey
from spprepro.data.loader import EpochBatches, SizeBatches, TestImages, TrainImages, TrainLoader
from spprepro.data.loader import test_loader as make_test_loader


def alternating(epoch):
    return 48 if epoch % 2 == 0 else 40


@pytest.fixture
def found(tree):
    return survey(tree, min_side=64, crop=48, workers=0)


def make(found, workers=0, seed=0, crops="random"):
    images = TrainImages(found.root, found.train, seed=seed, crops=crops, min_side=64, crop=48)
    return TrainLoader(images, EpochBatches(len(images), 4, seed=seed, size_of=alternating), workers=workers, pin=False)


def epoch(loader, number):
    loader.batch_sampler.set_epoch(number)
    return list(loader)


def same(a, b):
    return len(a) == len(b) and all(
        x.size == y.size
        and all(torch.equal(getattr(x, k), getattr(y, k)) for k in ("images", "labels", "index", "flip", "colour"))
        for x, y in zip(a, b, strict=True)
    )


def test_worker_count_does_not_change_a_pixel(found):
    alone, two = make(found), make(found, workers=2)
    for number in (0, 1, 5):
        assert same(epoch(alone, number), epoch(two, number))


def test_epochs_and_seeds_differ(found):
    assert not same(epoch(make(found), 0), epoch(make(found), 1))
    assert not same(epoch(make(found), 0), epoch(make(found, seed=1), 0))


def test_sizes_alternate_by_epoch_and_pixels_stay_224_like(found):
    batches = [epoch(make(found), number)[0] for number in range(3)]
    assert [batch.size for batch in batches] == [48, 40, 48]
    assert {tuple(batch.images.shape) for batch in batches} == {(4, 3, 48, 48)}
    assert batches[0].images.dtype == torch.uint8


def test_each_image_once_an_epoch(found):
    seen = torch.cat([batch.index for batch in epoch(make(found), 3)])
    assert sorted(seen.tolist()) == list(range(12))


def test_loader_goes_on_where_its_state_says(found):
    loader = make(found)
    whole_epoch = epoch(loader, 2)
    part = iter(loader)
    next(part)
    state = loader.state_dict()
    other = make(found)
    other.batch_sampler.set_epoch(2)
    other.load_state_dict(state)
    assert same(list(other), whole_epoch[1:])
    assert same(epoch(other, 2), whole_epoch)  # and the next epoch is whole again


def test_ranks_share_each_batch():
    def keys(rank, world):
        return [
            key for batch in EpochBatches(20, 4, seed=0, size_of=alternating, rank=rank, world=world) for key in batch
        ]

    assert sorted(keys(0, 2) + keys(1, 2)) == sorted(keys(0, 1))


def test_corners_are_the_five_of_the_paper(found):
    images = TrainImages(found.root, found.train, seed=0, crops="corners", min_side=64, crop=48)
    drawn = {images._corner(np.random.default_rng(i), 64, 90) for i in range(200)}
    assert drawn == {(8, 21), (0, 0), (0, 42), (16, 0), (16, 42)}
    free = {images._corner(np.random.default_rng(i), 48, 48) for i in range(20)}
    assert free == {(0, 0)}


def test_test_images_come_once_in_batches_of_one_size(found):
    images = TestImages(found.root, found.val, [64, 96])
    for world in (1, 2, 3):
        seen = []
        for rank in range(world):
            batches = SizeBatches(found.val, 2, [64, 96], rank=rank, world=world)
            for batch in make_test_loader(images, batches, workers=0, pin=False):
                assert {side: min(pictures.shape[-2:]) for side, pictures in batch.images.items()} == {64: 64, 96: 96}
                seen += batch.index.tolist()
        assert sorted(seen) == list(range(6))
