"""Forward passes of batches side by side, one thread and one core to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

import torch

T = TypeVar("T")


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
