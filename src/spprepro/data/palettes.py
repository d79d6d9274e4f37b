"""The colours of objects: away from the background, or their class's habitual hue."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spprepro.data.figures import FIGURES
from spprepro.data.strokes import Points, Rng

CONTRAST = (90.0, 220.0)  # distance of an object's main colour from the mean background, in grey levels
LIGHT, DARK = (0.35, 0.8), (0.5, 0.9)  # how far its second colour goes to white, its third to black
HABIT = 0.75  # how often an object has its class's habitual hue, as plants are mostly green
HUE_SPREAD = 12.0  # standard deviation of a habitual hue, in degrees; classes lie 18 degrees apart
TINT = 30.0  # standard deviation of what is added to the channels of these two, in grey levels
TONES = (50, 128, 206)  # places of the three colours in an object's palette


def away(colour: Points, distance: tuple[float, float], rng: Rng) -> Points:
    """A colour (3,) about so many grey levels from `colour`; of a few directions the roomiest wins."""
    steps = rng.standard_normal((4, 3))
    steps *= rng.uniform(*distance) / np.linalg.norm(steps, axis=1, keepdims=True)
    found = np.clip(colour + steps, 0, 255)
    return np.asarray(found[np.argmax(((found - colour) ** 2).sum(axis=1))], dtype=np.float64)


def palette_of(colours: Sequence[Points], places: Sequence[int]) -> npt.NDArray[np.uint8]:
    """256 colours (256, 1, 3) running through `colours` at `places`."""
    at = np.arange(256)
    runs = [np.interp(at, places, channel) for channel in np.stack(colours, axis=1)]
    return np.stack(runs, axis=1).astype(np.uint8)[:, None, :]


def _habitual(label: int, rng: Rng) -> Points:
    """A colour (3,) of the hue that objects of a class often have."""
    hue = math.radians(label * 360 / len(FIGURES) + rng.normal(0, HUE_SPREAD))
    wave = np.cos(hue - np.radians((0, 120, 240)))
    return np.asarray(rng.uniform(110, 190) + rng.uniform(50, 110) * wave).clip(0, 255)


def object_palette(
    background: Points, rng: Rng, contrast: tuple[float, float] = CONTRAST, label: int | None = None
) -> npt.NDArray[np.uint8]:
    """256 colours (256, 1, 3): light, main and dark of an object; `label`: its habitual hue, most of the time."""
    main = away(background, contrast, rng)
    if label is not None and rng.random() < HABIT:
        main = _habitual(label, rng)
    light = main + (255 - main) * rng.uniform(*LIGHT) + rng.normal(0, TINT, 3)
    dark = main * (1 - rng.uniform(*DARK)) + rng.normal(0, TINT, 3)
    return palette_of([main, *np.clip((light, dark), 0, 255)], TONES)
