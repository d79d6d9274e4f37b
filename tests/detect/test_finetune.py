"""Fine-tuning on a toy set: it learns, by its schedule, and goes on to the bit wherever it was stopped."""

import json
import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spprepro.config import Trainer
from spprepro.detect import finetune
from spprepro.detect.draws import draw, mirrored, pools
from spprepro.detect.features import SppFeatures
from spprepro.detect.sources import Source
from spprepro.detect.store import SppStore
from spprepro.detection import Schedule
from spprepro.errors import ConfigError, DataError, Interrupted
from spprepro.training.finite import NAME
from tests.detect.toys import RELEASED, spp, toy

STEPS, BATCH, BLOCK = 13, 16, 5
SCHEDULE = Schedule([0.01, 0.001], [8, 5])


@dataclass
class Seen:
    """What each mini-batch was: step, a sum of its inputs, rates, loss."""

    steps: list[int] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    rates: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return toy(tmp_path_factory.mktemp("toy"))


def test_a_loss_that_is_no_number_stops_and_names_the_pictures(tune, source, tmp_path):
    with pytest.raises(DataError, match="loss: nan at step"):
        tune(tmp_path, schedule=Schedule([1e30], [STEPS]))
    told = json.loads((tmp_path / NAME).read_text())
    paths = {str(source.split.path(number)) for number in range(len(source))}
    assert told["pictures"] and paths.issuperset(told["pictures"])
    assert not list((tmp_path / "checkpoints" / "finetune").glob(f"step-{told['step']:08d}*"))


@pytest.fixture(scope="module")
def tune(source):
    """tune(folder): a network fine-tuned in blocks of five mini-batches, and what it saw; `before(step)` may raise."""
    step = finetune.FineTuner.training_step

    def run(folder: Path, schedule=SCHEDULE, before=lambda step: None, every=2, **identity: Any):
        features, seen = spp([160]), Seen()
        fill = filling(features, source)
        network = features.tuned.train()

        def watched(self, batch, number):
            before(self.global_step)
            loss = step(self, batch, number)
            seen.steps.append(self.global_step)
            seen.sums.append(float(batch[0].double().sum()))
            seen.rates.append([group["lr"] for group in self.optimizers().param_groups])
            seen.losses.append(float(loss.detach()))
            return loss

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finetune.FineTuner, "training_step", watched)
            patch.setattr(finetune, "BLOCK", BLOCK)
            blocks = finetune.Blocks(
                pools(source), fill, 2 * features.inputs, sum(schedule.steps), BATCH, seed=0, flips=True
            )
            files = [source.split.path(number) for number in range(len(source))]
            settings = {"seed": 0, "identity": identity, "every": every, "files": files}
            finetune.finetune(network, blocks, schedule, Trainer("cpu"), folder, **settings)
        return {name: values.clone() for name, values in network.state_dict().items()}, seen

    return run


@pytest.fixture(scope="module")
def undisturbed(tune, tmp_path_factory):
    return tune(tmp_path_factory.mktemp("undisturbed"))


def filling(features: SppFeatures, source: Source, *, random_scale: bool = False):
    inner = finetune.spp_fill(SppStore(features, source, None), seed=0, random_scale=random_scale)

    def fill(drawn):
        with torch.no_grad():
            return inner(drawn)

    return fill


def stop_at(last: int, how=lambda: None):
    def before(step: int) -> None:
        if step == last:
            how()
            raise KeyError("stopped")

    return before


def same(ours, theirs) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_learns(tmp_path, tune):
    _, seen = tune(tmp_path, Schedule([0.01], [40]), every=500)
    assert np.mean(seen.losses[-10:]) < 0.8 * np.mean(seen.losses[:10])


def test_rates_follow_the_schedule_and_biases_learn_twice_as_fast(undisturbed):
    _, seen = undisturbed
    assert seen.steps == list(range(STEPS))
    assert seen.rates == [[0.01, 0.02]] * 8 + [[0.001, 0.002]] * 5


def test_biases_are_not_decayed_and_frozen_weights_not_touched():
    network = spp([160]).tuned
    network.fc6.requires_grad_(False)
    optimizer = finetune.FineTuner(network, SCHEDULE).configure_optimizers()
    weights, biases = optimizer.param_groups
    assert all(p is q for p, q in zip(weights["params"], (network.fc7.weight, network.fc8.weight), strict=True))
    assert all(p is q for p, q in zip(biases["params"], (network.fc7.bias, network.fc8.bias), strict=True))
    assert (weights["weight_decay"], biases["weight_decay"], weights["momentum"]) == (5e-4, 0, 0.9)


@pytest.mark.parametrize("last", [3, 5, 6, 10, 12])
def test_stopped_and_again_gives_the_same_weights(tmp_path, tune, undisturbed, last):
    """In the middle of a block, before its first mini-batch and before its last one."""
    whole, seen = undisturbed
    with pytest.raises(KeyError):
        tune(tmp_path, before=stop_at(last))
    ours, rest = tune(tmp_path)
    start = STEPS - len(rest.steps)
    assert last - 2 < start <= last  # from the last snapshot, not from the start
    assert (rest.steps, rest.sums, rest.losses) == (seen.steps[start:], seen.sums[start:], seen.losses[start:])
    assert same(ours, whole)


def test_sigterm_saves_at_once_and_goes_on_from_there(tmp_path, tune, undisturbed):
    whole, seen = undisturbed

    def before(step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        tune(tmp_path, before=before, every=500)
    ours, rest = tune(tmp_path, every=500)
    assert rest.sums == seen.sums[7:] and same(ours, whole)


def test_killed_between_the_last_mini_batch_of_a_block_and_its_end(tmp_path, tune, undisturbed):
    """No file is saved between the two, as a run could not go on from it exactly; it goes on from the one before."""
    whole, seen = undisturbed
    with pytest.raises(KeyError):
        tune(tmp_path, before=stop_at(10))
    kept = tmp_path / "checkpoints" / "finetune"
    assert sorted(path.name for path in kept.glob("*.ckpt")) == ["step-00000008.ckpt", "step-00000010.end.ckpt"]
    (kept / "step-00000010.end.ckpt").unlink()
    ours, rest = tune(tmp_path)
    assert rest.sums == seen.sums[8:] and same(ours, whole)


def test_what_is_finished_is_loaded_not_trained_again(tmp_path, tune):
    whole, _ = tune(tmp_path)
    again, seen = tune(tmp_path)
    assert not seen.steps and same(again, whole)


def test_a_snapshot_of_another_job_is_refused(tmp_path, tune):
    with pytest.raises(KeyError):
        tune(tmp_path, before=stop_at(6), seed=0)
    with pytest.raises(ConfigError, match="seed: 1 now, 0 in the run to be resumed"):
        tune(tmp_path, seed=1)
    shutil.rmtree(tmp_path / "checkpoints")
    tune(tmp_path, Schedule([0.01], [1]), seed=1)


def test_inputs_are_the_features_of_the_drawn_windows(source):
    """In the draw's order, mirrored where the draw says so, each at the scale of its test."""
    features = spp([160, 240])
    drawn = draw(pools(source), seed=0, block=0, steps=2, batch=BATCH, flips=True)
    assert drawn.mirrored.any() and not drawn.mirrored.all()
    found = filling(features, source)(drawn)
    assert found.dtype == torch.float16 and found.shape == (2 * BATCH, features.inputs)
    for place in range(2 * BATCH):
        number, size = int(drawn.image[place]), source.size(int(drawn.image[place]))
        box, picture = source.training_windows(number)[drawn.row[place]][None], source.picture(number)
        if drawn.mirrored[place]:
            box, picture = mirrored(box, size[1]), picture.flip(-1)
        with torch.no_grad():
            expected = features.describe(features.prepare(picture), box, size, ["pool5"]).layers["pool5"]
        torch.testing.assert_close(found[place].float(), expected[0].half().float())


def test_random_scales_are_random_and_the_same_each_time(source):
    """The released code takes each training window at one of the scales."""
    features = spp([160, 240], RELEASED)
    drawn = draw(pools(source), seed=0, block=0, steps=2, batch=BATCH, flips=False)
    best, chance, again = (filling(features, source, random_scale=random)(drawn) for random in (False, True, True))
    assert torch.equal(chance, again)
    assert 0 < (best == chance).all(1).sum() < len(best)


def test_a_block_fits_the_room_and_the_last_may_be_shorter(source):
    def blocks(steps: int, item: int) -> finetune.Blocks:
        return finetune.Blocks(pools(source), lambda drawn: torch.empty(0), item, steps, BATCH, seed=0, flips=False)

    assert blocks(1000, 2).block == finetune.BLOCK and blocks(1000, 2).epochs == 4
    large = blocks(1000, finetune.ROOM // (10 * BATCH))
    assert large.block == 10 and large.epochs == 100
    assert blocks(3, finetune.ROOM).block == 1  # at least one mini-batch
    assert len(blocks(3, 2).train_dataloader()) == 3
