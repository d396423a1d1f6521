"""What several threads of a CPU compute: forward passes side by side, or a training step together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from time import perf_counter
from typing import TypeVar

import torch

T = TypeVar("T")

_WINDOW, _CLEARLY = 5.0, 1.5
"""Seconds of steps that are looked at together, and how many times as long as alone they must take on several threads:
more than data and noise could add."""


class CoreWatch:
    """Leaves the rest of an epoch to one thread where several are slower, because other work has their cores.

    Threads that compute a step together wait for each other after every layer. Where another process takes one of
    their cores, a step takes ten times as long as one thread alone would need.

    Attributes:
        is_crowded: whether the epoch has been left to one thread.
    """

    def __init__(self, threads: int, alone: float | None) -> None:
        """Compute with so many threads until then.

        Args:
            threads: of a step.
            alone: seconds of processor time that a step takes on one thread; with None nothing is watched.
        """
        self._threads, self._alone = threads, alone if threads > 1 else None
        self.is_crowded = False
        torch.set_num_threads(threads)

    def begin(self) -> None:
        """An epoch begins, with all threads."""
        torch.set_num_threads(self._threads)
        self.is_crowded = False
        self._steps, self._began = 0, perf_counter()

    def step(self) -> None:
        """A step is over."""
        if self._alone is None or self.is_crowded:
            return
        self._steps += 1
        seconds = perf_counter() - self._began
        if seconds < _WINDOW:
            return
        if seconds / self._steps > _CLEARLY * self._alone:
            torch.set_num_threads(1)
            self.is_crowded = True
        self._steps, self._began = 0, perf_counter()


def for_each(function: Callable[[T], None], items: Iterator[T], threads: int) -> None:
    """Call a function with every item, on so many threads side by side, in each of which torch computes on one core.

    Where one thread computes on several cores, its parts wait for each other after every layer, and if another process
    takes one of the cores, all of them wait. Threads that share nothing but a queue lose that core alone.

    Args:
        function: must not depend on the order of the items, and sets what torch keeps for a thread by itself (autocast,
            inference mode).
        items: taken by one thread at a time, no earlier than they are needed.
        threads: 1 calls the function here, on as many cores as torch computes with anyway.

    Raises:
        Whatever the function or the iterator raises; calls that have begun are waited for.
    """
    if threads == 1:
        for item in items:
            function(item)
        return
    lock, cores, is_over = Lock(), torch.get_num_threads(), False

    def work() -> None:
        torch.set_num_threads(1)
        while not is_over:
            with lock:
                item = next(items, None)
            if item is None:
                return
            function(item)

    try:
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(work) for _ in range(threads)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                is_over = True
        for future in futures:
            future.result()
    finally:
        torch.set_num_threads(cores)
