"""Shared by all tests: the reference outputs, small generated data sets, and the command line as users run it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from spprepro.data import mini
from spprepro.data.layouts import VERSION

ROOT = Path(__file__).resolve().parents[1]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: archives bear the time, and processes must agree on the names of tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """golden_file(name): a reference file; skips where the trimmed copy lacks it."""
    folder = Path(os.environ.get("SPPREPRO_GOLDEN") or ROOT / "tests" / "golden").absolute()

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}; set SPPREPRO_GOLDEN to the whole set")
        return folder / name

    return find


@pytest.fixture(scope="session")
def golden(golden_file: Callable[[str], Path]) -> Callable[..., dict[str, np.ndarray]]:
    """golden(file, *keys): arrays of a reference file; skips where the trimmed copy lacks a key."""

    def load(name: str, *keys: str) -> dict[str, np.ndarray]:
        path = golden_file(name)
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in keys if key not in arrays.files]
            if missing:
                pytest.skip(f"{path} lacks {missing[0]}; set SPPREPRO_GOLDEN to the whole set")
            return {key: arrays[key] for key in keys or arrays.files}

    return load


def write_picture(path: Path, height: int, width: int, seed: int) -> None:
    """A smooth random picture as a file of the type its name says."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="session")
def real_photos() -> Callable[[str], Path]:
    """real_photos(name): a folder of real photos under the SPPREPRO_DATA that pytest was started with, else skips."""
    home = os.environ.get("SPPREPRO_DATA")

    def find(name: str) -> Path:
        if home is None or not (Path(home) / name).is_dir():
            pytest.skip(f"no {name} in SPPREPRO_DATA; set it to a folder that holds it")
        return Path(home) / name

    return find


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's data sets and caches."""
    monkeypatch.setenv("SPPREPRO_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder in ILSVRC's layout: 2 classes, 6 training and 3 test images each, of different sizes."""
    root = tmp_path / "tree"
    for split, count in (("train", 6), ("val", 3)):
        for label, wnid in enumerate(("n01", "n02")):
            for i in range(count):
                write_picture(root / split / wnid / f"{wnid}_{i}.JPEG", 60 + 7 * i, 80 - 5 * i, seed=100 * label + i)
    return root


@pytest.fixture(scope="session")
def smoke_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPPREPRO_DATA with the generated set that tier=smoke asks for."""
    home = tmp_path_factory.mktemp("data")
    amounts = mini.Amounts(imagenet_train=40, imagenet_val=20, imagenet_test=20)
    mini.generate(home / f"mini-v{VERSION}-seed0-40-20-20", part="imagenet", seed=0, amounts=amounts)
    return home


def two_processes(folder: Path, script: str, *arguments: str) -> None:
    """Run `script` in `folder` in two processes that reach one another: `with ranks.connected("cpu")` there."""
    (folder / "script.py").write_text(script)
    launch = "import sys; from spprepro import ranks; sys.exit(ranks.launch(sys.argv[1:], 2, 1))"
    command = [sys.executable, "-c", launch, "script.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


Cli = Callable[..., subprocess.CompletedProcess[str]]


def surroundings(smoke_data: Path) -> dict[str, str]:
    """The environment of a command whose data and cache lie in `smoke_data`."""
    return {**os.environ, "SPPREPRO_DATA": str(smoke_data), "XDG_CACHE_HOME": str(smoke_data)}


@pytest.fixture
def cli(smoke_data: Path, tmp_path: Path) -> Cli:
    """cli("key=value", ...): python -m spprepro in an empty folder; results go to tmp_path/results."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spprepro", *arguments]
        environment = surroundings(smoke_data) | dict(env or {})
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run
