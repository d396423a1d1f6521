"""What a trial costs: wall, CPU and GPU seconds, over all the workers that it ran on, from checkpoint to checkpoint."""

from __future__ import annotations

import time

from autockd.records import TrialReport


def cost_of(report: TrialReport) -> dict[str, float]:
    """What a worker's report says of its trial's cost so far, by the names that records have for it."""
    return report.model_dump(include={"seconds", "cpu_seconds", "gpu_seconds"})


class Meter:
    """Runs from when it is made; goes on from what an earlier one had counted.

    Args:
        gpus: the trial's share of GPUs.
    """

    def __init__(self, gpus: float) -> None:
        self._gpus = gpus
        self._wall = time.monotonic()
        self._cpu = time.process_time()
        self._before = (0.0, 0.0, 0.0)

    def go_on_from(self, cost: dict[str, float]) -> None:
        """From here on add to what was counted before, as `cost` said it."""
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._before = (cost["seconds"], cost["cpu_seconds"], cost["gpu_seconds"])

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self._before[0] + time.monotonic() - self._wall

    def cost(self) -> dict[str, float]:
        """Seconds so far, by the names that records have for them."""
        here = time.monotonic() - self._wall
        wall, cpu, gpu = self._before
        return {
            "seconds": wall + here,
            "cpu_seconds": cpu + time.process_time() - self._cpu,
            "gpu_seconds": gpu + here * self._gpus,
        }
