"""Painting of one generated picture: figures of the 20 VOC classes on textured clutter.

Every picture is a pure function of the random generator handed in. Colours, textures and sizes are drawn
without regard to the class, so that only shape and structure tell the classes apart. The numbers right below
govern how hard the pictures are. Pictures are (height, width, 3) uint8 in OpenCV's BGR order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from spprepro.data.figures import FIGURES
from spprepro.data.palettes import TONES, away, object_palette, palette_of
from spprepro.data.strokes import HOLE, Figure, Points, Rng, limb, oval

SHORT_SIDE = (200, 420)  # pixels
ASPECT = (0.5, 2.0)  # width / height, uniform in its logarithm

SCALE = (0.2, 0.9)  # longest extent of an object over the short side of the picture
SCALE_SHAPE = (3.5, 1.2)  # beta distribution over SCALE: mean 0.72, a tail of small objects
CENTRE_PULL = 5.0  # beta(c, c) over the places where an object fits: 1 is anywhere, large is the centre
VOC_SCALE_SHAPE, VOC_CENTRE_PULL = (1.5, 1.5), 1.2  # the same where one to four objects share a picture
CENTRED_SCALE, CENTRED_PULL = (0.55, 0.9), 12.0  # the same for Caltech-101's single objects, uniform over the scale
CUT_CHANCE, CUT_DEPTH = 0.2, 0.35  # how often an object sticks out of the picture, and by which share at most
TURN, SHEAR, STRETCH = 12.0, 0.12, 0.12  # degrees; shear; logarithm of the stretch: each drawn from [-x, x]

TEXTURE = (0.0, 0.35)  # strength of the texture inside an object
BACKGROUND_LEVEL = (50.0, 150.0)  # of each channel, before greying; on dark grounds most objects are lighter
BACKGROUND_GREY = 0.5  # how far the background's colour is pulled to grey
BACKGROUND_CONTRAST = (10.0, 70.0)  # distance between the two colours of the background

CLUTTER, CLUTTER_SIZE = (1, 5), (0.08, 0.35)  # loose fragments behind; their extent over the short side
CLUTTER_CONTRAST = (30.0, 130.0)  # distance of a fragment's main colour from the background
OCCLUSION_CHANCE, OCCLUDER_SIZE = 0.15, (0.2, 0.5)  # a fragment in front; its extent over the object's
DISTRACTOR_CHANCE, DISTRACTOR_SIZE = 0.12, (0.25, 0.5)  # another object behind; its extent over the main one's
SHADOW_CHANCE = 0.3
BLUR_CHANCE, BLUR = 0.25, (0.6, 1.6)  # standard deviation in pixels
NOISE = (0.0, 10.0)  # standard deviation in grey levels

DIFFICULT_VISIBLE = 0.4  # `difficult`: less than this share of the object is visible,
DIFFICULT_EXTENT = 0.22  # or its box is smaller than this over the short side
HIDDEN_VISIBLE = 0.15  # objects that show less than this share are not annotated
BANK_SIDE = 880  # textures cover the largest picture, 840 pixels

Picture = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """An object of a picture; `box` is 0-based (x1, y1, x2, y2), ends inclusive, tight on what is visible."""

    label: int
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


@dataclass
class _Stamp:
    """What a painted figure covers: mask on the whole picture, area before clipping, whether it was cut."""

    mask: Mask
    area: int
    cut: bool


@cache
def _textures() -> tuple[Gray, ...]:
    """Grey textures (BANK_SIDE, BANK_SIDE), made once a process, from a fixed seed: noise and stripes."""
    rng, bank = np.random.default_rng(1406_4729), []
    y, x = np.mgrid[:BANK_SIDE, :BANK_SIDE].astype(np.float32)
    for cells in (4, 6, 10, 16, 28, 50, 90):
        field = np.zeros((BANK_SIDE, BANK_SIDE), np.float32)
        for octave, weight in ((1, 1.0), (2, 0.6), (4, 0.35)):
            grid = rng.standard_normal((cells * octave, cells * octave), dtype=np.float32)
            field += weight * cv2.resize(grid, (BANK_SIDE, BANK_SIDE), interpolation=cv2.INTER_CUBIC)
        bank.append(field)
    for period in (14, 24, 40, 70):
        angle, warp = rng.uniform(0, np.pi), bank[rng.integers(4)]
        wave = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + 1.5 * warp
        bank.append(np.sin(wave).astype(np.float32) + 0.4 * bank[5])
    return tuple(np.clip(128 + 52 * (f - f.mean()) / f.std(), 0, 255).astype(np.uint8) for f in bank)


@cache
def _grain() -> Picture:
    """Noise of standard deviation 32 around 128, (BANK_SIDE, BANK_SIDE, 3)."""
    noise = np.random.default_rng(1406_4730).standard_normal((BANK_SIDE, BANK_SIDE, 3), dtype=np.float32)
    return np.clip(128 + 32 * noise, 0, 255).astype(np.uint8)


def _crop(bank: Picture, height: int, width: int, rng: Rng) -> Picture:
    y, x = rng.integers(0, (BANK_SIDE - height + 1, BANK_SIDE - width + 1))
    return np.ascontiguousarray(bank[y : y + height, x : x + width])


def _texture(height: int, width: int, rng: Rng) -> Gray:
    bank = _textures()
    return _crop(bank[rng.integers(len(bank))], height, width, rng)


def _pose(figure: Figure, extent: float, rng: Rng, turn: float = TURN) -> Figure:
    """`figure` mirrored, stretched, sheared, turned at random; longest extent in pixels, from (0, 0) on."""
    a, stretch = np.deg2rad(rng.uniform(-turn, turn)), np.exp(rng.uniform(-STRETCH, STRETCH))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    form = np.array([[mirror * stretch, 0.0], [rng.uniform(-SHEAR, SHEAR), 1 / stretch]])
    form = form @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    moved = [(points @ form, tone) for points, tone in figure]
    every = np.concatenate([points for points, _ in moved])
    low, high = every.min(axis=0), every.max(axis=0)
    scale = extent / (high - low).max()
    return [((points - low) * scale, tone) for points, tone in moved]


def _shift(figure: Figure, x: float, y: float) -> Figure:
    return [(np.add(points, (x, y)), tone) for points, tone in figure]


def _extent(figure: Figure) -> tuple[float, float]:
    width, height = np.max([points.max(axis=0) for points, _ in figure], axis=0)
    return float(width), float(height)


def _raster(figure: Figure, x0: int, y0: int, width: int, height: int) -> tuple[Gray, Gray]:
    """Coverage and palette places of a figure, anti-aliased, (height, width), not clipped to the picture."""
    alpha, tones = np.zeros((height, width), np.uint8), np.full((height, width), TONES[0], np.uint8)
    for points, tone in figure:
        fixed = np.rint((points - (x0, y0)) * 8).astype(np.int32)
        cv2.fillPoly(alpha, [fixed], 0 if tone == HOLE else 255, cv2.LINE_AA, 3)
        if tone != HOLE:
            cv2.fillPoly(tones, [fixed], TONES[tone], cv2.LINE_AA, 3)
    return alpha, tones


def _blend(roi: Picture, colour: MatLike, alpha: Gray) -> None:
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    roi[:] = cv2.blendLinear(colour, np.ascontiguousarray(roi), weight, 1 - weight)


def _stamp(picture: Picture, figure: Figure, palette: Picture, rng: Rng, shadow: float = 0.0) -> _Stamp:
    """Paint `figure` (picture coordinates) with a textured palette; what lies outside is cut."""
    height, width = picture.shape[:2]
    every = np.concatenate([points for points, _ in figure])
    x0, y0 = (int(v) for v in np.floor(every.min(axis=0)) - 1)
    x1, y1 = (int(v) for v in np.ceil(every.max(axis=0)) + 2)
    alpha, tones = _raster(figure, x0, y0, x1 - x0, y1 - y0)
    texture, strength = _texture(y1 - y0, x1 - x0, rng), rng.uniform(*TEXTURE)
    solid = alpha > 127
    mask, area = np.zeros((height, width), np.bool_), int(np.count_nonzero(solid))
    ys, xs = slice(max(y0, 0), min(y1, height)), slice(max(x0, 0), min(x1, width))
    if ys.start >= ys.stop or xs.start >= xs.stop:
        return _Stamp(mask, area, True)
    inner = (slice(ys.start - y0, ys.stop - y0), slice(xs.start - x0, xs.stop - x0))
    mask[ys, xs] = solid[inner]
    roi = picture[ys, xs]
    if shadow:
        drop = max(2, (x1 - x0) // 16)
        soft = cv2.blur(np.roll(alpha, (drop, drop // 2), (0, 1))[inner], (2 * drop + 1, 2 * drop + 1))
        _blend(roi, np.zeros_like(roi), (soft * np.float32(shadow)).astype(np.uint8))
    grey = cv2.addWeighted(tones[inner], 1.0, texture[inner], strength, -128.0 * strength)
    _blend(roi, cv2.applyColorMap(grey, palette), alpha[inner])
    return _Stamp(mask, area, bool(np.count_nonzero(mask) < area))


def _fragment(rng: Rng) -> Figure:
    """A loose shape of no class: blob, quadrangle, bar, ring, or one part of some figure."""
    kind = int(rng.integers(5))
    if kind == 0:
        return [(oval(0, 0, 1, rng.uniform(0.4, 1)) * rng.uniform(0.6, 1.2, (24, 1)), 0)]
    if kind == 1:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.3, 1, (4, 2))
        return [(corners, int(rng.integers(3)))]
    if kind == 2:
        return [(limb(-1, 0, 1, 0, rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)), 0)]
    if kind == 3:
        inner = rng.uniform(0.4, 0.85)
        return [(oval(0, 0, 1, 1), 1), (oval(0, 0, inner, inner), HOLE)]
    parts = [part for part in FIGURES[rng.integers(len(FIGURES))][1](rng) if part[1] != HOLE]
    return [parts[rng.integers(len(parts))]]


def _canvas(rng: Rng) -> tuple[Picture, Points]:
    """An empty textured picture with clutter, and its mean colour."""
    short, ratio = int(rng.integers(SHORT_SIDE[0], SHORT_SIDE[1] + 1)), np.exp(rng.uniform(*np.log(ASPECT)))
    long = int(short * max(ratio, 1 / ratio))
    height, width = (short, long) if ratio > 1 else (long, short)
    first = rng.uniform(*BACKGROUND_LEVEL, 3)
    first += (first.mean() - first) * BACKGROUND_GREY
    second = away(first, BACKGROUND_CONTRAST, rng)
    texture = _texture(height, width, rng)
    picture = np.asarray(cv2.applyColorMap(texture, palette_of([first, second], (70, 186))), np.uint8)
    middle = (first + second) / 2
    for _ in range(rng.integers(CLUTTER[0], CLUTTER[1] + 1)):
        piece = _pose(_fragment(rng), short * rng.uniform(*CLUTTER_SIZE), rng, turn=180)
        x, y = rng.uniform(-0.1, 1.0, 2) * (width, height)
        _stamp(picture, _shift(piece, x, y), object_palette(middle, rng, CLUTTER_CONTRAST), rng)
    return picture, middle


def _where(figure: Figure, picture: Picture, pull: float, cut: float, rng: Rng) -> Figure:
    """Move a posed figure to its place inside the picture; with chance `cut` a side sticks out of it."""
    size, room = np.array(_extent(figure)), np.array(picture.shape[1::-1], dtype=float)
    place = np.maximum(room - size, 0) * rng.beta(pull, pull, 2)
    if rng.random() < cut:
        axis, depth = rng.integers(2), rng.uniform(0.05, CUT_DEPTH)
        beyond = depth * size[axis]
        place[axis] = -beyond if rng.random() < 0.5 else room[axis] - size[axis] + beyond
    return _shift(figure, *place)


def _occluder(picture: Picture, stamp: _Stamp, palette: Picture, rng: Rng) -> Mask:
    """Paint a fragment over a random visible place of an object; its mask."""
    ys, xs = np.nonzero(stamp.mask[::8, ::8])
    if not len(ys):
        return np.zeros_like(stamp.mask)
    at = int(rng.integers(len(ys)))
    extent = max(8.0, np.sqrt(stamp.area) * 1.4 * rng.uniform(*OCCLUDER_SIZE))
    piece = _pose(_fragment(rng), extent, rng, turn=180)
    width, height = _extent(piece)
    return _stamp(picture, _shift(piece, xs[at] * 8 - width / 2, ys[at] * 8 - height / 2), palette, rng).mask


def _finish(picture: Picture, rng: Rng) -> Picture:
    if rng.random() < BLUR_CHANCE:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(*BLUR)), np.uint8)
    share, grain = rng.uniform(*NOISE) / 32, _crop(_grain(), picture.shape[0], picture.shape[1], rng)
    return np.asarray(cv2.addWeighted(picture, 1.0, grain, share, -128.0 * share), np.uint8)


def _annotate(label: int, stamp: _Stamp, hidden: Mask, short: int) -> Placed | None:
    visible = stamp.mask & ~hidden
    count = int(np.count_nonzero(visible))
    if count < max(25, HIDDEN_VISIBLE * stamp.area):
        return None
    xs, ys = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    box = (int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1]))
    extent = max(box[2] - box[0], box[3] - box[1]) + 1
    difficult = count < DIFFICULT_VISIBLE * stamp.area or extent < DIFFICULT_EXTENT * short
    return Placed(label, box, stamp.cut, difficult)


def _object(
    picture: Picture,
    label: int,
    extent: float,
    background: Points,
    rng: Rng,
    *,
    pull: float,
    cut: float = CUT_CHANCE,
) -> tuple[_Stamp, Mask]:
    """Pose, place and paint an object, perhaps an occluder too; what it covers, and the occluder's mask."""
    figure = _where(_pose(FIGURES[label][1](rng), extent, rng), picture, pull, cut, rng)
    shadow = rng.uniform(0.2, 0.6) if rng.random() < SHADOW_CHANCE else 0.0
    stamp = _stamp(picture, figure, object_palette(background, rng, label=label), rng, shadow)
    if rng.random() < OCCLUSION_CHANCE:
        return stamp, _occluder(picture, stamp, object_palette(background, rng), rng)
    return stamp, np.zeros_like(stamp.mask)


def _scale(shape: tuple[float, float], rng: Rng) -> float:
    return float(SCALE[0] + (SCALE[1] - SCALE[0]) * rng.beta(*shape))


def draw_labelled(label: int, rng: Rng) -> Picture:
    """A picture whose main object is of class `label`."""
    picture, background = _canvas(rng)
    extent = min(picture.shape[:2]) * _scale(SCALE_SHAPE, rng)
    if rng.random() < DISTRACTOR_CHANCE:
        other = (label + int(rng.integers(1, len(FIGURES)))) % len(FIGURES)
        _object(picture, other, extent * rng.uniform(*DISTRACTOR_SIZE), background, rng, pull=1)
    _object(picture, label, extent, background, rng, pull=CENTRE_PULL)
    return _finish(picture, rng)


def draw_centred(label: int, rng: Rng) -> Picture:
    """A picture of one large object of class `label`, whole and about in the middle."""
    picture, background = _canvas(rng)
    extent = min(picture.shape[:2]) * rng.uniform(*CENTRED_SCALE)
    _object(picture, label, extent, background, rng, pull=CENTRED_PULL, cut=0)
    return _finish(picture, rng)


def draw_objects(labels: Sequence[int], rng: Rng) -> tuple[Picture, list[Placed]]:
    """A picture of several objects, later ones before earlier ones, and what of them can be seen.

    Objects that all but vanish behind others are left out of the list; the last one is always in it.
    """
    picture, background = _canvas(rng)
    short, pull = min(picture.shape[:2]), VOC_CENTRE_PULL
    extents = [short * _scale(VOC_SCALE_SHAPE, rng) for _ in labels]
    drawn = [
        _object(picture, label, extent, background, rng, pull=pull)
        for label, extent in zip(labels, extents, strict=True)
    ]
    found: list[Placed] = []
    hidden = np.zeros(picture.shape[:2], np.bool_)
    for label, (stamp, occluder) in zip(reversed(labels), reversed(drawn), strict=True):
        hidden |= occluder
        placed = _annotate(label, stamp, hidden, short)
        if placed is not None:
            found.append(placed)
        hidden |= stamp.mask
    return _finish(picture, rng), found[::-1]


def draw_clutter(rng: Rng) -> Picture:
    """A picture without any object."""
    return _finish(_canvas(rng)[0], rng)
