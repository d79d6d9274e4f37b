"""How far our number in a cell is from what the claims about it need: the word and the signed number beside it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spprepro.paper.claims import Claim, Place
from spprepro.paper.judging import JudgedClaim
from spprepro.paper.tables import Cell, CellId


class Margin(NamedTuple):
    """`number` is signed: + as claimed, - not; `word` is better or worse, or inside or outside of a range."""

    number: str
    word: str

    @property
    def text(self) -> str:
        return f"{self.number} {self.word}".strip()


NO_MARGIN = Margin("", "")


def margins(number: int, claims: Iterable[JudgedClaim], cells: Mapping[Place, Cell]) -> dict[CellId, Margin]:
    """Of each cell of table `number` that one of its `claims` is about, the least favourable of their effects.

    A claim about two cells is about the one that it says to be better; if they are to be close, about the first.
    Effects of more cells are no cell's own.
    """
    least: dict[CellId, tuple[float, Margin]] = {}
    for claim in claims:
        for judged in claim.effects:
            terms = [(sign, place, cells[place]) for sign, place in judged.effect.terms]
            if judged.result is None or len(terms) > 2:
                continue
            value, digits = judged.result.value, max(cell.measure.digits for _, _, cell in terms)
            room = claim.claim.room(value)
            close = not claim.claim.strict and claim.claim.low <= 0 <= claim.claim.high
            for sign, place, cell in terms[:1] if close else terms:
                if place.table == number and (close or (sign > 0) == (cell.measure.better == "higher")):
                    margin = Margin(_signed(room, digits), _word(value, claim.claim))
                    key = place.row, place.column
                    least[key] = min(least.get(key, (room, margin)), (room, margin))
    return {key: margin for key, (_, margin) in least.items()}


def _signed(room: float, digits: int) -> str:
    text = f"{room:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def _word(value: float, claim: Claim) -> str:
    words = ("worse", "better") if claim.strict else ("outside", "inside")
    return words[claim.holds(value)]
