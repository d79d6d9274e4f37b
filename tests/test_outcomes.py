"""Which images were wrong, and replicates of other metrics: kept in a few KB, read back to the bit."""

import zipfile

import numpy as np
import pytest

from spprepro import outcomes
from spprepro.errors import DataError


def test_round_trip_and_size(tmp_path):
    draw = np.random.default_rng(0)
    wrong = {f"m{k}": draw.random(4001) < 0.3 for k in range(6)}
    path = outcomes.write(tmp_path, wrong)
    found = outcomes.read(tmp_path)
    assert found.keys() == wrong.keys()
    assert all(np.array_equal(found[key], wrong[key]) for key in wrong)
    assert outcomes.read_replicates(tmp_path) == {}
    assert path.stat().st_size < 6 * 1024


def test_replicates_come_back_to_the_bit_alone_or_beside_bits(tmp_path):
    draw = np.random.default_rng(0)
    kept = {f"row{k}_map": draw.normal(50, 1, outcomes.RESAMPLES).astype(np.float32) for k in range(8)}
    kept["row0_map"][3] = np.nan
    for wrong in ({}, {"keys_of_mine": np.array([True, False, True])}):
        path = outcomes.write(tmp_path, wrong, kept)
        found = outcomes.read_replicates(tmp_path)
        assert found.keys() == kept.keys() and outcomes.read(tmp_path).keys() == wrong.keys()
        assert all(np.array_equal(found[key], kept[key], equal_nan=True) for key in kept)
        assert path.stat().st_size < 8 * 4500


def test_files_from_before_there_were_replicates_have_none(tmp_path):
    np.savez(tmp_path / outcomes.NAME, keys=np.array(["m"]), counts=np.array([2]), m=np.packbits([True, False]))
    assert outcomes.read(tmp_path)["m"].tolist() == [True, False] and outcomes.read_replicates(tmp_path) == {}


def test_resamples_are_the_same_for_all_and_those_of_a_bootstrap():
    copies = outcomes.resamples(400)
    assert copies.shape == (outcomes.RESAMPLES, 400) and (copies.sum(1) == 400).all()
    assert np.array_equal(copies, outcomes.resamples(400))
    assert copies[0, :12].tolist() == [1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 2]  # records elsewhere were made with these
    assert abs(copies.mean(0) - 1).max() < 0.15 and abs(copies.var() - 1) < 0.02  # multinomial: variance 1 - 1/n
    assert len(np.unique(copies, axis=0)) == outcomes.RESAMPLES


@pytest.mark.parametrize("shape", [(outcomes.RESAMPLES - 1,), (2, outcomes.RESAMPLES)])
def test_replicates_of_another_shape_are_not_written(tmp_path, shape):
    with pytest.raises(ValueError, match="row_map"):
        outcomes.write(tmp_path, {}, {"row_map": np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match="row_map"):
        outcomes.write(tmp_path, {"row_map": np.ones(2, bool)}, {"row_map": np.zeros(outcomes.RESAMPLES, np.float32)})
    assert not (tmp_path / outcomes.NAME).exists()


@pytest.mark.parametrize("read", [outcomes.read, outcomes.read_replicates])
@pytest.mark.parametrize("damage", ["gone", "cut", "inside", "other"])
def test_a_missing_or_damaged_file_is_named(tmp_path, damage, read):
    replicates = {"r": np.arange(outcomes.RESAMPLES, dtype=np.float32)}
    path = outcomes.write(tmp_path, {"m": np.array([True, False])}, replicates)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "inside":
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as file:
            starts = [info.header_offset for info in file.infolist()]
        for at in starts:  # of each array: a block of a type that zlib does not know
            content[at + 30 + content[at + 26] + content[at + 28]] = 0xFF
        path.write_bytes(content)
    else:
        np.savez(path, something=np.zeros(3))
    with pytest.raises(DataError, match=r"outcomes\.npz.*overwrite=true"):
        read(tmp_path)


def test_replicates_that_are_too_few_are_damage(tmp_path):
    parts = {"keys": np.array([], str), "counts": np.array([], int), "replicated": np.array(["r"])}
    np.savez(tmp_path / outcomes.NAME, **parts, replicates=np.zeros((1, 10), np.float32))
    with pytest.raises(DataError, match=r"outcomes\.npz.*\(1, 10\)"):
        outcomes.read_replicates(tmp_path)
