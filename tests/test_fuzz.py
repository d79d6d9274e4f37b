"""Altered files and settings give an answer or a fault in words; never another exception, a hang or a full memory.

Each reader gets 10,000 alterations of valid input, the same in every run.
"""

import json
import pickle
import random
import re
import resource
from pathlib import Path, PurePosixPath

import pytest

from spprepro import folders, records
from spprepro.config import check
from spprepro.data import devkit
from spprepro.data.archives import members
from spprepro.data.voc import read_labels, read_split
from spprepro.detect.proposal_files import read_mat
from spprepro.errors import Faults
from spprepro.overrides import group_options, preflight
from tests.conftest import write_picture
from tests.data import publishing
from tests.detect.test_proposal_files import BOXES, SIZES, write_v5, write_v5_plain, write_v73
from tests.test_config import compose
from tests.test_records import record  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # 10,000 inputs a test: 5 to 10 s each
COUNT = 10_000
MEMORY = 100 * 1024  # KiB that a reader may take, whatever a file says
PEAK = Path("/proc/self/clear_refs")  # where Linux forgets the highest memory so far
DIGITS = re.compile(rb"\d+")
NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"99999999999999999999", b"0x10", b"1.5", b"2147483648", "\u0663".encode()]
WORDS = [
    b"\0",
    b"\xff\xfe",
    b"<",
    b"&a;",
    b"<!DOCTYPE a [",
    b"]]>",
    b'"',
    b"{",
    b"[" * 200,
    b"null",
    b"../",
    b"\n",
    b",",
    b"=",
]
VALUES = [None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", "x", [], [None], {}, {"x": {}}, [[]], 1.5]


def altered(data: bytes, draw: random.Random) -> bytes:
    """`data` after one to four accidents: bits that flip, parts lost, doubled or put in, numbers out of range."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(out) + 1)
        end = min(len(out), place + draw.choice((1, 2, 4, 8, 40, 400)))
        accident = draw.randrange(7)
        if accident == 0 and place < len(out):
            out[place] ^= 1 << draw.randrange(8)
        elif accident == 1:
            del out[place:end]
        elif accident == 2:
            out[place:place] = out[place:end] * draw.choice((1, 1, 20))
        elif accident == 3:
            out[place:place] = draw.choice(WORDS)
        elif accident == 4:
            out[place:end] = draw.choice((b"\xff", b"\0", b"\x7f")) * (end - place)
        elif accident == 5:
            del out[place:]
        else:
            number = DIGITS.search(out, place)
            if number:
                out[number.start() : number.end()] = draw.choice(NUMBERS)
    return bytes(out)


def survived(read, inputs, count=COUNT, show=repr):
    """How many of `count` inputs were read, and how many refused; anything else is an error that shows the input."""
    if PEAK.exists():
        PEAK.write_text("5")
    draw, before, good = random.Random(0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(count):
        given = inputs(draw)
        try:
            read(given)
            good += 1
        except Faults:
            pass
        except BaseException as error:
            error.add_note(f"input {number}: {show(given)[:2000]}")
            raise
    assert 0 < good < count  # else they were not worth trying
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def files(read, path: Path, *valid: bytes, count=COUNT):
    """`survived` for a reader of files."""

    def once(content: bytes) -> None:
        path.write_bytes(content)
        read()

    survived(once, lambda draw: altered(draw.choice(valid), draw), count)


@pytest.fixture
def voc(tmp_path):
    """A VOC folder of two images."""
    root = tmp_path / "VOC2007"
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    things = "".join(
        f"<object><name>{name}</name><truncated>0</truncated><difficult>{k}</difficult>{box.format(k + 3)}</object>"
        for k, name in enumerate(("cat", "dog"))
    )
    for image in ("000001", "000002"):
        write_picture(root / "JPEGImages" / f"{image}.jpg", 24, 32, 0)
        path = root / "Annotations" / f"{image}.xml"
        path.parent.mkdir(exist_ok=True)
        size = "<size><width>32</width><height>24</height><depth>3</depth></size>"
        path.write_text(f"<annotation><filename>{image}.jpg</filename>\n{size}{things}</annotation>\n")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n")
    (root / "ImageSets" / "Main" / "cat_test.txt").write_text("000001  1\n000002  1\n")
    return root


def test_annotations(voc):
    (voc / "ImageSets" / "Main" / "test.txt").write_text("000001\n")
    path = voc / "Annotations" / "000001.xml"
    files(lambda: read_split(voc, "test", ("cat", "dog")), path, path.read_bytes())


def test_lists_of_images(voc):
    path = voc / "ImageSets" / "Main" / "test.txt"
    files(lambda: read_split(voc, "test", ("cat", "dog")), path, path.read_bytes())


def test_lists_of_classes(voc):
    split, path = read_split(voc, "test", ("cat", "dog")), voc / "ImageSets" / "Main" / "cat_test.txt"
    (voc / "ImageSets" / "Main" / "dog_test.txt").write_text("000001  0\n000002  0\n")
    files(lambda: read_labels(split), path, path.read_bytes())


def test_matlab_files_of_the_old_format(tmp_path):
    path = tmp_path / "a.mat"
    valid = [write(path, BOXES).read_bytes() for write in (write_v5, write_v5_plain)]
    files(lambda: read_mat(path, SIZES), path, *valid)


def test_matlab_files_in_hdf5(tmp_path):
    path = tmp_path / "a.mat"
    valid = write_v73(path, BOXES).read_bytes()
    files(lambda: read_mat(path, SIZES), path, valid)


def test_the_devkit(tmp_path):
    """What is in its archive is altered; the archive's own damage is in data/test_archives.py."""
    path = tmp_path / "kit.tar"
    valid = []
    for compress in (True, False):
        path.write_bytes(publishing.devkit(compress=compress))
        valid.append({PurePosixPath(each.name).name: each.read() for each in members(path)})

    def read(packed: dict[str, bytes]) -> None:
        path.write_bytes(publishing.tar(packed))
        assert all(re.fullmatch(r"n\d{8}", each.wnid) for each in devkit.read(path).synsets)

    def changed(draw: random.Random) -> dict[str, bytes]:
        packed, name = draw.choice(valid), draw.choice((devkit.META, devkit.META, devkit.TRUTH))
        return packed | {name: altered(packed[name], draw)}

    survived(read, changed)


def test_records(tmp_path, record):  # noqa: F811
    path = records.write(record, tmp_path)
    whole = path.read_bytes()
    files(lambda: records.read(path), path, whole, json.dumps(json.loads(whole)).encode())


def test_overrides():
    groups = group_options([folders.conf()])
    valid = [
        b"training.lr=0.01", b"training.sizes=[224,180]", b"experiment=glob(table1_zf5_*)", b"seed=0,1,2", b"+x.y=null",
        b"models=[a:full,b]", b"data.root='/a/b c'", b"~views", b"protocol.finetune.spp={rates:[0.1],steps:[1]}",
        b"backbone=zf5", b"seed=range(0,10,3)", b"hydra/launcher=joblib", b"width=${training.lr}", b"trainer@x=cpu",
    ]  # fmt: skip

    def read(text: str) -> None:
        kept, faults = preflight([text], groups, multirun=True)
        if faults:
            raise Faults(faults)
        assert len(kept) == 1

    survived(read, lambda draw: altered(draw.choice(valid), draw).decode(errors="replace"))


def test_settings():
    trees = [
        pickle.dumps(compose(f"experiment={name}", "tier=smoke"))
        for name in ("table1_zf5_multisize", "table9_zf5_1sc", "table12_combined", "table9_squeezenet_1sc", "table5")
    ]

    def changed(draw: random.Random) -> dict:
        tree = pickle.loads(draw.choice(trees))
        for _ in range(draw.randint(1, 3)):
            node, key = tree, None
            while isinstance(node, dict | list) and node and (key is None or draw.random() < 0.8):
                parent, key = node, draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
                node = parent[key]
            if isinstance(parent, dict) and draw.random() < 0.1:
                parent[draw.choice(("x", 3, None, "method", "levels"))] = parent.pop(key)
            else:
                parent[key] = draw.choice(
                    [*VALUES, node, *([node[::-1], node * 2] if isinstance(node, str | list) else [])]
                )
        return tree

    survived(lambda tree: check(tree).identity(), changed)
