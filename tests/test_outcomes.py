"""Which images were wrong: kept in a few KB, read back to the bit."""

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
    assert path.stat().st_size < 6 * 1024


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_missing_or_damaged_file_is_named(tmp_path, damage):
    path = outcomes.write(tmp_path, {"m": np.array([True, False])})
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        np.savez(path, something=np.zeros(3))
    with pytest.raises(DataError, match=r"outcomes\.npz.*overwrite=true"):
        outcomes.read(tmp_path)
