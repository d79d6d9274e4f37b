"""Features of training windows, image by image: what is costly is computed once an image and kept on disk if asked.

For SPP-net the costly part is the maps of the image; for R-CNN it is all features of all its windows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spprepro.detect.features import Described
from spprepro.detect.sources import Source
from spprepro.kept import Kept


class SppStore:
    """Maps of training images; see the module."""

    def __init__(self, features: Any, source: Source, folder: Path | None) -> None:
        self.features, self.source, self.kept = features, source, Kept(folder)

    def maps(self, number: int, mirrored: bool = False) -> list[torch.Tensor]:
        """The last maps of an image, or of its mirror image, at each scale."""

        def make() -> dict[str, NDArray[Any]]:
            picture = self.source.picture(number)
            maps = self.features.prepare(picture.flip(-1) if mirrored else picture)
            return {str(k): each.cpu().numpy() for k, each in enumerate(maps)}

        key = self.source.split.images[number].id + ("_mirrored" if mirrored else "")
        device = self.features.trunk.mean.device
        return [torch.from_numpy(each).to(device) for each in self.kept.get(key, make).values()]

    def describe(self, number: int, rows: NDArray[np.int64], layers: Sequence[str]) -> Described:
        """The layers for these rows of the image's training windows."""
        boxes = self.source.training_windows(number)[rows]
        found: Described = self.features.describe(self.maps(number), boxes, self.source.size(number), layers)
        return found


class RcnnStore:
    """Features of training windows, rounded to fp16; see the module. `layers`: all that will be asked.

    Those of all windows of an image are kept, if any.
    """

    def __init__(self, features: Any, source: Source, folder: Path | None, layers: Sequence[str]) -> None:
        self.features, self.source, self.kept, self.layers = features, source, Kept(folder), list(layers)

    def describe(self, number: int, rows: NDArray[np.int64], layers: Sequence[str]) -> Described:
        """The layers for these rows of the image's training windows."""

        def make(layers: Sequence[str], chosen: Any) -> dict[str, NDArray[Any]]:
            picture, boxes = self.source.picture(number), self.source.training_windows(number)[chosen]
            found = self.features.describe(picture, boxes, self.source.size(number), layers)
            return {name: values.cpu().numpy().astype(np.float16) for name, values in found.layers.items()}

        if self.kept.folder is None:
            arrays = make(layers, rows)
        else:
            arrays = self.kept.get(self.source.split.images[number].id, lambda: make(self.layers, slice(None)))
            arrays = {name: arrays[name][rows] for name in layers}
        same = np.arange(len(rows))
        return Described({name: torch.from_numpy(arrays[name].astype(np.float32)) for name in layers}, same, same)
