"""The paper's claims, as statements about the cells of its tables: data, parsing, and what the printed numbers say.

A claim has effects, each a sum of cells with signs, such as `a_top1.zf5 - b_top1.zf5` or `table02:c_top1.zf5 - ...`;
the claim is that every effect is over a number, or within a range. `{column}` in an effect stands for each of the
claim's `columns`. `exceptions` name the effects for which the printed numbers themselves do not bear the claim out.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from spprepro.paper.reader import LIST, NUMBER, TEXT, Keys, Reader

Verdict = Literal["confirmed", "contradicted", "undecided", "not run"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "contradicted", "undecided", "not run")

_CLAIM: Keys = {"key": TEXT, "statement": TEXT, "source": TEXT, "effects": LIST}
_MORE: Keys = {"columns": LIST, "over": NUMBER, "within": LIST, "exceptions": LIST}
_TERM = re.compile(r"\s*([+-])?\s*(?:table(\d+):)?(\w+)\.(\w+)\s*")


class Place(NamedTuple):
    """Where a cell stands: table number, row key, column key."""

    table: int
    row: str
    column: str


@dataclass(frozen=True)
class Effect:
    """A sum of cells, `text` as in the file (after expansion); `terms` are (+1 or -1, cell), at least one."""

    text: str
    terms: tuple[tuple[int, Place], ...]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: every effect lies between `low` and `high`.

    `strict`: the bounds themselves are outside (`over: 0` is more than nothing), else inside (`within`).
    """

    key: str
    statement: str
    source: str
    effects: tuple[Effect, ...]
    low: float
    high: float
    strict: bool
    exceptions: frozenset[str]

    @property
    def condition(self) -> str:
        """ "over 0", "within -0.1 to 0.1": what each effect must be."""
        return f"over {self.low:g}" if self.strict else f"within {self.low:g} to {self.high:g}"

    def holds(self, value: float) -> bool:
        """Whether an effect of `value` is as claimed; differences below 1e-6 are rounding, not effects."""
        value = round(value, 6)
        return self.low < value < self.high if self.strict else self.low <= value <= self.high

    def room(self, value: float) -> float:
        """From an effect of `value` to the nearest bound; negative beyond it."""
        return min(value - self.low, self.high - value)


def value(effect: Effect, number: Callable[[Place], float | None]) -> float | None:
    """The effect where `number` gives each cell's value; None where a cell has none (the paper does not print it)."""
    numbers = [(sign, number(place)) for sign, place in effect.terms]
    known = [sign * given for sign, given in numbers if given is not None]
    return sum(known) if len(known) == len(numbers) else None


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim from those on its effects: one that is contradicted is enough, all must be confirmed.

    "not run" where nothing but missing records stands between the claim and its confirmation.
    """
    found = set(verdicts)
    if "contradicted" in found:
        return "contradicted"
    if found == {"confirmed"}:
        return "confirmed"
    return "undecided" if "undecided" in found else "not run"


def read_claims(reader: Reader, raw: list[Any], table: int) -> tuple[Claim, ...]:
    """The claims in the `claims` list of table number `table`; what is wrong goes to `reader`."""
    good = []
    for key, item in reader.keyed(raw, "claims", _CLAIM, _MORE).items():
        where = f"claims.{key}"
        effects = _effects(reader, item, where, table)
        low, high, strict = _bounds(reader, item, where)
        exceptions = reader.names(item.get("exceptions", []), f"{where}.exceptions")
        for text in exceptions:
            if text not in [effect.text for effect in effects]:
                reader.fault(f"{where}.exceptions", f"{text!r} is not one of the effects after expansion")
        good.append(
            Claim(key, item["statement"], item["source"], effects, low, high, strict, frozenset(exceptions))
        )  # fmt: skip
    return tuple(good)


def _effects(reader: Reader, item: dict[str, Any], where: str, table: int) -> tuple[Effect, ...]:
    """The effects with {column} expanded: all columns of the first, then of the second, and so on."""
    patterns = reader.names(item["effects"], f"{where}.effects")
    columns = reader.names(item.get("columns", []), f"{where}.columns")
    if not patterns:
        reader.fault(f"{where}.effects", "empty; name at least one effect, such as a.x - b.x")
    if columns and not any("{column}" in pattern for pattern in patterns):
        reader.fault(f"{where}.columns", "given, but no effect has {column}")
    effects = []
    for pattern in patterns:
        if "{column}" in pattern and not columns:
            reader.fault(f"{where}.effects", f"{pattern!r} has {{column}}, but the claim has no columns")
        elif "{column}" in pattern:
            effects += [_effect(reader, pattern.replace("{column}", c), f"{where}.effects", table) for c in columns]
        else:
            effects.append(_effect(reader, pattern, f"{where}.effects", table))
    return tuple(effects)


def _effect(reader: Reader, text: str, where: str, table: int) -> Effect:
    terms: list[tuple[int, Place]] = []
    position = 0
    while found := _TERM.match(text, position):
        sign, other, row, column = found.groups()
        if sign is None and terms:
            break
        terms.append((-1 if sign == "-" else 1, Place(int(other) if other else table, row, column)))
        position = found.end()
    if position < len(text) or not terms:
        reader.fault(
            where, f"{text!r}: not a sum of cells at {text[position:]!r}; write row.column - table02:row.column"
        )
    return Effect(text, tuple(terms))


def _bounds(reader: Reader, item: dict[str, Any], where: str) -> tuple[float, float, bool]:
    if "within" not in item:
        return float(item.get("over", 0)), math.inf, True
    if "over" in item:
        reader.fault(f"{where}.within", "given beside over; keep one")
    numbers = [v for v in item["within"] if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != 2 or len(item["within"]) != 2 or numbers[0] >= numbers[1]:
        reader.fault(f"{where}.within", f"{item['within']!r} is not [low, high]")
        return 0.0, 0.0, False
    return float(numbers[0]), float(numbers[1]), False
