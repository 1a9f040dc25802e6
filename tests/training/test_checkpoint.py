"""A checkpoint file: whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modeltap.errors import StorageFailed
from modeltap.training.checkpoint import read_checkpoint, write_checkpoint

TENSORS = {
    "weights.kernel": torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "optimizer.0.step": torch.tensor(3.0),
    "random.cpu": torch.arange(5, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
}
STATE = {"epoch": 2, "history": [{"val_loss": 0.25}], "best_loss": None}


def test_gives_back_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    write_checkpoint(file, TENSORS, STATE, run="r")
    found = read_checkpoint(file, run="r")
    assert found is not None
    assert found[1] == STATE
    assert {name: tensor.tolist() for name, tensor in found[0].items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert list(tmp_path.iterdir()) == [file]


def test_any_changed_byte_makes_it_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    write_checkpoint(file, TENSORS, STATE, run="r")
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        found = read_checkpoint(file, run="r")
        assert found is None or (found[1] == STATE and found[0].keys() == TENSORS.keys())
    file.write_bytes(content)
    assert read_checkpoint(file, run="another") is None
    assert read_checkpoint(tmp_path / "nothing", run="r") is None


def test_a_disk_that_refuses_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    write_checkpoint(file, TENSORS, STATE, run="r")
    (tmp_path / "checkpoint.new").mkdir()
    with pytest.raises(StorageFailed, match="the checkpoint could not be written"):
        write_checkpoint(file, TENSORS, {**STATE, "epoch": 3}, run="r")
    found = read_checkpoint(file, run="r")
    assert found is not None
    assert found[1] == STATE
