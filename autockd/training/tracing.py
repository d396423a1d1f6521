"""A trace of some training steps, for chrome://tracing or https://ui.perfetto.dev: where a step's time goes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from autockd.errors import cannot_write
from autockd.folders import whole_file
from autockd.training.program import WARM_UP

SKIPPED, TRACED = WARM_UP + 1, 16
"""Steps before the first traced one, which are slower than the rest (one may be captured as a CUDA graph), and traced
ones: a trace of a few megabytes."""


class StepTracer:
    """Traces a few steps of a run and writes them down; without an effect on the run but its time.

    Args:
        path: the file to write, JSON in Chrome's format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps = 0
        self._profile: profile | None = None

    def step(self) -> None:
        """A training step is over.

        Raises:
            EnvironmentProblem: as `close` does.
        """
        self._steps += 1
        if self._steps == SKIPPED:
            self._begin()
        elif self._steps == SKIPPED + TRACED:
            self.close()

    def close(self) -> None:
        """Write what was traced, once.

        Raises:
            EnvironmentProblem: the file cannot be written.
        """
        if self._profile is None:
            return
        traced, self._profile = self._profile, None
        traced.stop()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path) as draft:
                traced.export_chrome_trace(str(draft))
        except OSError as error:
            raise cannot_write("trace", self._path, error) from error

    def _begin(self) -> None:
        cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        activities = [ProfilerActivity.CPU, *cuda]
        # There is one cycle of events alone; torch 2.11 warns that others are lost unless it is told to add them up.
        self._profile = profile(activities=activities, record_shapes=True, acc_events=True)
        self._profile.start()
