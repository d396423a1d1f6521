"""The most that one worker can do: matrix products in both precisions, and a copy. A second or so, once a study."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from autockd.limits import Peaks
from autockd.training.memory import if_it_fits

SMALL, LARGE = 1024, 2048
"""Sides of the matrices: near the peak within a moment, or at it."""

_ROUNDS = 4
_SMALLER, _HOPELESS = 8, 4.0
"""How much smaller the first product is; how many times as long as in fp32 it takes where a larger one is not tried."""

_COPIED = 1 << 26
"""Bytes of the copy on a CPU, far beyond what one core has of its caches; on a GPU sixteen times as many."""


def computes_on(device: torch.device) -> bool:
    """Whether torch has code for a GPU: of old ones it may know the name alone."""
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except torch.AcceleratorError:
        return False


def peaks_if_they_fit(threads: int, device: str) -> Peaks | None:
    """As `measure_peaks`; None where memory is too little for it: a study does without."""
    return if_it_fits(lambda: measure_peaks(threads, device))


def measure_peaks(threads: int, device: str, size: int = SMALL) -> Peaks:
    """Time large matrix products and a large copy on this worker, the best of a few rounds.

    A single thread is timed by the processor time that it takes, which other work on the machine does not lengthen.

    Args:
        threads: CPU threads that a trial uses.
        device: where trials run.
        size: side of the matrices; a GPU gets four times that.
    """
    place = torch.device(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        side = size if place.type == "cpu" else 4 * size
        fp32, bf16 = (_rate(side, kind, place) for kind in (torch.float32, torch.bfloat16))
        return Peaks(fp32=fp32, bf16=bf16, copy_rate=_copy_rate(place), threads=threads, device=device)
    finally:
        torch.set_num_threads(before)


def _rate(side: int, kind: torch.dtype, device: torch.device) -> float:
    """FLOP a second of a product; of a smaller one where this kind is hopeless, as bf16 is without hardware for it."""
    small = side // _SMALLER
    seconds, plain = (_seconds(_product(small, each, device), device) for each in (kind, torch.float32))
    if seconds > _HOPELESS * plain:
        return 2 * small**3 / seconds
    return 2 * side**3 / _seconds(_product(side, kind, device), device)


def _product(side: int, kind: torch.dtype, device: torch.device) -> Callable[[], object]:
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.rand(side, side, device=device, generator=generator).to(kind) for _ in range(2))
    result = torch.empty(side, side, dtype=kind, device=device)
    return lambda: torch.mm(left, right, out=result)


def _copy_rate(device: torch.device) -> float:
    amount = _COPIED if device.type == "cpu" else 16 * _COPIED
    source, target = (torch.zeros(amount // 4, device=device) for _ in range(2))
    return 2 * amount / _seconds(lambda: target.copy_(source), device)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The least time of a few rounds, after one that does not count."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    run()
    least = float("inf")
    for _ in range(_ROUNDS):
        _wait(device)
        began = clock()
        run()
        _wait(device)
        least = min(least, clock() - began)
    return least


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
