"""Reading and writing .caffemodel files: the three formats, refusals, and hostile files."""

import json
import subprocess
import sys

import numpy as np
import pytest

from spprepro.errors import DataError
from spprepro.nets.caffemodel import read, read_blob, write, write_blob
from tests.conftest import ROOT
from tests.nets.caffefiles import blob, field, network

LAYERS = {
    "conv1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.array([1.5, -2], np.float32)],
    "fc6": [np.full((4, 5), 0.25, np.float32), np.arange(4, dtype=np.float32)],
}


@pytest.mark.parametrize("form", ["V0", "V1", "current"])
def test_every_format(tmp_path, form):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(network(form, LAYERS))
    found = read(path)
    assert found.format == form and list(found.layers) == list(LAYERS)
    for name, arrays in LAYERS.items():
        for ours, theirs in zip(found.layers[name], arrays, strict=True):
            assert ours.dtype == np.float32 and np.array_equal(ours.reshape(theirs.shape), theirs)
    assert found.layers["fc6"][0].shape == ((4, 5) if form == "current" else (1, 1, 4, 5))


def test_numbers_in_double_precision_and_in_parts(tmp_path):
    values = np.arange(6, dtype=np.float64)
    double = field(7, field(1, bytes([6]))) + field(8, values.tobytes())
    parts = field(7, field(1, 2) + field(1, 3)) + field(5, values[:2].astype("<f4").tobytes())
    parts += field(5, values[2:].astype("<f4").tobytes())
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(100, field(1, "fc") + field(7, parts) + field(7, double)))
    first, second = read(path).layers["fc"]
    assert np.array_equal(first, values.reshape(2, 3)) and np.array_equal(second, values)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "cannot be read"),
        (b"\xff\xd8\xff\xe0 a photo of somebody's dog" * 10, "no .caffemodel"),
        (b"PK\x03\x04" + bytes(300), "no .caffemodel"),
        (b"{}", "no .caffemodel"),
        (field(1, "no layers"), "0 layers, none with weights"),
        (network("V1", LAYERS)[:-30], "bytes where"),
        (network("V1", LAYERS) + field(100, field(1, "x")), "V1 and current format"),
        (network("V1", LAYERS) * 2, "two layers 'conv1'"),
        (field(2, field(4, "conv1") + field(6, field(1, 1 << 62) + field(5, bytes(8)))), "2 numbers for the shape"),
        (field(100, field(1, "a") + field(7, field(7, field(1, bytes([3])) + field(5, bytes(7))))), "0 numbers"),
        (field(100, field(1, "a") + field(7, field(7, field(1, bytes([1] * 9))) + field(5, bytes(4)))), "over 8 axes"),
        (field(100, field(1, "a") + field(7, field(5, bytes(7)))), "7 bytes of 4-byte"),
        (field(100, field(1, "a" * 300)), "name is no text"),
        (field(100, field(1, b"\xff\xfe")), "name is no text"),
        (field(100, 7), "a layer is a number"),
        (b"\xa2\x06" + b"\xff" * 9 + b"\x01", "bytes where"),
        (b"\xa2\x06" + b"\xff" * 12, "a number of over 10 bytes"),
        (field(100, b"") * 5000, "over 4096 layers"),
        (field(9, 1) * 300_000, "over 200,000 fields"),
    ],
)  # fmt: skip
def test_other_and_hostile_files_are_named(tmp_path, content, part):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"net\.caffemodel") as caught:
        read(path)
    assert part in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read(tmp_path / "nowhere.caffemodel")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "net.caffemodel"
    write(path, "toy", {"conv1": ("Convolution", LAYERS["conv1"]), "fc6": ("InnerProduct", LAYERS["fc6"])})
    found = read(path)
    assert found.format == "current"
    for name, arrays in LAYERS.items():
        for ours, theirs in zip(found.layers[name], arrays, strict=True):
            assert ours.shape == theirs.shape and np.array_equal(ours, theirs)


def test_what_is_written_is_what_protobuf_writes(tmp_path):
    """The same bytes as an encoder of its own; strided and float64 arrays too."""
    path = tmp_path / "net.caffemodel"
    turned = LAYERS["conv1"][0][:, ::-1]
    write(path, "toy", {"conv1": ("Convolution", [turned, LAYERS["conv1"][1].astype(np.float64)])})
    blobs = [blob(array, legacy=False) for array in (turned, LAYERS["conv1"][1])]
    layer = field(1, "conv1") + field(2, "Convolution") + b"".join(field(7, each) for each in blobs)
    assert path.read_bytes() == field(1, "toy") + field(100, layer)
    mean = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    write_blob(path, mean)
    assert path.read_bytes() == blob(mean, legacy=True)
    assert np.array_equal(read_blob(path), mean)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"no \.binaryproto, truncated or damaged"):
        read_blob(path)


FUZZ = """
import json, random, resource, sys, time
from pathlib import Path
from spprepro.errors import DataError
from spprepro.nets.caffemodel import read
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
folder, count, *files = sys.argv[1:]
draw, slowest = random.Random(0), 0.0
outcomes = {"read": 0, "refused": 0}
sources = [Path(file).read_bytes() for file in files]
marks = [[i for name in (b"conv", b"fc") for i in range(len(s)) if s.startswith(name, i)] for s in sources]
path = Path(folder, "mutant.caffemodel")
for number in range(int(count)):
    which = number % len(sources)
    made = bytearray(sources[which])
    for _ in range(draw.choice([1, 1, 2, 8])):
        near = draw.choice(marks[which]) + draw.randint(-12, 30) if draw.random() < 0.8 else draw.randrange(len(made))
        place = min(max(near, 0), len(made) - 1)
        kind = draw.randrange(5)
        if kind == 0:
            made[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            made[place : place + draw.randint(1, 6)] = draw.randbytes(draw.randint(0, 6))
        elif kind == 2:
            made[place:place] = b"\\xff" * draw.randint(1, 9) + b"\\x7f"
        elif kind == 3:
            del made[place + 1 :]
        else:
            made[place : place + 4] = draw.choice([b"\\0" * 4, b"\\xff" * 4, made[:40]])
    path.write_bytes(made)
    started = time.process_time()
    try:
        found = read(path)
        outcomes["read"] += 1
        assert sum(a.nbytes for arrays in found.layers.values() for a in arrays) <= 2 * len(made)
        for arrays in found.layers.values():
            for array in arrays:
                array.sum()
    except DataError:
        outcomes["refused"] += 1
    slowest = max(slowest, time.process_time() - started)
status = Path("/proc/self/status")  # getrusage's peak begins with that of the process that started this one
kept = dict(line.split(":") for line in status.read_text().splitlines()) if status.exists() else {"VmHWM": "0 kB"}
print(json.dumps({**outcomes, "slowest": slowest, "peak": int(kept["VmHWM"].split()[0])}))
"""


def fuzzed(tmp_path, count, files):
    command = [sys.executable, "-W", "ignore", "-c", FUZZ, str(tmp_path), str(count), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["read"] + said["refused"] == count and min(said["read"], said["refused"]) > count // 20, said
    assert said["slowest"] < 1 and said["peak"] < 1 << 20, said  # seconds, KiB


def test_mutated_files_are_read_or_refused(tmp_path):
    files = []
    for form in ("V0", "V1", "current"):
        files.append(tmp_path / f"{form}.caffemodel")
        files[-1].write_bytes(network(form, {**LAYERS, "conv2": LAYERS["conv1"]}))
    fuzzed(tmp_path, 2000, files)


@pytest.mark.slow  # 10,000 files of 240 to 670 KB: 7 s alone, longer on a busy machine
def test_mutated_files_of_caffe_are_read_or_refused(tmp_path, golden_file):
    names = ("zf5_eighth_v0_nolrn", "zf5_eighth_v1", "zf5_eighth_cls_spm6321", "zf5_eighth_cls_spm6321_v1")
    fuzzed(tmp_path, 10_000, [golden_file(f"{name}.caffemodel") for name in names])
