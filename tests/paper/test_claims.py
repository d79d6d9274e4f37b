"""Claims as data: how they are read, and that the printed tables bear them out but where the files say they do not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from spprepro import folders
from spprepro.errors import ConfigError
from spprepro.paper import tables
from spprepro.paper.claims import Claim, Effect, Place, together, value
from tests.paper.test_tables import loaded, small_table

ALL = tables.load_all(folders.experiments())
CELLS = tables.cells_of(ALL)
EFFECTS = [
    pytest.param(claim, effect, id=f"{table.name}-{claim.key}-{effect.text}")
    for table in ALL
    for claim in table.claims
    for effect in claim.effects
]


@pytest.mark.parametrize(("claim", "effect"), EFFECTS)
def test_the_printed_numbers_bear_the_claim_out_but_for_the_named_exceptions(claim: Claim, effect: Effect) -> None:
    printed = value(effect, lambda place: CELLS[place].printed)
    if printed is None:
        assert effect.text not in claim.exceptions
    else:
        assert claim.holds(printed) == (effect.text not in claim.exceptions), printed


def test_gains_that_the_paper_prints_are_effects_of_its_claims() -> None:
    table = next(table for table in ALL if table.number == 2)
    effects = {
        effect.text: value(effect, lambda place: CELLS[place].printed)
        for claim in table.claims
        for effect in claim.effects
    }
    for cell in table.cells.values():
        if cell.gain is not None:
            assert effects[f"{cell.gain_over}.{cell.column} - {cell.row}.{cell.column}"] == pytest.approx(cell.gain)


def with_claim(**keys: Any) -> dict[str, Any]:
    claim = {"key": "c", "statement": "s", "source": "p", "effects": ["a.zf5 - b.alex5"], **keys}
    return {**small_table(), "claims": [{key: item for key, item in claim.items() if item is not None}]}


def test_an_effect_expands_by_column_and_names_cells_of_other_tables(tmp_path: Path) -> None:
    raw = with_claim(columns=["zf5", "rival"], effects=["a.{column} - b.alex5", "-a.zf5 + a.zf5 + a.rival - b.alex5"])
    (claim,) = loaded(tmp_path, raw).claims
    assert [effect.text for effect in claim.effects] == [
        "a.zf5 - b.alex5",
        "a.rival - b.alex5",
        "-a.zf5 + a.zf5 + a.rival - b.alex5",
    ]
    assert claim.effects[0].terms == ((1, Place(42, "a", "zf5")), (-1, Place(42, "b", "alex5")))
    assert [sign for sign, _ in claim.effects[2].terms] == [-1, 1, 1, -1]
    numbers = {Place(42, "a", "zf5"): 5.0, Place(42, "a", "rival"): 7.0, Place(42, "b", "alex5"): 1.5}
    assert value(claim.effects[2], numbers.get) == 5.5
    assert value(claim.effects[2], {}.get) is None


def test_bounds() -> None:
    over = Claim("k", "s", "p", (), 0.5, float("inf"), True, frozenset())
    within = Claim("k", "s", "p", (), -0.1, 0.1, False, frozenset())
    assert over.holds(0.51) and not over.holds(0.5)
    assert not over.holds(36.06 - 35.56)  # 0.5 and a rounding error
    assert within.holds(14.04 - 14.14) and not within.holds(0.11)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"statement": None}, "claims[0].statement: missing"),
        ({"colour": "red"}, "claims[0].colour: unknown key"),
        ({"effects": []}, "claims.c.effects: empty"),
        ({"effects": ["a.zf5 b.alex5"]}, "not a sum of cells at 'b.alex5'"),
        ({"effects": ["a.zf5 - 0.5 * b.alex5"]}, "not a sum of cells"),
        ({"effects": ["a.{column} - b.alex5"]}, "the claim has no columns"),
        ({"columns": ["zf5"]}, "claims.c.columns: given, but no effect has {column}"),
        ({"effects": ["a.zf5 - z.alex5"]}, "table 42 has no cell z.alex5"),
        ({"effects": ["a.rival"]}, "all quoted"),
        ({"over": "0"}, "claims[0].over: '0' is not a int or float"),
        ({"within": [1, 0]}, "claims.c.within: [1, 0]"),
        ({"within": [0]}, "claims.c.within: [0]"),
        ({"within": [0, 1], "over": 0}, "given beside over"),
        ({"exceptions": ["a.zf5 - b.zf5"]}, "claims.c.exceptions: 'a.zf5 - b.zf5' is not one of the effects"),
    ],
)
def test_faults_name_file_and_claim(tmp_path: Path, keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, with_claim(**keys))
    assert [line for line in caught.value.faults if fault in line and "table42.yaml" in line]


def test_cells_of_other_tables_are_checked_when_all_are_read(tmp_path: Path) -> None:
    raw = with_claim(effects=["a.zf5 - table43:a.zf6", "a.zf5 - table44:a.zf5"])
    other = {**small_table(), "table": 43, "metrics": {"error": {"unit": "px", "digits": 0, "better": "lower"}}}
    other["claims"] = [{"key": "u", "statement": "s", "source": "p", "effects": ["a.zf5 - table42:a.zf5"]}]
    for number, table in ((42, raw), (43, other)):
        (tmp_path / f"table{number}.yaml").write_text(yaml.safe_dump(table))
    assert tables.load(tmp_path / "table42.yaml")
    with pytest.raises(ConfigError) as caught:
        tables.load_all(tmp_path)
    for fault in ("table 43 has no cell a.zf6", "speak of table 44", "adds numbers in '%' and 'px'"):
        assert [line for line in caught.value.faults if fault in line], fault


def test_a_claim_waits_for_jobs_that_run_by_name_in_all_its_effects_or_in_none(tmp_path: Path) -> None:
    raw = with_claim(effects=["a.zf5 - a.extra", "a.zf5 - b.alex5"])
    raw["columns"].append({"key": "extra", "label": "Extra", "job": "extra", "by_name": True})
    raw["rows"][0]["unprinted"] = ["extra"]
    with pytest.raises(
        ConfigError, match=r"table42\.yaml: claims\.c\.effects: some have cells that are filled by name"
    ):
        loaded(tmp_path, raw)
    raw["claims"][0]["effects"] = ["a.zf5 - a.extra"]
    assert loaded(tmp_path, raw).claims


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        (["confirmed", "confirmed"], "confirmed"),
        (["confirmed", "contradicted", "not run"], "contradicted"),
        (["confirmed", "undecided", "not run"], "undecided"),
        (["confirmed", "not run"], "not run"),
        (["not run"], "not run"),
    ],
)
def test_a_claim_stands_or_falls_with_all_its_effects(effects: list[Any], verdict: str) -> None:
    assert together(effects) == verdict
