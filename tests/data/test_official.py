"""Published archives become folders that the readers know: right labels and counts, or every fault by name."""

import json
import resource
from pathlib import Path

import pytest

from spprepro.data import download, manifest, official, published
from spprepro.data.devkit import read
from spprepro.data.imagenet import class_ids, survey
from spprepro.data.official import install, own_sizes, read_manifest
from spprepro.data.published import ARCHIVES, DEVKIT, TEST, TRAIN, VAL, Name
from spprepro.data.voc import read_labels, read_split
from spprepro.errors import DataError
from tests.data import publishing
from tests.data.publishing import TRAIN_COUNTS, TRUTH, WNIDS, devkit, ilsvrc, md5, serving, stored, tar


def quiet(what: str, done: int, total: int) -> None:
    pass


def faults_of(name: Name, root: Path, sources: list[str]) -> str:
    with pytest.raises(DataError) as error:
        install(name, root, sources, quiet)
    return "\n".join(error.value.faults)


@pytest.fixture
def kit(tmp_path: Path) -> list[str]:
    return stored(tmp_path / "given", ilsvrc())


def hashes(root: Path) -> list[str]:
    known = read_manifest(root)
    return list(manifest.faults(root, known["files"], own_sizes(root), "get it again"))


def test_labels_of_ilsvrc_go_by_the_devkit_and_classes_by_wnid(tmp_path: Path, kit: list[str]) -> None:
    root = tmp_path / "root"
    install("imagenet", root, kit, quiet)
    found = survey(root, min_side=64, crop=56, workers=0)
    assert found.classes == sorted(WNIDS)
    expected = {f"ILSVRC2012_val_{i:08d}.JPEG": WNIDS[number - 1] for i, number in enumerate(TRUTH, 1)}
    assert {Path(image.path).name: found.classes[image.label] for image in found.val} == expected
    for image in found.val:
        number = int(Path(image.path).stem[-8:])
        assert (root / image.path).read_bytes() == publishing.picture(900 + number)
    for number, count in enumerate(TRAIN_COUNTS):
        assert sum(found.classes[image.label] == WNIDS[number] for image in found.train) == count
    assert class_ids(root, found.classes) == [2, 3, 1]
    assert (root / "synsets.txt").read_text().splitlines()[0] == "n00000003 thing 1, object"
    assert sorted(path.name for path in (root / "test").iterdir()) == [f"ILSVRC2012_test_{i:08d}.JPEG" for i in (1, 2)]
    assert hashes(root) == [] and len(read_manifest(root)["files"]) == 9 + 6 + 2 + 1


def test_the_test_pictures_are_optional_and_can_follow(tmp_path: Path, kit: list[str]) -> None:
    root = tmp_path / "root"
    install("imagenet", root, kit[:3], quiet)
    assert not (root / "test").exists()
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*.JPEG")}
    install("imagenet", root, kit, quiet)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list((root / "test").iterdir())) == 2 and TEST in read_manifest(root)["archives"]


def test_the_devkit_in_its_own_order(tmp_path: Path) -> None:
    (tmp_path / DEVKIT).write_bytes(devkit())
    found = read(tmp_path / DEVKIT)
    assert [each.wnid for each in found.synsets] == list(WNIDS) and found.truth == list(TRUTH)
    assert found.counts["train/n00000001"] == 2 and found.counts["val/n00000002"] == 2


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (tar({"data/meta.mat": b""}, "w:gz"), "no ILSVRC2012_validation_ground_truth.txt"),
        (devkit(truth=(1, 4)), "names classes that meta.mat has not"),
        (tar({"meta.mat": b"MATLAB", "ILSVRC2012_validation_ground_truth.txt": b"1"}), "cannot be read"),
        (devkit(wnids=("n00000003", "../../../x", "n00000002")), r"no WordNet id, such as '\.\./\.\./\.\./x'"),
        (devkit(wnids=("n00000003",) * 3), "a class is there twice"),
        (devkit(words="a\nn00000001 b"), "words is no line of text"),
    ],
)
def test_a_wrong_devkit_is_named(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / DEVKIT).write_bytes(content)
    with pytest.raises(DataError, match=part):
        read(tmp_path / DEVKIT)


def test_wrong_counts_are_named_by_class(tmp_path: Path) -> None:
    archives = ilsvrc() | {DEVKIT: devkit(counts=(5, 2, 1), truth=(*TRUTH, 2))}
    text = faults_of("imagenet", tmp_path / "root", stored(tmp_path, archives))
    assert "train/n00000003: 4 pictures, not 5" in text and "train/n00000002: 3 pictures, not 1" in text
    assert "val/n00000001: 2 pictures, not 3" in text and text.count("\n") == 2
    assert not (tmp_path / "root" / "manifest.json").exists()


def test_imagenette(tmp_path: Path) -> None:
    install("imagenette", tmp_path / "root", stored(tmp_path, {"imagenette2-160.tgz": publishing.imagenette()}), quiet)
    found = survey(tmp_path / "root", min_side=64, crop=56, workers=0)
    assert (len(found.train), len(found.val), found.classes) == (6, 4, ["n01440764", "n02102040"])


def test_voc07(tmp_path: Path) -> None:
    root = tmp_path / "root"
    install("voc07", root, stored(tmp_path / "given", publishing.voc07(tmp_path)), quiet)
    for name, count in (("trainval", 4), ("test", 3)):
        split = read_split(root / "VOCdevkit" / "VOC2007", name)
        assert len(split.images) == count and read_labels(split).shape == (count, 20)
    assert not (root / "VOCdevkit/VOC2007/SegmentationClass").exists()


def test_voc07_without_its_test_archive_is_refused(tmp_path: Path) -> None:
    sources = stored(tmp_path / "given", publishing.voc07(tmp_path))
    assert "test.txt" in faults_of("voc07", tmp_path / "root", sources[:1])


def test_caltech101_from_the_zip_and_from_the_tar_in_it(tmp_path: Path) -> None:
    install("caltech101", tmp_path / "root", stored(tmp_path, {"caltech-101.zip": publishing.caltech101()}), quiet)
    assert sorted(own_sizes(tmp_path / "root")) == [
        f"101_ObjectCategories/{name}/image_000{i}.jpg" for name in ("BACKGROUND_Google", "ant") for i in (1, 2)
    ]


def test_published_counts_hold_for_published_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = publishing.imagenette()
    one = published.Archive("imagenette2-160.tgz", md5(content))
    monkeypatch.setitem(ARCHIVES, "imagenette", (one,))
    sources = [source.partition("#")[0] for source in stored(tmp_path, {"imagenette2-160.tgz": content})]
    text = faults_of("imagenette", tmp_path / "root", sources)
    assert "train/n01440764: 3 pictures, not 963" in text and "val/n03888257: 0 pictures, not 390" in text
    assert len(text.splitlines()) == 20


def test_published_numbers_add_up() -> None:
    train = {name: count for name, count in published.IMAGENETTE.items() if name.startswith("train")}
    assert sum(train.values()) == 9469 and sum(published.IMAGENETTE.values()) == 9469 + 3925
    assert [sum(objects.values()) for objects in published.VOC07_OBJECTS.values()] == [12608, 12032]
    assert len(published.CALTECH101) == 102 and sum(published.CALTECH101.values()) == 9144


def test_all_faults_of_the_sources_come_at_once_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "mine.tar").write_bytes(b"")
    sources = [
        "ftp://host/x.tar",
        "http://[host/x.tar",
        "http://host:port/x.tar",
        str(tmp_path / "gone.tar"),
        str(tmp_path / "mine.tar"),
        f"{tmp_path / 'mine.tar'}#md5=12",
    ]
    text = faults_of("imagenet", tmp_path / "root", sources)
    assert text.count("x.tar: no address of a file") == 3 and "gone.tar: not found" in text and "'12' is no md5" in text
    assert "mine.tar: none of data=imagenet" in text and "mine.tar: given 2 times" in text
    assert all(f"lacks {name}" in text for name in (TRAIN, VAL, DEVKIT))
    assert not (tmp_path / "root").exists()


def test_archives_may_lie_in_the_folder_only_where_downloads_do(tmp_path: Path) -> None:
    archive = {"imagenette2-160.tgz": publishing.imagenette()}
    assert "lies in data.root" in faults_of("imagenette", tmp_path, stored(tmp_path, archive))
    (tmp_path / "imagenette2-160.tgz").unlink()
    install("imagenette", tmp_path, stored(tmp_path / "archives", archive), quiet)
    assert hashes(tmp_path) == []


def test_a_wrong_sum_is_refused_and_the_users_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "imagenette2-160.tgz"
    path.write_bytes(publishing.imagenette())
    text = faults_of("imagenette", tmp_path / "root", [str(path)])
    assert f"md5 is {md5(path.read_bytes())}, not e793b78cc4c9e9a4ccc0c1155377a412" in text
    assert path.exists() and not own_sizes(tmp_path / "root")


def test_from_a_server_with_a_wrong_file_first_and_a_broken_transfer_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    right, root = publishing.imagenette(), tmp_path / "root"
    with serving() as server:
        source = f"{server.url('imagenette2-160.tgz')}#md5={md5(right)}"
        server.files["imagenette2-160.tgz"] = right[:-1] + b"?"
        assert "the same command gets it again" in faults_of("imagenette", root, [source])
        server.files["imagenette2-160.tgz"], server.cuts = right, [500, 500]
        install("imagenette", root, [source], quiet)
        asked = len(server.asked)
        install("imagenette", root, [source], quiet)  # all is there
        assert len(server.asked) == asked
    assert hashes(root) == [] and len(own_sizes(root)) == 10
    assert (root / "archives" / "imagenette2-160.tgz").read_bytes() == right


def test_unpacking_goes_on_where_it_was_stopped(
    tmp_path: Path, kit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, written, put = tmp_path / "root", [], manifest.put

    def stopping(path: Path, content: bytes) -> manifest.Entry:
        written.append(path)
        if len(written) == 9:
            path.with_name(f".{path.name}.99.tmp").write_bytes(content[:5])
            raise KeyboardInterrupt
        return put(path, content)

    monkeypatch.setattr(official, "put", stopping)
    with pytest.raises(KeyboardInterrupt):
        install("imagenet", root, kit, quiet)
    assert len(own_sizes(root)) == 8 and not (root / "manifest.json").exists()
    next(root.rglob("*val*.JPEG")).write_bytes(b"torn by a crash")
    install("imagenet", root, kit, quiet)
    assert len(written) == 9 + 18 - 8 + 1 and hashes(root) == []
    assert not list(root.rglob("*.tmp"))


def test_a_full_disk_is_one_message_and_loses_nothing(tmp_path: Path, kit: list[str]) -> None:
    root, big = tmp_path / "root", tmp_path / "given" / VAL
    pictures = {f"ILSVRC2012_val_{i:08d}.JPEG": bytes(4000 if i == 5 else 50) for i in range(1, 7)}
    big.write_bytes(tar(pictures))
    kit[1] = f"{big}#md5={md5(big.read_bytes())}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # the write of a larger file fails, as on a full disk
    try:
        text = faults_of("imagenet", root, kit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "make room, and the same command goes on" in text and text.count("\n") == 0
    assert len(own_sizes(root)) == 5 and not list(root.rglob("*.tmp"))
    install("imagenet", root, kit, quiet)
    assert hashes(root) == []


def test_too_little_room_is_told_before_unpacking(
    tmp_path: Path, kit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    assert "but 1e-06 GB are free" in faults_of("imagenet", tmp_path / "root", kit)
    assert not own_sizes(tmp_path / "root")


def test_hostile_archives_leave_nothing_behind(tmp_path: Path) -> None:
    content = tar({"imagenette2-160/train/n01440764/../../../../escaped.JPEG": b"x"}, "w:gz")
    text = faults_of("imagenette", tmp_path / "a" / "root", stored(tmp_path / "given", {"x.tgz": content}))
    assert "leads out" in text or "unpacked safely" in text
    assert not own_sizes(tmp_path / "a" / "root") and not list(tmp_path.rglob("escaped*"))


def test_a_folder_of_another_set_or_with_other_files_is_refused(tmp_path: Path, kit: list[str]) -> None:
    root = tmp_path / "root"
    (root / "train").mkdir(parents=True)
    (root / "train" / "mine.txt").write_text("mine")
    assert "train/mine.txt: not of data=imagenet" in faults_of("imagenet", root, kit)
    (root / "train" / "mine.txt").unlink()
    install("imagenet", root, kit, quiet)
    other = stored(tmp_path, {"imagenette2-160.tgz": publishing.imagenette()})
    assert "holds data=imagenet, not imagenette" in faults_of("imagenette", root, other)


def test_an_archive_without_pictures_of_the_set_is_refused(tmp_path: Path) -> None:
    sources = stored(tmp_path, {"other.tgz": tar({"x/train/cat/1.png": b""}, "w:gz")})
    assert "no picture of data=imagenette" in faults_of("imagenette", tmp_path / "root", sources)


def test_manifest_tells_what_happened_to_files(tmp_path: Path, kit: list[str]) -> None:
    root = tmp_path / "root"
    install("imagenet", root, kit, quiet)
    first, second, third, *_ = sorted((root / "train").rglob("*.JPEG"))
    first.write_bytes(first.read_bytes()[:-3])
    second.write_bytes(bytes([second.read_bytes()[0] ^ 1]) + second.read_bytes()[1:])
    third.unlink()
    (root / "val" / "new.txt").write_text("")
    found = hashes(root)
    assert len(found) == 4
    for path, part in ((first, "bytes, not"), (second, "altered"), (third, "missing"), (root / "val/new.txt", "extra")):
        assert any(fault.startswith(f"{path}: ") and part in fault for fault in found)
    first.unlink(), second.unlink(), (root / "val" / "new.txt").unlink()
    install("imagenet", root, kit, quiet)  # as the remedy says
    assert hashes(root) == []


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [1]}))
    with pytest.raises(DataError, match="no manifest of a prepared data set"):
        read_manifest(tmp_path)
