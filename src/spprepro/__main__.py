"""`python -m spprepro` and `spprepro`: Hydra composes the job, config.check judges it, jobs.py runs it.

Imports nothing heavy: help, validation and errors answer before torch is loaded.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spprepro import folders
from spprepro.created import refuse_when_composed
from spprepro.errors import ConfigError, Faults, Interrupted
from spprepro.files import read_yaml
from spprepro.overrides import group_options, preflight

_NOT_COMPOSED = (hydra.errors.HydraException, OmegaConfBaseException, yaml.YAMLError)
_NO_PLACE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "make room",
    errno.EROFS: "choose another results_dir or XDG_CACHE_HOME",
    errno.ENOTDIR: "choose another results_dir or XDG_CACHE_HOME",
    errno.EEXIST: "choose another results_dir or XDG_CACHE_HOME",
    errno.EACCES: "make it writable, or choose another results_dir or XDG_CACHE_HOME",
}
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def task(raw: DictConfig) -> None:
    """One composed job: check, then run."""
    from spprepro.config import check

    try:
        plain: Any = OmegaConf.to_container(raw, resolve=True)
    except OmegaConfBaseException as error:
        raise Faults(str(error).splitlines()[0]) from error
    config = check(plain)
    if config.task == "validate":
        from spprepro.composing import jobs_of, ordered

        for job in ordered(jobs_of(config.tables)) if config.tables else ordered([], [config]):
            print(f"valid: {job.name}, tier={job.tier}, seed={job.seed}")
        return
    from spprepro.jobs import start

    for number in (signal.SIGINT, signal.SIGTERM):  # else Lightning would end with 1, or not at all while it tests
        signal.signal(number, _interrupt)
    start(config)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted(signal.Signals(number).name)


def guarded(run: Callable[[], object]) -> int:
    """`run` with errors as people want them and the exit codes of the design: 0, 2, 130; others are raised."""
    try:
        run()
    except Faults as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return WRONG
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        what = f"{error.filename or 'the disk'}: {error.strerror}; {_NO_PLACE[error.errno]}"
        print(f"error: {what}; the same command then goes on from what is saved", file=sys.stderr)
        return FAILED
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"stopped by {stop or 'SIGINT'}; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return DONE


def job(raw: DictConfig) -> None:
    """What Hydra calls for each job; leaves by SystemExit, which Hydra passes on untouched."""
    code = guarded(lambda: task(raw))
    if code:
        sys.exit(code)


def main() -> None:
    """The command line."""
    from hydra._internal.utils import get_args_parser

    # options anywhere, as in experiment=... -m seed=0,1
    arguments = get_args_parser().parse_intermixed_args()
    if arguments.config_path or arguments.config_name:
        sys.exit(guarded(_refuse_other_primary))
    if not (arguments.help or arguments.hydra_help or arguments.shell_completion):
        places = [folders.conf()] + ([Path(arguments.config_dir)] if arguments.config_dir else [])
        kept, faults = preflight(arguments.overrides, group_options(places), multirun=arguments.multirun)
        slurm = any(text.replace(" ", "") == "trainer=slurm" for text in kept)
        if slurm and not arguments.multirun:
            faults.append("trainer: slurm submits the jobs of a sweep; add -m (multirun)")
        elif slurm and not faults:
            kept = list(map(_jobs_for_table, kept))
        if faults:
            sys.exit(guarded(lambda: _refuse(kept, faults, multirun=arguments.multirun)))
        given = set(arguments.overrides)
        options = [text for text in sys.argv[1:] if text not in given]
        sys.argv[1:] = [*options, *kept]
    # waiting threads that spin would stop a busy machine: measured 9 times slower beside one other process
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # an unforeseen error shows where it happened
    refuse_when_composed()
    run = hydra.main(version_base="1.3", config_path=str(folders.conf()), config_name="config")(job)
    try:
        sys.exit(guarded(run))
    except _NOT_COMPOSED as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(WRONG)


def _refuse_other_primary() -> None:
    raise ConfigError("--config-path, --config-name: jobs start from conf/config.yaml; add your files by --config-dir")


def _jobs_for_table(text: str) -> str:
    """experiment=tableN as the jobs that fill the table, each of which is then one of the sweep."""
    from spprepro.composing import jobs_of

    key, _, name = text.partition("=")
    path = folders.conf() / "experiment" / f"{name}.yaml"
    tables = read_yaml(path).get("tables") if key == "experiment" and path.is_file() else None
    return f"{key}={','.join(jobs_of(tables))}" if tables else text


def _refuse(kept: list[str], faults: list[str], *, multirun: bool) -> None:
    """Raise the command line's faults together with those of the rest of the configuration."""
    from spprepro.config import check

    if not multirun:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folders.conf())):
            try:
                raw: Any = OmegaConf.to_container(hydra.compose("config", overrides=kept), resolve=True)
                check(raw)
            except Faults as error:
                faults = faults + error.faults
            except _NOT_COMPOSED as error:
                faults = [*faults, str(error).splitlines()[0]]
    raise Faults(faults)


if __name__ == "__main__":
    main()
