"""What happens on the device."""

import torch
import torch.nn.functional as F

from spprepro.data.augment import prepare_test, prepare_training, resize, warp_mean


def batch(n=3, side=24):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_training_input_is_flip_mean_and_colour():
    images, mean = batch(), torch.rand(3, 24, 24) * 255
    flip, colour, directions = torch.tensor([True, False, True]), torch.randn(3, 3), torch.randn(3, 3)
    x = prepare_training(images, flip, colour, 24, mean=mean, directions=directions, scale=0.5)
    for i in range(3):
        picture = images[i].flip(-1) if flip[i] else images[i]
        shift = sum(colour[i, k] * directions[:, k] for k in range(3))
        torch.testing.assert_close(x[i], 0.5 * (picture - mean + shift[:, None, None]))


def test_smaller_size_is_the_same_crop_resized():
    images = batch()
    small = resize(images, 18)
    expected = F.interpolate(images.float(), size=(18, 18), mode="bilinear", antialias=True)
    assert small.dtype == torch.uint8
    assert (small.float() - expected).abs().max() <= 1
    assert resize(images, 24) is images


def test_mean_is_warped_to_the_full_image():
    mean = torch.rand(3, 24, 24)
    warped = warp_mean(mean, 30, 41)
    assert warped.shape == (1, 3, 30, 41)
    torch.testing.assert_close(warped.mean(), mean.mean(), rtol=1e-2, atol=1e-2)
    images = torch.randint(0, 256, (2, 3, 30, 41), dtype=torch.uint8)
    torch.testing.assert_close(prepare_test(images, mean), images - warped)
