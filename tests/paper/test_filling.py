"""Cells filled from records: means over seeds, and what must not fill a cell or be averaged."""

from pathlib import Path
from typing import Any

import pytest

from spprepro.errors import DataError
from spprepro.paper.filling import fill
from spprepro.records import Metric
from tests.paper.test_tables import found, loaded, small_table


def test_fill_takes_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    table = loaded(tmp_path, small_table())
    have = [found("job_zf5", 30.0), found("job_zf5", 34.0, seed=2), found("other_b", 31.0)]
    ours = fill(table, have, "mini")
    assert set(ours) == {("a", "zf5"), ("b", "alex5")}  # nobody fills a quoted cell
    filled, single = ours["a", "zf5"], ours["b", "alex5"]
    assert filled is not None and single is not None
    assert (filled.mean, filled.seeds, filled.n) == (32.0, (0, 2), 400)
    assert filled.std == pytest.approx(8**0.5)
    assert filled.sources == (have[0].path, have[1].path)
    assert single.std is None


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "smoke"},
        {"status": "partial"},
        {"tier": "small"},
        {"tier": "smoke", "status": "smoke"},
        {"tier": "dry", "status": "smoke"},
        {"experiment": "job_alex5"},
        {"metrics": {}},
    ],
)
def test_what_must_not_fill_a_cell_does_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    ours = fill(loaded(tmp_path, small_table()), [found("job_zf5", 30.0, **changes)], "mini")
    assert ours["a", "zf5"] is None


def test_seeds_on_different_data_or_in_other_units_are_refused_together(tmp_path: Path) -> None:
    table = loaded(tmp_path, small_table())
    other = {"name": "mini", "fingerprint": "f2", "train": 2000, "test": 400}
    fraction = {"error": Metric(0.3, "1", 400)}
    have = [found("job_zf5", 30.0), found("job_zf5", 30.0, seed=1, data=other, metrics=fraction)]
    with pytest.raises(DataError) as caught:
        fill(table, have, "mini")
    assert len(caught.value.faults) == 2
    assert all("job_zf5/seed1" in fault for fault in caught.value.faults)
