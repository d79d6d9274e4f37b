"""From names of jobs to their configurations: which jobs a table or a job needs, and in which order they run."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from spprepro import folders
from spprepro.config import Config, check
from spprepro.errors import ConfigError, Faults
from spprepro.files import write_text
from spprepro.paper.tables import load, load_all

_CHOICE = re.compile(r"\+*experiment=")
# of the job asked for, not of those that it needs
_TESTING = re.compile(r"\+*(views|views\..*|models|name|kind|data\.split|image|shards?)=")


def given() -> list[str]:
    """The overrides of the command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def has_company() -> bool:
    """Whether this is a job of a sweep or of Slurm, where others that need the same network may run it in its place."""
    swept = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return swept or "SLURM_JOB_ID" in os.environ


def chosen_folder() -> list[str]:
    """The option --config-dir of the command line."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [text for source in sources if source.provider == "command-line" for text in ("--config-dir", source.path)]


def needs(config: Config) -> list[str]:
    """The jobs whose networks this one tests."""
    return list(dict.fromkeys(model.partition(":")[0] for model in config.models))


def ordered(names: Iterable[str], first: Sequence[Config] = (), overrides: Sequence[str] | None = None) -> list[Config]:
    """The jobs `names` and those in `first` with all that they need, the needed ones before.

    Each is composed with `overrides` (None: those of the command line); raises ConfigError with the faults of all.
    """
    configs = {config.name: config for config in first}
    faults: list[str] = []
    waiting = [*names, *(need for config in first for need in needs(config))]
    while waiting:
        name = waiting.pop(0)
        if name in configs:
            continue
        try:
            configs[name] = _composed(name, given() if overrides is None else overrides)
        except Faults as error:
            faults += [fault if name in fault else f"{name}: {fault}" for fault in error.faults]
            continue
        waiting += needs(configs[name])
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    try:
        order = list(TopologicalSorter({name: needs(config) for name, config in configs.items()}).static_order())
    except CycleError as error:
        raise ConfigError(f"models: the jobs {' -> '.join(error.args[1])} need one another") from error
    for job in configs.values():
        wanted = ("detect",) if job.kind == "combine" else ("train", "import")
        other = [f"{need} of kind={configs[need].kind}" for need in needs(job) if configs[need].kind not in wanted]
        if other:
            faults.append(f"{job.name}: models: {', '.join(other)}; it takes jobs of kind={' or '.join(wanted)}")
    if faults:
        raise ConfigError(faults)
    return [configs[name] for name in order]


def jobs_of(tables: Sequence[int]) -> list[str]:
    """The jobs that fill the cells of these tables, each once; raises ConfigError for a table without a file."""
    found: dict[str, None] = {}
    for number in tables:
        found |= dict.fromkeys(load(folders.experiments() / f"table{number:02d}.yaml").jobs)
    return list(found)


def names_of_all() -> list[str]:
    """The jobs that fill the cells of any table."""
    return jobs_of([table.number for table in load_all(folders.experiments())])


def at_paper_scale() -> list[Config]:
    """Every job of every table, the needed before the needing, at tier=paper.

    Composing them takes seconds, which every job's report would pay: kept for this state of conf/ and experiments/.
    """
    state = sha256()
    for folder in (folders.conf(), folders.experiments()):
        for path in sorted(folder.rglob("*.yaml")):
            state.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    kept = folders.cache_home() / "plans" / f"{state.hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, Faults):  # none yet, or another version's
        return [check(raw) for raw in json.loads(kept.read_text())]
    jobs = ordered(names_of_all(), overrides=["tier=paper", "task=plan"])
    with suppress(OSError):
        write_text(kept, json.dumps([asdict(job) for job in jobs]))
    return jobs


def _composed(name: str, asked: Sequence[str]) -> Config:
    overrides = [text for text in asked if not _CHOICE.match(text)]
    overrides = [text.replace("task=detect", "task=plan") for text in overrides]  # a look at a picture needs no data
    plain = [text for text in overrides if not _TESTING.match(text)]
    config = _check(name, plain)
    return _check(name, overrides) if config.kind == "test" and plain != overrides else config


def _check(name: str, overrides: list[str]) -> Config:
    places = [folders.conf(), *map(Path, chosen_folder()[1::2])]
    if not any((place / "experiment" / f"{name}.yaml").is_file() for place in places):
        raise ConfigError(f"{name}: no such job; conf/experiment/{name}.yaml is not there")
    try:
        raw = OmegaConf.to_container(compose("config", overrides=[*overrides, f"experiment={name}"]), resolve=True)
    except (HydraException, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    return check(raw)  # type: ignore[arg-type]
