"""Reading an ILSVRC-layout folder and the survey made of it."""

import numpy as np
import pytest

from spprepro.config import Data
from spprepro.data.decode import centre_crop, decode, resize_short_side
from spprepro.data.imagenet import survey
from spprepro.data.prepare import prepare, root_of
from spprepro.errors import DataError
from tests.conftest import write_picture


def look(root, **changes):
    return survey(root, **{"min_side": 64, "crop": 56, "workers": 0, **changes})


def test_lists_labels_sizes_and_hashes(tree):
    found = look(tree)
    assert found.classes == ["n01", "n02"]
    assert [(image.path, image.label) for image in found.val] == [
        (f"val/n0{c}/n0{c}_{i}.JPEG", c - 1) for c in (1, 2) for i in range(3)
    ]
    assert [(image.height, image.width) for image in found.train[:2]] == [(60, 80), (67, 75)]


def test_mean_and_colour_are_those_of_the_training_crops(tree):
    found = look(tree)
    crops = np.stack(
        [centre_crop(resize_short_side(decode(tree / image.path), 64), 56).numpy() for image in found.train]
    ).astype(float)
    np.testing.assert_allclose(found.mean, crops.mean(0), rtol=1e-5)
    sample = crops[:, :, ::4, ::4].transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(found.colour @ found.colour.T, np.cov(sample, bias=True), rtol=1e-3, atol=1)


def test_worker_count_does_not_matter(tree, tmp_path, monkeypatch):
    alone = look(tree)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    many = look(tree, workers=2)
    assert many.fingerprint == alone.fingerprint
    np.testing.assert_array_equal(many.mean, alone.mean)


def test_second_survey_decodes_nothing_until_a_file_changes(tree):
    decoded = []
    first = look(tree, progress=lambda done, total: decoded.append(done))
    again = look(tree, progress=lambda done, total: decoded.append(done))
    assert decoded == [18]
    assert again.fingerprint == first.fingerprint
    write_picture(tree / "train" / "n01" / "n01_0.JPEG", 61, 81, seed=5)
    assert look(tree).fingerprint != first.fingerprint


def test_a_damaged_survey_is_made_again(tree, tmp_path):
    first = look(tree)
    (kept,) = tmp_path.glob("cache/spprepro/surveys/*.npz")
    for harm in (b"", kept.read_bytes()[:200]):
        kept.write_bytes(harm)
        assert look(tree).fingerprint == first.fingerprint


def test_every_unreadable_file_is_named_before_training(tree):
    bad = [tree / "train" / "n01" / "n01_2.JPEG", tree / "val" / "n02" / "n02_1.JPEG"]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:200])
    with pytest.raises(DataError) as error:
        look(tree)
    assert [str(path) in fault for path, fault in zip(bad, error.value.faults, strict=True)] == [True, True]


def test_layout_faults_come_together(tree):
    (tree / "train" / "n03").mkdir()
    (tree / "val" / "n04").mkdir()
    with pytest.raises(DataError) as error:
        look(tree)
    text = "\n".join(error.value.faults)
    assert "train/n03: holds no image" in text and "val/n04: holds no image" in text
    assert "lacks the class folders n03" in text and "lacks the class folders n04" in text


def test_missing_split_is_named(tree):
    import shutil

    shutil.rmtree(tree / "val")
    with pytest.raises(DataError, match="val: not found"):
        look(tree)


def test_real_photos_of_many_sizes(real_photos):
    found = survey(real_photos("photos7"), min_side=256, crop=224, workers=0)
    assert (len(found.train), len(found.val), len(found.classes)) == (140, 42, 7)


def test_relative_root_is_found_under_the_data_home(tree, tmp_path, monkeypatch):
    data = Data(name="imagenet", root="tree", crops="random")
    monkeypatch.chdir(tmp_path / "tree")
    with pytest.raises(DataError, match=r"data\.root: tree is not a folder, here or in "):
        prepare(data)
    monkeypatch.setenv("SPPREPRO_DATA", str(tmp_path))
    assert root_of(data) == tmp_path / "tree"
    monkeypatch.chdir(tmp_path)
    assert root_of(data).absolute() == tmp_path / "tree"
