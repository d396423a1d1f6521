"""Which arithmetic a training step uses: decided by a short probe, once a study, with its reason."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autockd.config.training import TrainingConfig
from autockd.data.feeds import Feed, NetworkInput
from autockd.processor import cpu_has_bf16, physical_cores
from autockd.records import Precision, PrecisionChoice
from autockd.training.memory import if_it_fits, peak_memory
from autockd.training.optimizer import make_optimizer
from autockd.training.program import WARM_UP, capture_step, capture_stream

Wanted = Literal["auto", "fp32", "bf16"]

WORTH_IT = 1.15
"""A variant replaces plain fp32 only if it is faster by this factor, so that timing noise does not decide."""

_ROUNDS, _ENOUGH, _BUDGET = 4, 0.5, 8.0
"""Rounds of about 20 ms for each variant, fewer once they took so many seconds; seconds after which only the two
main candidates are timed, and the better one of them on more threads."""

_HOPELESS, _ONCE = 2.0, 0.5
"""A variant whose steps take so many times those of the best so far is timed no further, and where that is so of all
of its precision, no other of it is; seconds that a first step may take beyond another."""


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

    It keeps no rounded weights: a pass reads nearly all of them once, and a captured step must round them anew.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


@contextlib.contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Within this a GPU does not round what fp32 convolutions take to TF32, which the CPU does not do either."""
    if device.type != "cuda":
        yield
        return
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def without_tf32_if_fp32(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within this what is called fp32 is that on a GPU too."""
    return without_tf32(device) if precision == "fp32" else contextlib.nullcontext()


def memory_format(choice: PrecisionChoice | Variant) -> torch.memory_format:
    """Memory format of the model and its inputs."""
    return torch.channels_last if choice.channels_last else torch.contiguous_format


def choose_precision(
    make_model: Callable[[], nn.Module],
    inputs: NetworkInput,
    training: TrainingConfig,
    *,
    threads: int,
    device: torch.device,
    cuda_graphs: bool = False,
) -> tuple[PrecisionChoice, bool]:
    """Time a training step in each variant and choose.

    Args:
        make_model: builds the student.
        inputs: a batch on that device; its memory format is the variant's.
        training: its optimizer.
        threads: CPU threads that it may use; one, and one for each physical core, are tried too.
        device: where trials run.
        cuda_graphs: whether they capture their step and replay it, on a GPU: then that is timed.

    Returns:
        The choice, with the reason in a sentence; and whether all fitted into memory, of which another process may have
        had some just then.

    Raises:
        TrialFailed: a step cannot be captured.
    """
    seconds: dict[Variant, float] = {}
    hopeless: set[Precision] = set()
    began, threads_before = time.perf_counter(), torch.get_num_threads()
    for variant in _variants(threads, device, has_layouts=isinstance(inputs, Tensor)):
        if len(seconds) >= 2:
            is_late = time.perf_counter() - began > _BUDGET
            leading = replace(_fastest(seconds), threads=variant.threads)
            if variant.precision in hopeless or (is_late and variant != leading):
                continue
        least = min(seconds.values(), default=math.inf)
        timing = partial(_time_step, make_model(), inputs, training, variant, device, least, cuda_graphs=cuda_graphs)
        with without_tf32_if_fp32(variant.precision, device):
            found = if_it_fits(timing)
        seconds[variant] = math.inf if found is None else found
        if min(each for other, each in seconds.items() if other.precision == variant.precision) > _HOPELESS * least:
            hopeless.add(variant.precision)
    torch.set_num_threads(threads_before)
    best, reason = _best(seconds)
    alone = seconds.get(replace(best, threads=1), math.inf)
    choice = _as_choice(best, reason, device=device)
    if device.type == "cpu" and math.isfinite(alone):
        choice = choice.model_copy(update={"alone": alone})
    return choice, all(map(math.isfinite, seconds.values()))


def _best(seconds: dict[Variant, float]) -> tuple[Variant, str]:
    """The variant to take, and why, from the seconds of a step: infinite where it did not fit into memory."""
    reference = Variant("fp32", channels_last=False, threads=1)
    fitting = {variant: each for variant, each in seconds.items() if math.isfinite(each)}
    if not fitting:
        return reference, f"{reference}: a whole batch fits into memory in no precision"
    best = _fastest(fitting)
    if reference not in fitting:
        return best, f"{best}: {1e3 * fitting[best]:.1f} ms a step; {reference}, does not fit into memory"
    gain = fitting[reference] / fitting[best]
    if gain >= WORTH_IT:
        return best, f"{best}: {1e3 * fitting[best]:.1f} ms a step, {gain:.1f}x faster than {reference}"
    reason = f"{reference}: {1e3 * fitting[reference]:.1f} ms a step"
    others = {variant: each for variant, each in fitting.items() if variant != reference}
    if others:
        fastest = _fastest(others)
        reason += f"; the best alternative ({fastest}) takes {1e3 * others[fastest]:.1f} ms"
    return reference, reason


def _fastest(seconds: dict[Variant, float]) -> Variant:
    return min(seconds, key=lambda variant: seconds[variant])


def fixed_precision(precision: Precision, threads: int, device: torch.device) -> PrecisionChoice:
    """The choice where the precision is asked for: nothing is timed."""
    chosen = Variant(precision, channels_last=precision == "bf16", threads=threads if device.type == "cpu" else 1)
    return _as_choice(chosen, f"{chosen}: asked for", device=device)


def training_memory(
    model: nn.Module,
    read: Callable[[], tuple[Feed, NetworkInput]],
    training: TrainingConfig,
    choice: PrecisionChoice,
) -> int | None:
    """Bytes that a process has for itself while it trains on a CPU; None where the system does not say.

    Args:
        model: the student.
        read: makes its feed, which may have a copy of all samples, and reads its largest batch.
        training: its optimizer.
        choice: its arithmetic.
    """
    variant = Variant(choice.precision, choice.channels_last, choice.threads)
    threads_before = torch.get_num_threads()

    def train() -> None:
        _best = [tensor.clone() for tensor in model.state_dict().values()]  # as a trial keeps them, and the feed
        _feed, inputs = read()
        step, _ = _step_of(model, inputs, training, variant, torch.device("cpu"))
        for _ in range(2):  # the second beside what the optimizer keeps
            step()

    found = peak_memory(train)
    torch.set_num_threads(threads_before)
    return found


def _as_choice(variant: Variant, reason: str, *, device: torch.device) -> PrecisionChoice:
    return PrecisionChoice(
        precision=variant.precision,
        channels_last=variant.channels_last,
        threads=variant.threads,
        device=str(device),
        reason=reason,
    )


def _variants(threads: int, device: torch.device, *, has_layouts: bool) -> list[Variant]:
    """What to time: first the two main candidates, of which the quicker spares most of what the other would take."""
    counts = sorted({1, min(threads, physical_cores()), threads}) if device.type == "cpu" and threads > 1 else [1]
    ways: list[tuple[Precision, bool]] = [("fp32", False), ("fp32", True)]
    if cpu_has_bf16() if device.type == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False):
        ways = [("bf16", True), *ways, ("bf16", False)]
    elif device.type == "cpu" and _onednn_has_bf16():
        ways += [("bf16", True), ("bf16", False)]
    ways = list(dict.fromkeys((precision, layout and has_layouts) for precision, layout in ways))
    return [Variant(precision, layout, n) for n in counts for precision, layout in ways]


def _onednn_has_bf16() -> bool:
    """Whether oneDNN has kernels for bfloat16 on this CPU; without, torch takes tens of times as long as in fp32."""
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(is_there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _time_step(
    model: nn.Module,
    inputs: NetworkInput,
    training: TrainingConfig,
    variant: Variant,
    device: torch.device,
    least: float,
    *,
    cuda_graphs: bool = False,
) -> float:
    """Seconds of one training step: the least of a few rounds, or of as many steps as show that it is hopeless.

    One thread is timed by the processor time that it takes, which other work on the machine does not lengthen.
    """
    step, optimizer = _step_of(model, inputs, training, variant, device)
    clock = time.process_time if device.type == "cpu" and variant.threads == 1 else time.perf_counter
    repeat = _captured(step, optimizer, device) if cuda_graphs else step

    def run(steps: int) -> float:
        began = clock()
        for _ in range(steps):
            repeat()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - began) / steps

    began = time.perf_counter()
    first = run(1)
    if device.type == "cpu" and first - _ONCE > _HOPELESS * least:  # on a GPU the first one loads its kernels
        return first
    second = time.perf_counter()
    single = run(1)
    # The first counts as long as the second: else what is done but once would leave that alone to speak for all others.
    began = max(began, 2 * second - time.perf_counter())
    if single > _HOPELESS * least and (single := min(single, run(1))) > _HOPELESS * least:
        return single
    steps = max(1, round(0.02 / max(single, 1e-6)))
    rounds = [single]
    while len(rounds) <= _ROUNDS and time.perf_counter() - began < _ENOUGH:
        rounds.append(run(steps))
    return min(rounds)


def _step_of(
    model: nn.Module, inputs: NetworkInput, training: TrainingConfig, variant: Variant, device: torch.device
) -> tuple[Callable[[], None], torch.optim.Optimizer]:
    """A training step in a variant, on its threads, and the optimizer that it ends with."""
    layout = memory_format(variant)
    torch.set_num_threads(variant.threads)
    model = model.to(device).to(memory_format=layout).train()
    optimizer = make_optimizer(model, training)
    if isinstance(inputs, Tensor):
        inputs = inputs.to(memory_format=layout)

    def step() -> None:
        with autocast(variant.precision, device):
            logits = model(inputs).float()
            loss = F.cross_entropy(logits, logits.argmax(dim=1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step, optimizer


def _captured(step: Callable[[], None], optimizer: torch.optim.Optimizer, device: torch.device) -> Callable[[], None]:
    """What replays the step as a CUDA graph."""
    stream, outside = capture_stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(outside)
    try:
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
            return capture_step(step, optimizer, stream).replay
    finally:
        outside.wait_stream(stream)
