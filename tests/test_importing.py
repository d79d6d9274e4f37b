"""Jobs of kind=import by the command line: the table, refusals, and what other jobs make of an imported network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spprepro.classify.ensemble import trained
from spprepro.config import check
from spprepro.errors import ConfigError
from spprepro.importing import import_job, unreadable
from spprepro.nets.caffemodel import write_blob
from tests.nets import caffefiles
from tests.nets.backbones import backbone
from tests.test_config import compose

JOB = ("experiment=caffe_zf5", "tier=smoke", "width=0.0625")
RUN = Path("results", "smoke", "caffe_zf5", "seed0")


@pytest.fixture
def file(tmp_path) -> Path:
    """A V1 file with the network of tier=smoke and 20 classes; levels rise."""
    its = backbone("zf5").scaled(1 / 16)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffefiles.network("V1", caffefiles.layers_of(its, its.channels * 50, 20)))
    return path


@pytest.mark.slow  # starts Python and torch four times: about 25 s
def test_an_imported_network_is_found_tested_and_kept(tmp_path, cli, file):
    asked = (*JOB, f"weights.file={file}", "weights.scale_train=false")
    done = cli("task=import_weights", *asked)
    assert done.returncode == 0, done.stderr
    for line in ("conv1  6x3x7x7, 1x1x1x6", "taken, BGR to RGB", "taken, levels 1,2,3,6 to 6,3,2,1", "taken, halved"):
        assert line in done.stdout
    record = json.loads((tmp_path / RUN / "record.json").read_text())
    assert record["status"] == "smoke" and record["metrics"] == {}
    assert record["data"]["weights"] == "net.caffemodel" and record["data"]["weights_format"] == "V1"
    its = trained(tmp_path / RUN)
    assert its.classes == 20 and torch.equal(its.module.mean, torch.full((3, 224, 224), 128.0))

    file.rename(tmp_path / "moved.caffemodel")  # no longer needed
    tested = cli("kind=test", "name=tested", "models=[caffe_zf5]", "views.tests=[full]", *JOB[1:])
    assert tested.returncode == 0, tested.stderr
    assert "full_top1_error" in tested.stdout

    its = backbone("zf5").scaled(1 / 16)
    file.write_bytes(caffefiles.network("V1", caffefiles.layers_of(its, its.channels * 50, 20, seed=1)))
    other = cli("task=import_weights", *asked)
    assert other.returncode == 2 and "is not the file that" in other.stderr
    again = cli("task=import_weights", *asked, "overwrite=true")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow  # a smoke detector: about 20 s
def test_a_detector_starts_from_it(tmp_path, cli, file):
    asked = ("experiment=table9_zf5_1sc", "models=[caffe_zf5]", *JOB[1:], f"weights.file={file}")
    refused = cli(*asked)
    assert refused.returncode == 2 and "weights.scale_train: not set; false for networks of SPP_net" in refused.stderr
    assert not (tmp_path / RUN).exists()  # nothing was begun
    done = cli(*asked, "weights.scale_train=false")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "results/smoke/table9_zf5_1sc/seed0/record.json").read_text())["needs"] == [
        "caffe_zf5"
    ]


def test_the_centre_of_a_mean_image_is_taken(tmp_path, file):
    """As R-CNN takes 227 of ILSVRC's 256 pixels; blue comes first in the file."""
    bgr = np.random.default_rng(0).uniform(0, 255, (1, 3, 256, 300)).astype(np.float32)
    write_blob(tmp_path / "mean.binaryproto", bgr)
    asked = (f"weights.file={file}", f"weights.mean_file={tmp_path / 'mean.binaryproto'}", "weights.scale_train=true")
    said = import_job(check(compose(*JOB, *asked)), tmp_path)
    assert said["mean"] == "mean.binaryproto" and len(said["mean_sha256"]) == 64
    kept = torch.load(tmp_path / "checkpoints" / "imported.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(kept["mean"], torch.from_numpy(bgr[0, ::-1, 16:240, 38:262].copy()))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["weights.file: not set"]),
        (("weights.file=nowhere.caffemodel",), ["nowhere.caffemodel: cannot be read"]),
        (("weights.file=cut",), ["cut: no .caffemodel, truncated or damaged"]),
        (
            ("weights.file=net.caffemodel", "width=0.25"),
            ["conv1: 6x3x7x7", "fc8:", "width: 0.25", "weights.scale_train"],
        ),
        (
            ("weights.file=convs", "weights.new=[fc8]"),
            ["fc6: not in the file", "fc7: not in the file", "weights.new=[fc8,fc6,fc7] starts"],
        ),
        (
            ("weights.file=net.caffemodel", "weights.mean_file=small"),
            ["small: its shape is (1, 3, 223, 300); a mean", "weights.scale_train: not set"],
        ),
        (("weights.file=net.caffemodel", "weights.mean_file=signed"), ["signed: -1 to 0; a mean image is of pixels"]),
        (("weights.file=net.caffemodel", "weights.mean_file=net.caffemodel"), ["net.caffemodel: no .binaryproto"]),
    ],
)
def test_all_that_stops_an_import_is_named_before_it(tmp_path, file, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    Path("cut").write_bytes(file.read_bytes()[:4000])
    layers = caffefiles.layers_of(backbone("zf5").scaled(1 / 16), 1, 1)
    convs = {name: arrays for name, arrays in layers.items() if name.startswith("conv")}
    Path("convs").write_bytes(caffefiles.network("V0", convs))
    write_blob(Path("small"), np.zeros((1, 3, 223, 300)))
    write_blob(Path("signed"), np.zeros((1, 3, 256, 256)) - (np.arange(256) == 0))
    faults = "\n".join(unreadable(check(compose(*JOB, *arguments))))
    for part in parts:
        assert part in faults


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("weights.mean=[1,2]",), "weights.mean: [1.0, 2.0] must be three"),
        (("weights.new=[conv1]",), "weights.new: ['conv1']; only fc layers"),
        (("kind=train",), "task=import_weights takes a job of kind=import"),
        (("task=export", "kind=test", "models=[caffe_zf5]"), "task=export takes one trained network"),
        (("task=export", "tables=[2]"), "task=export takes one trained network"),
    ],
)
def test_settings_at_fault_are_named(arguments, part):
    with pytest.raises(ConfigError) as caught:
        check(compose("task=import_weights", *JOB, *arguments))
    assert part in str(caught.value)


@pytest.mark.slow  # starts Python and torch: about 5 s
def test_convolutions_alone_are_enough_when_asked(tmp_path, cli):
    its = replace(backbone("zf5").scaled(1 / 16), fc=256)
    convs = {name: a for name, a in caffefiles.layers_of(its, 1, 1).items() if name.startswith("conv")}
    (tmp_path / "convs").write_bytes(caffefiles.network("current", convs))
    done = cli("task=import_weights", *JOB, "weights.file=convs", "weights.new=[fc6,fc7,fc8]")
    assert done.returncode == 0, done.stderr
    state = trained(tmp_path / RUN).module.network.state_dict()
    ours = state["trunk.conv1.weight"].numpy() * 0.015625  # of tier=smoke
    assert np.array_equal(ours, convs["conv1"][0][:, ::-1]) and state["head.fc6.weight"].std() > 0
