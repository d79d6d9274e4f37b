"""Mini-batches of fine-tuning: shares, bands, labels, independence of everything but (seed, block, rank)."""

import numpy as np
import pytest

from spprepro.detect.boxes import iou
from spprepro.detect.draws import Pools, draw, mirrored, pools
from spprepro.errors import DataError
from tests.detect.toys import annotation, in_memory, toy


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy"), count=9, windows=80)


@pytest.fixture(scope="module")
def found(source):
    return pools(source)


def test_pools_are_the_bands_of_overlap(source, found):
    """[0.5, 1], the objects themselves among them, and [0.1, 0.5)."""
    counts = np.zeros(3, int)
    for number, image in enumerate(source.split.images):
        overlap = iou(source.training_windows(number), image.boxes)
        best = overlap.max(1)
        assert found.positives[number].tolist() == [row for row in range(len(best)) if 0.5 <= best[row]]
        assert found.negatives[number].tolist() == [row for row in range(len(best)) if 0.1 <= best[row] < 0.5]
        own = image.labels[overlap.argmax(1)[found.positives[number]]] + 1
        assert found.labels[number].tolist() == own.tolist()
        assert set(range(len(image.boxes))) <= set(found.positives[number].tolist())
        counts += np.array([len(found.positives[number]), len(found.negatives[number]), len(best)])
    assert 0 < counts[0] and 0 < counts[1] and counts[:2].sum() < counts[2]


def test_limits_of_the_bands():
    """Overlaps of exactly 0.5 and 0.1 with an object of 10x10 pixels."""
    image = annotation("one", 50, 200, [[0, 0, 9, 9]], [1])
    found = pools(in_memory(image, windows={"one": [[0, 0, 19, 9], [0, 0, 99, 9], [0, 0, 100, 9], [0, 0, 20, 9]]}))
    assert found.positives[0].tolist() == [0, 1] and found.negatives[0].tolist() == [2, 4]


@pytest.mark.parametrize("flips", [False, True])
def test_every_mini_batch_is_a_quarter_positive_and_every_label_right(found, flips):
    drawn = draw(found, seed=3, block=1, steps=7, batch=16, flips=flips)
    assert len(drawn.label) == len(drawn.row) == len(drawn.image) == len(drawn.mirrored) == 7 * 16
    assert ((drawn.label.reshape(7, 16) > 0).sum(1) == 4).all()
    for image, row, label in zip(drawn.image, drawn.row, drawn.label, strict=True):
        if label:
            place = found.positives[image].tolist().index(row)
            assert found.labels[image][place] == label
        else:
            assert row in found.negatives[image]
    assert drawn.mirrored.any() == flips and not drawn.mirrored.all()


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "mirrored", "row", "label"))


def test_a_draw_is_a_function_of_seed_block_and_rank(found):
    settings = {"steps": 4, "batch": 8, "flips": True, "world": 2}
    first = draw(found, seed=1, block=2, rank=0, **settings)
    np.random.default_rng().random()
    assert same(first, draw(found, seed=1, block=2, rank=0, **settings))
    for other in ({"seed": 2, "block": 2}, {"seed": 1, "block": 3}, {"seed": 1, "block": 2, "rank": 1}):
        assert not same(first, draw(found, **other, **settings)), other


@pytest.mark.parametrize("flips", [False, True])
def test_two_devices_draw_from_different_pictures(found, flips):
    parts = [draw(found, seed=0, block=0, steps=40, batch=8, flips=flips, rank=rank, world=2) for rank in (0, 1)]
    seen = [set(zip(part.image.tolist(), part.mirrored.tolist(), strict=True)) for part in parts]
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 9 * (1 + flips)


def test_nothing_comes_twice_while_there_is_enough_and_only_then(found):
    def pairs(steps, batch):
        drawn = draw(found, seed=0, block=0, steps=steps, batch=batch, flips=False)
        rows = list(zip(drawn.image.tolist(), drawn.row.tolist(), drawn.label > 0, strict=True))
        return [pair[:2] for pair in rows if pair[2]], [pair[:2] for pair in rows if not pair[2]]

    there = [sum(map(len, rows)) for rows in (found.positives, found.negatives)]
    steps = min(there[0], there[1] // 3)
    for drawn in pairs(steps, 4):
        assert len(set(drawn)) == len(drawn)
    positives, negatives = pairs(there[0] + 1, 4)
    assert len(positives) > len(set(positives))  # more than there are
    assert len(negatives) > len(set(negatives)) or len(negatives) <= there[1]


def ample(images: int, each: int) -> Pools:
    rows = [np.arange(each) for _ in range(images)]
    return Pools(
        rows, [np.ones(each, np.int64) for _ in range(images)], [np.arange(each, 4 * each) for _ in range(images)]
    )


def test_a_block_is_drawn_from_the_images_that_hold_ten_times_its_windows():
    """2 steps of 8 need 4 positives, so 40: the first 4 images of 10 in a random order; negatives 120: also 4."""
    drawn = draw(ample(100, 10), seed=0, block=0, steps=2, batch=8, flips=False)
    assert len(set(drawn.image.tolist())) <= 4
    orders = {tuple(sorted(set(draw(ample(100, 10), seed=0, block=b, steps=2, batch=8, flips=False).image.tolist())))
              for b in range(8)}  # fmt: skip
    assert len(orders) == 8  # others for each block
    long = draw(ample(100, 10), seed=0, block=0, steps=60, batch=8, flips=False)
    assert len(set(long.image.tolist())) > 60  # more windows than a tenth of all: from all images


def test_images_without_candidates_are_passed_over():
    empty, rows = np.empty(0, np.int64), np.arange(6)
    some = Pools([empty, rows, empty], [empty, rows * 0 + 2, empty], [empty, empty, rows + 6])
    drawn = draw(some, seed=0, block=0, steps=3, batch=4, flips=False)
    assert set(drawn.image[drawn.label > 0].tolist()) == {1} and set(drawn.image[drawn.label == 0].tolist()) == {2}
    for rank, world in ((0, 2), (3, 4)):  # nothing in its images; no image
        with pytest.raises(DataError, match="fewer devices"):
            draw(some, seed=0, block=0, steps=3, batch=4, flips=False, rank=rank, world=world)


def test_nothing_to_draw_is_said():
    apart = annotation("one", 50, 100, [[0, 0, 9, 9]], [0])
    bare = annotation("two", 50, 100, [], [])
    with pytest.raises(DataError, match="no window of split trainval would lie beside an object"):
        pools(in_memory(apart, windows={"one": [[50, 20, 60, 30]]}))
    with pytest.raises(DataError, match="no window of split trainval would show an object"):
        pools(in_memory(bare, windows={"two": [[50, 20, 60, 30]]}))


def test_mirrored_windows_show_the_same_pixels(source):
    picture, boxes = source.picture(1), source.training_windows(1)
    turned = mirrored(boxes, picture.shape[-1])
    assert np.array_equal(mirrored(turned, picture.shape[-1]), boxes)
    for (x1, y1, x2, y2), (a1, b1, a2, b2) in zip(boxes.astype(int), turned.astype(int), strict=True):
        part, other = picture[:, y1 : y2 + 1, x1 : x2 + 1], picture.flip(-1)[:, b1 : b2 + 1, a1 : a2 + 1]
        assert part.flip(-1).equal(other)
