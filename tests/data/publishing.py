"""Small data sets packed as their publishers do it, and an HTTP server with the faults that servers have."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

from spprepro.data import mini
from spprepro.data.published import DEVKIT, TEST, TRAIN, VAL

WNIDS = ("n00000003", "n00000001", "n00000002")  # in the order of ILSVRC2012_ID, which is not that of the names
TRAIN_COUNTS = (4, 2, 3)
TRUTH = (2, 2, 1, 3, 1, 3)


def picture(seed: int) -> bytes:
    """A small JPEG file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(pixels, (80, 60), interpolation=cv2.INTER_CUBIC))[1].tobytes()


def tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar (mode w:gz: a tar.gz) of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def devkit(
    counts: tuple[int, ...] = TRAIN_COUNTS,
    truth: tuple[int, ...] = TRUTH,
    wnids: tuple[str, ...] = WNIDS,
    words: str = "thing {}, object",
    *,
    compress: bool = True,
) -> bytes:
    """The development kit: meta.mat has the classes and, behind them, a synset above them."""
    fields = (
        "ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images",
    )  # fmt: skip
    synsets = np.empty((len(WNIDS) + 1, 1), [(field, object) for field in fields])
    for number, (wnid, count) in enumerate(zip(wnids, counts, strict=True), 1):
        row = (number, wnid, words.format(number), "what it is", 0, np.zeros((1, 0)), 0, count)
        synsets[number - 1, 0] = row
    synsets[-1, 0] = (len(WNIDS) + 1, "n00000009", "entity", "all of it", 3, np.array([[1, 2, 3]]), 1, 0)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets}, do_compression=compress)
    folder = "ILSVRC2012_devkit_t12"
    lines = "".join(f"{number}\n" for number in truth).encode()
    return tar(
        {
            f"{folder}/readme.txt": b"the kit\n",
            f"{folder}/data/meta.mat": meta.getvalue(),
            f"{folder}/data/ILSVRC2012_validation_ground_truth.txt": lines,
        },
        "w:gz",
    )


def ilsvrc() -> dict[str, bytes]:
    """ILSVRC-2012 as it really comes, of three classes: a tar of tars, flat validation pictures, the kit, the test."""
    classes = {
        f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": picture(100 * label + i) for i in range(count)})
        for label, (wnid, count) in enumerate(zip(WNIDS, TRAIN_COUNTS, strict=True))
    }
    val = {f"ILSVRC2012_val_{i:08d}.JPEG": picture(900 + i) for i in range(1, len(TRUTH) + 1)}
    test = {f"test/ILSVRC2012_test_{i:08d}.JPEG": picture(950 + i) for i in (1, 2)}
    return {TRAIN: tar(classes), VAL: tar(val), DEVKIT: devkit(), TEST: tar(test)}


def imagenette() -> bytes:
    """Two classes of Imagenette."""
    files = {
        f"imagenette2-160/{split}/{wnid}/{wnid}_{i}.JPEG": picture(i)
        for split, count in (("train", 3), ("val", 2))
        for wnid in ("n01440764", "n02102040")
        for i in range(count)
    }
    return tar({"imagenette2-160/noisy_imagenette.csv": b"path\n", **files}, "w:gz")


def voc07(folder: Path) -> dict[str, bytes]:
    """VOC 2007 in its two archives, of generated pictures."""
    made = mini.generate(folder, part="voc", seed=0, amounts=mini.Amounts(voc_trainval=4, voc_test=3), workers=1)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(made.rglob("*")) if path.is_file()}
    test = set((made / "VOC2007/ImageSets/Main/test.txt").read_text().split())
    of_test = {name for name in files if Path(name).stem in test or Path(name).stem.endswith("test")}
    extra = {"VOCdevkit/VOC2007/SegmentationClass/000001.png": b"left out"}
    return {
        "VOCtrainval_06-Nov-2007.tar": tar({name: files[name] for name in files if name not in of_test} | extra),
        "VOCtest_06-Nov-2007.tar": tar({name: files[name] for name in sorted(of_test)}),
    }


def caltech101() -> bytes:
    """Caltech-101: a zip with a tar.gz of the pictures in it, and what macOS leaves in a zip."""
    files = {
        f"101_ObjectCategories/{name}/image_{i:04d}.jpg": picture(i)
        for name in ("BACKGROUND_Google", "ant")
        for i in (1, 2)
    }
    inner = tar({**files, "101_ObjectCategories/BACKGROUND_Google/tmp": b"junk"}, "w:gz")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner)
        archive.writestr("caltech-101/Annotations.tar", tar({"Annotations/ant/annotation_0001.mat": b"mat"}))
        archive.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"resource fork")
    return out.getvalue()


def stored(folder: Path, archives: Mapping[str, bytes]) -> list[str]:
    """The archives as files, named with their own sums as in data.source."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    return [f"{folder / name}#md5={md5(content)}" for name, content in archives.items()]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`. Each of `cuts` ends one reply after so many bytes; the next `fails` replies are 503; without
    `marks` no version is named, without `ranges` the whole file always comes. `asked`: the Range of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.marks, self.ranges, self.fails = True, True, 0
        self.asked: list[str | None] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.fails:
            server.fails -= 1
            self.send_error(503)
            return
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        mark = f'"{md5(content)}"'
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if self.headers.get("If-Range", mark) != mark:
            first = 0
        if first > len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if server.marks:
            self.send_header("ETag", mark)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        rest = content[first:]
        self.wfile.write(rest[: server.cuts.pop(0)] if server.cuts else rest)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine, for as long as the block runs."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
