"""Windows that may hold an object, found by selective search or EdgeBoxes, each image computed once and kept.

The windows of an image are a function of its content and of the settings alone: not of the process that computes them,
of the images before it or of the number of workers. A kept file is named by both, so neither an altered image nor other
settings ever meet old windows, and a run that was killed goes on after the last file it wrote.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import cv2
import numpy as np
import numpy.typing as npt

from spprepro.data.decode import decode_bytes
from spprepro.detection import EdgeBoxes, SelectiveSearch
from spprepro.errors import DataError
from spprepro.files import replacing

VERSION = 1  # of the windows; raised with every change to how they are found or ordered
CHUNK = 4  # images a process works on before it reports, a few seconds

Boxes = npt.NDArray[np.float32]  # (n, 4) [x1, y1, x2, y2], 0-based pixels, both ends inclusive
Picture = npt.NDArray[np.uint8]  # (h, w, 3) RGB
Progress = Callable[[int, int], None]
Settings = SelectiveSearch | EdgeBoxes


def selective_search(picture: Picture, settings: SelectiveSearch, seed: int) -> Boxes:
    """Windows of a picture, without duplicates, the likelier large ones first (pseudo-random, from `seed`).

    Nothing cuts the list: the number of segments to begin with limits it, to about 2,000 windows on a VOC image.
    OpenCV finds the same windows whenever it is asked, but puts small ones first and orders them by the C library's
    rand(), which nothing seeds (cv2.setRNGSeed does not). The order here is the original's: the place from the largest
    down, times a random number.
    """
    height, width = picture.shape[:2]
    shrink = min(1.0, settings.long_side / max(height, width))
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    if min(small) < settings.min_side:
        return np.empty((0, 4), np.float32)
    if shrink < 1:
        picture = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), np.uint8)
    found = _group(picture, settings)
    found = found[(found[:, 2:] >= settings.min_side).all(1)]
    found = np.unique(found, axis=0)  # sorted too, so that OpenCV's order is forgotten
    found = found[_large_first(found[:, 2] * found[:, 3], seed)]
    ends = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1)  # the second one exclusive
    ends = np.rint(ends * np.tile([width / small[0], height / small[1]], 2))
    boxes: Boxes = (ends - [0, 0, 1, 1]).astype(np.float32)
    return boxes


def _group(picture: Picture, settings: SelectiveSearch) -> npt.NDArray[np.int32]:
    """(n, 4) [x, y, width, height] of every region of every hierarchy."""
    kit = cv2.ximgproc.segmentation  # all its objects are new for each picture: they keep histograms of the last one
    search = kit.createSelectiveSearchSegmentation()
    for space in (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2Lab):  # FULL: hue on [0, 255] like the rest
        search.addImage(cv2.cvtColor(picture, space))
    for threshold in settings.thresholds:
        search.addGraphSegmentation(kit.createGraphSegmentation(settings.sigma, threshold, threshold))
    colour = kit.createSelectiveSearchSegmentationStrategyColor()
    others = (
        kit.createSelectiveSearchSegmentationStrategyTexture(),
        kit.createSelectiveSearchSegmentationStrategySize(),
        kit.createSelectiveSearchSegmentationStrategyFill(),
    )
    search.addStrategy(kit.createSelectiveSearchSegmentationStrategyMultiple(colour, *others))
    search.addStrategy(kit.createSelectiveSearchSegmentationStrategyMultiple(*others))
    return np.asarray(search.process(), np.int32).reshape(-1, 4)


def _large_first(areas: npt.NDArray[np.int32], seed: int) -> npt.NDArray[np.intp]:
    """An order of windows: ascending place from the largest down, times a number drawn from [0, 1)."""
    place = np.empty(len(areas))
    place[np.argsort(-areas, kind="stable")] = np.arange(1, len(areas) + 1)
    return np.argsort(place * np.random.default_rng(seed).random(len(areas)), kind="stable")


def edge_boxes(picture: Picture, settings: EdgeBoxes) -> Boxes:
    """Windows of a picture by falling score. OpenCV's edges lack the sharpening of the original."""
    if min(picture.shape[:2]) < 16:  # the patch in which edges are sought
        return np.empty((0, 4), np.float32)
    forest = _forest(_model(settings))
    edges = forest.detectEdges(picture.astype(np.float32) / 255)
    directions = forest.computeOrientation(edges)
    return boxes_of_edges(forest.edgesNms(edges, directions), directions, settings)


def boxes_of_edges(edges: npt.NDArray[np.float32], directions: npt.NDArray[np.float32], settings: EdgeBoxes) -> Boxes:
    """EdgeBoxes of an edge map in [0, 1] with directions in [0, pi), by falling score.

    OpenCV returns [x, y, width, height] as the original does in MATLAB: x and y from 1, and a width that counts the
    steps from the first to the last column that was scored.
    """
    _, _, *parameters = astuple(settings)
    finder = cv2.ximgproc.createEdgeBoxes(*parameters)  # a new one each time: it remembers the image before
    found = np.asarray(finder.getBoundingBoxes(edges, directions)[0], np.float32).reshape(-1, 4)
    first = found[:, :2] - 1
    return np.concatenate([first, first + found[:, 2:]], 1)


_WHERE = "EdgeBoxes needs OpenCV's model.yml.gz (opencv_extra, testdata/cv/ximgproc); set proposals.model to that file"


def _model(settings: EdgeBoxes) -> Path:
    if settings.model is None or not Path(settings.model).is_file():
        raise DataError(f"proposals.model={settings.model}: not found; {_WHERE}")
    return Path(settings.model)


def _forest(model: Path) -> Any:
    """The edge detector; raises DataError where the file is not such a model."""
    return _read_forest(str(model), model.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)  # seconds to read; a worker needs the same one for every image
def _read_forest(model: str, _stamp: int) -> Any:
    try:
        store = cv2.FileStorage(model, cv2.FILE_STORAGE_READ)  # must outlive its nodes
        options = store.getNode("options")
        keys = ("stride", "shrinkNumber", "patchSize", "patchInnerSize", "numberOfTrees", "numberOfTreesToEvaluate")
        if not options.empty() and all(options.getNode(key).real() >= 1 for key in keys):
            return cv2.ximgproc.createStructuredEdgeDetection(model)  # it divides by them without a look
    except (cv2.error, SystemError):
        pass
    raise DataError(f"proposals.model={model}: not a structured forest, or damaged; {_WHERE}")


class KeptWindows(Mapping[str, Boxes]):
    """The windows of each image by its id, read from disk when asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> Boxes:
        boxes = _load(self._paths[name])
        if boxes is None:
            raise DataError(f"{self._paths[name]}: gone or damaged; run the same command again to have it made again")
        return boxes

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True)
class _Task:
    name: str
    path: Path
    digest: str  # sha256 of the image file
    kept: Path


def settings_key(settings: Settings) -> str:
    """16 hex digits that change with the settings, the content of a model file, or the library that does the work."""
    values = asdict(settings)
    if isinstance(settings, EdgeBoxes):
        values["model"] = _digest(_model(settings).read_bytes())
    return _digest(json.dumps([VERSION, cv2.__version__, values], sort_keys=True).encode())[:16]


def propose(
    images: Sequence[tuple[str, Path]],
    settings: Settings,
    cache_folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    rank: int = 0,
    world: int = 1,
) -> KeptWindows:
    """The windows of images given as (id, file); those that `cache_folder` lacks are computed and kept there.

    workers: processes (default: one a core). progress is told (images done, images in all). Of `world` jobs that share
    the work each does the images rank, rank + world, ...; a last one with world=1 finds them all.
    Raises DataError naming every file that cannot be read, when all the others are done.
    """
    mine = images[rank::world]
    if len({name for name, _ in images}) < len(images):
        raise DataError(f"{len(images)} images have {len({name for name, _ in images})} different ids; name each once")
    folder = cache_folder / f"{settings.method}-{settings_key(settings)}"
    tasks: list[_Task] = []
    lacking: list[_Task] = []
    faults: list[str] = []
    for name, path in mine:
        try:
            digest = _digest(path.read_bytes())
        except OSError as error:
            faults.append(f"{path}: cannot be read ({error.strerror}); image {name} needs it")
            continue
        tasks.append(_Task(name, path, digest, folder / digest[:2] / f"{digest}.npz"))
        if _load(tasks[-1].kept) is None:
            lacking.append(tasks[-1])
    if lacking and isinstance(settings, EdgeBoxes):
        _forest(_model(settings))  # so that a wrong file is one fault, not one a process
    done = len(mine) - len(lacking)
    if progress is not None:
        progress(done, len(mine))
    with closing(_run(lacking, settings, workers)) as running:
        for count, wrong in running:
            faults += wrong
            done += count
            if progress is not None:
                progress(done, len(mine))
    if faults:
        raise DataError(faults)
    return KeptWindows({task.name: task.kept for task in tasks})


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _leave_with_parent() -> None:
    """End this process when its parent has gone; a killed one could not tell it, and it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(tasks: list[_Task], settings: Settings, workers: int | None) -> Generator[tuple[int, list[str]], None, None]:
    """Compute the tasks, in this process if that is quicker than starting others; it yields what `_keep_all` gives."""
    chunks = [tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers < 2:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            for chunk in chunks:
                yield _keep_all(chunk, settings)
        finally:
            cv2.setNumThreads(threads)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with running threads can hang
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = [pool.submit(_keep_all, chunk, settings) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # after the chunks that have begun
            raise


def _keep_all(tasks: list[_Task], settings: Settings) -> tuple[int, list[str]]:
    """How many tasks there were, and what is wrong with the images that have no windows now."""
    faults: list[str] = []
    for task in tasks:
        try:
            content = task.path.read_bytes()
            picture = np.ascontiguousarray(decode_bytes(content).permute(1, 2, 0).numpy())
        except Exception as error:  # whatever a decoder raises: the file is named and the job refused
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            faults.append(f"{task.path}: cannot be decoded ({reason}); replace or remove the file")
            continue
        if _digest(content) != task.digest:
            faults.append(f"{task.path}: changed while the job ran; run the same command again")
            continue
        try:
            if isinstance(settings, SelectiveSearch):
                boxes = selective_search(picture, settings, seed=int(task.digest[:16], 16))
            else:
                boxes = edge_boxes(picture, settings)
        except cv2.error as error:
            faults.append(f"{task.path}: OpenCV finds no windows in it ({error.err}); remove the file")
            continue
        with replacing(task.kept) as out:
            np.savez_compressed(out, boxes=boxes)
    return len(tasks), faults


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _load(path: Path) -> Boxes | None:
    """Kept windows; None if they are not there or damaged (the file ends with a checksum)."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return np.asarray(kept["boxes"], np.float32).reshape(-1, 4)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError):
        return None
