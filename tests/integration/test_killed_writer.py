"""A checkpoint whose writer is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autockd.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

WRITER = """
import sys, torch
from pathlib import Path
from autockd.training.checkpoint import save_checkpoint
for number in range(100_000):
    save_checkpoint(Path(sys.argv[1]), {"number": number, "tensor": torch.full((300_000,), float(number))})
    if number == 3:
        print("third", flush=True)
"""


def test_a_kill_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    state = load_checkpoint(path)
    assert state is not None
    assert state["number"] > 0
    assert torch.equal(state["tensor"], torch.full((300_000,), float(state["number"])))
