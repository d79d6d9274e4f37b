"""The animals and the person among the generated objects, with random proportions and limbs.

Relatives share parts on purpose: cat and dog sit alike; cow, horse and sheep stand on the same four legs.
"""

import numpy as np

from spprepro.data.strokes import Figure, Points, Rng, limb, oval, poly


def bird(r: Rng) -> Figure:
    tilt, lift = r.uniform(-0.5, 0.0), r.uniform(-0.1, 0.25)
    legs: Figure = [(limb(x, 0.3, x + r.uniform(-0.1, 0.1), 0.85, 0.05), 2) for x in (-0.08, 0.1)]
    tail = poly(-0.4, 0.0, -1.0, 0.05 - tilt * 0.5, -0.95, 0.3 - tilt * 0.5, -0.35, 0.25)
    head: Figure = [(oval(0.5, -0.42, 0.23, 0.22), 0), (poly(0.68, -0.5, 1.0, -0.36, 0.68, -0.32), 2)]
    wing = poly(0.25, -0.15, -0.2, -0.1 - lift, -0.7, -0.2 - lift, -0.25, 0.3)
    return [
        *legs,
        (tail, 1),
        (oval(0, 0.02, 0.6, 0.36, tilt), 0),
        *head,
        (wing, 1),
        (oval(0.55, -0.46, 0.045, 0.045), 2),
    ]


def _sitting(r: Rng, head: Figure, tail: Points) -> Figure:
    body = [(oval(-0.05, 0.45, 0.45, 0.52, r.uniform(-0.15, 0.15)), 0), (oval(-0.3, 0.75, 0.3, 0.22), 0)]
    paws: Figure = [(limb(x, 0.3, x + 0.03, 0.97, 0.16, 0.2), 1) for x in (0.12, 0.34)]
    face: Figure = [(oval(x, -0.38, 0.05, 0.06), 2) for x in (0.04, 0.3)]
    return [(tail, 1), *body, *paws, *head, *face]


def cat(r: Rng) -> Figure:
    e, t = r.uniform(0.3, 0.45), r.uniform(-0.3, 0.1)
    ears: Figure = [
        (poly(x - 0.15, -0.5, x + s * 0.08, -0.62 - e, x + 0.15, -0.5), 0) for x, s in ((-0.06, -1), (0.38, 1))
    ]
    tail = poly(-0.4, 0.75, -0.8, 0.6, -0.85, t, -0.7, t - 0.25, -0.6, t - 0.2, -0.7, t + 0.05, -0.65, 0.5, -0.35, 0.6)
    return _sitting(
        r, [*ears, (oval(0.16, -0.35, 0.34, 0.29), 0), (poly(0.1, -0.27, 0.24, -0.27, 0.17, -0.2), 2)], tail
    )


def dog(r: Rng) -> Figure:
    drop = r.uniform(0.22, 0.34)
    ears: Figure = [(oval(x, -0.38 + drop / 2, 0.11, drop, s * 0.15), 1) for x, s in ((-0.2, 1), (0.5, -1))]
    muzzle: Figure = [(oval(0.2, -0.17, 0.2, 0.17), 1), (oval(0.2, -0.24, 0.08, 0.055), 2)]
    tail = limb(-0.45, 0.75, -0.85, r.uniform(0.3, 0.75), 0.14, 0.06)
    return _sitting(r, [(oval(0.16, -0.38, 0.32, 0.34), 0), *ears, *muzzle], tail)


def _quadruped(r: Rng, leg: float, width: float, belly: float) -> Figure:
    """Body and four legs; the head and what hangs on it are the caller's."""
    spots = ((-0.55, 1), (0.3, 1), (-0.4, 0), (0.45, 0))
    legs: Figure = [(limb(x, 0.1, x + r.uniform(-0.14, 0.14), leg, width, width * 0.7), tone) for x, tone in spots]
    return [*legs, (oval(-0.05, 0.0, 0.68, belly), 0)]


def cow(r: Rng) -> Figure:
    y = r.uniform(-0.35, -0.15)
    horns: Figure = [(limb(0.72 + s * 0.08, y - 0.12, 0.74 + s * 0.24, y - 0.4, 0.09, 0.03), 2) for s in (-1, 1)]
    patches: Figure = [
        (oval(x, r.uniform(-0.1, 0.1), r.uniform(0.1, 0.2), r.uniform(0.08, 0.16)), 2) for x in (-0.4, 0.1)
    ]
    head: Figure = [
        (limb(0.45, -0.1, 0.75, y, 0.4, 0.3), 0),
        (oval(0.8, y + 0.06, 0.24, 0.17, 0.6), 0),
        (oval(0.92, y + 0.16, 0.11, 0.11), 1),
    ]
    udder: Figure = [(oval(-0.3, 0.33, 0.14, 0.12), 1), (limb(-0.7, -0.1, -0.85, 0.45, 0.06), 1)]
    return [*udder, *_quadruped(r, r.uniform(0.7, 0.8), 0.16, r.uniform(0.34, 0.4)), *patches, *horns, *head]


def horse(r: Rng) -> Figure:
    x, y = r.uniform(0.6, 0.75), r.uniform(-0.85, -0.65)
    neck: Figure = [
        (limb(0.4, -0.05, x, y, 0.42, 0.22), 0),
        (limb(x - 0.05, y, x + 0.32, y + 0.26, 0.25, 0.15), 0),
    ]
    mane = poly(x - 0.02, y - 0.12, x - 0.2, y - 0.02, 0.1, -0.3, 0.22, -0.12, x - 0.05, y + 0.15)
    tail = poly(-0.65, -0.15, -0.95, 0.0, -1.0, 0.5, -0.85, 0.45, -0.8, 0.1, -0.62, 0.05)
    ear = poly(x - 0.08, y - 0.08, x - 0.02, y - 0.28, x + 0.06, y - 0.06)
    return [
        *_quadruped(r, r.uniform(0.9, 1.0), 0.13, r.uniform(0.26, 0.31)),
        *neck,
        (mane, 2),
        (tail, 2),
        (ear, 0),
    ]


def sheep(r: Rng) -> Figure:
    angles, wave = np.arange(60) * np.pi / 30, int(r.integers(8, 12))
    swell = 1 + 0.1 * np.abs(np.sin(angles * wave / 2))
    wool = np.stack(
        [0.68 * swell * np.cos(angles) - 0.05, r.uniform(0.42, 0.5) * swell * np.sin(angles) - 0.05], axis=1
    )
    y = r.uniform(-0.3, -0.1)
    head: Figure = [
        (oval(0.75, y, 0.2, 0.26, -0.5), 2),
        (oval(0.58, y - 0.12, 0.14, 0.06, 0.4), 2),
        (oval(0.8, y - 0.06, 0.04, 0.04), 1),
    ]
    return [*_quadruped(r, r.uniform(0.68, 0.78), 0.12, 0.36), (wool, 0), *head]


def person(r: Rng) -> Figure:
    hip, sh = 0.2, -0.45
    parts: Figure = []
    for s in (-1, 1):
        knee, step = s * r.uniform(0.08, 0.3), s * r.uniform(0.05, 0.4)
        parts += [
            (limb(s * 0.1, hip - 0.05, knee, 0.6, 0.2, 0.17), 2),
            (limb(knee, 0.57, step, 1, 0.17, 0.12), 2),
        ]
        ex, ey = s * r.uniform(0.3, 0.5), sh + r.uniform(0.0, 0.4)
        parts += [
            (limb(s * 0.2, sh + 0.05, ex, ey, 0.15, 0.13), 0),
            (limb(ex, ey, ex + r.uniform(-0.25, 0.25), ey + r.uniform(-0.35, 0.4), 0.12, 0.09), 1),
        ]
    return [
        *parts,
        (poly(-0.27, sh, 0.27, sh, 0.2, hip, -0.2, hip), 0),
        (limb(0, sh, 0, -0.6, 0.13), 1),
        (oval(0, -0.76, 0.19, 0.24), 1),
    ]
