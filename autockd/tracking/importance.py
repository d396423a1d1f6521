"""How much of a metric's variation each dimension of a space explains, judged by fANOVA (Hutter et al., ICML 2014)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autockd.records import Event, StudyStarted, TrialFinished, TrialStarted
from autockd.tracking.figures import has_value

FEW_TRIALS = 30
"""Below so many, the order of the dimensions may be chance."""

_FEWEST_TRIALS = 4
_SEED = 0


@dataclass(frozen=True)
class Importance:
    """What a study's complete trials say about its dimensions.

    Attributes:
        shares: dimension to share of the explained variation, largest first; they add up to 1.
        trials: complete trials in the space: baselines stand outside of it, and stopped trials were judged earlier.
        left_out: dimensions that cannot be judged, because some of these trials are without them.
        problem: why there are no shares; empty where there are.
    """

    shares: dict[str, float] = field(default_factory=dict)
    trials: int = 0
    left_out: tuple[str, ...] = ()
    problem: str = ""


def importance_of(events: Iterable[Event]) -> Importance:
    """Judge the dimensions of a study's space by its trials; the same events give the same shares."""
    history = list(events)
    study = next((event for event in history if isinstance(event, StudyStarted)), None)
    space: Mapping[str, Mapping[str, Any]] = study.config.get("search", {}).get("space", {}) if study else {}
    starts = [event for event in history if isinstance(event, TrialStarted) and event.role != "baseline"]
    if any(event.arm for event in starts):
        return Importance(trials=len(starts), problem="each of the methods that are compared has a space of its own")
    points = {event.trial: event.params for event in starts}
    values = {
        event.trial: event.value
        for event in history
        if isinstance(event, TrialFinished) and has_value(event) and event.trial in points
    }
    points = {trial: points[trial] for trial in values}
    left_out = tuple(name for name in space if any(name not in point for point in points.values()))
    if problem := _problem(values.values(), [name for name in space if name not in left_out]):
        return Importance(trials=len(values), left_out=left_out, problem=problem)
    try:
        shares = _shares(space, points, values)
    except (RuntimeError, ValueError) as error:  # fANOVA's words for data that it cannot judge
        return Importance(trials=len(values), left_out=left_out, problem=str(error))
    return Importance(shares, len(values), left_out)


def _problem(values: Iterable[float | None], names: list[str]) -> str:
    known = list(values)
    if len(known) < _FEWEST_TRIALS:
        return f"too few complete trials to judge: {len(known)}"
    if not names:
        return "no dimension is in every trial"
    return "" if len(set(known)) > 1 else "every trial has the same metric"


def _shares(
    space: Mapping[str, Mapping[str, Any]], points: Mapping[int, Mapping[str, Any]], values: Mapping[int, float | None]
) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    study = optuna.create_study()
    for trial, point in points.items():
        known = {name: value for name, value in point.items() if name in distributions}
        study.add_trial(
            optuna.trial.create_trial(
                params=known, distributions={name: distributions[name] for name in known}, value=values[trial]
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    return {
        str(name): float(share)
        for name, share in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
    }


def _distribution(dimension: Mapping[str, Any]) -> Any:
    from optuna import distributions

    if "choices" in dimension:
        return distributions.CategoricalDistribution(dimension["choices"])
    log, step = bool(dimension.get("log")), dimension.get("step")
    if dimension.get("type") == "int":
        return distributions.IntDistribution(dimension["low"], dimension["high"], log=log, step=step or 1)
    return distributions.FloatDistribution(dimension["low"], dimension["high"], log=log, step=step)
