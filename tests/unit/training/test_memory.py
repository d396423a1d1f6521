from __future__ import annotations

import pytest
import torch

from autockd.training.memory import bound_memory, memory_share

GIB = 1 << 30


@pytest.mark.parametrize(
    ("gpus", "total", "expected"),
    [(0.25, 80 * GIB, 0.2427), (0.5, 8 * GIB, 0.4268), (0.25, 2 * GIB, 0.125)],
    ids=["large", "small", "too small for contexts"],
)
def test_processes_leave_room_for_what_is_no_tensor(gpus: float, total: int, expected: float) -> None:
    assert memory_share(gpus, total) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("gpus", [0.0, 0.25, 1.0])
def test_a_cpu_has_no_bound(gpus: float) -> None:
    bound_memory(gpus, torch.device("cpu"))
    assert torch.ones(1 << 20).sum() == 1 << 20
