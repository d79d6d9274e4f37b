"""Reading one hand-written YAML file: keys and types checked, and everything that is wrong collected on the way."""

import re
from collections.abc import Mapping
from typing import Any

Keys = Mapping[str, tuple[type, ...]]
"""Key -> the types that its value may have."""
TEXT, NUMBER, MAP, LIST, FLAG = (str,), (int, float), (dict,), (list,), (bool,)


class Reader:
    """Checks parts of the file `path`; `faults` are the lines for the person who wrote it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.faults: list[str] = []

    def fault(self, key: str, what: str) -> None:
        line = f"{self.path}: {key}: {what}"
        if line not in self.faults:
            self.faults.append(line)

    def keys(self, raw: Any, where: str, needed: Keys, optional: Keys | None = None) -> bool:
        """Whether `raw` is a mapping with these keys and types and no others."""
        before = len(self.faults)
        known = {**needed, **(optional or {})}
        dot = f"{where}." if where else ""
        if not isinstance(raw, dict):
            self.fault(where or "the file", "is not a mapping")
            return False
        for key in needed:
            if key not in raw:
                self.fault(f"{dot}{key}", "missing")
        for key, value in raw.items():
            if key not in known:
                self.fault(f"{dot}{key}", f"unknown key; known are {', '.join(known)}")
            elif not isinstance(value, known[key]) or (isinstance(value, bool) and bool not in known[key]):
                kinds = " or ".join(kind.__name__ for kind in known[key])
                self.fault(f"{dot}{key}", f"{value!r} is not a {kinds}")
        return len(self.faults) == before

    def keyed(self, raw: list[Any], where: str, needed: Keys, optional: Keys) -> dict[str, dict[str, Any]]:
        """The good entries of a list of mappings that have a `key`, by that key."""
        good: dict[str, dict[str, Any]] = {}
        for index, item in enumerate(raw):
            place = f"{where}[{index}]"
            if not self.keys(item, place, needed, optional):
                continue
            if item["key"] in good:
                self.fault(f"{place}.key", f"{item['key']!r} twice")
            good[item["key"]] = item
        return good

    def names(self, raw: list[Any], where: str) -> list[str]:
        """The texts of a list of texts, each once."""
        good: list[str] = []
        for value in raw:
            if not isinstance(value, str):
                self.fault(where, f"{value!r} is not a text")
            elif value in good:
                self.fault(where, f"{value!r} twice")
            else:
                good.append(value)
        return good

    def numbers(self, raw: Any, where: str, columns: Mapping[str, Any]) -> dict[str, float]:
        """Column key -> number, where something is printed (null: the paper prints a dash)."""
        if not isinstance(raw, dict):
            return {}
        good = {}
        for key, value in raw.items():
            if key not in columns:
                self.fault(f"{where}.{key}", f"not a column; columns are {', '.join(columns)}")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                good[key] = float(value)
            elif value is not None:
                self.fault(f"{where}.{key}", f"{value!r} is not a number")
        return good

    def expand(self, pattern: str, where: str, row: str, column: str) -> str:
        """`pattern` with {row} and {column} replaced."""
        text = pattern.replace("{row}", row).replace("{column}", column)
        if not re.fullmatch(r"[A-Za-z0-9_]+", text):
            self.fault(where, f"{pattern!r} gives {text!r}; letters, digits, _ and {{row}}, {{column}} only")
        return text
