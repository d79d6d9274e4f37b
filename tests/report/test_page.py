"""The page as a file: what its first screen says, that it opens alone, and what it needs to be read."""

import re
from dataclasses import asdict
from html import unescape
from pathlib import Path

import pytest
import yaml

from spprepro import records
from spprepro.config import check
from spprepro.errors import DataError
from spprepro.records import Metric
from spprepro.report import render, runs
from tests.conftest import ROOT
from tests.report.test_render import Cells, put
from tests.test_config import compose

BENCH = """{"name": "views", "ours": 41.6, "peer": 16.8, "unit": "images/s", "ratio": 2.52, "ratio_min": 2.1,
"ratio_max": 2.6, "requirement": ">= 5.0", "met": false, "device": "cpu x 2", "threads": 2, "workers": 1,
"parts": {"fc": 20.04, "NMS": 3}, "rounds": {"ours": {"what": "maps"}, "peer": {"what": "crops"}},
"versions": {"python": "3.11.7", "torch": "2.14.1", "torchvision": "0.29.1", "torchcodec": "0.17.0",
"pytorch-lightning": "2.6.6", "numpy": "2.4.6", "pillow": "13.0.0"},
"git": {"commit": "0123456789abcdef", "dirty": true}, "command": "python -m spprepro task=bench bench=views"}"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    put(tmp_path, "table1_zf5_nospp", 40.0)
    put(tmp_path, "table1_zf5_singlesize", 37.0, seed=1, wall_s=3600.0)
    put(tmp_path, "table12_combined", 0, metrics={"ftfc7_bb_map": Metric(52.0, "%", 400)})
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "views.json").write_text(BENCH)
    return tmp_path


def page(results: Path) -> str:
    render.report(results)
    return (results / "mini" / "report.html").read_text(encoding="utf-8")


def test_the_first_screen_says_what_was_run_and_how_much_of_each_table_is_there(results: Path) -> None:
    head = page(results).split('<section id="table01"')[0]
    text = unescape(re.sub(r"<[^>]+>", "", head))
    assert "tier=mini" in text and "Not the paper's scale" in text
    assert "3 records of 3 jobs" in text and "in 3.1 hours on cpu, 32" in text and "mini, 400 test images" in text
    table = re.search(r"<table.*?</table>", head, re.DOTALL)[0]
    rows = {row[0].split()[1]: row for row in Cells(table).rows if "Table" in row[0]}
    assert rows["2"][1] == "4 of 28" and rows["12"][1] == "1 of 63" and rows["13"][1:3] == ["", "7"]
    assert rows["13"][3:] == ["", "", "", ""]  # no claims
    for number in rows:
        assert f'href="#table{int(number):02d}"' in head


def test_nothing_comes_from_elsewhere_and_every_link_leads_somewhere(results: Path) -> None:
    text = page(results)
    links = Cells(text).links
    anchors = set(re.findall(r'id="([^"]+)"', text))
    assert not re.search(r"https?://", text)
    assert "run-table1_zf5_nospp" in {link[1:] for link in links if link[0] == "#"} <= anchors
    assert all((results / "mini" / link).exists() for link in links if link[0] != "#")


def test_quoted_rows_are_marked_and_alias_and_edition_are_told(results: Path) -> None:
    text = page(results)
    quoted = re.findall(r'<tr class="quoted"><th scope="row">([^<]+)', text)
    assert "DPM" in quoted and "GoogLeNet" in " ".join(quoted) and "(a) no SPP" not in quoted
    table12 = text.split('<section id="table12"')[1].split("</section>")[0]
    assert "The blog summary prints this table as Table 11" in table12 and "arXiv v2" in table12


def test_configurations_and_the_folders_of_tensorboard_are_linked(results: Path) -> None:
    for name, kind in (("table1_zf5_nospp/seed0", "train"), ("table12_combined/seed0", "combine")):
        settings = asdict(check(compose(f"experiment={name.split('/')[0]}")))
        assert settings["kind"] == kind
        (results / "mini" / name / "config.yaml").write_text(yaml.safe_dump(settings))
    (results / "mini" / "table1_zf5_singlesize" / "seed1" / "config.yaml").write_text("of: {another: version}")
    rows = {row[0]: row for row in Cells(page(results)).rows if "seed" in row[0]}
    assert rows["table1_zf5_nospp, seed 0"][1:3] == ["config", "table1_zf5_nospp/seed0"]
    assert rows["table12_combined, seed 0"][1:3] == ["config", "table12_combined/seed0"]
    assert rows["table1_zf5_singlesize, seed 1"][1:3] == ["config", "table1_zf5_singlesize/seed1"]


def test_a_damaged_configuration_is_told(results: Path) -> None:
    found = records.find(results)[0]
    found.path.with_name("config.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"config\.yaml: damaged"):
        runs.settings(found)


def test_measurements_of_speed_stand_with_what_was_asked(results: Path) -> None:
    row = next(row for row in Cells(page(results)).rows if row[0] == "views")
    assert row[1:6] == ["41.6", "16.8", "images/s", "2.52 (2.10 to 2.60)", ">= 5.0, not met"]
    assert row[6:8] == ["cpu x 2, 2 threads, 1 worker", "maps; against: crops; parts: fc 20.0, NMS 3.0"]
    assert row[8:] == ["python -m spprepro task=bench bench=views"]
    told = (results / "bench" / "README.md").read_text(encoding="utf-8")  # the same, as a file
    assert f"| [views](views.json) | {' | '.join(row[1:])} |" in told
    assert "torch 2.14.1" in told and "Commit: 0123456789 with changes." in told  # once, as they are those of all
    (results / "bench" / "svm.json").write_text(BENCH.replace("2.14.1", "2.15.0").replace("views", "svm"))
    rows = {row[0]: row for row in Cells(page(results)).rows}
    assert "torch 2.14.1" in rows["views"][8] and "torch 2.15.0" in rows["svm"][8]
    (results / "bench" / "views.json").write_text("{}")
    with pytest.raises(DataError, match=r"views\.json: damaged.*make bench"):
        page(results)


def test_a_measurement_without_a_requirement_is_neither_met_nor_missed(results: Path) -> None:
    text = BENCH.replace('">= 5.0", "met": false', '"none", "met": null')
    (results / "bench" / "views.json").write_text(text)
    assert next(row for row in Cells(page(results)).rows if row[0] == "views")[5] == "none"


def test_the_script_is_short_and_headers_can_be_sorted(results: Path) -> None:
    text = page(results)
    script = text.split("<script>\n")[1].split("</script>")[0]
    assert len(script.splitlines()) < 60
    assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", text))


@pytest.mark.parametrize("tier", ["mini", "small", "paper"])
def test_the_pages_that_are_kept_are_small(tier: str) -> None:
    assert (ROOT / "results" / tier / "report.html").stat().st_size < 3e6
