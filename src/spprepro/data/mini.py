"""The embedded data set `data=mini`: generated JPEGs in the layouts of ILSVRC, VOCdevkit and Caltech-101.

    <root>/imagenet/{train,val}/<wnid>/*.JPEG           <root>/imagenet.manifest.json
    <root>/imagenet/test/*.JPEG, test_ground_truth.txt
    <root>/VOCdevkit/VOC2007/{JPEGImages,...}           <root>/VOCdevkit.manifest.json
    <root>/101_ObjectCategories/<name>/image_0001.jpg   <root>/101_ObjectCategories.manifest.json

Files appear whole (temporary name, then renamed); the manifest, written last, lists them with their hashes.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spprepro.data import layouts, manifest
from spprepro.data.layouts import CLASSES, FOLDERS, Amounts, Part, Task
from spprepro.data.manifest import Entry, entry, put
from spprepro.errors import DataError
from spprepro.files import locked, write_text

__all__ = ["CLASSES", "Amounts", "Part", "contact_sheet", "generate", "manifest_path", "verify"]

CHUNK = 50  # pictures a process draws before it reports

Progress = Callable[[int, int], None]


def _draw_all(folder: Path, tasks: list[Task]) -> dict[str, Entry]:
    """Draw and write what the tasks lack of their files."""
    found = {}
    for task in tasks:
        for path, content in layouts.draw(task).items():
            found[path] = put(folder / path, content)
    return found


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
    cv2.setNumThreads(1)


def _run(folder: Path, tasks: list[Task], workers: int | None, progress: Progress | None) -> dict[str, Entry]:
    """Draw the tasks, in this process if that is quicker than starting others."""
    chunks = [tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    found: dict[str, Entry] = {}
    done = 0

    def note(entries: dict[str, Entry], count: int) -> None:
        nonlocal done
        found.update(entries)
        done += count
        if progress is not None:
            progress(done, len(tasks))

    if workers < 2:
        for chunk in chunks:
            note(_draw_all(folder, chunk), len(chunk))
        return found
    context = multiprocessing.get_context("spawn")  # a fork of a process with running threads can hang
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = {pool.submit(_draw_all, folder, chunk): len(chunk) for chunk in chunks}
        try:
            for future in as_completed(futures):
                note(future.result(), futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def manifest_path(root: Path, part: Part) -> Path:
    """Where the manifest of a part lies: beside its folder."""
    return root / f"{FOLDERS[part]}.manifest.json"


def _partial_path(root: Path, part: Part) -> Path:
    """The settings of a part whose generation has not finished."""
    return root / f"{FOLDERS[part]}.partial.json"


def _known(root: Path, part: Part, settings: dict[str, Any]) -> dict[str, Entry] | None:
    """Files that the manifest lists; {} where only the mark of an interrupted call is, None without either.

    Raises DataError if they were made with other settings.
    """
    for path in (manifest_path(root, part), _partial_path(root, part)):
        if path.is_file():
            found = _read(path)
            files = found.pop("files", {})
            if found != settings:
                raise DataError(
                    f"{path}: holds data made with {json.dumps(found)}, asked for {json.dumps(settings)}; "
                    f"choose another folder, or delete {root / FOLDERS[part]} and this file"
                )
            return {name: (sha, size) for name, (sha, size) in files.items()}
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, and the next job draws the set again") from error


def _kept(folder: Path, expected: list[str], known: dict[str, Entry], sizes: dict[str, int]) -> dict[str, Entry]:
    """The files of earlier calls that need not be made again; what no manifest lists must have its end."""
    kept = {}
    for name in expected:
        if name in known and sizes.get(name) == known[name][1]:
            kept[name] = known[name]
        elif name in sizes and name not in known:
            content = (folder / name).read_bytes()
            if content.endswith((b"\xff\xd9", b"</annotation>\n")):
                kept[name] = entry(content)
    return kept


def _refuse_strangers(folder: Path, names: set[str]) -> None:
    if names:
        raise DataError(
            f"{folder / min(names)}: {len(names)} file(s) are not of the generated data set; "
            f"move them away or choose another folder"
        )


def generate(
    root: Path,
    *,
    part: Part,
    seed: int,
    amounts: Amounts,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make one part of the data set below `root`, or what is missing of it, and return the part's folder.

    `workers` processes draw (None: all cores; 1: this one); `progress` gets (pictures drawn, to draw).
    Returns at once if all names and sizes are as in the manifest; `verify` compares the contents too.
    Raises DataError if the folder holds other files, or a part of another seed, amounts or generator version.
    """
    folder, settings = root / FOLDERS[part], layouts.settings(part, seed, amounts)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f".{FOLDERS[part]}.lock"):
        known, sizes = _known(root, part, settings), manifest.sizes(folder)
        if known and {name: size for name, (_, size) in known.items()} == sizes:
            return folder
        tasks = layouts.tasks(part, seed, amounts)
        sets = set(layouts.list_names(part))
        expected = [name for task in tasks for name in task.files]
        _refuse_strangers(folder, set(sizes) - set(expected) - sets)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()
        if known is None:
            put(_partial_path(root, part), json.dumps(settings).encode())
        for parent in {(folder / name).parent for name in (*expected, *sets)}:
            parent.mkdir(parents=True, exist_ok=True)
        files = {} if known is None else _kept(folder, expected, known, sizes)
        lacking = [task for task in tasks if not all(name in files for name in task.files)]
        files |= _run(folder, lacking, workers, progress)
        files |= {name: put(folder / name, text) for name, text in layouts.lists(part, folder, tasks).items()}
        listed = {**settings, "files": dict(sorted(files.items()))}
        write_text(manifest_path(root, part), json.dumps(listed))
        _partial_path(root, part).unlink(missing_ok=True)
    return folder


def verify(root: Path, part: Part) -> list[str]:
    """Compare every file of a part with its manifest; a line for each missing, extra, cut or altered one."""
    path = manifest_path(root, part)
    if not path.is_file():
        return [f"{path}: missing; generate the data set again"]
    files = _read(path).get("files", {})
    folder = root / FOLDERS[part]
    return list(manifest.faults(folder, files, manifest.sizes(folder), "generate the data set again"))


def _cell(path: Path, side: int) -> npt.NDArray[np.uint8]:
    """A picture shrunk to fit a white square of `side` pixels, its aspect kept."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise DataError(f"{path}: cannot be read as a picture; delete it and generate the data set again")
    scale = (side - 4) / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((side, side, 3), 255, np.uint8)
    y, x = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    cell[y : y + small.shape[0], x : x + small.shape[1]] = small
    return cell


def contact_sheet(root: Path, out: Path, *, per_class: int = 3) -> Path:
    """Write a grid of validation pictures, `per_class` of each class, as the JPEG `out`, and return it.

    Raises DataError if a class has too few pictures.
    """
    side, columns, tiles = 104, 4, []
    for each in CLASSES:
        folder = root / FOLDERS["imagenet"] / "val" / each.wnid
        paths = sorted(folder.glob("*.JPEG"))[:per_class]
        if len(paths) < per_class:
            raise DataError(f"{folder}: {len(paths)} pictures, {per_class} needed; generate the data set first")
        title = np.full((20, per_class * side, 3), 255, np.uint8)
        cv2.putText(title, each.name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        tiles.append(np.vstack([title, np.hstack([_cell(path, side) for path in paths])]))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    out.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    put(out, cv2.imencode(".jpg", np.vstack(rows), quality)[1].tobytes())
    return out
