"""task=export by the command line: each file of a finished job is there, says what it is and gives the job's scores."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from spprepro.classify.ensemble import trained
from spprepro.config import check
from spprepro.detect import export
from spprepro.detect.detector import Detector
from spprepro.detect.mining import LayerSvms
from spprepro.detecting import _empty, features_of, load, load_exported, save_exported
from spprepro.errors import ConfigError, DataError
from spprepro.exporting import compare
from spprepro.nets.caffemodel import read
from spprepro.nets.export import Exported, read_tensors, to_onnx
from spprepro.nets.network import Network
from tests.detect.toys import learned
from tests.nets.backbones import backbone
from tests.test_config import compose

pytest.importorskip("onnxruntime", reason="needs the extra `export`")


JOB = "table1_zf5_multisize"


@pytest.mark.slow  # trains a smoke network and exports it: about 30 s
def test_a_finished_job_as_files(tmp_path, cli, monkeypatch):
    early = cli("task=export", f"experiment={JOB}", "tier=smoke")
    assert early.returncode == 2 and f"no finished job; run experiment={JOB} first" in early.stderr
    assert cli(f"experiment={JOB}", "tier=smoke").returncode == 0
    done = cli("task=export", f"experiment={JOB}", "tier=smoke")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "smoke" / JOB / "seed0"
    files = {path.name: path for path in (run / "export").iterdir()}
    endings = (".safetensors", ".onnx", ".prototxt", ".caffemodel", "_mean.binaryproto")
    assert set(files) == {"MODEL_CARD.md", *(f"{JOB}{ending}" for ending in endings)}
    assert {Path(line).name for line in done.stdout.splitlines()} == set(files)
    text = files["MODEL_CARD.md"].read_text()
    record = json.loads((run / "record.json").read_text())
    error = f"{record['metrics']['top1_error']['value']:.2f} %"
    for part in ("tier=smoke", record["data"]["fingerprint"], error, "MIT licence"):
        assert part in text
    for name, path in files.items():
        assert name == "MODEL_CARD.md" or hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert read(files[f"{JOB}.caffemodel"]).layers["fc8"][0].shape[0] == 20

    module = trained(run).module
    pixels = torch.randint(0, 256, (1, 3, 201, 260), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.no_grad():
        wanted = module(module.prepare_test(pixels)).numpy()
    monkeypatch.chdir(run / "export")
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(first, names)
    assert names["scores"].shape == (1, 20) and len(json.loads(names["classes"])) == 20
    (theirs,) = names["session"].run(["logits"], {"pixels": pixels.numpy()})
    assert np.abs(theirs - wanted).max() <= 1e-4 * np.abs(wanted).max()
    names["pixels"] = pixels
    exec(second, names)
    np.testing.assert_allclose(names["logits"].detach().numpy(), wanted, rtol=1e-5, atol=1e-5)
    assert names["model"].classes == np.load(run / "predictions.npz")["classes"].tolist()


@pytest.mark.slow  # trains a smoke network and a detector and exports it: about 50 s
def test_a_finished_detector_as_files(tmp_path, cli, monkeypatch):
    job = "table9_zf5_1sc"
    assert cli(f"experiment={job}", "tier=smoke").returncode == 0
    done = cli("task=export", f"experiment={job}", "tier=smoke")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "smoke" / job / "seed0"
    files = {path.name: path for path in (run / "export").iterdir()}
    assert set(files) == {"MODEL_CARD.md", *(f"{job}{end}" for end in (".safetensors", "_trunk.onnx", "_head.onnx"))}
    assert {Path(line).name for line in done.stdout.splitlines()} == set(files)
    text = files["MODEL_CARD.md"].read_text()
    record = json.loads((run / "record.json").read_text())
    value = f"{record['metrics']['ftfc7_bb_map']['value']:.2f} %"
    for part in ("tier=smoke", record["data"]["fingerprint"], value, "MIT licence", "pyramid {6,3,2,1}"):
        assert part in text
    for name, path in files.items():
        assert name == "MODEL_CARD.md" or hashlib.sha256(path.read_bytes()).hexdigest() in text

    whole = load(check(yaml.safe_load((run / "config.yaml").read_text())), run)
    picture = torch.randint(0, 256, (3, 120, 160), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    names: dict = {"picture": picture, "boxes": np.array([[0, 0, 159, 119], [20, 10, 90, 80]], float)}
    monkeypatch.chdir(run / "export")
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    with torch.inference_mode():
        wanted = whole.find(picture, names["boxes"], whole.rows)
    assert names["detector"].classes == whole.classes and list(names["found"]) == whole.rows
    for row in whole.rows:
        for ours, theirs in zip(names["found"][row], wanted[row], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert str(tmp_path) not in read_tensors(files[f"{job}.safetensors"])[0]["config"]


@torch.inference_mode()
def test_a_detector_on_torchvisions_trunk_needs_no_other_file(tmp_path):
    overrides = ("experiment=table9_squeezenet_1sc", "tier=smoke", "backbone.weights=/home/me/none.pth")
    config = check(compose(*overrides, "voc.root=/home/me/voc"))
    features = features_of(config, _empty(config)).eval()
    for value in features.parameters():
        value.normal_(0, 0.03)
    svms = {"pool5": LayerSvms(np.ones((20, features.inputs), np.float32), np.zeros(20, np.float32), 0.1)}
    classes = [f"class {k}" for k in range(20)]
    detector, path = Detector(features, config.protocol, classes, svms, None, "pool5"), tmp_path / "a.safetensors"
    save_exported(path, detector, config, {})
    again = load_exported(path)
    assert "/home/me" not in read_tensors(path)[0]["config"] and again.classes == classes
    for key, value in features.state_dict().items():
        assert torch.equal(again.features.state_dict()[key], value), key
    trunk, head = (part(again, {}).SerializeToString() for part in (export.trunk, export.head))
    assert export.compare(again, trunk, head) < 1e-5


def test_safetensors_without_a_configuration_are_refused(tmp_path):
    export.save(tmp_path / "a.safetensors", learned(), {})
    with pytest.raises(DataError, match=r"a\.safetensors: no configuration of a detector"):
        load_exported(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("job", "part"),
    [
        ("table12_combined", "each alone: experiment=table9_zf5_5sc, experiment=table12_zf5_second"),
        ("table5_ensemble", ", experiment=table1_overfeat7_multisize"),
        ("table1_zf5_layers", "e.g. experiment=table1_zf5_nospp"),
    ],
)
def test_jobs_that_are_no_single_model_say_what_to_export(job, part):
    with pytest.raises(ConfigError, match="task=export takes one trained network or detector") as caught:
        check(compose("task=export", f"experiment={job}", "tier=smoke"))
    assert part in str(caught.value)


def test_a_graph_that_computes_something_else_is_refused():
    its = backbone("zf5").scaled(1 / 16)
    levels, mean = [6, 3, 2, 1], torch.zeros(3, 224, 224)

    def model(scale):
        torch.manual_seed(0)
        network = Network(its, levels=levels, classes=5).eval()
        return Exported(network, its, levels, 224, mean, scale, list("abcde"))

    graph = to_onnx(model(1 / 64), {}).SerializeToString()
    assert compare(graph, model(1 / 64)) < 1e-5
    with pytest.raises(DataError, match=r"the ONNX graph of ZF-5 differs from the network by"):
        compare(graph, model(1 / 60))
