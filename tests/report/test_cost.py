"""The cost of the paper's scale: from the configurations, at rates that are measured or said to be assumed."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from spprepro import plan, records
from spprepro.config import Config, check
from spprepro.report import render
from spprepro.report.cost import HEADS, PEAKS, SHARE, Cost, cost
from tests.report.test_render import Cells, put
from tests.test_config import compose

NAMES = ("table1_zf5_singlesize", "table9_zf5_1sc", "table1_zf5_layers")


@pytest.fixture(scope="module")
def planned() -> list[Config]:
    return [check(compose(f"experiment={name}", "tier=paper", "task=plan")) for name in NAMES]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def rows(found: Cost) -> dict[str, list[float]]:
    return {row[0]: [number(text) for text in row[2:]] for row in [*found.rows, found.total]}


def test_operations_images_and_hours_are_those_of_the_plan(planned: list[Config]) -> None:
    found = rows(cost(planned, []))
    assert set(found) == {*NAMES[:2], "all"}  # counting layers costs nothing
    learning, testing = plan.operations(planned[0], {}, plan.ILSVRC)
    zf5 = found[NAMES[0]]
    assert zf5[:2] == [pytest.approx(learning / 1e15, abs=0.05), pytest.approx(testing / 1e15, abs=0.05)]
    assert zf5[2] == pytest.approx(70 * (1_281_167 // 128) * 128 / 1e6, abs=0.005) and zf5[3] == 50.0
    for hours, peak in zip(zf5[len(HEADS) - 2 :], PEAKS.values(), strict=True):
        assert hours == pytest.approx((learning + testing) / (SHARE * peak * 1e12) / 3600, abs=0.05)
    for one, two, total in zip(zf5, found[NAMES[1]], found["all"], strict=True):
        assert total == pytest.approx(one + two, abs=0.11)


def test_a_measured_rate_is_operations_by_seconds_of_its_record(planned: list[Config], tmp_path: Path) -> None:
    config = check(compose("experiment=table1_zf5_singlesize", "tier=mini"))
    data = {"name": "mini", "fingerprint": "f1", "train": 4000, "test": 400, "classes": 20}
    path = put(tmp_path, config.name, 40.0, wall_s=100.0, data=data)
    assert len(cost(planned, records.find(tmp_path)).rates) == len(PEAKS)  # without its configuration
    path.with_name("config.yaml").write_text(yaml.safe_dump(asdict(config)))
    found = cost(planned, records.find(tmp_path))
    done = sum(plan.operations(config, {}, {"train": 4000, "val": 400, "classes": 20}))
    device, kind, rate, what = found.rates[-1]
    assert (device, kind) == ("cpu, 32", "train") and what.startswith("measured: the median of 1")
    assert number(rate) == pytest.approx(done / 100 / 1e9, abs=0.05)
    assert found.heads[-1] == "hours, cpu, 32"
    train, detect = found.rows
    assert number(train[-1]) == pytest.approx(
        sum(plan.operations(planned[0], {}, plan.ILSVRC)) / (done / 100) / 3600, rel=1e-3
    )
    assert detect[-1] == found.total[-1] == "not measured"


def test_the_page_shows_it_with_its_assumptions(planned: list[Config], tmp_path: Path) -> None:
    put(tmp_path, "table1_zf5_nospp", 40.0)
    render.report(tmp_path, planned=planned)
    page = (tmp_path / "mini" / "report.html").read_text(encoding="utf-8")
    assert 'href="#cost"' in page
    shown = [row for row in Cells(page).rows if row[0] == "A100"]
    assert shown == [["A100", "all", "6,825", "assumed: 35% of 19.5 TFLOP/s in fp32"]]
    assert any(row[0] == "table9_zf5_1sc" and row[1] == "detect" for row in Cells(page).rows)
