"""Which arithmetic a training step uses: decided by a short probe, once a study, with its reason."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autockd.config.training import TrainingConfig
from autockd.data.feeds import NetworkInput
from autockd.records import Precision, PrecisionChoice
from autockd.training.optimizer import make_optimizer

Wanted = Literal["auto", "fp32", "bf16"]

WORTH_IT = 1.15
"""A variant replaces plain fp32 only if it is faster by this factor, so that timing noise does not decide."""

_ROUNDS, _BUDGET = 4, 8.0
"""Rounds of at least 20 ms for each variant; seconds after which only the two main candidates are timed."""


_HOPELESS = 2.0
"""A variant whose first steps take so many times those of the best so far is timed no further."""


@dataclass(frozen=True)
class Variant:
    """One way to run a training step."""

    precision: Precision
    channels_last: bool
    threads: int

    def __str__(self) -> str:
        layout = ", channels_last" if self.channels_last else ""
        return f"{self.precision}{layout}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which a forward pass of this precision runs.

    It keeps no rounded weights: a pass reads nearly all of them once, and a recorded step must round them anew.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def memory_format(choice: PrecisionChoice) -> torch.memory_format:
    """Memory format of the model and its inputs."""
    return torch.channels_last if choice.channels_last else torch.contiguous_format


def choose_precision(
    make_model: Callable[[], nn.Module],
    inputs: NetworkInput,
    training: TrainingConfig,
    *,
    wanted: Wanted,
    threads: int,
    device: torch.device,
) -> PrecisionChoice:
    """Time a training step in each variant and choose.

    Args:
        make_model: builds the student.
        inputs: a batch on that device; its memory format is the variant's.
        training: its optimizer.
        wanted: a precision to insist on, without any timing, or `auto`.
        threads: CPU threads that a trial may use; one thread is tried too.
        device: where trials run.

    Returns:
        The choice, with the reason in a sentence.
    """
    if wanted != "auto":
        chosen = Variant(wanted, channels_last=wanted == "bf16", threads=threads if device.type == "cpu" else 1)
        return _as_choice(chosen, device, f"{chosen}: asked for")
    reference, *others = _variants(threads, device, has_layouts=isinstance(inputs, Tensor))
    seconds: dict[Variant, float] = {}
    began = time.perf_counter()
    for variant in (*others[:1], reference, *others[1:]):
        if len(seconds) >= 2 and time.perf_counter() - began > _BUDGET:
            break
        least = min(seconds.values(), default=math.inf)
        seconds[variant] = _time_step(make_model(), inputs, training, variant, device, least)
    best = min(seconds, key=lambda variant: seconds[variant])
    gain = seconds[reference] / seconds[best]
    if gain < WORTH_IT:
        best = reference
    reason = f"{best}: {1e3 * seconds[best]:.1f} ms a step"
    if best != reference:
        reason += f", {gain:.1f}x faster than {reference}"
    elif len(seconds) > 1:
        fastest = min((v for v in seconds if v != reference), key=lambda variant: seconds[variant])
        reason += f"; the best alternative ({fastest}) takes {1e3 * seconds[fastest]:.1f} ms"
    return _as_choice(best, device, reason)


def _as_choice(variant: Variant, device: torch.device, reason: str) -> PrecisionChoice:
    return PrecisionChoice(
        precision=variant.precision,
        channels_last=variant.channels_last,
        threads=variant.threads,
        device=str(device),
        reason=reason,
    )


def _variants(threads: int, device: torch.device, *, has_layouts: bool) -> list[Variant]:
    """What to time, the most promising early; the first is the reference that the others must beat."""
    counts = sorted({1, threads}) if device.type == "cpu" else [1]
    has_bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported()
    last: Precision = "bf16" if has_bf16 else "fp32"
    pairs: dict[tuple[Precision, bool], None] = dict.fromkeys(
        [("fp32", False), (last, True), ("fp32", True), (last, False)]
        if has_layouts
        else [("fp32", False), (last, False)]
    )
    return [Variant(precision, layout, n) for n in counts for precision, layout in pairs]


def _time_step(
    model: nn.Module,
    inputs: NetworkInput,
    training: TrainingConfig,
    variant: Variant,
    device: torch.device,
    least: float,
) -> float:
    """Seconds of one training step: the least of a few rounds; of two steps where these take twice the `least` yet.

    One thread is timed by the processor time that it takes, which other work on the machine does not lengthen.
    """
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    torch.set_num_threads(variant.threads)
    model = model.to(device).to(memory_format=layout).train()
    optimizer = make_optimizer(model, training)
    if isinstance(inputs, Tensor):
        inputs = inputs.to(memory_format=layout)
    clock = time.process_time if device.type == "cpu" and variant.threads == 1 else time.perf_counter

    def run(steps: int) -> float:
        began = clock()
        for _ in range(steps):
            with autocast(variant.precision, device):
                logits = model(inputs).float()
                loss = F.cross_entropy(logits, logits.argmax(dim=1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - began) / steps

    run(1)
    single = run(1)
    if single > _HOPELESS * least and (single := min(single, run(1))) > _HOPELESS * least:
        return single
    steps = max(1, round(0.02 / max(single, 1e-6)))
    return min(run(steps) for _ in range(_ROUNDS))
