"""Every kind of file that ImageNet has decodes to the same pixels with either decoder."""

import numpy as np
import pytest
import torch
from PIL import Image

from spprepro.data import decode as module
from spprepro.data.decode import centre_crop, decode, decode_pil, image_size, resize_short_side, short_side_size
from spprepro.errors import DataError
from tests.conftest import write_picture

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def pixels(tmp_path):
    write_picture(tmp_path / "source.png", HEIGHT, WIDTH, seed=1)
    return np.asarray(Image.open(tmp_path / "source.png").convert("RGB"))


def save(pixels, kind, folder):
    image, name = Image.fromarray(pixels), f"{kind}.JPEG"
    if kind == "cmyk":
        image.convert("CMYK").save(folder / name, "JPEG")
    elif kind == "grey":
        image.convert("L").save(folder / name, "JPEG")
    elif kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera lay on its side
        image.save(folder / name, "JPEG", exif=exif)
    elif kind == "grey16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / name, "PNG")
    elif kind == "rgba":
        image.convert("RGBA").save(folder / name, "PNG")
    elif kind == "palette":
        image.convert("P").save(folder / name, "PNG")
    else:
        image.save(folder / name, kind)
    return folder / name


KINDS = ["jpeg", "png", "cmyk", "grey", "exif", "grey16", "rgba", "palette", "bmp", "webp", "tiff", "gif"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_files_decode_alike(pixels, kind, tmp_path):
    path = save(pixels, kind, tmp_path)
    image = decode(path)
    assert image.dtype == torch.uint8
    assert tuple(image.shape) == ((3, WIDTH, HEIGHT) if kind == "exif" else (3, HEIGHT, WIDTH))
    portable = decode_pil(path.read_bytes())
    assert (image.int() - portable.int()).abs().max() <= 1


def test_sixteen_bits_keep_their_levels(pixels, tmp_path):
    image = decode(save(pixels, "grey16", tmp_path))
    assert (image[0].numpy().astype(int) - pixels[..., 0]).__abs__().max() <= 1


def test_works_without_torchcodec(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_torchcodec", None)
    assert decode(save(pixels, "jpeg", tmp_path)).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", [1, 6, 9])
def test_the_size_by_the_header_is_that_of_the_pixels(pixels, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(path, exif=exif.tobytes())
    assert image_size(path) == tuple(decode(path).shape[1:]) == tuple(decode_pil(path.read_bytes()).shape[1:])


def test_a_picture_too_large_for_the_portable_decoder_is_named(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    path = save(pixels, "tiff", tmp_path)
    for read in (decode, image_size):
        with pytest.raises(DataError, match=r"tiff\.JPEG: cannot be .* exceeds limit"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_unreadable_files_are_named(pixels, tmp_path, content):
    path = save(pixels, "jpeg", tmp_path)
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(DataError, match=r"jpeg\.JPEG: cannot be decoded"):
        decode(path)


def test_resizing_is_pils_to_one_grey_level(pixels):
    tall = torch.from_numpy(np.ascontiguousarray(pixels.transpose(1, 0, 2))).permute(2, 0, 1)
    ours = resize_short_side(tall, 24)
    size = (ours.shape[-1], ours.shape[-2])
    theirs = np.asarray(Image.fromarray(tall.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BILINEAR))
    assert tuple(ours.shape) == (3, 36, 24)
    assert np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [((375, 500), (256, 341)), ((500, 375), (341, 256)), ((256, 256), (256, 256)), ((2, 3), (256, 384))],
)
def test_short_side_becomes_256(given, expected):
    assert short_side_size(*given, 256) == expected


def test_centre_crop_is_central():
    image = torch.arange(7 * 9).view(1, 7, 9)
    assert centre_crop(image, 3).tolist() == [[[21, 22, 23], [30, 31, 32], [39, 40, 41]]]
