"""What a job would cost, before it is paid."""

import shutil
from dataclasses import replace

import pytest

from spprepro.config import check
from spprepro.plan import measured_rate, operations, plan, transfer_operations
from spprepro.plan import test_operations as operations_of_tests
from tests.test_config import compose


def lines(*overrides):
    config = check(compose(*overrides))
    text = plan(config, [config])
    return dict(line.split("  ", 1) for line in text.splitlines())


def value(found, key):
    return found[key].strip()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_paper_tier_counts_imagenet():
    found = lines("experiment=table1_zf5_multisize", "tier=paper", "data.root=nowhere")
    assert value(found, "data") == "imagenet: 1,281,167 training and 50,000 test images"
    assert value(found, "steps") == f"{70 * (1_281_167 // 128):,} (70 epochs of 10,009 batches of 128)"
    # conv weights and biases of Table 1; fc6 takes 256 * 50 numbers
    convs = 96 * 148 + 256 * 2401 + 384 * 2305 + 384 * 3457 + 256 * 3457
    fcs = 12801 * 4096 + 4097 * 4096 + 4097 * 1000
    assert value(found, "parameters") == f"{convs + fcs:,}"


def test_a_folder_is_counted_without_reading_an_image(tree):
    (tree / "train" / "n01" / "n01_0.JPEG").write_bytes(b"not decoded")
    found = lines("data=imagenet", f"data.root={tree}", "training.batch=4", "training.epochs=3")
    assert value(found, "data") == "imagenet: 12 training and 6 test images"
    assert value(found, "steps").startswith("9 (3 epochs of 3")


def test_multi_size_costs_less_than_single_size():
    def operations(experiment):
        return float(value(lines(f"experiment={experiment}"), "operations").split()[0])

    assert operations("table1_zf5_multisize") < operations("table1_zf5_singlesize")


def test_a_training_is_tested_on_val_whatever_the_split():
    amount = {"train": 80, "val": 20, "classes": 5}
    costs = [operations(check(compose("tier=smoke", f"data.split={split}")), {}, amount) for split in ("val", "test")]
    assert costs[0] == costs[1] and costs[0][1] > 0


def test_time_rests_on_the_newest_record(cli, tmp_path):
    import json

    config = check(compose())
    assert measured_rate(config)[1].startswith("a guess")
    assert cli("tier=smoke", "name=one", "training.epochs=1").returncode == 0
    assert measured_rate(config)[1].startswith("a guess")  # a smoke record measures nothing
    source, target = (tmp_path / "results" / tier / "one" / "seed0" for tier in ("smoke", "mini"))
    shutil.copytree(source, target)
    record = json.loads((target / "record.json").read_text())
    record |= {"tier": "mini", "status": "ok", "precision": "bf16"}
    (target / "record.json").write_text(json.dumps(record))
    rate, where = measured_rate(config)
    assert where.startswith("measured") and rate > 0
    record["wall_s"] /= 2
    (target / "record.json").write_text(json.dumps(record))
    assert measured_rate(config)[0] == pytest.approx(2 * rate)


def table_of(text):
    return {line.split()[0]: line for line in text.splitlines()[1:-2]}


def test_a_table_is_planned_job_by_job(cli):
    plan_it = ("task=plan", "experiment=table4", "tier=smoke", "training.epochs=1")
    done = cli(*plan_it)
    assert done.returncode == 0, done.stderr
    found = table_of(done.stdout)
    assert list(found) == ["table1_overfeat7_multisize", "table4_overfeat7_multiview", "table4_overfeat7_test"]
    assert all("to run" in line for line in found.values())
    costs = [float(line.split("to run")[1].split()[0]) for line in found.values()]
    total = next(line for line in done.stdout.splitlines() if line.startswith("to run in all"))
    assert float(total.split()[4]) == pytest.approx(sum(costs), rel=0.01)
    assert costs[1] == pytest.approx(costs[2])  # 20 pictures each, in the same views
    assert cli("experiment=table1_overfeat7_multisize", "tier=smoke", "training.epochs=1").returncode == 0
    again = cli(*plan_it).stdout
    assert "there" in table_of(again)["table1_overfeat7_multisize"]
    left = next(line for line in again.splitlines() if line.startswith("to run in all"))
    assert float(left.split()[4]) == pytest.approx(sum(costs[1:]), rel=0.01)


def test_96_views_on_maps_cost_more_than_ten_crops_and_less_than_96():
    config = check(compose("experiment=table1_overfeat7_multisize", "tier=paper", "data.root=nowhere"))

    def cost(*tests):
        views = replace(config.views, tests=list(tests))
        return operations_of_tests(replace(config, views=views), config.backbone, 1, 1000)

    assert cost("ten") == 10 * cost("crop")
    assert 20 * cost("crop") < cost("multiview") < 60 * cost("crop")


def transfer_cost(*overrides):
    """(inner products, extraction) operations."""
    return transfer_operations(check(compose(*overrides)))


def test_transfer_counts_every_image_once_a_side():
    paper = ("tier=paper", "data.root=x", "voc.root=nowhere", "caltech.root=nowhere")
    _, crop = transfer_cost("experiment=table6_zf5_crop", *paper)
    _, full = transfer_cost("experiment=table6_zf5_full", *paper)
    _, chosen = transfer_cost("experiment=table6_zf5_full_chosen", *paper)
    assert crop < full < 2 * crop and 8 * full < chosen < 16 * full  # six sides of trainval, up to 448
    products, caltech = transfer_cost("experiment=table7_zf5_crop", *paper)
    assert caltech == pytest.approx(crop * 9144 / 9963)
    # conv4, conv5, the 6x6 level, all levels, fc6 and fc7
    numbers = 384 * 169 + 256 * 169 + 256 * 36 + 256 * 50 + 2 * 4096
    assert products == 2 * 9144**2 * numbers


def test_a_transfer_table_is_planned_after_its_networks(cli):
    done = cli("task=plan", "experiment=table7", "tier=smoke")
    assert done.returncode == 0, done.stderr
    found = list(table_of(done.stdout))
    assert found.index("table1_zf5_multisize") < found.index("table7_zf5_crop") and "table7_overfeat7_full" in found
