"""The report: honest cells, and the same bytes from the same records."""

import csv
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spprepro import records
from spprepro.errors import DataError
from spprepro.records import Metric, Record
from spprepro.report import render
from spprepro.report.markdown import readme_block


def put(results: Path, job: str, value: float, seed: int = 0, tier: str = "mini", **changes: Any) -> Path:
    """A record of table 2's ten-view metrics; returns its file."""
    fields: dict[str, Any] = {
        "schema": records.SCHEMA,
        "status": "ok",
        "overrides": {"note": "<b>&"},
        "needs": [],
        "config_sha256": "0",
        "git": {"commit": "abcdef1234567890", "dirty": False},
        "versions": {},
        "data": {"name": "mini", "fingerprint": "f1", "train": 2000, "test": 400},
        "device": "cpu",
        "precision": "32",
        "deterministic": "yes",
        "wall_s": 3723.0,
        "started": "2026-01-01",
        "command": "c",
    }
    metrics = {"top1_error": Metric(value, "%", 400), "top5_error": Metric(value / 3, "%", 400)}
    named = {"experiment": job, "seed": seed, "tier": tier, "metrics": metrics}
    record = Record(**{**fields, **named, **changes})
    return records.write(record, results / tier / job / f"seed{seed}")


def csv_cells(results: Path, tier: str = "mini") -> dict[tuple[str, str], dict[str, str]]:
    with (results / tier / "tables" / "table02.csv").open(newline="", encoding="utf-8") as file:
        return {(line["row"], line["column"]): line for line in csv.DictReader(file)}


class Cells(HTMLParser):
    """The texts of all table cells, row by row; fails on tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.links += [value for key, value in attrs if key in ("href", "src") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_cell_shows_mean_deviation_seeds_gain_and_signed_difference(tmp_path: Path) -> None:
    put(tmp_path, "table1_zf5_nospp", 40.0)
    put(tmp_path, "table1_zf5_singlesize", 37.0, seed=0)
    put(tmp_path, "table1_zf5_singlesize", 39.0, seed=1)
    render.report(tmp_path)
    cell = csv_cells(tmp_path)["b_top1", "zf5"]
    assert (cell["ours"], cell["ours_std"], cell["seeds"], cell["ours_gain"]) == (
        "38.00",
        "1.41",
        "2",
        "2.00",
    )
    assert float(cell["difference"]) == pytest.approx(38.0 - float(cell["paper"])) and cell["difference"][0] == "+"
    assert csv_cells(tmp_path)["c_top1", "zf5"]["state"] == "not run"
    assert csv_cells(tmp_path)["c_top1", "zf5"]["ours"] == ""


def test_the_difference_is_that_of_the_numbers_shown(tmp_path: Path) -> None:
    put(tmp_path, "table1_zf5_nospp", 35.9949)
    render.report(tmp_path)
    cell = csv_cells(tmp_path)["a_top1", "zf5"]
    assert cell["ours"] == cell["paper"] and cell["difference"] == "0.00"


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for name, order in (("one", (0, 1)), ("two", (1, 0))):
        for seed in order:
            put(tmp_path / name, "table1_zf5_nospp", 40.0 + seed, seed)
        paths = render.report(tmp_path / name)
        outputs.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in paths])
        assert [(p.relative_to(tmp_path / name), p.read_bytes()) for p in render.report(tmp_path / name)] == outputs[-1]
    assert outputs[0] == outputs[1]


def test_only_the_papers_scale_goes_unmarked(tmp_path: Path) -> None:
    for tier in ("mini", "small", "paper"):
        put(tmp_path, "table1_zf5_nospp", 40.0, tier=tier)
    for path in render.report(tmp_path):
        text = unescape(path.read_text(encoding="utf-8"))
        tier = path.relative_to(tmp_path).parts[0]
        assert bool(re.search("not the paper's", text, re.IGNORECASE)) == (tier != "paper"), path
        assert tier in text
    assert "Not the paper's scale" in readme_block(tmp_path)


@pytest.mark.parametrize("status", ["partial", "smoke"])
def test_records_that_are_not_ok_are_listed_but_fill_nothing(tmp_path: Path, status: str) -> None:
    put(tmp_path, "table1_zf5_nospp", 41.23, status=status)
    render.report(tmp_path)
    assert {cell["state"] for cell in csv_cells(tmp_path).values()} == {"not run"}
    page = (tmp_path / "mini" / "report.html").read_text(encoding="utf-8")
    assert f"{status}: fills no cell" in page and "41.23" not in page


def test_the_page_links_to_every_record_and_escapes_what_it_shows(tmp_path: Path) -> None:
    written = [put(tmp_path, "table1_zf5_nospp", 40.0, seed) for seed in (0, 1)]
    render.report(tmp_path)
    text = (tmp_path / "mini" / "report.html").read_text(encoding="utf-8")
    page = Cells(text)
    targets = {(tmp_path / "mini" / link).resolve() for link in page.links if not link.startswith("#")}
    assert all(path.exists() for path in targets)  # and nothing from elsewhere
    targets = {path for path in targets if path.is_file() and path.parent.name != "tables"}
    assert targets == {path.resolve() for path in written}
    assert "<b>&" not in text and "note=<b>&" in [cell for row in page.rows for cell in row]
    assert '<td data-key="3723">1 h 02 min</td>' in text and "abcdef1234" in text
    markdown = (tmp_path / "mini" / "tables" / "table02.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*record\.json)\)", markdown)
    assert {(tmp_path / "mini" / "tables" / link).resolve() for link in links} == targets


def test_uncommitted_changes_show(tmp_path: Path) -> None:
    put(tmp_path, "table1_zf5_nospp", 40.0, git={"commit": "abc", "dirty": True})
    render.report(tmp_path)
    for name in ("report.html", "tables/table02.md"):
        assert "uncommitted changes" in (tmp_path / "mini" / name).read_text(encoding="utf-8")


def test_readme_block_sums_up_each_table_and_shows_what_was_run_of_the_key_ones(tmp_path: Path) -> None:
    put(tmp_path / "results", "table1_zf5_nospp", 40.0)
    put(tmp_path / "results", "table9_zf5_1sc", 0, metrics={"fc6_ap_boat": Metric(1.0, "%", 400)})
    block = readme_block(tmp_path / "results")
    assert "ZF-5: paper" in block and "Overfeat-7" not in block and "(b)" not in block and "**Table 3" not in block
    assert "| 2 of 28 |" in block and "Left out: 26 cells" in block and "| quoted |" in block
    render.report(tmp_path / "results")
    links = re.findall(r"\]\(([^)]*)\)", block)
    assert all((tmp_path / link).is_file() for link in links)
    assert [link[-5:-3] for link in links if "tables/" in link] == ["02", "13"]
    assert "Not run at this tier: Tables 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12." in block


def test_nothing_to_report_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no records.*python -m spprepro"):
        render.report(tmp_path)
    put(tmp_path, "table1_zf5_nospp", 40.0, tier="smoke", status="smoke")
    with pytest.raises(DataError, match="no records"):
        render.report(tmp_path)
    put(tmp_path, "table1_zf5_nospp", 40.0)
    for tiers in (["mini", "small"], ["smoke"], ["dry"]):
        with pytest.raises(DataError, match=f"no records of tier {tiers[-1]}"):
            render.report(tmp_path, tiers)
    assert not (tmp_path / "mini" / "report.html").exists()
    assert render.report(tmp_path, ["mini"])
