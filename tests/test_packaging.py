"""The wheel, installed elsewhere, brings conf/, experiments/ and both commands."""

import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_every_configuration_table_and_template(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("conf", "*.yaml"), ("experiments", "*.yaml"), ("src/spprepro", "page.*")):
        for path in (ROOT / folder).rglob(pattern):
            inside = path.relative_to(ROOT / "src" if folder.startswith("src") else ROOT)
            name = inside.as_posix() if folder.startswith("src") else f"spprepro/{inside.as_posix()}"
            assert name in names, name
    assert "spprepro/py.typed" in names
    assert not any(name.startswith("tests") for name in names)


@pytest.mark.slow  # a new virtual environment and several starts of Python
def test_both_commands_work_from_an_installed_wheel(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # not installed a second time
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for command in ([str(python), "-m", "spprepro"], [str(tmp_path / "venv" / "bin" / "spprepro")]):
        arguments = ["task=validate", "experiment=table1_zf5_multisize"]
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "valid: table1_zf5_multisize, tier=mini, seed=0\n"
    where = subprocess.run(
        [str(python), "-c", "from spprepro import folders; print(folders.conf(), folders.experiments())"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.split() == [str(packages / "spprepro" / name) for name in ("conf", "experiments")]
