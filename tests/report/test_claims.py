"""Claims beside their tables: all outputs say the same, honestly, and escape what they show."""

import csv
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.paper.claims import VERDICTS
from spprepro.records import Metric
from spprepro.report import render
from spprepro.report.markdown import readme_block
from spprepro.report.terminal import WIDTH, terminal
from tests.report.test_render import Cells, csv_cells, put

N = 400


def run(results: Path, job: str, wrong: int, seed: int = 0, tier: str = "mini") -> None:
    """A record with outcomes: the first `wrong` of 400 images in top-1, a third of them in top-5."""
    flags = {
        "top1_error": np.arange(N) < wrong,
        "top5_error": np.arange(N) < wrong // 3,
        "crop_top1_error": np.arange(N) < wrong,
        "full_top1_error": np.arange(N) < wrong,
    }
    metrics = {key: Metric(100 * float(flag.mean()), "%", N) for key, flag in flags.items()}
    path = put(results, job, 0.0, seed, tier, metrics=metrics)
    outcomes.write(path.parent, flags)


def layers(results: Path, column: str, **metrics: tuple[float, str]) -> None:
    """A record of what is computed, without data."""
    put(
        results,
        f"table1_{column}_layers",
        0.0,
        metrics={key: Metric(value, unit, 0) for key, (value, unit) in metrics.items()},
        data={"name": "none", "fingerprint": "", "train": 0, "test": 0},
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """ZF-5 without SPP, and with it: better beyond doubt at one size, by a little more at two."""
    folder = tmp_path / "results"
    for job, wrong in (("nospp", 160), ("singlesize", 100), ("multisize", 98)):
        run(folder, f"table1_zf5_{job}", wrong)
    return folder


def claims_lines(results: Path) -> list[dict[str, str]]:
    with (results / "mini" / "tables" / "claims.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def claims_csv(results: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(line["claim"], line["effect"]): line for line in claims_lines(results)}


def test_each_effect_has_its_numbers_and_its_verdict(results: Path) -> None:
    render.report(results)
    lines = claims_csv(results)
    clear = lines["single_size_beats_none", "a_top1.zf5 - b_top1.zf5"]
    assert (clear["paper"], clear["paper_bears_out"], clear["ours"]) == ("+1.01", "yes", "+15.00")
    assert (clear["verdict"], clear["images"], clear["seeds"]) == ("confirmed", "400", "1")
    assert float(clear["low"]) < 15 < float(clear["high"]) and float(clear["p"]) < 1e-6
    assert not clear["images_needed"]
    slight = lines["multi_size_beats_single_size", "b_top1.zf5 - c_top1.zf5"]
    assert slight["verdict"] == "undecided" and int(slight["images_needed"]) > 400 and not slight["seeds_needed"]
    other = lines["single_size_beats_none", "a_top1.overfeat7 - b_top1.overfeat7"]
    assert (other["verdict"], other["ours"], other["paper"]) == ("not run", "", "+1.65")
    assert "table1_overfeat7_nospp" in other["reason"]
    assert clear["claim_verdict"] == "not run"  # seven of its eight effects, or the rest of them, lack records


def test_markdown_page_and_csv_agree_to_the_digit(results: Path) -> None:
    render.report(results)
    line = claims_csv(results)["single_size_beats_none", "a_top1.zf5 - b_top1.zf5"]
    interval = f"{line['ours']} [{line['low']}, {line['high']}]"
    row = [line["meaning"], line["paper"], interval, f"400 images, 1 seed, p = {line['p']}", "confirmed", ""]
    assert line["meaning"] == "top-1 error, %, ZF-5: (a) no SPP − (b) SPP single-size trained"
    markdown = (results / "mini" / "tables" / "table02.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(row)} |" in markdown
    page = Cells((results / "mini" / "report.html").read_text(encoding="utf-8"))
    assert row in page.rows
    assert interval in terminal(results, "mini", [2])


def test_the_counts_are_those_of_the_verdicts_everywhere(results: Path) -> None:
    render.report(results)
    verdicts = {(line["table"], line["claim"]): line["claim_verdict"] for line in claims_lines(results)}
    counts = [list(verdicts.values()).count(kind) for kind in VERDICTS]
    text = ", ".join(f"{count} {kind}" for count, kind in zip(counts, VERDICTS, strict=True))
    assert len(set(verdicts.values())) >= 2
    page = (results / "mini" / "report.html").read_text(encoding="utf-8")
    assert f"{len(verdicts)} claims: {text}." in page and f"{len(verdicts)} claims: {text}." in readme_block(results)
    assert next(row for row in Cells(page).rows if row[:1] == ["all"])[-4:] == [str(count) for count in counts]


def test_one_table_has_every_claim_with_the_effect_that_its_verdict_hangs_on(results: Path) -> None:
    render.report(results)
    section = (results / "mini" / "report.html").read_text(encoding="utf-8").split('<section id="claims">')[1]
    rows = {(row[2], row[1]): row for row in Cells(section.split("</section>")[0]).rows if row[0] in VERDICTS}
    claims: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in claims_lines(results):
        claims.setdefault((f"Table {line['table']}", f"{line['statement']} {line['source']}"), []).append(line)
    assert rows.keys() == claims.keys()
    for key, effects in claims.items():
        verdict, _, _, effect, _, why = rows[key]
        assert verdict == effects[0]["claim_verdict"]
        decisive = [line for line in effects if line["verdict"] == verdict and line["ours"]]
        assert any(effect.startswith(f"{line['ours']} [{line['low']}, ") for line in decisive) or not decisive
        assert decisive or (not effect and any(line["reason"] in why for line in effects))
    slight = next(row for (_, text), row in rows.items() if text.startswith("Training at two sizes lowers"))
    assert slight[0] == "undecided" and slight[3].startswith("+0.25 [") and "images" in slight[5]  # top-5: 33 and 32


def test_a_cell_says_how_far_it_is_from_what_its_claims_need(results: Path) -> None:
    render.report(results)
    cells = csv_cells(results)
    assert [cells[key, "zf5"]["claim_word"] for key in ("a_top1", "b_top1", "c_top1")] == ["", "better", "better"]
    assert (cells["b_top1", "zf5"]["claim_margin"], cells["c_top1", "zf5"]["claim_margin"]) == ("+15.00", "+0.50")
    page = unescape((results / "mini" / "report.html").read_text(encoding="utf-8"))
    assert "<small>+15.00 better</small>" in page


def test_where_the_printed_numbers_do_not_bear_the_claim_out_it_says_so(results: Path) -> None:
    render.report(results)
    line = claims_csv(results)["full_image_gains_half_a_point", "overfeat7_multi_crop.top1 - overfeat7_multi_full.top1"]
    assert (line["paper"], line["paper_bears_out"]) == ("+1.32", "no")
    assert "+1.32 (not within 0.3 to 0.7)" in (results / "mini" / "tables" / "table03.md").read_text(encoding="utf-8")


def test_computed_cells_and_unprinted_ones(results: Path) -> None:
    layers(
        results,
        "zf5",
        conv2_map_before_pool=(26.0, "cells"),
        conv1_map=(54.0, "cells"),
        parameters_nospp=(63.0, "M"),
        parameters_30bins=(55.5, "M"),
    )
    render.report(results)
    markdown = (results / "mini" / "tables" / "table01.md").read_text(encoding="utf-8")
    assert "Ours: computed." in markdown
    assert "| 27 | 26 | -1 (known) |" in markdown
    assert "| 55 | 54 | -1 |" in markdown  # nothing explains this one
    assert "| — | 63.00 |  |" in markdown
    with (results / "mini" / "tables" / "table01.csv").open(newline="", encoding="utf-8") as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    assert (cells["parameters_nospp", "zf5"]["paper"], cells["parameters_nospp", "zf5"]["difference"]) == ("", "")
    line = claims_csv(results)[
        "not_for_more_parameters", "table01:parameters_nospp.zf5 - table01:parameters_30bins.zf5"
    ]
    assert (line["verdict"], line["ours"], line["low"], line["high"]) == ("confirmed", "+7.50", "+7.50", "+7.50")
    assert (line["paper_bears_out"], line["images"]) == ("not printed", "0")


def test_quoted_numbers_show_the_digits_that_are_printed(results: Path) -> None:
    render.report(results)
    assert "| 40.7 | quoted |" in (results / "mini" / "tables" / "table04.md").read_text(encoding="utf-8")
    assert csv_cells(results)["c_top1", "zf5"]["paper"] == "34.60"


def test_the_terminal_shows_the_tables_asked_for_and_fits(results: Path) -> None:
    text = terminal(results, "mini", [2, 3])
    assert "Table 2." in text and "Table 3." in text and "Table 4." not in text
    assert "Not the paper's scale" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    head, row = (next(line for line in text.splitlines() if word in line) for word in ("paper ", "(a) no SPP"))
    assert row.index("35.99") == head.index("paper") and row.index("40.00") + 5 == head.index("ours") + 4
    assert "confirmed" in text and "undecided" in text


def test_a_narrow_table_keeps_its_differences_and_a_wide_one_drops_them(results: Path) -> None:
    differences: dict[int, Any] = {number: "diff." in terminal(results, "mini", [number]) for number in (2, 3)}
    assert differences == {2: False, 3: True}
