"""A file over HTTP that may break off at any byte, and goes on from there: now, or when the same command runs again.

NAME.part holds what has come; NAME.part.json the server's mark of the version that it is part of, so that parts of two
versions are never joined. A server that cannot send the rest sends all of it again.
"""

import json
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from spprepro.errors import DataError
from spprepro.files import require_room, write_text

ATTEMPTS = 5  # in a row that bring nothing
PAUSE = 1.0  # seconds after one that broke off, twice as long after each of these
TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20


class _Broken(Exception):
    """The transfer ended early; another attempt may bring the rest."""


def download(url: str, path: Path, progress: Callable[[int, int], None]) -> None:
    """`url` as the file `path`, unless it is there; `progress` gets (bytes, of how many).

    Raises DataError when the server refuses, when the transfer breaks off again and again, and for a disk without room.
    """
    part, idle = path.with_name(f"{path.name}.part"), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    while not path.exists():
        before = _size(part)
        try:
            _fetch(url, part, progress)
        except _Broken as error:
            idle = 0 if _size(part) > before else idle + 1
            if idle == ATTEMPTS:
                raise DataError(
                    f"{url}: broke off at byte {_size(part)} ({error}); the same command goes on from there"
                ) from error
            sleep(PAUSE * 2**idle)
        else:
            os.replace(part, path)
            _note(part).unlink(missing_ok=True)


def _fetch(url: str, part: Path, progress: Callable[[int, int], None]) -> None:
    """Append to `part` what it lacks, or begin it anew."""
    known = _read_note(part, url)
    have = _size(part) if known else 0
    if known and have == known["size"]:
        return
    headers = {"User-Agent": "spprepro", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known["mark"]} if known["mark"] else {})
    with _reply(url, headers, part) as reply:
        if reply.status == 206:
            first, _, size = reply.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if first.partition("-")[0] != str(have) or str(known["size"]) not in (size, "None"):
                part.unlink()
                raise _Broken("the server sent another part than asked for")
        else:
            part.unlink(missing_ok=True)  # before the note of another version is beside it
            have, known = 0, _new_note(url, reply.headers)
            write_text(_note(part), json.dumps(known))
        size = known["size"]
        require_room(part.parent, (size or 0) - have)
        with part.open("ab" if have else "wb") as out:
            while chunk := _read(reply):
                out.write(chunk)
                have += len(chunk)
                progress(have, size or have)
            os.fsync(out.fileno())
    if size is not None and have != size:
        raise _Broken(f"of {size} bytes")


def _reply(url: str, headers: dict[str, str], part: Path) -> Any:
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the file is shorter now than what came of it
            part.unlink()
        elif error.code < 500 and error.code not in (408, 429):
            raise DataError(f"{url}: {error.code} {error.reason}; correct the address in data.source") from error
        raise _Broken(f"{error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from error


def _read(reply: Any) -> bytes:
    try:
        return bytes(reply.read1(_CHUNK))  # what is there: a broken transfer loses nothing
    except (OSError, HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from error


def _new_note(url: str, headers: Any) -> dict[str, Any]:
    """The size, None where the server does not tell, and the mark for If-Range, which weak ETags are not."""
    tag, size = headers.get("ETag", ""), headers.get("Content-Length", "")
    mark = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    return {"url": url, "size": int(size) if size.isdecimal() else None, "mark": mark}


def _read_note(part: Path, url: str) -> dict[str, Any]:
    """The note beside `part`; {} where there is none of this address."""
    try:
        known: dict[str, Any] = json.loads(_note(part).read_text())
    except (OSError, ValueError):
        return {}
    return known if known.get("url") == url else {}


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
