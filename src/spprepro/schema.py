"""Plain values (of YAML) as the dataclasses that describe them; every fault in words, none raised. Imports no torch."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


def build(kind: Any, value: Any, key: str, faults: list[str]) -> Any:
    """`value` as `kind`, a dataclass or a plain annotation; faults are added, never raised."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), value, key, faults)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        if all(map(dataclasses.is_dataclass, parts)) and isinstance(value, Mapping):  # told apart by their method
            kinds = {part.method: part for part in parts}
            if value.get("method") in list(kinds):  # which compares what has no hash, too
                return build(kinds[value["method"]], value, key, faults)
            faults.append(f"{key}.method: {value.get('method')!r} is not allowed; choose one of {', '.join(kinds)}")
            return value
        return build(next(part for part in parts if part is not type(None)), value, key, faults)
    if origin is Literal:
        if value not in parts or isinstance(value, bool):
            faults.append(f"{key}: {value!r} is not allowed; choose one of {', '.join(map(str, parts))}")
        return value
    if origin is list and isinstance(value, list):
        return [build(parts[0], item, f"{key}[{i}]", faults) for i, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping):
        return {name: build(parts[1], item, f"{key}.{name}", faults) for name, item in value.items()}
    wanted = origin or kind
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
    if wrong or (wanted is float and not math.isfinite(value)):
        names = {
            int: "a whole number",
            float: "a number",
            str: "a text",
            bool: "true or false",
            list: "a list",
        }
        shown = "nothing" if value is None else repr(value)
        faults.append(f"{key}: {shown} is not {names.get(wanted, 'a group of keys')}; set it, e.g. {key}=...")
    return value


def _build_dataclass(kind: type, value: Any, key: str, faults: list[str]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    if not isinstance(value, Mapping):
        faults.append(f"{key}: {value!r} is not a group of keys; it holds {', '.join(fields)}")
        return value
    prefix = f"{key}." if key else ""
    before = len(faults)
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(str(name), list(fields), n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"allowed here: {', '.join(fields)}"
            faults.append(f"{prefix}{name}: no such key; {hint}")
    built = {}
    for name, f in fields.items():
        if name in value:
            built[name] = build(hints[name], value[name], f"{prefix}{name}", faults)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            faults.append(f"{prefix}{name}: missing; set it, e.g. {prefix}{name}=...")
    return kind(**built) if len(faults) == before else None
