"""Downloads: whatever breaks off, the bytes are right in the end, and nothing comes twice that need not."""

import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from spprepro.data import download as module
from spprepro.data.download import download
from spprepro.errors import DataError
from tests.data.publishing import Server, serving

CONTENT = os.urandom(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serving() as server:
        server.files["x.tar"] = CONTENT
        yield server


def get(server: Server, path: Path) -> bytes:
    download(server.url("x.tar"), path, lambda done, total: None)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def broken_off(server: Server, path: Path, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call that gives up after `cut` bytes."""
    server.cuts = [cut, 0, 0]
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(DataError, match=f"broke off at byte {cut} .*the same command goes on"):
        get(server, path)
    monkeypatch.undo()
    monkeypatch.setattr(module, "PAUSE", 0.0)
    server.cuts.clear()
    server.asked.clear()


def test_a_whole_transfer_is_made_once(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    download(server.url("x.tar"), tmp_path / "x.tar", lambda *amounts: told.append(amounts))
    assert told[-1] == (300_000, 300_000)
    assert get(server, tmp_path / "x.tar") == CONTENT and server.asked == [None]


def test_it_goes_on_by_itself_from_the_last_byte(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 200_000]
    assert get(server, tmp_path / "x.tar") == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=201000-"]


def test_another_call_goes_on_from_the_last_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    assert get(server, tmp_path / "x.tar") == CONTENT and server.asked == ["bytes=1234-"]


def test_all_comes_again_from_a_server_that_sends_no_parts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    server.ranges = False
    assert get(server, tmp_path / "x.tar") == CONTENT


def test_the_rest_of_an_old_part_is_not_asked_for_as_the_new_version(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    server.files["x.tar"] = os.urandom(300_000)
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: usage(0))
        with pytest.raises(DataError, match="are free"):
            get(server, tmp_path / "x.tar")
    assert get(server, tmp_path / "x.tar") == server.files["x.tar"]


@pytest.mark.parametrize("size", [300_000, 400_000, 700], ids=["same size", "longer", "shorter than the part"])
def test_parts_of_two_versions_are_never_joined(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    server.files["x.tar"] = os.urandom(size)
    assert get(server, tmp_path / "x.tar") == server.files["x.tar"]


def test_without_a_mark_the_size_tells_versions_apart(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.marks = False
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    server.files["x.tar"] = os.urandom(400_000)
    assert get(server, tmp_path / "x.tar") == server.files["x.tar"]


def test_the_part_of_another_address_is_not_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, tmp_path / "x.tar", 1234, monkeypatch)
    server.files["mirror/x.tar"] = os.urandom(300_000)
    download(server.url("mirror/x.tar"), tmp_path / "x.tar", lambda done, total: None)
    assert (tmp_path / "x.tar").read_bytes() == server.files["mirror/x.tar"]


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.fails = 2
    assert get(server, tmp_path / "x.tar") == CONTENT and len(server.asked) == 3
    with pytest.raises(DataError, match=r"y\.tar: 404 .*correct the address"):
        download(server.url("y.tar"), tmp_path / "y.tar", lambda done, total: None)
    assert len(server.asked) == 4


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serving() as server:
        gone = server.url("x.tar")
    with pytest.raises(DataError, match="broke off at byte 0"):
        download(gone, tmp_path / "x.tar", lambda done, total: None)


def test_room_is_asked_for_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(250_000))
    with pytest.raises(DataError, match=r"needs 0\.0003 GB, but 0\.00025 GB are free"):
        get(server, tmp_path / "x.tar")
    assert not (tmp_path / "x.tar.part").exists()
