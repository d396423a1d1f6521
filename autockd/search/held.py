"""Workers that hold a GPU from one call to the next.

Ray ends the worker of a GPU's task with the task, so that the next one imports torch and starts CUDA anew: some seconds
for each stage of a study before its first trial. In a Ray that others use too, nobody may hold one and wait for more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autockd.search.nodes import Node
from autockd.search.resources import Allocation
from autockd.training.memory import release_memory

_OVER_HALF = 0.51
"""The share of a GPU of which no two fit on one."""

_RESTARTS = 3
"""How often a worker that is lost starts again, with what it was doing."""


class HeldWorkers:
    """One worker for each GPU of a machine that trials use, for what a study does around its search.

    Args:
        allocation: what each trial gets.
        node: the machine.
    """

    def __init__(self, allocation: Allocation, node: Node) -> None:
        slots = allocation.slots(node.resources)
        self.count = min(slots, int(node.resources["GPU"]))
        self.gpus = allocation.gpus if self.count == 1 else max(allocation.gpus, _OVER_HALF)
        self.cpus = allocation.cpus * slots // self.count
        """Cores of each: trials would share as many."""
        self._workers: list[Any] = []

    def run(self, place: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start a function on a worker, once that has done what it was told before; the reference to its result."""
        if not self._workers:
            self._workers = [self._start() for _ in range(self.count)]
        return self._workers[place % self.count].run.remote(function, *args, **kwargs)

    def release(self) -> None:
        """End the workers, for trials need their GPUs; the next function has new ones."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def _start(self) -> Any:
        import ray

        share = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return ray.remote(**share, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)(_Worker).remote()


class _Worker:
    """Runs one function after the other."""

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the function returns; nothing that it has freed is kept from the next one, or from others."""
        try:
            return function(*args, **kwargs)
        finally:
            release_memory()
