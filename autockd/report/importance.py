"""How much of a metric's variation each dimension of a space explains, judged by fANOVA (Hutter et al., ICML 2014)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from autockd.report.content import ImportanceRecord
from autockd.summary import TrialRow

_FEW_TRIALS = 30
"""Below so many, the order of the dimensions may be chance."""

_FEWEST_TRIALS = 4
_SEED = 0


def importance_of(space: Mapping[str, Mapping[str, Any]], trials: Sequence[TrialRow]) -> ImportanceRecord:
    """Judge the dimensions of a space by a study's trials; the same trials give the same shares.

    Complete trials in the space count: baselines stand outside of it, and stopped trials were judged earlier.
    """
    within = [row for row in trials if row.role != "baseline"]
    if any(row.arm for row in within):
        return ImportanceRecord(
            trials=len(within), problem="each of the methods that are compared has a space of its own"
        )
    points = {row.trial: row.params for row in within if row.is_scored}
    values = {row.trial: row.value for row in within if row.is_scored}
    left_out = tuple(name for name in space if any(name not in point for point in points.values()))
    found = ImportanceRecord(trials=len(values), left_out=left_out, few=len(values) < _FEW_TRIALS)
    if problem := _problem(values.values(), [name for name in space if name not in left_out]):
        return found.model_copy(update={"problem": problem})
    try:
        return found.model_copy(update={"shares": _shares(space, points, values)})
    except (RuntimeError, ValueError) as error:  # fANOVA's words for data that it cannot judge
        return found.model_copy(update={"problem": str(error)})


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
        known = {name: _coordinate(space[name], value) for name, value in point.items() if name in space}
        study.add_trial(
            optuna.trial.create_trial(
                params=known, distributions={name: distributions[name] for name in known}, value=values[trial]
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    with _unlogged():
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {str(name): float(share) for name, share in found.items()}


def _unlogged() -> AbstractContextManager[Any]:
    """Within this MLflow logs no model of scikit-learn's by itself, where somebody has it do that: fANOVA fits one."""
    if "mlflow" not in sys.modules:
        return nullcontext()
    from mlflow.utils.autologging_utils import disable_autologging

    return cast(AbstractContextManager[Any], disable_autologging())


def _distribution(dimension: Mapping[str, Any]) -> Any:
    """A dimension as fANOVA weighs it: evenly along its axis, which is why one on a log scale is its logarithm here."""
    from optuna import distributions

    if "choices" in dimension:
        return distributions.CategoricalDistribution(dimension["choices"])
    low, high = (_coordinate(dimension, dimension[end]) for end in ("low", "high"))
    if dimension.get("type") == "int" and not dimension.get("log"):
        return distributions.IntDistribution(low, high, step=dimension.get("step") or 1)
    return distributions.FloatDistribution(low, high, step=dimension.get("step"))


def _coordinate(dimension: Mapping[str, Any], value: Any) -> Any:
    """Where a value stands on the axis of its dimension."""
    return math.log(value) if dimension.get("log") else value
