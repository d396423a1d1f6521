"""Schedules as pure functions of a tick: plain numbers in, plain numbers out.

A run has n ticks, counted from 1: its epochs, as in the paper, or its training steps. Sources are Jafari et al.,
"Continuation KD", Findings of EMNLP 2022 (equations 3 to 5 and Algorithm 1), with temperature and pace clamped at 1.
"""

from __future__ import annotations

import math

from autockd.config.methods import RampShape, SmoothingShape
from autockd.config.training import LrSchedule

_ROUNDING = 1e-9
"""Slack in comparisons of fractions of a run, so that 2/3 of 30 ticks is 20 of them."""


def temperature(tick: int, length: int, start: int) -> int:
    """T_i of Algorithm 1: max(1, T_max - floor(i / k)) with k = max(1, floor(length / T_max)).

    Args:
        tick: i, from 1.
        length: L_len, ticks after which T must have reached 1; at least `start` for it to do so.
        start: T_max, at least 1.
    """
    pace = max(1, length // start)
    return max(1, start - tick // pace)


def smoothing(shape: SmoothingShape, tick: int, length: int, start: int) -> float:
    """Phi at one tick: how much of the teacher's logits the student sees, rising to 1.

    It begins at 1/T_max; at 2/T_max where the step shape has fewer than two ticks for each value.

    Args:
        shape: `step` is the paper's 1 - (T_i - 1) / T_max; the others start at 1/T_max on the first tick and
            reach 1 on tick `length`, linearly, along half a cosine, or by equal factors.
        tick: i, from 1.
        length: ticks after which phi is 1.
        start: T_max.
    """
    if shape == "step":
        return 1 - (temperature(tick, length, start) - 1) / start
    first = 1 / start
    progress = min(1.0, (tick - 1) / (length - 1)) if length > 1 else 1.0
    if shape == "exponential":
        return float(first ** (1 - progress))
    rise = progress if shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return first + (1 - first) * rise


def hard_weight(shape: RampShape, tick: int, ticks: int, *, ramp: float, peak: float, power: float = 2.0) -> float:
    """Psi at one tick: the weight of the hard loss, rising to `peak` over the ramp, then 1.

    Args:
        shape: `linear` is the paper's psi_max * i / (s * n); `cosine` and `power` bend it, `step` keeps it at 0.
        tick: i, from 1.
        ticks: n.
        ramp: s, the share of the run that the ramp takes.
        peak: psi_max.
        power: exponent of the `power` shape.
    """
    progress = tick / (ramp * ticks)
    if progress > 1 + _ROUNDING:
        return 1.0
    progress = min(1.0, progress)
    rise = {
        "linear": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
        "power": float(progress**power),
        "step": 0.0,
    }[shape]
    return peak * rise


def learning_rate_factor(schedule: LrSchedule, step: int, steps: int) -> float:
    """What the peak learning rate is multiplied by at one training step.

    Args:
        schedule: its shape, in fractions of the run.
        step: training step, from 0.
        steps: training steps of the run.
    """
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "step":
        passed = sum(step >= milestone * steps - _ROUNDING for milestone in schedule.milestones)
        return float(schedule.factor**passed)
    progress = (step - warmup) / max(1, steps - warmup)
    return 1 - progress if schedule.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2
