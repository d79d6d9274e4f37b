"""Checkpoints are whole or not there, damaged ones are passed over, foreign ones refused."""

import pytest
import torch

from spprepro.errors import ConfigError, DataError
from spprepro.training.checkpoint import AtomicCheckpointIO, newest, refuse_other


def save(folder, step, **content):
    path = folder / f"step-{step:08d}.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": step, **content}, path)
    return path


def test_round_trip_leaves_nothing_else(tmp_path):
    path = save(tmp_path / "deep" / "er", 3, weights=torch.arange(4))
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["weights"], torch.arange(4))
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, path.name + ".sha256"]


def test_newest_is_the_last_step_and_the_epochs_end_after_its_last_step(tmp_path):
    save(tmp_path, 9)
    save(tmp_path, 10)
    end = tmp_path / "step-00000010.end.ckpt"
    AtomicCheckpointIO().save_checkpoint({}, end)
    assert newest(tmp_path) == end
    assert newest(tmp_path / "none") is None


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_newest_is_passed_over_loudly(tmp_path, capsys, damage):
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content[:-9] if damage == "truncate" else content)
    assert newest(tmp_path) == good
    assert f"{bad}: damaged" in capsys.readouterr().err
    good.write_bytes(b"")
    assert newest(tmp_path) is None and "before" not in capsys.readouterr().err


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = save(tmp_path, 1, weights=torch.ones(2))

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({}, path)
    monkeypatch.undo()
    assert newest(tmp_path) == path
    assert len(list(tmp_path.iterdir())) == 2


def test_other_job_is_refused_with_all_keys(tmp_path):
    path = save(tmp_path, 1, identity={"seed": 0, "training.lr": 0.1, "data fingerprint": "a"})
    refuse_other(path, {"seed": 0, "training.lr": 0.1, "data fingerprint": "a"})
    with pytest.raises(ConfigError) as error:
        refuse_other(path, {"seed": 1, "training.lr": 0.1, "data fingerprint": "b"})
    assert [fault.split(":")[0] for fault in error.value.faults] == ["data fingerprint", "seed"]


def test_foreign_checkpoint_is_refused(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(DataError, match="not a checkpoint of this program"):
        refuse_other(path, {})
    torch.save([torch.zeros(2), torch.ones(2)], path)
    with pytest.raises(DataError, match=r"not a checkpoint of this program, .* \(list\)"):
        refuse_other(path, {})
