"""An encoder that is pickled works in a process that has not made one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autockd.config.models import Encoder
from autockd.models import build_encoder

pytestmark = pytest.mark.slow

ELSEWHERE = """
import sys, torch
model = torch.load(sys.argv[1], weights_only=False)
tokens = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
print(model.train()(tokens).shape, model.eval()(tokens).shape)
"""


def test_a_pickled_one_works_in_another_process(tiny_encoder: Callable[..., Path], tmp_path: Path) -> None:
    torch.save(build_encoder(Encoder(path=str(tiny_encoder())), outputs=2, seed=0), tmp_path / "model.pt")
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "model.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "torch.Size([1, 2]) torch.Size([1, 2])\n", done.stderr
