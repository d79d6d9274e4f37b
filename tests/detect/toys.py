"""A small VOC split with windows, and a narrow ZF-5 to describe them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from spprepro.data.voc import Annotation, Split
from spprepro.detect.boxes import fit_box_regressor
from spprepro.detect.detector import Detector, Regressors
from spprepro.detect.features import SppFeatures
from spprepro.detect.mining import LayerSvms
from spprepro.detect.rcnn import CropNet, RcnnFeatures
from spprepro.detect.sources import Source
from spprepro.detect.trunk import Head
from spprepro.detection import Protocol
from spprepro.nets.geometry import head_inputs
from spprepro.nets.network import Network, initialise
from spprepro.nets.pixels import trunk_of
from tests.nets.backbones import zf5

CLASSES = ("red", "green", "blue")
RELEASED = Protocol(
    name="released", mapping="released", scale_rule="released", finetune_scale="random", flips=True,
    negatives="cells", at_limit=False, ridge=4000.0, regress="after_nms",
)  # fmt: skip


def annotation(name: str, height: int, width: int, boxes: list[list[int]], labels: list[int]) -> Annotation:
    """An image with these objects, none of them difficult."""
    none = np.zeros(len(labels), bool)
    return Annotation(
        name, height, width, np.array(labels, np.int64), np.array(boxes, float).reshape(-1, 4), none, none
    )


def around(box: np.ndarray, height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Windows about an object, from nearly it to hardly touching it."""
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    moved = box + rng.normal(size=(count, 4)) * sides * np.linspace(0.02, 0.5, count)[:, None]
    return in_order(moved, height, width)


def anywhere(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random windows of an image."""
    return in_order(rng.uniform(0, 1, (count, 4)) * [width, height, width, height], height, width)


def in_order(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Whole pixels of the image, each window at least 8 wide and high."""
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    limit = np.array([width - 1, height - 1])
    low = low.round().clip(0, limit - 8)
    return np.concatenate([low, np.maximum(high.round(), low + 8).clip(0, limit)], 1)


def toy(folder: Path, count: int = 6, seed: int = 0, windows: int = 60) -> Source:
    """`count` pictures of noise with one or two rectangles in the colour of their class, and windows about these."""
    rng = np.random.default_rng(seed)
    images, proposals = [], {}
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        height, width = int(rng.integers(110, 140)), int(rng.integers(130, 180))
        pixels = rng.integers(90, 150, (height, width, 3), np.uint8)
        boxes, labels, parts = [], [], []
        for place in range(1 + number % 2):
            x, y = place * width // 2 + rng.integers(4, 20), rng.integers(4, 40)
            boxes.append([x, y, x + rng.integers(30, 44), y + rng.integers(30, 60)])
            labels.append((number + place) % len(CLASSES))
            x1, y1, x2, y2 = boxes[-1]
            pixels[y1 : y2 + 1, x1 : x2 + 1, labels[-1]] += 100
            parts.append(around(np.array(boxes[-1]), height, width, windows // 4, rng))
        name = f"{number:06d}"
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), pixels[..., ::-1])
        images.append(annotation(name, height, width, boxes, labels))
        parts.append(anywhere(height, width, windows - sum(map(len, parts)), rng))
        proposals[name] = np.concatenate(parts)
    return Source(Split(folder, "trainval", CLASSES, images), proposals)


def in_memory(*images: Annotation, windows: dict[str, list[list[float]]]) -> Source:
    """A source whose pictures nobody looks at."""
    split = Split(Path("nowhere"), "trainval", CLASSES, list(images))
    return Source(split, {name: np.array(boxes, float) for name, boxes in windows.items()})


def spp(
    scales: list[int], protocol: Protocol | None = None, levels: tuple[int, ...] = (3, 2, 1), *, halve: bool = False
) -> SppFeatures:
    """A random ZF-5 of a sixteenth of the width, with fc layers as pre-trained and fine-tuned ones."""
    backbone = replace(zf5().scaled(1 / 16), fc=24)
    network = Network(backbone, levels=list(levels), classes=5, crop=backbone.crop)
    initialise(network, backbone, method="he", std=0.01, seed=0)
    generator = torch.Generator().manual_seed(1)
    inputs = head_inputs(backbone, levels, backbone.crop)
    plain, tuned = (Head(inputs, backbone.fc, len(CLASSES) + 1, 0.5, generator) for _ in range(2))
    trunk = trunk_of(network, backbone, 1 / 64).requires_grad_(False)
    return SppFeatures(trunk, levels, scales, protocol or Protocol(), plain, tuned, halve=halve).eval()


def learned(protocol: Protocol | None = None) -> Detector:
    """An SPP-net that gives all rows of Table 9."""
    return _learned(spp([160, 240], protocol), protocol or Protocol(), "pool5")


def rcnn(levels: list[int]) -> Detector:
    """An R-CNN that gives all rows of Table 9, of two networks with the pyramid `levels`, which may be empty."""
    nets, backbone = [], replace(zf5().scaled(1 / 16), fc=24)
    for seed in (0, 1):
        network = Network(backbone, levels=levels, classes=5, crop=backbone.crop)
        initialise(network, backbone, method="he", std=0.01, seed=seed)
        inputs, generator = head_inputs(backbone, levels, backbone.crop), torch.Generator().manual_seed(seed)
        head = Head(inputs, backbone.fc, len(CLASSES) + 1, 0.5, generator)
        nets.append(CropNet(trunk_of(network, backbone, 1 / 64), levels, head))
    return _learned(RcnnFeatures(*nets, backbone.crop).eval(), Protocol(), "ftpool5")


def _learned(features: SppFeatures | RcnnFeatures, protocol: Protocol, regress: str) -> Detector:
    """Random SVMs and regressors."""
    rng = np.random.default_rng(0)
    inputs = features.inputs
    lengths = {"pool5": inputs, "fc6": 24, "ftfc6": 24, "ftfc7": 24}
    svms = {
        row: LayerSvms(
            rng.normal(0, 1, (len(CLASSES), length)).astype(np.float32), rng.normal(0, 1, 3).astype(np.float32), 0.3, 17
        )
        for row, length in lengths.items()
    }
    each = []
    for _ in CLASSES:
        boxes = anywhere(120, 160, 20, rng)
        near = boxes + rng.uniform(0, 3, (20, 4)) * [-1, -1, 1, 1]
        each.append(fit_box_regressor(rng.normal(0, 1, (20, inputs)).astype(np.float32), boxes, near, 100.0))
    return Detector(features, protocol, list(CLASSES), svms, Regressors(each, 0.2), regress)
