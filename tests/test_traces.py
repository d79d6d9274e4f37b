"""Traces: read as written, None where there are none, damage named."""

import pytest

from spprepro import traces
from spprepro.errors import DataError
from spprepro.traces import RECALLS, ClassCurve, Confusion, Epoch, Example, Seen

EPOCHS = [Epoch(1, 224, 0.01, None, 90.25, 81.5), Epoch(2, 180, 0.001, 2.5, 40.0, 30.0)]
CONFUSION = Confusion(["a, b", "c"], [[3, 1, 0], [0, 5, 2]], 9)
CURVES = [ClassCurve("cat", 7, 41.25, tuple(round(1 - recall / 2, 4) for recall in RECALLS))]
EXAMPLES = [
    Example("000001", 50, 40, (Seen("cat", (1.0, 2.0, 30.5, 20.0)),), (Seen("dog", (0.0, 0.0, 9.0, 9.0), -0.2, 0.0),)),
    Example("000002", 30, 20, (), ()),
]
KINDS = {
    traces.CURVES: (traces.write_curves, traces.read_curves, EPOCHS),
    traces.CONFUSION: (traces.write_confusion, traces.read_confusion, CONFUSION),
    traces.PRECISION: (traces.write_precision, traces.read_precision, CURVES),
    traces.EXAMPLES: (traces.write_examples, traces.read_examples, EXAMPLES),
}


@pytest.mark.parametrize("name", traces.NAMES)
def test_what_is_written_is_read(tmp_path, name):
    write, read, content = KINDS[name]
    assert read(tmp_path) is None
    write(tmp_path, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read(tmp_path) == content


@pytest.mark.parametrize("name", traces.NAMES)
def test_damage_is_named(tmp_path, name):
    write, read, content = KINDS[name]
    write(tmp_path, content)
    path = tmp_path / name
    path.write_text(path.read_text().replace("0", "x"))
    with pytest.raises(DataError, match=rf"{name}: damaged .*task=report makes it again"):
        read(tmp_path)
