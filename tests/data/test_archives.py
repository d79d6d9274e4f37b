"""Archives: what is in them, and that no hostile or damaged one is unpacked."""

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spprepro.data import archives
from spprepro.data.archives import members
from spprepro.errors import DataError
from tests.data.publishing import tar

PLAIN = {"a/one.jpg": b"1" * 700, "two.jpg": b"22", "empty.jpg": b""}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(content)
    return path


def odd(change: Callable[[tarfile.TarInfo], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("odd")
        change(info)
        archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("content", [tar(PLAIN), tar(PLAIN, "w:gz"), zipped(PLAIN)], ids=["tar", "tar.gz", "zip"])
def test_members_and_their_contents(tmp_path: Path, content: bytes) -> None:
    path = stored(tmp_path, content)
    assert {member.name: member.read() for member in members(path)} == PLAIN
    assert [member.size for member in members(path)] == [700, 2, 0]


@pytest.mark.parametrize("pack", [tar, lambda files: tar(files, "w:gz"), zipped], ids=["tar", "tar.gz", "zip"])
def test_archives_in_archives(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = stored(tmp_path, pack({"x.tar": tar(PLAIN), "y.tar.gz": tar({"z": b"zz"}, "w:gz")}))
    found = {inner.name: inner.read() for outer in members(path) for inner in outer.members()}
    assert found == {**PLAIN, "z": b"zz"}


def link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard_link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.LNKTYPE, "inside"


def device(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


def pipe(info: tarfile.TarInfo) -> None:
    info.type = tarfile.FIFOTYPE


@pytest.mark.parametrize("change", [link, hard_link, device, pipe])
def test_links_and_devices_are_refused(tmp_path: Path, change: Callable[[tarfile.TarInfo], None]) -> None:
    with pytest.raises(DataError, match="'odd' is a link, a device"):
        list(members(stored(tmp_path, odd(change))))


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "a\\..\\out"])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    path = stored(tmp_path, pack({"fine": b"", name: b"", "b/../../twice": b""}))
    with pytest.raises(DataError) as error:
        list(members(path))
    assert len(error.value.faults) == 2 and all("out" in fault for fault in error.value.faults)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="'odd' is a link"):
        list(members(stored(tmp_path, out.getvalue())))


@pytest.mark.parametrize("content", [tar({"zeros": bytes(30 << 20)}, "w:gz"), zipped({"zeros": bytes(30 << 20)})])
def test_bombs_are_refused_unread(tmp_path: Path, content: bytes) -> None:
    path = stored(tmp_path, content)
    with pytest.raises(DataError, match=f"'zeros' makes it unpack to over {100 * len(content) + 2**20} bytes"):
        list(members(path))


def test_a_header_cannot_ask_for_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 1 << 20)
    path = stored(tmp_path, odd(lambda info: setattr(info, "name", "long" * (1 << 19))))
    with pytest.raises(DataError, match="damaged"):
        list(members(path))


@pytest.mark.parametrize("content", [tar(PLAIN), tar(PLAIN, "w:gz"), zipped(PLAIN, zipfile.ZIP_STORED)])
def test_no_cut_or_altered_archive_passes_unnoticed_as_another_error(tmp_path: Path, content: bytes) -> None:
    draw = random.Random(0)
    for _ in range(300):
        harmed = bytearray(content[: draw.randrange(len(content))] if draw.random() < 0.3 else content)
        for _ in range(draw.randrange(1, 6)):
            if harmed:
                harmed[draw.randrange(len(harmed))] = draw.randrange(256)
        try:
            for member in members(stored(tmp_path, bytes(harmed))):
                member.read()
        except DataError as error:
            assert str(tmp_path) in error.faults[0]


@pytest.mark.parametrize(
    ("method", "mark", "harm"),
    [(zipfile.ZIP_LZMA, b"\x5d\0\0", 0), (zipfile.ZIP_STORED, "é".encode(), 1), (zipfile.ZIP_STORED, b"PK\5\6", 18)],
    ids=["contents", "name", "place of the list"],
)
def test_a_zip_is_named_whatever_part_is_altered(tmp_path: Path, method: int, mark: bytes, harm: int) -> None:
    content = bytearray(zipped({"é.jpg": bytes(range(256))}, method))
    content[content.rindex(mark) + harm] = 255
    with pytest.raises(DataError, match="archive: truncated or damaged"):
        for member in members(stored(tmp_path, bytes(content))):
            member.read()


@pytest.mark.parametrize("cut", [513, 1400, 1536])
def test_a_cut_tar_is_named(tmp_path: Path, cut: int) -> None:
    content = tar({"a": b"1" * 700, "b": b"2"})
    with pytest.raises(DataError, match="truncated or damaged"):
        list(members(stored(tmp_path, content[:cut] + b"x" * (cut % 512 == 0) * 600)))
