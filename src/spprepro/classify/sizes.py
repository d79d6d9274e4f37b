"""The input size of each epoch (section 2.3)."""

from collections.abc import Sequence

import numpy as np


def size_of_epoch(mode: str, sizes: Sequence[int], seed: int, epoch: int) -> int:
    """Pixels: the sizes in turn, a whole epoch each; randomsize draws from [sizes[0], sizes[1]], ends included."""
    if mode == "randomsize":
        return int(np.random.default_rng((seed, epoch)).integers(sizes[0], sizes[1] + 1))
    return sizes[epoch % len(sizes)]
