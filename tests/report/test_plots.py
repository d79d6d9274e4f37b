"""The plot of the times: what it shows, the same bytes each time, and where the report puts it."""

import re
from base64 import b64decode
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spprepro.errors import DataError
from spprepro.records import Metric
from spprepro.report import plots, render
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
    path = tmp_path / "growth.csv"
    path.write_text(GROWTH)
    return path


def shown(svg: str) -> str:
    return " ".join(
        "".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")
    )


def test_plot_names_both_methods_and_the_paper_and_never_changes(table: Path) -> None:
    svg = plots.growth(table)
    assert svg == plots.growth(table)
    text = shown(svg)
    for label in ("SPP-net, convolution", "R-CNN, fc layers", "paper's GPU: R-CNN, convolution", "seconds an image"):
        assert label in text
    assert "640 windows" in text and "2,000" in text
    assert "<dc:date>" not in svg and plots.ALT in svg
    assert not re.search(r"fill: #(fff|000)", svg)  # neither a white ground nor black text


def test_every_time_is_a_point(table: Path) -> None:
    def markers(svg: str) -> int:
        return svg.count("<use ")

    before = markers(plots.growth(table))
    table.write_text(GROWTH.replace("scales,spp,640,5,1.60,0.06\n", ""))
    assert markers(plots.growth(table)) == before - 2  # convolution and fc


@pytest.mark.parametrize("text", ["a,b\n1,2\n", GROWTH.replace("2.0", "two"), None])
def test_damaged_file_is_named(table: Path, text: str | None) -> None:
    table.unlink() if text is None else table.write_text(text)
    with pytest.raises(DataError, match=r"growth\.csv: missing or damaged"):
        plots.growth(table)


def test_report_shows_the_plot_beside_table_9(tmp_path: Path) -> None:
    metrics = {"spp_1sc_conv_s": Metric(0.3, "s", 400)}
    record = put(tmp_path, "table9_times", 0, metrics=metrics)
    render.report(tmp_path)
    page, where = tmp_path / "mini/report.html", tmp_path / "mini/plots/growth.svg"
    assert "<figure>" not in page.read_text() and not where.exists()
    record.with_name("growth.csv").write_text(GROWTH)
    assert where in render.report(tmp_path)
    assert where.read_text() == plots.growth(record.with_name("growth.csv"))
    section = page.read_text().split('<section id="table09"')[1].split("</section>")[0]
    image = re.search(
        r'src="data:image/svg[+]xml;base64,([^"]+)" alt="([^"]+)"', section
    )  # inside: the page goes alone
    assert image and b64decode(image[1]) == where.read_bytes() and unescape(image[2]) == plots.ALT
    assert page.read_text().count("<figure>") == 1
    assert "(../plots/growth.svg)" in (tmp_path / "mini/tables/table09.md").read_text()
    assert "growth.svg" not in (tmp_path / "mini/tables/table10.md").read_text()
