"""What a trial costs, where it goes on from what was counted before."""

from __future__ import annotations

import time

import pytest

from autockd.search.meter import Meter


def test_what_came_before_is_added_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that ran out of memory goes on in the same process, from a checkpoint that has its seconds."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "process_time", lambda: now)
    meter = Meter(gpus=0.5)
    now = 110.0
    kept = meter.cost()
    now = 115.0
    meter.go_on_from(kept)
    now = 118.0
    assert meter.seconds == 10 + 3
    assert meter.cost() == {"seconds": 13.0, "cpu_seconds": 13.0, "gpu_seconds": 6.5}


def test_each_part_costs_what_it_had_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that goes on may have another share of them."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "process_time", lambda: now)
    meter = Meter(gpus=0.5)
    meter.go_on_from({"seconds": 10.0, "cpu_seconds": 20.0, "gpu_seconds": 10.0})
    now = 104.0
    assert meter.cost() == {"seconds": 14.0, "cpu_seconds": 24.0, "gpu_seconds": 12.0}
