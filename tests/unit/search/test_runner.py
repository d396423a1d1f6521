"""Why a trial ended without an outcome, as far as its folder tells."""

from __future__ import annotations

from pathlib import Path

from autockd.search.runner import LOST, why_lost
from autockd.search.watchdog import TRACE
from autockd.search.worker import BROKEN


def test_what_a_lost_worker_left_says_why(tmp_path: Path) -> None:
    assert why_lost(tmp_path) == LOST
    (tmp_path / TRACE).touch()
    assert why_lost(tmp_path) == LOST, "a worker that was killed leaves it empty"
    (tmp_path / TRACE).write_text("in stuck")
    assert why_lost(tmp_path) == f"{LOST}; where it hung is in {tmp_path / TRACE}"
    (tmp_path / BROKEN).write_text("Traceback\nCUDA error: x\n")
    assert why_lost(tmp_path).startswith("its GPU failed, and no retry is left: CUDA error: x;")
