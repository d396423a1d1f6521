"""The script that measures students in one network, on a task so small that it measures nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import benchmark_fused


def test_students_alone_and_together_have_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--students", "1", "2", "--samples", "32", "--batch-size", "16", "--epochs", "2", "--device", "cpu"]
    assert benchmark_fused.main(sizes) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row[:34].strip() for row in rows[2:]] == ["one student", "1 fused", "2 fused"]
    assert rows[2].split()[-1] == "1.00"


def test_an_epoch_that_does_not_count_needs_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark_fused.main(["--epochs", "1"])
    assert "--epochs must be at least 2, not 1" in capsys.readouterr().err
