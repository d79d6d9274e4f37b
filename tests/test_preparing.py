"""task=prepare and task=verify as they are typed."""

import json
from pathlib import Path

import pytest

from spprepro.config import check
from spprepro.errors import ConfigError, DataError
from spprepro.jobs import start
from spprepro.terminal import bars
from tests.data import publishing
from tests.data.publishing import DEVKIT, TRAIN, VAL, ilsvrc, stored
from tests.test_config import compose


def do(*overrides: str) -> None:
    start(check(compose(*overrides, "data.workers=0")))


def source(texts: list[str]) -> str:
    return "data.source=[" + ",".join(f"'{text}'" for text in texts) + "]"


def test_ilsvrc_from_its_archives_to_a_verified_and_copied_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (f"data.root={tmp_path / 'root'}", source(stored(tmp_path, ilsvrc())))
    do("task=prepare", "data=imagenet", *given, "data.cache=jpeg", "data.min_side=64", "data.crop=56")
    assert "9 training and 6 test images of 3 classes" in capsys.readouterr().out
    assert len([path for path in (tmp_path / "cache" / "spprepro" / "pixels").rglob("*") if path.is_file()]) == 9
    do("task=verify", "data=imagenet", given[0])
    assert "every file is as its manifest says" in capsys.readouterr().out

    pictures = sorted((tmp_path / "root").rglob("*.JPEG"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:-9])
    pictures[1].write_bytes(pictures[1].read_bytes()[:-1] + b"?")
    with pytest.raises(DataError) as error:
        do("task=verify", "data=imagenet", given[0])
    assert sorted(fault.split(": ")[0] for fault in error.value.faults) == [str(path) for path in pictures[:2]]


def test_sets_without_data_root_lie_in_the_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives = {"imagenette2-160.tgz": publishing.imagenette(), "caltech-101.zip": publishing.caltech101()}
    imagenette, caltech = stored(tmp_path / "given", archives)
    do("task=prepare", "data=imagenette", source([imagenette]), "data.min_side=64", "data.crop=56")
    do("task=prepare", "data=caltech101", source([caltech]))
    do("task=prepare", "data=voc07", source(stored(tmp_path / "given", publishing.voc07(tmp_path))))
    out = capsys.readouterr().out
    assert f"{tmp_path}/home/imagenette: 6 training and 4 test images of 2 classes" in out
    assert f"{tmp_path}/home/caltech101: 4 files in 2 folders" in out and f"{tmp_path}/home/voc07: " in out
    for name in ("imagenette", "caltech101", "voc07"):
        do("task=verify", f"data={name}")
        do("task=prepare", f"data={name}", "data.min_side=64", "data.crop=56")  # what is there, looked at again


@pytest.mark.parametrize("name", ["imagenette", "voc07", "caltech101"])
def test_without_archives_the_message_says_where_they_are(name: str) -> None:
    with pytest.raises(DataError, match=r"data\.source="):
        do("task=prepare", f"data={name}")
    with pytest.raises(DataError, match="no manifest"):
        do("task=verify", f"data={name}")


def test_the_generated_set_is_verified_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="task=prepare data=mini makes it"):
        do("task=verify")
    amounts = [f"data.amounts.imagenet_{split}=20" for split in ("train", "val", "test")]
    do("task=prepare", *amounts)
    do("task=verify")
    root = Path(capsys.readouterr().out.splitlines()[-1].split(": every")[0])
    picture = next(root.rglob("*.JPEG"))
    picture.write_bytes(b"")
    with pytest.raises(DataError, match=f"{picture}: 0 bytes, not"):
        do("task=verify")


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (("data=voc07",), "data: voc07 is for task=prepare and task=verify"),
        (("data=imagenet", "data.root=x", f"data.source=[{TRAIN}]"), "data.source:"),
        (("task=prepare", f"data.source=[{VAL},{DEVKIT}]"), "data.source:"),
        (("task=prepare", "data=imagenette", "data.cache=png"), "data.cache"),
    ],
)
def test_what_does_not_go_together(overrides: tuple[str, ...], part: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(compose(*overrides))
    assert any(part in fault for fault in error.value.faults)


def test_only_the_jpeg_copy_makes_another_job() -> None:
    plain, raw, jpeg = (
        check(compose(f"data.cache={form}", *extra)).identity()
        for form, extra in (("null", ()), ("raw", ("data.keep_gib=9",)), ("jpeg", ()))
    )
    assert plain == raw and {key for key in jpeg if plain.get(key) != jpeg[key]} == {"data.cache"}


def test_a_bar_follows_a_total_that_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as tell:  # as of a download whose size the server does not tell
        tell("downloading", 1, 1)
        tell("downloading", 3, 9)
    assert "3/9" in capsys.readouterr().err


@pytest.mark.slow  # two commands load torch, and one trains: about 25 s
def test_the_record_names_the_jpeg_copy_and_another_form_is_another_job(cli, tmp_path):
    job = ("experiment=table1_zf5_nospp", "tier=smoke", "training.epochs=1")
    done = cli(*job, "data.cache=jpeg")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "results/smoke/table1_zf5_nospp/seed0/record.json").read_text())
    assert record["data"]["cache"] == "jpeg, quality 95, 4:4:4"
    done = cli(*job, "data.cache=raw")
    assert done.returncode == 2 and "data.cache" in done.stderr


@pytest.mark.slow  # three commands start Python and torch: about 15 s
def test_from_the_command_line(cli, tmp_path):
    given = (
        "data=imagenette",
        f"data.root={tmp_path / 'root'}",
        source(stored(tmp_path, {"imagenette2-160.tgz": publishing.imagenette()})),
    )
    done = cli("task=prepare", *given, "data.min_side=64", "data.crop=56")
    assert done.returncode == 0, done.stderr
    picture = next((tmp_path / "root").rglob("*.JPEG"))
    picture.unlink()
    done = cli("task=verify", *given[:2])
    assert done.returncode == 2 and f"error: {picture}: missing" in done.stderr and "Traceback" not in done.stderr
    done = cli("task=prepare", "data=imagenette", f"data.root={tmp_path / 'new'}", "data.source=[gone.tgz]")
    assert done.returncode == 2 and "gone.tgz: not found" in done.stderr
