from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from autockd.errors import EnvironmentProblem, StudyError
from autockd.training.checkpoint import load_checkpoint, save_checkpoint


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).to(memory_format=torch.contiguous_format), "b": torch.tensor([math.nan, -0.0])}
    state = {"tensors": tensors, "plain": {"epoch": 3, "best": math.nan, "name": "x", "list": [1, None, True]}}
    path = tmp_path / "new" / "folder" / "checkpoint.pt"
    save_checkpoint(path, state)
    found = load_checkpoint(path)
    assert found is not None
    for name, tensor in tensors.items():
        assert torch.equal(found["tensors"][name].view(torch.int32), tensor.view(torch.int32))
    assert found["plain"]["list"] == [1, None, True]
    assert math.isnan(found["plain"]["best"])
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint.pt") is None


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"number": 1})
    with pytest.raises((AttributeError, TypeError)):
        save_checkpoint(path, {"number": 2, "tensor": torch.zeros(1000), "lambda": lambda: None})
    assert load_checkpoint(path) == {"number": 1}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Within this a larger file cannot be written by this process, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"number": 1})
    with (
        pytest.raises(EnvironmentProblem, match=r"checkpoint: cannot write .*free space there"),
        files_of_at_most(100_000),
    ):
        save_checkpoint(path, {"number": 2, "tensor": torch.zeros(300_000)})
    assert load_checkpoint(path) == {"number": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_gpu_that_fails_meanwhile_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        save_checkpoint(tmp_path / "checkpoint.pt", {"number": 1})


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut"])
def test_a_damaged_checkpoint_says_so(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"tensor": torch.zeros(1000)})
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "garbage": b"not a checkpoint", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(StudyError, match=r"checkpoint\.pt: the checkpoint is damaged .* delete it"):
        load_checkpoint(path)


class Bomb:
    """What a hostile file would hold."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    path, sign = tmp_path / "checkpoint.pt", tmp_path / "boom"
    torch.save({"model": Bomb(sign)}, path)
    with pytest.raises(StudyError, match="damaged"):
        load_checkpoint(path)
    assert not sign.exists()
