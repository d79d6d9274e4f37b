"""Nothing is created that a configuration names, but for Hydra's launchers, sweepers and log handlers."""

import hydra
import pytest

from spprepro import created, folders
from spprepro.config import check
from spprepro.errors import ConfigError
from tests.test_config import compose

FILES = {
    "callbacks": "callbacks: {mine: {_target_: os.mkdir, path: ran}}",
    "launcher": "launcher: {_target_: os.getcwd}",
    "sweeper": "sweeper: {_target_: os.getcwd}",
    "handler": "job_logging: {handlers: {mine: {class: subprocess.Popen, args: [mkdir, ran]}}}",
    "formatter": "hydra_logging: {version: 1, formatters: {mine: {(): os.mkdir, path: ran}}}",
    "import": "job_logging: {handlers: {mine: {class: logging.StreamHandler, stream: 'ext://antigravity.x'}}}",
    "variables": "job: {env_set: {PATH: elsewhere}}",
}


def faults(*overrides):
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
        config = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    return list(created.faults(config.hydra))


def hostile(folder, what):
    """A --config-dir with a job of that name."""
    path = folder / "mine" / "experiment" / "hostile.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\nhydra:\n  {FILES[what]}\n")
    return path.parents[1]


@pytest.mark.parametrize("what", FILES)
def test_what_a_file_names_is_a_fault(tmp_path, what):
    (fault,) = faults(f"hydra.searchpath=[file://{hostile(tmp_path, what)}]", "experiment=hostile")
    assert fault.startswith(f"hydra.{FILES[what].partition(':')[0]}.")


@pytest.mark.parametrize(
    ("what", "options"), [("callbacks", ["experiment=hostile"]), ("handler", ["-m", "experiment=table2,hostile"])]
)
def test_a_file_of_a_config_dir_runs_nothing(cli, tmp_path, what, options):
    done = cli("--config-dir", str(hostile(tmp_path, what)), *options, "task=validate")
    assert not (tmp_path / "ran").exists()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1 and "is not run" in done.stderr


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        ("+hydra.callbacks.mine={_target_: os.mkdir, path: ran}", "hydra.callbacks.mine._target_"),
        ("hydra.searchpath=[pkg://ran]", "hydra.searchpath"),
        ("--config-name=mine", "--config-path, --config-name"),
    ],
)
def test_nor_does_the_command_line(cli, tmp_path, argument, key):
    (tmp_path / "ran.py").write_text("raise SystemExit('imported')")
    done = cli(argument, "task=validate")
    assert done.returncode == 2 and done.stderr.startswith(f"error: {key}"), done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "hidden",
    [
        "+hydra.callbacks.mine=${data.mine}",
        "+hydra.callbacks.mine='${oc.create:\"{_target_: os.getcwd}\"}'",
        "+hydra.callbacks.mine='${oc.create:\"{_target_: os.getcwd, later: ${hydra.job.num}}\"}'",
        "+hydra.callbacks.mine=${hydra.job.num}",
        "+hydra.launcher.nested=[{_target_: os.getcwd}]",
    ],
)
def test_nor_what_it_refers_to(hidden):
    assert len(faults(hidden, "+data.mine={_target_: os.getcwd}")) == 1


@pytest.mark.parametrize(
    "own",
    [
        "trainer=slurm",
        "hydra/launcher=joblib",
        "hydra/launcher=submitit_local",
        "hydra/job_logging=default",
        "tier=small",
    ],
)
def test_hydras_own_are_welcome(own):
    pytest.importorskip(f"hydra_plugins.hydra_{'joblib' if 'joblib' in own else 'submitit'}_launcher")
    assert faults(own) == []


def test_a_target_among_a_jobs_settings_is_no_such_key():
    with pytest.raises(ConfigError, match=r"data\._target_: no such key"):
        check(compose("+data._target_=os.mkdir"))
