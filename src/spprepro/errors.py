"""Errors meant for people: each fault is one sentence that names the file or key, the value, and what to do."""

from collections.abc import Sequence


class Faults(Exception):
    """One or more faults found together; the command line prints one line for each and exits with 2."""

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class ConfigError(Faults):
    """The configuration is wrong: unknown keys, wrong types, values that do not go together."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: what was done is saved, the same command goes on from there."""


class DataError(Faults):
    """The data is wrong: missing folders, unreadable images, counts that do not match."""
