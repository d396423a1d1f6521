"""From a declared space to Optuna: samplers, first trials, and the values of one trial."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna

from autockd.config.arms import Arm
from autockd.config.schema import StudyConfig
from autockd.config.space import AnyDimension, Choice, FloatRange, Params, ordered
from autockd.config.trial import conditioned_space, default_params
from autockd.hashing import content_hash
from autockd.records import TrialStarted

STARTUP = 8
"""Results that TPE must know before it proposes anything by them; Optuna's own default is 10."""

ROLE = "role"
BASELINE = "baseline"


def make_sampler(
    study: StudyConfig, number: int, parallel: int, arm: str = "", *, avoided: int = 0
) -> optuna.samplers.BaseSampler:
    """A fresh sampler for one trial: its random numbers are named by the study's seed, the arm, the trial's number.

    So a sampler has no state but the storage, and a search that was interrupted goes on with the same proposals.

    Args:
        study: the study, or one of those that it compares.
        number: of the trial, within its search.
        parallel: trials at a time.
        arm: label of the compared method; empty where nothing is compared.
        avoided: trials that were told as pruned at their start, which are no results to begin with.
    """
    name = [study.seed, number, arm] if arm else [study.seed, number]
    seed = int(content_hash(name)[:8], 16)
    if study.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if study.search.sampler == "nsga2":  # a generation of 50, the default, is more than most studies have in all
        return optuna.samplers.NSGAIISampler(population_size=_first_results(study, parallel), seed=seed)
    with quiet_experiments():
        return optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP + avoided, seed=seed
        )


def _first_results(study: StudyConfig, parallel: int) -> int:
    """Results that the sampler must know before it proposes by them."""
    return max(STARTUP, 2 * parallel) if study.search.sampler == "nsga2" else STARTUP


def informed_trials(study: StudyConfig, parallel: int) -> int:
    """How many trials of a search rest on the results of others, if none fails; the rest are given, or drawn at random.

    Args:
        study: the study, or one of those that it compares.
        parallel: trials at a time: the more, the later results are known.
    """
    search = study.search
    if search.sampler == "random" or not search.space:
        return 0
    given = len(search.baselines) + search.enqueue_defaults + len(search.enqueue)
    unheard = given if search.sampler == "nsga2" else len(search.baselines)  # a given point is of no generation
    known = unheard + _first_results(study, parallel) + proposal_lag(study, parallel) - 1
    return max(0, search.trials - max(given, known))


def leaves_marks(study: StudyConfig, started: TrialStarted) -> bool:
    """Whether a sampler wrote more into the storage for a trial than the trial's own point.

    NSGA-II writes down a trial's generation, and breeds later trials by it. Where dimensions are conditional, TPE
    writes down values that the trial has no use for, and keeps away from them while it runs. Neither does so for a
    trial that was given its whole point.
    """
    is_conditional = any(dimension.when for dimension in conditioned_space(study).values())
    writes = {"nsga2": True, "tpe": is_conditional, "random": False}[study.search.sampler]
    is_given = started.role in ("baseline", "default") or started.params in study.search.enqueue
    return writes and not is_given


@contextmanager
def quiet_experiments() -> Iterator[None]:
    """Parts of Optuna that are experimental, and are known to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def proposal_lag(study: StudyConfig, parallel: int) -> int:
    """How far the results that a proposal knows lie behind it: trial n knows exactly those of the trials up to n - lag.

    So one seed makes the same trials, whichever finishes first. A worker waits where trial n - lag still runs; with
    early stopping a full run takes as long as many stopped ones, and the lag is longer to keep workers busy.
    """
    return 1 + (2 if study.search.stopping.rule == "none" else 4) * (parallel - 1)


def enqueue_first_trials(study: StudyConfig, optuna_study: optuna.Study, skip: int = 0) -> None:
    """Baselines, then the study's own values, then the points it names; without the first `skip`.

    A baseline lies outside of the space: it has no parameters, and the sampler never hears of its result.
    """
    first: list[tuple[Params, dict[str, Any]]] = [
        ({}, {ROLE: "baseline", BASELINE: index}) for index in range(len(study.search.baselines))
    ]
    if study.search.enqueue_defaults and study.search.space:
        first.append((default_params(study), {ROLE: "default"}))
    first += [(dict(point), {ROLE: "enqueued"}) for point in study.search.enqueue]
    for params, attributes in first[skip:]:
        optuna_study.enqueue_trial(params, user_attrs=attributes)


def suggest_params(trial: optuna.Trial, space: Mapping[str, AnyDimension]) -> Params:
    """A value for each dimension that exists, conditions decided on the way."""
    params: dict[str, Any] = {}
    for name, dimension in ordered(space):
        if dimension.is_active(params):
            params[name] = _suggest(trial, name, dimension)
    return params


def _suggest(trial: optuna.Trial, name: str, dimension: AnyDimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.choices)
    if isinstance(dimension, FloatRange):
        return trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    return trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step or 1, log=dimension.log)


def say_informed(arm: Arm, parallel: int) -> str:
    """How much of a search is more than chance."""
    search, count = arm.study.search, informed_trials(arm.study, parallel)
    if count:
        return f"{arm.prefix}{search.sampler} proposes {count} of {search.trials} trials by the results of others"
    is_late = informed_trials(arm.study, 1) > 0
    why = f"with {parallel} at a time, results come too late for more" if is_late else "more would need more results"
    return f"{arm.prefix}all of {search.trials} trials are given, or drawn at random: {why}"
