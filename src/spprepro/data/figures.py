"""The 20 stylised objects of the generated data set, by their VOC names, with random proportions.

Several share parts on purpose: bicycle and motorbike; bus, car and train; chair, diningtable and sofa.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from spprepro.data.creatures import bird, cat, cow, dog, horse, person, sheep
from spprepro.data.strokes import Figure, Rng, box, limb, oval, poly, wheel


def _spokes(x: float, y: float, r: float, count: int, turn: float) -> Figure:
    angles = turn + np.arange(count) * 2 * np.pi / count
    return [(limb(x, y, x + r * np.cos(a), y + r * np.sin(a), 0.035), 2) for a in angles]


def _aeroplane(r: Rng) -> Figure:
    span, sweep, root = r.uniform(0.6, 0.95), r.uniform(0.1, 0.5), r.uniform(0.0, 0.3)
    tip = root - sweep
    wings = [(poly(root + 0.15, 0, tip + 0.05, s * span, tip - 0.13, s * span, root - 0.22, 0), 1) for s in (-1, 1)]
    tails = [(poly(-0.68, 0, -0.88, s * span * 0.4, -1.0, s * span * 0.4, -0.92, 0), 1) for s in (-1, 1)]
    return [*wings, *tails, (oval(0, 0, 1, r.uniform(0.1, 0.17)), 0), (oval(0.78, 0, 0.1, 0.07), 2)]


def _bicycle(r: Rng) -> Figure:
    d, rad, n = r.uniform(0.5, 0.6), r.uniform(0.36, 0.42), int(r.integers(5, 10))
    y, turn = 0.4, r.uniform(0, 1)
    wheels = [p for x in (-d, d) for p in (*wheel(x, y, rad, 0.17), *_spokes(x, y, rad * 0.9, n, turn))]
    lines = [
        (-d, y, -0.2, -0.2),
        (-d, y, 0, y),
        (0, y, -0.2, -0.2),
        (-0.2, -0.2, 0.4, -0.25),
        (0, y, 0.4, -0.25),
    ]
    frame: Figure = [(limb(*line, 0.08), 0) for line in [*lines, (0.36, -0.5, d, y), (-0.2, -0.2, -0.25, -0.42)]]
    return [*wheels, *frame, (oval(-0.26, -0.45, 0.17, 0.05), 1), (limb(0.22, -0.52, 0.5, -0.5, 0.08), 1)]


def _motorbike(r: Rng) -> Figure:
    d, rad, y = r.uniform(0.55, 0.65), r.uniform(0.32, 0.38), 0.42
    wheels = [p for x in (-d, d) for p in (*wheel(x, y, rad, 0.4), (oval(x, y, 0.09, 0.09), 1))]
    body = [
        (poly(-0.35, 0.05, 0.3, -0.05, 0.25, 0.45, -0.2, 0.5), 0),
        (oval(0.1, -0.12, 0.3, 0.17, -0.2), 0),
    ]
    seat = [
        (poly(-0.75, -0.15, -0.1, -0.1, -0.1, 0.08, -0.5, 0.06), 1),
        (limb(-0.1, 0.5, -0.85, 0.5, 0.1), 1),
    ]
    return [
        *wheels,
        (limb(0.35, -0.4, d, y, 0.11), 1),
        *body,
        *seat,
        (limb(0.2, -0.45, 0.42, -0.38, 0.09), 2),
        (oval(0.5, -0.22, 0.1, 0.1), 2),
    ]


def _boat(r: Rng) -> Figure:
    deck, mast, top = r.uniform(0.3, 0.45), r.uniform(-0.15, 0.15), r.uniform(-1, -0.8)
    hull = poly(-0.95, deck, 0.95, deck, 0.6, 0.85, -0.65, 0.85)
    sail = poly(mast + 0.06, top, mast + r.uniform(0.6, 0.85), deck - 0.12, mast + 0.06, deck - 0.12)
    jib = poly(mast - 0.06, top + 0.2, mast - 0.06, deck - 0.12, mast - r.uniform(0.4, 0.7), deck - 0.12)
    return [
        (hull, 0),
        (limb(mast, top, mast, deck, 0.07), 2),
        (sail, 1),
        (jib, 1),
        (limb(-0.85, deck + 0.13, 0.85, deck + 0.13, 0.07), 2),
    ]


def _bottle(r: Rng) -> Figure:
    w, neck, sh = r.uniform(0.24, 0.36), r.uniform(0.08, 0.13), r.uniform(-0.4, -0.15)
    glass = poly(-w, 1, -w, sh, -neck, sh - 0.3, -neck, -0.9, neck, -0.9, neck, sh - 0.3, w, sh, w, 1)
    low = r.uniform(0.1, 0.3)
    return [
        (glass, 0),
        (box(-neck * 1.3, -1, neck * 1.3, -0.84), 2),
        (box(-w, low, w, low + r.uniform(0.3, 0.5)), 1),
    ]


def _bus(r: Rng) -> Figure:
    top, n = r.uniform(-0.65, -0.45), int(r.integers(4, 7))
    edges = np.linspace(-0.9, 0.9, n + 1)
    panes: Figure = [(box(a + 0.03, top + 0.12, b - 0.03, top + 0.42), 1) for a, b in pairwise(edges)]
    wheels = [p for x in (-0.55, 0.55) for p in ((oval(x, 0.45, 0.19, 0.19), 2), (oval(x, 0.45, 0.08, 0.08), 1))]
    return [(box(-1, top, 1, 0.45), 0), *panes, *wheels, (limb(-1, 0.18, 1, 0.18, 0.05), 2)]


def _car(r: Rng) -> Figure:
    roof, a, b = r.uniform(-0.45, -0.3), r.uniform(-0.5, -0.35), r.uniform(0.2, 0.4)
    body = poly(-1, 0.0, a - 0.3, -0.05, a, roof, b, roof, b + 0.3, -0.02, 0.95, 0.06, 1, 0.35, -1, 0.35)
    panes: Figure = [(poly(a - 0.16, -0.04, a + 0.05, roof + 0.08, -0.08, roof + 0.08, -0.08, -0.04), 1)]
    panes.append((poly(0.0, -0.04, 0.0, roof + 0.08, b - 0.05, roof + 0.08, b + 0.16, -0.04), 1))
    return [
        (body, 0),
        *panes,
        *(p for x in (-0.55, 0.55) for p in ((oval(x, 0.35, 0.21, 0.21), 2), (oval(x, 0.35, 0.1, 0.1), 1))),
    ]


def _train(r: Rng) -> Figure:
    top, n = r.uniform(-0.25, -0.1), int(r.integers(3, 5))
    cab: Figure = [
        (box(-1, -0.6, -0.4, 0.35), 0),
        (box(-0.88, -0.45, -0.55, -0.12), 1),
        (box(-1.05, -0.7, -0.35, -0.58), 2),
    ]
    boiler: Figure = [
        (box(-0.4, top, 0.85, 0.35), 0),
        (oval(0.85, (top + 0.35) / 2, 0.1, (0.35 - top) / 2), 1),
    ]
    stack = poly(0.5, top, 0.45, -0.65, 0.77, -0.65, 0.7, top)
    wheels: Figure = [(oval(x, 0.45, 0.16, 0.16), 2) for x in np.linspace(-0.8, 0.7, n + 1)]
    return [
        *cab,
        *boiler,
        (stack, 1),
        (oval(0.1, top, 0.13, 0.11), 1),
        *wheels,
        (poly(0.85, 0.3, 1.1, 0.6, 0.75, 0.6), 2),
    ]


def _chair(r: Rng) -> Figure:
    w, y, lean = r.uniform(0.4, 0.52), r.uniform(0.05, 0.2), r.uniform(0, 0.15)
    legs: Figure = [(limb(x, y, x * 1.1, 1, 0.1), t) for x, t in ((-w * 0.5, 2), (w * 0.75, 2), (-w, 0), (w, 0))]
    posts: Figure = [(limb(x, y, x - lean, -1, 0.1), 0) for x in (-w, w * 0.6)]
    slats = [
        (limb(-w - lean * f, y - f * (1 + y), w * 0.6 - lean * f, y - f * (1 + y), 0.13), 1) for f in (0.45, 0.7, 0.95)
    ]
    return [
        *legs,
        *posts,
        *slats,
        (poly(-w, y - 0.08, w * 0.8, y - 0.08, w + 0.08, y + 0.1, -w, y + 0.1), 0),
    ]


def _diningtable(r: Rng) -> Figure:
    y, inset, foot = r.uniform(-0.4, -0.2), r.uniform(0.1, 0.3), r.uniform(0.6, 0.8)
    legs: Figure = [
        (limb(x, y, x, f, 0.11), t)
        for x, f, t in ((-0.6, foot - 0.25, 2), (0.6, foot - 0.25, 2), (-0.85, foot, 0), (0.85, foot, 0))
    ]
    top = poly(-1 + inset, y - 0.3, 1 - inset, y - 0.3, 1, y + 0.05, -1, y + 0.05)
    plates: Figure = [(oval(x, y - 0.13, 0.15, 0.06), 2) for x in (-0.4, 0.4)]
    return [*legs, (top, 1), *plates, (box(-1, y + 0.03, 1, y + 0.16), 0)]


def _pottedplant(r: Rng) -> Figure:
    leaves: Figure = []
    for a in np.linspace(-1.2, 1.2, int(r.integers(5, 9))) + r.uniform(-0.12, 0.12):
        n = r.uniform(0.3, 0.5)
        x, y = np.sin(a), -np.cos(a)
        leaves += [
            (limb(0, 0.25, x * n, 0.2 + y * n, 0.05), 2),
            (oval(x * n * 1.4, 0.2 + y * n * 1.6, 0.3, 0.1, a - np.pi / 2), int(r.integers(2))),
        ]
    w = r.uniform(0.3, 0.42)
    return [
        *leaves,
        (poly(-w, 0.3, w, 0.3, w * 0.7, 1, -w * 0.7, 1), 2),
        (box(-w * 1.15, 0.22, w * 1.15, 0.4), 1),
    ]


def _sofa(r: Rng) -> Figure:
    top, n = r.uniform(-0.55, -0.35), int(r.integers(2, 4))
    edges = np.linspace(-0.75, 0.75, n + 1)
    seats: Figure = [(box(a + 0.02, 0.02, b - 0.02, 0.25), 1) for a, b in pairwise(edges)]
    arms: Figure = [
        p
        for s in (-1, 1)
        for p in (
            (box(s * 0.87 - 0.13, -0.08, s * 0.87 + 0.13, 0.5), 0),
            (oval(s * 0.87, -0.1, 0.15, 0.12), 2),
        )
    ]
    legs: Figure = [(box(x - 0.05, 0.45, x + 0.05, 0.64), 2) for x in (-0.85, 0.85)]
    return [*legs, (box(-0.85, top, 0.85, 0.1), 0), (box(-0.8, 0.2, 0.8, 0.5), 0), *seats, *arms]


def _tvmonitor(r: Rng) -> Figure:
    h, rim = r.uniform(0.5, 0.62), r.uniform(0.07, 0.13)
    foot: Figure = [
        (box(-0.1, h - 0.3, 0.1, 0.72), 1),
        (poly(-0.3, 0.68, 0.3, 0.68, 0.5, 0.82, -0.5, 0.82), 1),
    ]
    glint = poly(-0.6, 0.1 - h, -0.3, 0.1 - h, -0.55, 0.35 - h / 2, -0.75, 0.35 - h / 2)
    return [
        *foot,
        (box(-1, -h - 0.15, 1, h - 0.15), 0),
        (box(rim - 1, rim - h - 0.15, 1 - rim, h - rim - 0.15), 2),
        (glint, 1),
    ]


FIGURES: tuple[tuple[str, Callable[[Rng], Figure]], ...] = (
    ("aeroplane", _aeroplane),
    ("bicycle", _bicycle),
    ("bird", bird),
    ("boat", _boat),
    ("bottle", _bottle),
    ("bus", _bus),
    ("car", _car),
    ("cat", cat),
    ("chair", _chair),
    ("cow", cow),
    ("diningtable", _diningtable),
    ("dog", dog),
    ("horse", horse),
    ("motorbike", _motorbike),
    ("person", person),
    ("pottedplant", _pottedplant),
    ("sheep", sheep),
    ("sofa", _sofa),
    ("train", _train),
    ("tvmonitor", _tvmonitor),
)
