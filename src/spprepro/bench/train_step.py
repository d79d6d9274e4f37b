"""Images per second in training steps: this project's, against the same network of stock modules in fp32, contiguous.

Both sides run train_loop's bare step on the same batches with the same initial weights, preparing the batch included:
ours in the precision and memory format of the job, the peer as PyTorch comes. One record for each size of training.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from time import perf_counter

import numpy as np
import torch

from spprepro.bench.result import Measurement, Side, finish, now, synchronise, training_device
from spprepro.bench.stock import make_stock
from spprepro.bench.train_loop import bare_steps
from spprepro.classify.module import Classifier
from spprepro.classify.train import build_classifier
from spprepro.config import Config
from spprepro.data.loader import Batch, pixels_last
from spprepro.plan import counts
from spprepro.training.cpu import keep_memory, set_threads

REQUIRED = 2.3  # times the peer; what conf/tier says of bf16 and channels_last on a CPU
STEPS, ROUNDS = 5, 7


def measure(config: Config) -> None:
    """Both sides in turn, size by size; leaves a record for each."""
    keep_memory()
    set_threads(config.trainer.threads, spare=1)  # as in training, though no worker runs here
    steps, rounds = (1, 2) if config.tier == "smoke" else (STEPS, ROUNDS)
    classes, device, count = counts(config)["classes"], training_device(config), config.training.batch
    for size in config.training.sizes:
        started = now()
        drawn, ours, peer = batch(config, classes, size), classifier(config, classes), stock(config, classes)
        parameters = sum(each.numel() for each in ours.network.parameters())
        sides = [
            bare_steps(ours, repeat(drawn), config.trainer.precision, device),
            bare_steps(peer, repeat(drawn), "fp32", device),
        ]
        rates = [[count * steps / _seconds(side, steps, device) for side in sides] for _ in range(rounds + 1)]
        own, theirs = zip(*rates[1:], strict=True)  # the first round warms up
        layout = "channels_last" if config.trainer.channels_last else "contiguous"
        finish(
            Measurement(
                name=f"train_step_{size}",
                ours=Side(f"this step: {config.trainer.precision}, {layout}, own LRN and pyramid", own),
                peer=Side("stock PyTorch modules: fp32, contiguous", theirs),
                unit="images/s",
                sign=">=",
                limit=REQUIRED,
                amount={"images": rounds * steps * count},
                settings={
                    "backbone": config.backbone.name,
                    "width": config.width,
                    "levels": "-".join(map(str, config.pyramid.levels)),
                    "parameters": parameters,
                    "size": size,
                    "batch": count,
                },
                started=started,
            ),
            config,
        )


def classifier(config: Config, classes: int) -> Classifier:
    """The job's network with its initial weights; of the pictures it knows nothing."""
    mean = np.full((3, config.data.crop, config.data.crop), 128, np.float32)
    return build_classifier(config, classes, mean, np.zeros((3, 3), np.float32))


def stock(config: Config, classes: int) -> Classifier:
    """The same with torch's own modules, contiguous."""
    plain = classifier(replace(config, trainer=replace(config.trainer, channels_last=False)), classes)
    make_stock(plain.network)
    return plain


def batch(config: Config, classes: int, size: int) -> Batch:
    """A batch of noise as the loader hands it over."""
    count, crop = config.training.batch, config.data.crop
    rng = torch.Generator().manual_seed(config.seed)
    return Batch(
        images=pixels_last(count, crop, crop).random_(generator=rng),
        labels=torch.randint(classes, (count,), generator=rng),
        index=torch.arange(count),
        flip=torch.arange(count) % 2 == 0,
        colour=torch.zeros(count, 3),
        size=size,
    )


def _seconds(step: Callable[[], None], steps: int, device: torch.device) -> float:
    synchronise(device)
    since = perf_counter()
    for _ in range(steps):
        step()
    synchronise(device)
    return perf_counter() - since
