"""Small pictures with one known object."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from spprepro.data import mini
from spprepro.data.voc import Split, read_split

OBJECT = (60, 30, 119, 79)  # of `picture`


def picture(seed: int, height: int = 120, width: int = 160) -> npt.NDArray[np.uint8]:
    """Noise, a few ellipses and one flat rectangle at OBJECT."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(90, 6, (height, width, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(8, 40)), int(rng.integers(8, 40)))
        cv2.ellipse(pixels, centre, axes, 0, 0, 360, [int(v) for v in rng.integers(0, 256, 3)], -1)
    cv2.rectangle(pixels, OBJECT[:2], OBJECT[2:], (250, 240, 10), -1)
    return pixels


@pytest.fixture
def images(tmp_path: Path) -> list[tuple[str, Path]]:
    """Seven pictures as (id, file)."""
    found = []
    for number in range(7):
        path = tmp_path / "images" / f"{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture(number)[..., ::-1])
        found.append((path.stem, path))
    return found


@pytest.fixture(scope="session")
def mini_test(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The test split of the generated VOC set: 40 images."""
    home = tmp_path_factory.mktemp("mini")
    amounts = mini.Amounts(voc_trainval=0, voc_test=40)
    return read_split(mini.generate(home, part="voc", seed=0, amounts=amounts, workers=1) / "VOC2007", "test")


def overlap(boxes: npt.NDArray[np.float32], box: tuple[int, ...]) -> npt.NDArray[np.float32]:
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]) + 1
    shared = np.clip(sides, 0, None).prod(1)
    own = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    return shared / (own + (box[2] - box[0] + 1) * (box[3] - box[1] + 1) - shared)
