"""What a configuration may have created: Hydra calls whatever a `_target_` names, and so does the set-up of logging.

Jobs are plain values (see config.py), so that launchers, sweepers and log handlers are all there is to create. Anything
else in hydra.* is refused as soon as it is composed, from the command line, a --config-dir or a job of a sweep.
"""

import re
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spprepro.errors import ConfigError

_ALLOWED = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "logging.StreamHandler",
    "logging.FileHandler",
    "ext://sys.stdout",
    "ext://sys.stderr",
}
_CALLED = ("_target_", "()", "class")  # the latter two in settings of logging
_PLAIN = re.compile(r"\$\{[\w.]*\}")
_CREATING = ("callbacks", "launcher", "sweeper", "hydra_logging", "job_logging")


def refuse_when_composed() -> None:
    """From now on a configuration that would create something else raises ConfigError instead of being composed.

    Hydra has no place for a check of one's own between composing a configuration and setting up its logging.
    """
    compose = ConfigLoaderImpl.load_configuration

    def composed(self: ConfigLoaderImpl, *arguments: Any, **options: Any) -> DictConfig:
        config = compose(self, *arguments, **options)
        found = list(faults(config.hydra))
        if found:
            raise ConfigError(found)
        return config

    ConfigLoaderImpl.load_configuration = composed  # type: ignore[method-assign]


def faults(hydra: DictConfig) -> Iterator[str]:
    """What a composed configuration's part `hydra` would run that is not ours or Hydra's."""
    for name in _CREATING:
        yield from _walked(hydra, name, f"hydra.{name}")
    for variable in hydra.job.env_set:  # PATH, LD_PRELOAD ...
        yield f"hydra.job.env_set.{variable}: a configuration sets no variables; set it in the shell"


def _walked(parent: Any, name: Any, key: str) -> Iterator[str]:
    """The faults of parent[name], whatever it refers to."""
    value: Any
    try:
        value = None if OmegaConf.is_missing(parent, name) else parent[name]
    except OmegaConfBaseException:  # refers to what Hydra fills in later
        text = str(OmegaConf.to_container(parent, resolve=False)[name])  # type: ignore[index]
        value, rest = text, _PLAIN.sub("", text)
        if "${" in rest or not rest:  # with other text it stays text
            yield f"{key}: {text} cannot be resolved; write a plain value"
    if isinstance(value, DictConfig | ListConfig):
        for part in value if isinstance(value, DictConfig) else range(len(value)):
            yield from _walked(value, part, f"{key}.{part!s}")
    elif isinstance(value, str) and (name in _CALLED or value.startswith("ext://")) and value not in _ALLOWED:
        yield f"{key}: {value!r} is not run; only Hydra's launchers, sweepers and log handlers are: remove it"
