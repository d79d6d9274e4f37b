"""The page of a tier: one HTML file that opens from disk, with its style, its script and its pictures inside."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spprepro.paper.claims import VERDICTS
from spprepro.records import Found
from spprepro.report import benches, claims
from spprepro.report.cost import Cost
from spprepro.report.grid import Line, grid
from spprepro.report.runs import runs
from spprepro.report.sheets import DASH, LEGEND, Sheet, count, counted, warning
from spprepro.report.style import Picture

ENDINGS = ("md", "csv", "tex")  # of a table's files


@dataclass(frozen=True)
class _Total:
    filled: str
    quoted: int
    verdicts: Counter[str]
    claims: str


def page(
    tier_dir: Path, found: Sequence[Found], sheets: Sequence[Sheet], pictures: Sequence[Picture], cost: Cost | None
) -> str:
    """The page of the tier that `tier_dir` is named after; links are relative to that folder."""
    tier, measured = tier_dir.name, benches.benches(tier_dir.parent)
    total = _total(sheets)
    links = [("claims", "Claims")] + ([("cost", "Cost of the paper's scale")] if cost else [])
    links += [("speed", "Speed")] if measured else []
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"grid": grid, "groupby_in_order": _groups}
    return environment.get_template("page.html").render(
        title=f"SPP-net, run again: tier={tier}",
        tier=tier,
        warning=warning(tier),
        what=_what(found),
        links=[*links, ("records", "Records")],
        sheets=sheets,
        total=total,
        verdicts=VERDICTS,
        claims=[claim for sheet in sheets for claim in claims.shown(sheet)],
        effect_heads=claims.HEADS,
        legend=LEGEND,
        claims_legend=claims.LEGEND,
        pictures=pictures,
        embedded=lambda picture: _embedded(tier_dir / picture.path),
        cost=cost,
        benches=measured,
        runs=runs(found, tier_dir),
        dash=DASH,
        endings=ENDINGS,
    )


def _total(sheets: Sequence[Sheet]) -> _Total:
    states, verdicts = Counter[str](), Counter[str]()
    for sheet in sheets:
        states += sheet.states
        verdicts += sheet.verdicts
    told = count(claim for sheet in sheets for claim in sheet.claims)
    return _Total(f"{states['run']} of {states['run'] + states['not run']}", states["quoted"], verdicts, told)


def _what(found: Sequence[Found]) -> str:
    """What was run, on which data, where, when and how long, in two sentences."""
    kept = [item.record for item in found]
    measured = [record for record in kept if record.wall_s] or kept
    places = "; ".join(sorted({f"{record.device}, {record.precision}" for record in measured}))
    tests: dict[str, set[int]] = {}
    for record in measured:
        tests.setdefault(str(record.data["name"]), set()).add(record.data["test"])
    data = "; ".join(
        f"{name}, {' or '.join(f'{n:,}' for n in sorted(tests[name]))} test images" for name in sorted(tests)
    )
    days = sorted({record.started[:10] for record in kept})
    hours = sum(record.wall_s for record in kept) / 3600
    jobs = counted(len({record.experiment for record in kept}), "job")
    return (
        f"{counted(len(kept), 'record')} of {jobs}, run {' to '.join(dict.fromkeys((days[0], days[-1])))} "
        f"in {hours:.1f} hours on {places}. Data: {data}."
    )


def _groups(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """(group, its lines), of those that stand together."""
    return [(name, list(own)) for name, own in groupby(lines, lambda line: line.group)]


def _embedded(path: Path) -> str:
    """An SVG as a data URI."""
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"
