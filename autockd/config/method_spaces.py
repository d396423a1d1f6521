"""What is searched of each method where a comparison says nothing else: a weak rival would be no comparison.

The ranges hold the values of the papers. Shapes of schedules, weight decay and batch size are left to the study: the
few trials of a comparison's method would be spent on them.
"""

from __future__ import annotations

from collections.abc import Mapping

from autockd.config.methods import ContinuationKD, MethodConfig, Smoothed
from autockd.config.space import AnyDimension, Choice, FloatRange, IntRange

_SOFTENED: Mapping[str, AnyDimension] = {
    "alpha": FloatRange(type="float", low=0.1, high=1.0),
    "temperature": FloatRange(type="float", low=1.0, high=10.0, log=True),
}
_LARGEST_START = 40
_SMOOTHED: Mapping[str, AnyDimension] = {
    "smoothing_start": IntRange(type="int", low=1, high=_LARGEST_START, log=True),
    "schedule_fraction": FloatRange(type="float", low=0.25, high=1.0),
}

_SOFT_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "kd": ("alpha",),
    "takd": ("alpha",),
    "dkd": ("target_weight", "other_weight"),
    "dist": ("sample_weight", "class_weight"),
    "continuation": ("soft_loss_weight",),
}
"""The weights of each method's soft loss."""

_OF_SOFT_LOSS = (
    *("temperature", "standardise_logits", "warmup", "smoothing_start", "schedule_fraction", "smoothing_shape"),
    *("reduction", "margin", "margin_mode", "hinge", "anneal_teacher", "anneal_margin"),
)
"""Fields that decide nothing where no soft loss has a weight."""

_OF_CLASSES = ("temperature", "standardise_logits", "reduction")
"""Fields that decide nothing where targets are scores: one number has no distribution, and is its own mean and sum."""

_OF_MANY_CLASSES: Mapping[str, tuple[str, ...]] = {"dkd": ("other_weight",), "dist": ("sample_weight",)}
"""Fields of methods that decide nothing with two classes: beside the right one there is one other, which has no rivals,
and two probabilities of a sample always correlate."""

SWITCHES = frozenset(
    [
        *(weight for weights in _SOFT_WEIGHTS.values() for weight in weights),
        *("margin", "margin_mode", "ramp_shape"),
        *("anneal_teacher", "anneal_margin", "anneal_hard_loss", "frozen_hard_loss"),
    ]
)
"""Fields whose values put others out of use: see `idle_fields`."""

_SPACES: Mapping[str, Mapping[str, AnyDimension]] = {
    "none": {},
    "kd": _SOFTENED,
    "takd": _SOFTENED,
    "dkd": {
        "target_weight": FloatRange(type="float", low=0.3, high=3.0, log=True),
        "other_weight": FloatRange(type="float", low=0.5, high=16.0, log=True),
        "temperature": FloatRange(type="float", low=1.0, high=10.0, log=True),
        "warmup": FloatRange(type="float", low=0.0, high=0.3),
    },
    "dist": {
        "sample_weight": FloatRange(type="float", low=0.3, high=5.0, log=True),
        "class_weight": FloatRange(type="float", low=0.3, high=5.0, log=True),
        "temperature": FloatRange(type="float", low=1.0, high=6.0, log=True),
    },
    "annealing": {**_SMOOTHED, "stage_fraction": FloatRange(type="float", low=0.3, high=0.8)},
    "continuation": {
        **_SMOOTHED,
        "hard_loss_ramp": FloatRange(type="float", low=0.3, high=1.0),
        "hard_loss_peak": FloatRange(type="float", low=0.2, high=1.0),
        "soft_loss_weight": FloatRange(type="float", low=0.1, high=10.0, log=True),
    },
}


def method_space(method: MethodConfig, *, is_regression: bool, is_binary: bool) -> dict[str, AnyDimension]:
    """The dimensions of a method, wide enough for its own values; without those that its settings put out of use.

    Args:
        method: the method with its own values.
        is_regression: whether targets are scores, which no temperature softens.
        is_binary: whether there are two classes.
    """
    space: dict[str, AnyDimension] = dict(_SPACES[method.name])
    if isinstance(method, ContinuationKD):
        space |= _margins(method)  # a margin of 0 is `none`, whatever its unit: see `without_margin`
    idle = idle_fields(method, is_regression=is_regression, is_binary=is_binary)
    return {
        name: _holding(each, getattr(method, name))
        for name, each in space.items()
        if name not in idle or space.keys() >= set(idle[name])  # what puts it out of use is searched itself
    }


def _margins(method: ContinuationKD) -> dict[str, AnyDimension]:
    """The margin in the method's own unit; for a method without one, none or one below the dead zone's bound."""
    low, high = 0.01, 0.99
    if method.margin == 0:
        margin = FloatRange(type="float", low=low, high=high, log=True, when={"margin_mode": "dead_zone"})
        return {"margin_mode": Choice(type="choice", choices=("none", "dead_zone")), "margin": margin}
    if method.margin_mode == "relative":
        low, high = 1e-3, max(2e-3, high / max(_LARGEST_START, method.smoothing_start))  # at any start that is searched
    elif method.margin_mode == "absolute":
        low, high = method.margin / 10, method.margin * 10
    return {"margin": FloatRange(type="float", low=low, high=high, log=True)}


def idle_fields(method: MethodConfig, *, is_regression: bool, is_binary: bool) -> dict[str, tuple[str, ...]]:
    """Fields that decide nothing, each with those whose values put it out of use; with `task` where its targets do."""
    idle: dict[str, tuple[str, ...]] = {}
    if is_regression:
        idle |= dict.fromkeys(_OF_CLASSES, ("task",))
    if is_binary:
        idle |= dict.fromkeys(_OF_MANY_CLASSES.get(method.name, ()), ("task",))
    weights = _SOFT_WEIGHTS.get(method.name, ())
    if weights and not any(getattr(method, weight) for weight in weights):
        idle |= dict.fromkeys(_OF_SOFT_LOSS, weights)
    return idle | _idle_in_continuation(method) if isinstance(method, ContinuationKD) else idle


def _idle_in_continuation(method: ContinuationKD) -> dict[str, tuple[str, ...]]:
    idle: dict[str, tuple[str, ...]] = {}
    if not method.margin:
        idle |= dict.fromkeys(("hinge", "margin_mode"), ("margin",))
    if not method.anneal_hard_loss and method.frozen_hard_loss == 1:
        idle |= dict.fromkeys(("soft_loss_weight", *_OF_SOFT_LOSS), ("anneal_hard_loss", "frozen_hard_loss"))
    if not (method.anneal_teacher or method.anneal_margin):
        idle["schedule_fraction"] = ("anneal_teacher", "anneal_margin")
        if method.margin_mode != "dead_zone":  # whose unit it is part of
            idle["smoothing_start"] = ("anneal_teacher", "anneal_margin", "margin_mode")
    if method.ramp_shape != "power":
        idle["ramp_power"] = ("ramp_shape",)
    if method.ramp_shape == "step":  # from nothing to the whole at once
        idle["hard_loss_peak"] = ("ramp_shape",)
    frozen = ("hard_loss_ramp", "hard_loss_peak", "ramp_shape", "ramp_power")
    out_of_use = ("frozen_hard_loss",) if method.anneal_hard_loss else frozen
    return idle | dict.fromkeys(out_of_use, ("anneal_hard_loss",))


def _holding(dimension: AnyDimension, value: object) -> AnyDimension:
    """The same dimension, widened to a number that lies outside of it; no logarithm reaches 0."""
    if isinstance(dimension, Choice) or not isinstance(value, int | float) or (dimension.log and value <= 0):
        return dimension
    return dimension.model_copy(update={"low": min(dimension.low, value), "high": max(dimension.high, value)})


def without_margin(method: MethodConfig, space: Mapping[str, AnyDimension]) -> MethodConfig:
    """The same method, a margin of 0 said as `none` where that is what its dimension calls it."""
    modes = space.get("margin_mode")
    if not isinstance(method, ContinuationKD) or method.margin or modes is None or modes.contains(method.margin_mode):
        return method
    return method.model_copy(update={"margin_mode": "none"})


def fitted(space: Mapping[str, AnyDimension], method: MethodConfig, ticks: int) -> dict[str, AnyDimension]:
    """A space whose schedules all fit into a run: with no staircase of phi longer than the shortest schedule.

    `smoothing_start` ends at that length. Where the method's own value lies beyond it, shares of the run begin higher
    instead, one after the other, as far as that value needs and at the method's own at most.

    Args:
        space: the whole space.
        method: the method with its own values.
        ticks: epochs, or training steps, of the shortest run, whichever its schedules advance by.
    """
    start = space.get("smoothing_start")
    if not isinstance(method, Smoothed) or not isinstance(start, IntRange):
        return dict(space)
    shares = {name: space[name] for name in ("stage_fraction", "schedule_fraction") if name in space}
    ranges = {name: each for name, each in shares.items() if isinstance(each, FloatRange)}
    for name in ranges:
        ranges[name] = _raised(method, ranges, name, ticks)
    shortest = _shortest(method, ranges, ticks)
    if shortest < method.smoothing_start:  # a tick was lost to rounding
        ranges = {name: _beginning_at(each, getattr(method, name)) for name, each in ranges.items()}
        shortest = _shortest(method, ranges, ticks)
    high = min(start.high, max(shortest, method.smoothing_start))
    ends = {"low": min(start.low, high), "high": high}
    return {**space, **ranges, "smoothing_start": start.model_copy(update=ends)}


def _shortest(method: Smoothed, ranges: Mapping[str, FloatRange], ticks: int) -> int:
    return method.model_copy(update={name: each.low for name, each in ranges.items()}).smoothed_length(ticks)


def _raised(method: Smoothed, ranges: Mapping[str, FloatRange], name: str, ticks: int) -> FloatRange:
    """One share of the run, begun so high that the method's own `smoothing_start` fits the shortest schedule."""
    if _shortest(method, ranges, ticks) >= method.smoothing_start:
        return ranges[name]
    whole = _shortest(method, {**ranges, name: ranges[name].model_copy(update={"low": 1.0})}, ticks)
    return _beginning_at(ranges[name], min(getattr(method, name), method.smoothing_start / whole))


def _beginning_at(dimension: FloatRange, value: float) -> FloatRange:
    return dimension.model_copy(update={"low": min(max(dimension.low, value), dimension.high)})
