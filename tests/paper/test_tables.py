"""The paper's tables as data: validation, filling from records, the printed numbers against one another."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from spprepro import folders
from spprepro.errors import ConfigError
from spprepro.paper import tables
from spprepro.records import Found, Metric, Record


def small_table() -> dict[str, Any]:
    """Two rows: a job pattern; a column with its own source, a quoted column, a dash and a gain."""
    return {
        "table": 42,
        "title": "t",
        "caption": "c",
        "editions": "e",
        "protocol": "p",
        "metrics": {"error": {"unit": "%", "digits": 2, "better": "lower"}},
        "columns": [
            {"key": "zf5", "label": "ZF-5"},
            {"key": "alex5", "label": "Alex-5", "job": "other_{row}"},
            {"key": "rival", "label": "Rival", "quoted": True},
        ],
        "rows": [
            {
                "key": "a",
                "label": "(a)",
                "job": "job_{column}",
                "metric": "error",
                "printed": {"zf5": 30, "rival": 40.5},
            },
            {
                "key": "b",
                "label": "(b)",
                "metric": "error",
                "printed": {"zf5": None, "alex5": 29.5},
                "gain": {"over": "a", "printed": {"alex5": 1.5}},
            },
        ],
    }


def loaded(folder: Path, raw: dict[str, Any]) -> tables.Table:
    path = folder / "table42.yaml"
    path.write_text(yaml.safe_dump(raw))
    return tables.load(path)


def found(job: str, value: float, seed: int = 0, **changes: Any) -> Found:
    record = Record(
        schema=1,
        status="ok",
        experiment=job,
        tier="mini",
        seed=seed,
        overrides={},
        metrics={"error": Metric(value, "%", 400)},
        needs=[],
        config_sha256="0",
        git={"commit": "abc", "dirty": False},
        versions={},
        data={"name": "mini", "fingerprint": "f1", "train": 2000, "test": 400},
        device="cpu",
        precision="32",
        deterministic="yes",
        wall_s=1.0,
        started="",
        command="",
    )
    return Found(Path(f"{job}/seed{seed}/record.json"), replace(record, **changes))


def test_cells_take_their_source_from_row_then_column(tmp_path: Path) -> None:
    table = loaded(tmp_path, small_table())
    assert set(table.cells) == {("a", "zf5"), ("a", "rival"), ("b", "alex5")}
    assert table.cells["a", "zf5"].job == "job_zf5"
    assert table.cells["b", "alex5"].job == "other_b"
    assert (table.cells["b", "alex5"].gain, table.cells["b", "alex5"].gain_over) == (1.5, "a")
    assert table.cells["a", "rival"].quoted and table.cells["a", "rival"].printed == 40.5
    assert table.jobs == ("job_zf5", "other_b")


def test_a_row_may_name_its_source_by_column(tmp_path: Path) -> None:
    raw = small_table()
    raw["metrics"]["other_error"] = {"unit": "px", "digits": 0, "better": "lower"}
    raw["rows"][0] |= {
        "printed": {"zf5": 30},
        "unprinted": ["alex5"],
        "job": {"zf5": "one_{column}"},
        "metric": {"zf5": "error", "alex5": "other_error"},
    }
    cells = loaded(tmp_path, raw).cells
    assert (cells["a", "zf5"].job, cells["a", "zf5"].metric, cells["a", "zf5"].measure.unit) == (
        "one_zf5",
        "error",
        "%",
    )
    assert (cells["a", "alex5"].job, cells["a", "alex5"].metric) == ("other_a", "other_error")  # the column's job
    assert cells["a", "alex5"].measure.unit == "px"


def test_cells_of_ours_alone_and_known_departures(tmp_path: Path) -> None:
    raw = small_table()
    raw["rows"][0] |= {"unprinted": ["alex5"], "instead": {"zf5": 29}}
    table = loaded(tmp_path, raw)
    assert table.cells["a", "alex5"].printed is None and not table.cells["a", "alex5"].quoted
    assert table.jobs == ("job_zf5", "job_alex5", "other_b")
    assert (table.cells["a", "zf5"].printed, table.cells["a", "zf5"].instead) == (30, 29)
    assert table.cells["a", "rival"].instead is None


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (["colour"], "red", "colour: unknown key"),
        (["title"], 3, "title: 3 is not a str"),
        (["table"], 41, "table: 41 in a file"),
        (["metrics", "error", "better"], "up", "metrics.error.better: 'up'"),
        (["metrics", "error", "digits"], True, "metrics.error.digits: True"),
        (["columns", 1, "key"], "zf5", "columns[1].key: 'zf5' twice"),
        (["columns", 2, "qouted"], True, "columns[2].qouted: unknown key"),
        (["rows", 0, "printed", "zf6"], 1.0, "rows.a.printed.zf6: not a column"),
        (["rows", 0, "printed", "zf5"], "30", "rows.a.printed.zf5: '30' is not a number"),
        (["rows", 0, "metric"], "eror", "rows.a.metric: 'eror' is not under metrics"),
        (["rows", 0, "job"], "job_{colum}", "rows.a.job: 'job_{colum}'"),
        (["rows", 1, "printed", "zf5"], 28.0, "rows.b.job: missing for column zf5"),
        (["rows", 1, "gain", "over"], "z", "rows.b.gain.over: 'z'"),
        (["rows", 1, "gain", "printed", "rival"], 1.0, "rows.b.gain.printed.rival: a gain where"),
        (["rows", 0, "printed"], {}, "rows.a.printed: missing, and nothing under unprinted"),
        (["rows", 0, "unprinted"], ["zf5"], "rows.a.unprinted: 'zf5' is under printed too"),
        (["rows", 1, "unprinted"], ["rival"], "rows.b.unprinted: 'rival' is quoted"),
        (["rows", 0, "unprinted"], ["zf6"], "rows.a.unprinted: 'zf6' is not a column"),
        (["rows", 0, "instead"], {"zf5": 30}, "rows.a.instead.zf5: stands only beside another printed number"),
        (["rows", 0, "instead"], {"rival": 41}, "rows.a.instead.rival: stands only beside"),
        (["rows", 0, "job"], {"alex5": "x"}, "rows.a.job.alex5: the row has no cell there"),
        (["rows", 0, "job"], {"zf5": 3}, "rows.a.job.zf5: 3 is not a str"),
    ],
)
def test_faults_name_file_and_key(tmp_path: Path, path: list[Any], value: object, fault: str) -> None:
    raw: Any = small_table()
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, raw)
    assert [line for line in caught.value.faults if fault in line and "table42.yaml" in line]


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    bad = small_table()
    del bad["caption"]
    bad["rows"] = "none"
    (tmp_path / "table42.yaml").write_text(yaml.safe_dump(bad))
    (tmp_path / "table43.yaml").write_text("table: [")
    with pytest.raises(ConfigError) as caught:
        tables.load_all(tmp_path)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("table", tables.load_all(folders.experiments()), ids=lambda table: table.name)
def test_printed_gains_are_differences_of_printed_numbers(table: tables.Table) -> None:
    for cell in table.cells.values():
        if cell.gain is not None and cell.gain_over is not None:
            over = table.cells[cell.gain_over, cell.column].printed
            assert over is not None and cell.printed is not None
            gain = over - cell.printed
            sign = 1 if cell.measure.better == "lower" else -1
            assert sign * gain == pytest.approx(cell.gain, abs=1e-6), cell.id


def test_table_2_is_complete_and_orders_as_the_paper_says() -> None:
    table = tables.load(folders.experiments() / "table02.yaml")
    assert sum(cell.gain is not None for cell in table.cells.values()) == 16
    for column in table.columns:
        for metric in ("top1", "top5"):
            none, single, multi = (table.cells[f"{row}_{metric}", column.key].printed for row in "abc")
            assert none > single > multi
        for row in "abc":
            assert table.cells[f"{row}_top1", column.key].printed > table.cells[f"{row}_top5", column.key].printed


def test_table_1_is_as_the_layers_go() -> None:
    table = tables.load(folders.experiments() / "table01.yaml")
    printed = {cell.id: cell.printed for cell in table.cells.values() if cell.printed is not None}
    for (row, column), number in printed.items():
        if column == "overfeat5":  # one column in the paper
            assert printed[row, "overfeat7"] == number
    for layer in range(3, 8):  # 3x3 at stride 1 keeps the map, and conv3 of Convnet*-5 alone is pooled
        for column in ("zf5", "convnet5", "overfeat5", "overfeat7"):
            if (f"conv{layer}_map", column) in printed and (layer, column) != (3, "convnet5"):
                assert (printed[f"conv{layer}_kernel", column], printed[f"conv{layer}_stride", column]) == (3, 1)
                before = printed.get((f"conv{layer - 1}_map", column), 13)
                assert printed[f"conv{layer}_map", column] == before
    assert [cell.id for cell in table.cells.values() if cell.instead is not None] == [("conv2_map_before_pool", "zf5")]


def test_tables_4_and_5_agree_with_table_2_and_with_the_ranks() -> None:
    two, four, five = (tables.load(folders.experiments() / f"table0{number}.yaml") for number in (2, 4, 5))
    for metric in ("top1", "top5"):
        assert four.cells["views10", f"{metric}_val"].printed == two.cells[f"c_{metric}", "overfeat7"].printed
        ours = four.cells["views98", f"{metric}_val"].printed
        others = [cell.printed for cell in four.cells.values() if cell.quoted and cell.column == f"{metric}_val"]
        assert ours is not None and len(others) >= 8 and ours < min(number for number in others if number is not None)
    ranked = [cell.printed for cell in five.cells.values()]
    assert len(ranked) == 7 and ranked == sorted(ranked, key=lambda number: number or 0.0)


def test_table_3_full_image_beats_the_crop_and_ten_views_beat_one() -> None:
    ten = tables.load(folders.experiments() / "table02.yaml")
    one = tables.load(folders.experiments() / "table03.yaml")
    best = {cell.job: cell.printed for cell in ten.cells.values() if cell.metric == "top1_error"}
    crop = {cell.job: cell.printed for cell in one.cells.values() if cell.metric == "crop_top1_error"}
    full = {cell.job: cell.printed for cell in one.cells.values() if cell.metric == "full_top1_error"}
    assert len(crop) == len(full) == 4
    assert all(best[job] < full[job] < crop[job] for job in crop)


def test_reading_the_tables_loads_nothing_heavy() -> None:
    code = "import sys, spprepro.paper.tables; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def table(number: int) -> tables.Table:
    return tables.load(folders.experiments() / f"table{number:02d}.yaml")


def printed(table: tables.Table) -> dict[tuple[str, str], float]:
    return {cell.id: cell.printed for cell in table.cells.values() if cell.printed is not None}


@pytest.mark.parametrize(
    ("number", "speedups"), [(9, {"spp_1sc": 64, "spp_5sc": 24}), (10, {"spp_1sc": 102, "spp_5sc": 38})]
)
def test_times_add_up_and_give_the_printed_speedups(number: int, speedups: dict[str, float]) -> None:
    found = printed(table(number))
    for column in ("spp_1sc", "spp_5sc", "rcnn"):
        total = found["conv", column] + found["fc", column]
        assert total == pytest.approx(found["total", column], abs=0.006 if column == "rcnn" else 1e-9)
    for column, speedup in speedups.items():
        assert found["speedup", column] == speedup == round(found["total", "rcnn"] / found["total", column])
        assert found["conv_speedup", column] == pytest.approx(found["conv", "rcnn"] / found["conv", column], rel=0.02)


def test_tables_9_to_12_have_the_same_number_where_they_have_the_same_metric() -> None:
    seen: dict[tuple[str | None, str | None], float | None] = {}
    shared = 0
    for cell in (cell for number in (9, 10, 11, 12) for cell in table(number).cells.values()):
        if cell.job and cell.printed is not None:
            shared += (cell.job, cell.metric) in seen
            assert seen.setdefault((cell.job, cell.metric), cell.printed) == cell.printed
    assert shared == 4 + 6 + 6 + 21  # mAPs and times of SPP in 10, the six means of 11, the first row of 12


def test_classes_of_tables_11_and_12_give_the_means_and_the_counts_of_the_text() -> None:
    eleven, twelve = printed(table(11)), printed(table(12))
    classes = [column.key for column in table(11).columns if column.key != "map"]
    assert classes == [column.key for column in table(12).columns][1:] and len(classes) == 20
    for found in (eleven, twelve):
        for row in {row for row, _ in found}:
            assert sum(found[row, name] for name in classes) / 20 == pytest.approx(found[row, "map"], abs=0.0801), row
    over = [round(eleven["spp_bb_zf5", name] - eleven["rcnn_bb_alex5", name], 1) for name in classes]
    assert (sum(d > 0 for d in over), sum(d == 0 for d in over)) == (11, 2)
    best = {n for n in classes if twelve["combination", n] > max(twelve["first", n], twelve["second", n])}
    assert set(classes) - best == {"ap_aeroplane", "ap_boat", "ap_cow"}
    assert sum(twelve["second", name] > twelve["first", name] for name in classes) == 11


def test_table_13_is_ranked_and_quoted() -> None:
    last = table(13)
    numbers = list(printed(last).values())
    assert len(numbers) == 7 and numbers == sorted(numbers, reverse=True)
    assert last.jobs == () and all(cell.quoted for cell in last.cells.values())


def test_the_blogs_number_of_model_combination_is_named() -> None:
    assert "Table 11 in arXiv v2 and in the blog summary" in table(12).editions and "Table 11" in table(12).caption


def test_jobs_that_run_by_name_fill_cells_and_are_not_the_tables(tmp_path: Path) -> None:
    raw = small_table()
    raw["columns"].append({"key": "extra", "label": "Extra", "job": "extra", "by_name": True})
    raw["rows"][0]["unprinted"] = ["extra"]
    raw["rows"].append({"key": "c", "label": "(c)", "metric": "error", "by_name": True, "unprinted": ["alex5"]})
    small = loaded(tmp_path, raw)
    assert {key for key, cell in small.cells.items() if cell.by_name} == {("a", "extra"), ("c", "alex5")}
    assert small.cells["a", "extra"].job == "job_extra" and small.cells["c", "alex5"].job == "other_c"
    assert small.jobs == ("job_zf5", "other_b")
    raw["rows"][0] |= {"unprinted": [], "printed": {"zf5": 30, "extra": 31}}
    with pytest.raises(ConfigError, match=r"table42\.yaml: rows\.a\.printed\.extra: by_name"):
        loaded(tmp_path, raw)


def test_the_jobs_of_detection_tables() -> None:
    nine = table(9)
    assert set(nine.jobs) == {"table9_zf5_1sc", "table9_zf5_5sc", "table9_alex5_rcnn", "table9_times"}
    assert {cell.job for cell in nine.cells.values()} - set(nine.jobs) == {
        "table9_squeezenet_1sc",
        "table9_squeezenet_5sc",
    }
    for name in ("table10_squeezenet_spp", "table10_squeezenet_rcnn"):
        metrics = {cell.metric for cell in table(10).cells.values() if cell.job == name}
        assert {"pool5_map", "ftfc7_map", "ftfc7_bb_map"} <= metrics


def test_tables_6_to_8_have_the_same_numbers_where_they_speak_of_the_same() -> None:
    six, seven, eight = (printed(table(number)) for number in (6, 7, 8))
    assert eight["ours", "voc07"] == six["fc7", "e"] and eight["zeiler_fergus", "voc07"] == six["fc7", "a"]
    assert eight["ours", "caltech101"] == seven["spp", "d"] == max(seven.values())
    assert round(eight["ours", "caltech101"] - eight["chatfield", "caltech101"], 2) == 4.88
    cells = table(8).cells
    assert (cells["ours", "voc07"].job, cells["ours", "voc07"].metric) == (table(6).cells["fc7", "e"].job, "fc7_map")
    assert cells["ours", "caltech101"].job == cells["ours", "std"].job == table(7).cells["spp", "d"].job
    assert sum(not cell.quoted for cell in cells.values()) == 3
