"""Optuna's storage of a study: a journal in its folder, which the study's record can rebuild at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna

from autockd.facts import Direction
from autockd.records import TrialOutcome
from autockd.search.proposals import ROLE, quiet_experiments

METRIC = "metric"
"""Optuna's name of the first of several objectives; the others have those of `search.objectives`."""

_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


def new_optuna_study(name: str, journal: Path, direction: Direction, objectives: Sequence[str] = ()) -> optuna.Study:
    """An empty Optuna study in a new journal; a killed writer's lock goes with the old one.

    Args:
        name: the study's name.
        journal: the journal's file.
        direction: of the metric: `maximize` or `minimize`.
        objectives: names of costs, each to be kept low, in the order in which `tell` gives them after the metric.
    """
    for old in (journal, *journal.parent.glob(f"{journal.name}.lock*")):
        old.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = optuna.storages.journal.JournalFileOpenLock(str(journal))  # by itself a link, which not every disk can have
    backend = optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=lock)
    storage = optuna.storages.JournalStorage(backend)
    directions = [direction, *("minimize" for _ in objectives)]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    if objectives:
        with quiet_experiments():
            study.set_metric_names([METRIC, *objectives])
    return study


def tell(
    study: optuna.Study,
    trial: optuna.Trial,
    outcome: TrialOutcome,
    objectives: Sequence[str] = (),
    *,
    is_avoided: bool = False,
    is_cut: bool = False,
) -> None:
    """Tell a trial's outcome: its metric, and then its costs by the names of the study's objectives.

    A baseline's is told as a failure, with its value as an attribute: it has no point of the space to learn from, and
    as a good trial it would take the place of one that has. One that is to be avoided is told as pruned at its start:
    TPE passes over failures, and would come back there. One that was cut before anything was known of it is a failure
    for the same reason: nothing speaks against its point.
    """
    if outcome.reason:
        trial.set_user_attr("reason", outcome.reason)
    state = optuna.trial.TrialState.PRUNED if is_avoided else _STATES[outcome.state]
    if is_cut:
        state = optuna.trial.TrialState.FAIL
    if trial.user_attrs.get(ROLE) == "baseline":
        state = optuna.trial.TrialState.FAIL
        trial.set_user_attr("baseline_value", outcome.value)
    values = None
    if state == optuna.trial.TrialState.COMPLETE:
        assert outcome.value is not None, "a complete trial has a value"
        values = [outcome.value, *(outcome.costs[name] for name in objectives)]
    study.tell(trial, values, state=state, skip_if_finished=True)
