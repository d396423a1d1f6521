"""What a search space reaches that a user should know before any trial is spent on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pydantic import ValidationError

from autockd.config.methods import ContinuationKD
from autockd.config.schema import StudyConfig
from autockd.config.space import active_params, as_number
from autockd.config.trial import conditioned_space, default_params, trial_config
from autockd.distillation.methods import make_method
from autockd.distillation.plan import Run

NOMINAL_STEPS = 100
"""Training steps an epoch that are assumed; schedules are fractions of the run, so the number hardly matters."""

_HIGHEST = ("margin", "smoothing_start")
_EVERY = ("method", "margin_mode", "anneal_teacher", "anneal_margin", "reduction")
"""Dimensions that decide whether a new student begins inside of its margin."""


def space_warnings(study: StudyConfig, second_moment: float | None) -> tuple[str, ...]:
    """Whether the search may propose a margin in the dead zone, where the soft loss starts out as zero.

    Args:
        study: the study; what its own values do, `Method.warnings` says.
        second_moment: E[z_T^2] of the teacher; None while nobody knows it.

    Returns:
        Nothing, or one sentence about the worst point of the space.
    """
    if not {"margin", "margin_mode", "smoothing_start"} & study.search.space.keys():
        return ()
    for params in _worst_points(study):
        try:
            trial = trial_config(study, params)
        except ValidationError:
            continue
        if not isinstance(trial.method, ContinuationKD):
            continue
        run = Run(trial.training.epochs, NOMINAL_STEPS)
        for text in make_method(trial.method).warnings(run, second_moment):
            point = ", ".join(f"{name} {params[name]}" for name in params if name in (*_HIGHEST, *_EVERY))
            return (f"search.space reaches into the dead zone, at {point}: {text.partition(': ')[2]}",)
    return ()


def _worst_points(study: StudyConfig) -> Iterator[dict[str, object]]:
    """The study's own point, but with the largest margin at the smallest phi, under every choice that matters."""
    space = conditioned_space(study)
    highest = {name: max(space[name].corners, key=as_number) for name in _HIGHEST if name in space}
    choices = [name for name in _EVERY if name in space]
    for values in itertools.product(*(space[name].corners for name in choices)):
        yield active_params(space, {**default_params(study), **highest, **dict(zip(choices, values, strict=True))})
