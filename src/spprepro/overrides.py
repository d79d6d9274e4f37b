"""The command line before Hydra sees it: all faults of all overrides at once, instead of Hydra's first one.

Group choices are checked against the folders of conf/; `key=value` becomes `++key=value`, so that unknown keys reach
the schema (config.check), which reports every one of them with what is allowed.
"""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException


def group_options(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The groups below conf/ (and --config-dir) with their options."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for group in sorted(path for path in folder.iterdir() if path.is_dir()):
            options.setdefault(group.name, set()).update(path.stem for path in group.glob("*.yaml"))
    return {group: sorted(names - {"base"}) for group, names in options.items()}


def preflight(overrides: Sequence[str], groups: dict[str, list[str]], *, multirun: bool) -> tuple[list[str], list[str]]:
    """(overrides as Hydra is to see them, faults). Overrides at fault are left out of the former."""
    kept, faults = [], []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            faults.append(
                f"{text}: cannot be read; write key=value, and quote values with spaces or signs: \"key='...'\""
            )
            continue
        if override.key_or_group == "hydra.searchpath":  # its pkg:// would import anything
            faults.append(f"{text}: files are searched in conf/ and --config-dir only; leave it out")
            continue
        if override.is_sweep_override() and not multirun:
            faults.append(f"{text}: several values are a sweep; add -m (multirun)")
            continue
        if override.key_or_group in groups and text.startswith("+"):
            faults.append(f"{text}: the group has a default; write it without +")
            continue
        found = list(_choice_faults(override, groups))
        faults += found
        if not found:
            kept.append(_forced(text, override, groups))
    return kept, faults


def _choice_faults(override: Override, groups: dict[str, list[str]]) -> list[str]:
    group = override.key_or_group
    if group not in groups or override.is_delete():
        return []
    known = groups[group]
    choices = [str(value) for value in _choices(override)]
    wrong = [
        choice for choice in choices if choice != "None" and choice not in known and not fnmatch.filter(known, choice)
    ]
    return [f"{group}: {choice!r} is not allowed; choose one of {', '.join(known)}" for choice in wrong]


def _choices(override: Override) -> list[object]:
    """The value, or each value of a sweep; a glob counts as its patterns."""
    if not override.is_sweep_override():
        return [override.value()]
    sweep = override.value()
    if isinstance(sweep, Glob):
        return list(sweep.include)
    return list(override.sweep_string_iterator())


def _forced(text: str, override: Override, groups: dict[str, list[str]]) -> str:
    plain = override.type is not None and override.type.name == "CHANGE"
    own = override.key_or_group not in groups and not override.key_or_group.startswith("hydra")
    return f"++{text}" if plain and own and override.package is None else text
