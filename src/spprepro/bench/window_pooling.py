"""Windows per second pooled from one feature map, all at once, against torchvision's roi_pool called level by level.

Both get the same map, windows and threads, and end with the same features, which is checked here, to the bit. The map
is random, after a ReLU; the windows lie in an image that ZF-5 turns into 43x57 cells (about s = 688, section 4.1),
sizes and shapes log-uniform, nearly as selective search's are. No two have the same cells, as the peer would pool both.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_pool

from spprepro.bench.result import Measurement, Side, finish, now, rate, training_device
from spprepro.config import Config
from spprepro.detect.pooling import pool_windows
from spprepro.detect.windows import Boxes, Cells, distinct, mapping_field, to_cells
from spprepro.errors import ConfigError
from spprepro.nets.geometry import map_side
from spprepro.training.cpu import keep_memory, set_threads

REQUIRED = 5.0  # times the peer
WINDOWS, ROUNDS = 2000, 9
HEIGHT, WIDTH = 704, 928  # pixels
SHORTEST, LONGEST, STRETCH = 32, 688, 2.5  # pixels of the geometric mean of a window's sides; their ratio at most


def measure(config: Config) -> None:
    """Ours and the peer in turn; leaves the record."""
    started = now()
    keep_memory()
    set_threads(config.trainer.threads)
    levels, net = config.pyramid.levels, config.backbone
    if not levels:
        raise ConfigError("pyramid.levels: empty; bench=window_pooling needs a pyramid, e.g. pyramid=p6321")
    count, rounds = (100, 2) if config.tier == "smoke" else (WINDOWS, ROUNDS)
    device = training_device(config)
    shape = (net.channels, map_side(net, HEIGHT), map_side(net, WIDTH))
    feature_map = torch.randn(shape, generator=torch.Generator().manual_seed(config.seed)).relu().to(device)
    cells = draw_cells(config, count)
    sides: list[Callable[[], Tensor]] = [
        lambda: pool_windows(feature_map, cells, levels),
        lambda: pool_level_by_level(feature_map, cells, levels),
    ]
    if not torch.equal(sides[0](), sides[1]()):
        raise RuntimeError("the two sides differ; their speeds cannot be compared")
    rates = [[rate(side, count, device) for side in sides] for _ in range(rounds + 1)]
    ours, peer = zip(*rates[1:], strict=True)  # the first round warms up
    finish(
        Measurement(
            name="window_pooling",
            ours=Side("all windows and levels at once", ours),
            peer=Side("torchvision's roi_pool, level by level", peer),
            unit="windows/s",
            sign=">=",
            limit=REQUIRED,
            amount={"windows": rounds * count},
            settings={
                "windows": count,
                "map": "x".join(map(str, shape)),
                "levels": "-".join(map(str, levels)),
                "cells of a window": round(float(np.prod(cells[:, 2:] - cells[:, :2] + 1, axis=1).mean())),
                "equal": "to the bit",
            },
            started=started,
        ),
        config,
    )


def draw_windows(rng: np.random.Generator, count: int) -> Boxes:
    """(count, 4) windows in an image of WIDTH x HEIGHT pixels."""
    mean = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), count))
    ratio = np.exp(rng.uniform(-1, 1, count) * np.log(STRETCH))
    sides = np.stack([mean * np.sqrt(ratio), mean / np.sqrt(ratio)], 1).clip(max=(WIDTH, HEIGHT))
    corner = rng.uniform(size=(count, 2)) * ((WIDTH, HEIGHT) - sides)
    return np.concatenate([corner, corner + sides - 1], 1)


def draw_cells(config: Config, count: int) -> Cells:
    """(count, 4) different windows in cells of the network's map, as the journal's formula maps them."""
    rng, net = np.random.default_rng(config.seed), config.backbone
    boxes = draw_windows(rng, 2 * count)
    one = np.zeros(len(boxes), np.int64)
    sizes = [(map_side(net, HEIGHT), map_side(net, WIDTH))]
    cells = to_cells(boxes, one, HEIGHT, [HEIGHT], sizes, mapping_field(net, "tpami"), "tpami")
    first, _ = distinct(one, cells)
    return cells[np.sort(first)[:count]]


def pool_level_by_level(feature_map: Tensor, cells: Cells, levels: list[int]) -> Tensor:
    """The same features by torchvision, whose boxes may be cells: whole numbers at spatial_scale 1."""
    boxes = torch.from_numpy(cells).to(feature_map)
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], 1)
    return torch.cat([roi_pool(feature_map[None], rois, (n, n), 1.0).flatten(1) for n in levels], 1)
