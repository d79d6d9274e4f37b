"""The plot of the times: what it shows, and where the report puts it."""

import re
from base64 import b64decode
from html import unescape
from pathlib import Path

import pytest

from spprepro import records
from spprepro.errors import DataError
from spprepro.records import Metric
from spprepro.report import plots, render
from tests.report.test_pictures import shown
from tests.report.test_render import put

GROWTH = """against,method,windows,scales,conv_s,fc_s
windows,spp,100,1,0.30,0.01
windows,rcnn_zf5,100,1,2.0,0.02
windows,spp,500,1,0.30,0.05
windows,rcnn_zf5,500,1,10.0,0.10
scales,spp,640,1,0.30,0.06
scales,spp,640,2,0.50,0.06
scales,spp,640,5,1.60,0.06
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The growth.csv of a record of the job."""
    path = put(tmp_path, plots.JOB, 0, metrics={"spp_1sc_conv_s": Metric(0.3, "s", 400)}).with_name(plots.FILE)
    path.write_text(GROWTH)
    return path


def drawn(table: Path) -> tuple[str, str]:
    """Alternative text and SVG."""
    ((picture, svg),) = plots.growth(records.find(table.parents[3]))
    return picture.alt, svg()


def test_plot_names_both_methods_and_the_paper(table: Path) -> None:
    alt, svg = drawn(table)
    text = shown(svg)
    for label in ("SPP-net, convolution", "R-CNN, fc layers", "paper's GPU: R-CNN, convolution", "seconds an image"):
        assert label in text
    assert "640 windows" in text and "2,000" in text
    assert "R-CNN against windows: 2 s at 100, 10 s at 500" in alt
    assert "SPP-net against scales: 0.36 s at 1, 1.7 s at 5" in alt
    assert not re.search(r"fill: #(fff|000)", svg)  # neither a white ground nor black text


def test_every_time_and_every_point_of_the_paper_is_drawn(table: Path) -> None:
    def markers() -> int:
        return drawn(table)[1].count("<use ")

    before = markers()
    table.write_text(GROWTH.replace("scales,spp,640,5,1.60,0.06\n", ""))
    assert markers() == before - 2  # convolution and fc
    assert drawn(table)[1].count("paper's GPU") == 4


@pytest.mark.parametrize("text", ["a,b\n1,2\n", GROWTH.replace("2.0", "two")])
def test_damaged_file_is_named(table: Path, text: str) -> None:
    table.write_text(text)
    with pytest.raises(DataError, match=r"growth\.csv: missing or damaged"):
        drawn(table)


def test_report_shows_the_plot_beside_table_9(table: Path) -> None:
    results = table.parents[3]
    table.unlink()
    render.report(results)
    page, where = results / "mini/report.html", results / "mini/plots/growth.svg"
    assert "How the times grow" not in page.read_text() and not where.exists()
    table.write_text(GROWTH)
    assert where in render.report(results)
    alt, svg = drawn(table)
    assert where.read_text() == svg
    section = page.read_text().split('<section id="table09"')[1].split("</section>")[0]
    image = re.search(
        r'src="data:image/svg[+]xml;base64,([^"]+)" alt="([^"]+)"', section
    )  # inside: the page goes alone
    assert image and b64decode(image[1]) == where.read_bytes() and unescape(image[2]) == alt
    assert "(../plots/growth.svg)" in (results / "mini/tables/table09.md").read_text()
    assert "growth.svg" not in (results / "mini/tables/table10.md").read_text()
