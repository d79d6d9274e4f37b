"""Claims as text: each effect becomes text here, once, for the page, Markdown, CSV and the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from spprepro.files import csv_text
from spprepro.paper.claims import VERDICTS, Claim, Effect
from spprepro.paper.judging import JudgedClaim, JudgedEffect
from spprepro.paper.statistics import Result
from spprepro.report.sheets import Sheet, counted

_CSV_COLUMNS = (
    *("table", "tier", "scale", "claim", "statement", "source", "claim_verdict", "effect", "meaning", "condition"),
    *("unit", "paper", "paper_bears_out", "ours", "low", "high", "images", "seeds", "p", "verdict", "reason"),
    *("images_needed", "seeds_needed"),
)
LEGEND = (
    "An effect is in the unit of its table; the paper's is that of its printed numbers, and as claimed unless it says "
    "not. The 95 % interval is a paired bootstrap over the test images (of AP and times: over the 1,000 resamples that "
    "all records share), widened by "
    "the spread of the seeds where there are several (with one seed it covers the test images alone). confirmed: "
    "the whole interval is as claimed; contradicted: none of it is; undecided: part of it is; not run: a record is "
    "missing. p: McNemar's two-sided mid-p, beside the interval, which gives the verdict. What "
    "would decide it: images or seeds in all, if the effect stays as measured."
)
HEADS = ("effect", "paper", "ours, 95 % interval", "measured on", "verdict", "what would decide it")


@dataclass(frozen=True)
class ShownEffect:
    """An effect as text; what does not apply is ""."""

    name: str
    paper: str
    paper_note: str
    ours: str
    low: str
    high: str
    on: str
    p: str
    verdict: str
    why: str

    @property
    def interval(self) -> str:
        return f"{self.ours} [{self.low}, {self.high}]" if self.low else self.ours

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        """The row of a table: effect, paper, ours, measured on, verdict, what would decide it."""
        on = f"{self.on}, p = {self.p}" if self.p else self.on
        return self.name, f"{self.paper} {self.paper_note}".strip(), self.interval, on, self.verdict, self.why


@dataclass(frozen=True)
class ShownClaim:
    """A claim as text. `decisive` is the effect that leaves the verdict as it is; None where none could be judged."""

    key: str
    number: int
    table: str
    statement: str
    source: str
    condition: str
    verdict: str
    tally: str
    effects: Sequence[ShownEffect]
    decisive: ShownEffect | None
    why: str


def shown(sheet: Sheet) -> list[ShownClaim]:
    """The claims of a table."""
    return [_shown_claim(sheet, claim) for claim in sheet.claims]


def _shown_claim(sheet: Sheet, judged: JudgedClaim) -> ShownClaim:
    claim = judged.claim
    effects = [_shown_effect(sheet, effect, claim) for effect in judged.effects]
    deciding = [
        (claim.room(effect.result.value), text)
        for effect, text in zip(judged.effects, effects, strict=True)
        if effect.result and effect.verdict == judged.verdict
    ]
    decisive = min(deciding, key=lambda pair: pair[0])[1] if deciding else None
    reasons = dict.fromkeys(effect.reason for effect in judged.effects if effect.reason)
    return ShownClaim(
        key=claim.key,
        number=sheet.table.number,
        table=sheet.table.name,
        statement=claim.statement,
        source=claim.source,
        condition=claim.condition,
        verdict=judged.verdict,
        tally=_tally(judged),
        effects=effects,
        decisive=decisive,
        why=decisive.why if decisive else "; ".join(reasons),
    )


def _shown_effect(sheet: Sheet, judged: JudgedEffect, claim: Claim) -> ShownEffect:
    """The only place where an effect's numbers become text: as many digits as its cells have."""
    digits = max(sheet.all_cells[place].measure.digits for _, place in judged.effect.terms)
    result, sign = judged.result, "+" if len(judged.effect.terms) > 1 else ""  # of a difference, not of a speed-up

    def text(number: float) -> str:
        rounded = f"{number:{sign}.{digits}f}"
        return rounded[1:] if float(rounded) == 0 and rounded[0] in "+-" else rounded

    note = ""
    if judged.printed is not None and not judged.printed_holds:
        note = f"(not {claim.condition})"
    measured = result is not None and result.n > 0
    return ShownEffect(
        name=_name(sheet, judged.effect),
        paper="not printed" if judged.printed is None else text(judged.printed),
        paper_note=note,
        ours="" if result is None else text(result.value),
        low=text(result.low) if result and measured else "",
        high=text(result.high) if result and measured else "",
        on=_measured_on(result),
        p="" if result is None or result.p is None else f"{result.p:.2g}",
        verdict=judged.verdict,
        why=judged.reason or _what_would(result),
    )


def lines(sheet: Sheet, claim: JudgedClaim) -> list[str]:
    """The effects of a claim that have been judged, one plain line each, and how many have not."""
    found = []
    for judged in claim.effects:
        effect = _shown_effect(sheet, judged, claim.claim)
        if judged.result is not None:
            parts = (effect.interval, f"paper {effect.cells[1]}", effect.cells[3], effect.verdict, effect.why)
            found.append(f"{effect.name}: {'; '.join(part for part in parts if part)}")
    rest = len(claim.effects) - len(found)
    reasons = dict.fromkeys(judged.reason for judged in claim.effects if judged.reason)
    if not found:
        return list(reasons) if len(reasons) == 1 else []
    return found + ([f"{rest} of {len(claim.effects)} effects without records that can judge them"] if rest else [])


def claims_csv(sheets: Sequence[Sheet]) -> str:
    """One line an effect; numbers in full."""
    rows: list[tuple[object, ...]] = []
    for sheet in sheets:
        scale = "the paper's" if sheet.tier == "paper" else "not the paper's: order only"
        for claim in sheet.claims:
            what = claim.claim
            head = (sheet.table.number, sheet.tier, scale, what.key, what.statement, what.source, claim.verdict)
            rows += [(*head, *_csv_effect(sheet, judged, what)) for judged in claim.effects]
    return csv_text(_CSV_COLUMNS, rows)


def _csv_effect(sheet: Sheet, judged: JudgedEffect, claim: Claim) -> tuple[object, ...]:
    result, effect = judged.result, _shown_effect(sheet, judged, claim)
    unit = sheet.all_cells[judged.effect.terms[0][1]].measure.unit
    printed = "" if judged.printed is None else effect.paper
    holds = {None: "not printed", True: "yes", False: "no"}[judged.printed_holds]
    head = (judged.effect.text, effect.name, claim.condition, unit, printed, holds)
    if result is None:
        return (*head, "", "", "", "", "", "", judged.verdict, judged.reason, "", "")
    measured = (effect.ours, effect.low or effect.ours, effect.high or effect.ours, result.n, result.seeds, effect.p)
    needed = ("" if number is None else number for number in (result.images, result.more_seeds))
    return (*head, *measured, judged.verdict, "", *needed)


def _name(sheet: Sheet, effect: Effect) -> str:
    """The effect in the words of the table: what all its cells share, then what each is."""
    parts = [sheet.labels[place] for _, place in effect.terms]
    differ = [len({part[i] for part in parts}) > 1 for i in range(4)]
    elsewhere = any(place.table != sheet.table.number for _, place in effect.terms)
    shared = [parts[0][i] for i in (1, 2, 3) if not differ[i] and parts[0][i]]
    if elsewhere and not differ[0]:
        shared.insert(0, parts[0][0])
    text = ""
    for (sign, _), part in zip(effect.terms, parts, strict=True):
        own = ", ".join(part[i] for i in range(4) if differ[i] and part[i])
        text += (" − " if sign < 0 else " + " if text else "") + own
    return ": ".join(part for part in (", ".join(shared), text.strip()) if part)


def _measured_on(result: Result | None) -> str:
    if result is None:
        return ""
    if result.n == 0:
        return "computed"
    return f"{result.n:,} images, {counted(result.seeds, 'seed')}"


def _what_would(result: Result | None) -> str:
    """For an undecided effect: how many images or seeds; "" for others."""
    if result is None or result.verdict != "undecided":
        return ""
    ways = [f"about {_round(result.images):,} images"] if result.images else []
    ways += [f"{result.more_seeds} seeds"] if result.more_seeds else []
    if result.seeds == 1:
        return f"{ways[0] if ways else 'no number of images'} (for this one seed)"
    return " or ".join(ways) or "no number of images or seeds alone"


def _round(number: int) -> int:
    """To two digits: it rests on an assumption, and the effect will not stay as measured to the last one."""
    return int(float(f"{number:.1e}"))


def _tally(claim: JudgedClaim) -> str:
    """ "8 effects: 2 confirmed, 6 not run"."""
    verdicts = [judged.verdict for judged in claim.effects]
    kinds = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in VERDICTS if kind in verdicts)
    return f"{counted(len(verdicts), 'effect')}: {kinds}"
