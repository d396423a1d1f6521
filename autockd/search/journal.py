"""Optuna's storage of a study: a journal in its folder, which the study's record can rebuild at any time."""

from __future__ import annotations

from pathlib import Path

import optuna

from autockd.records import TrialOutcome
from autockd.search.proposals import ROLE

_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


def new_optuna_study(name: str, journal: Path, direction: str) -> optuna.Study:
    """An empty Optuna study in a new journal; a killed writer's lock goes with the old one."""
    for old in (journal, *journal.parent.glob(f"{journal.name}.lock*")):
        old.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=name, direction=direction)


def tell(study: optuna.Study, trial: optuna.Trial, outcome: TrialOutcome) -> None:
    """Tell a trial's outcome.

    A baseline's is told as a failure, with its value as an attribute: it has no point of the space to learn from, and
    as a good trial it would take the place of one that has.
    """
    if outcome.reason:
        trial.set_user_attr("reason", outcome.reason)
    state = _STATES[outcome.state]
    if trial.user_attrs.get(ROLE) == "baseline":
        state = optuna.trial.TrialState.FAIL
        trial.set_user_attr("baseline_value", outcome.value)
    value = outcome.value if state == optuna.trial.TrialState.COMPLETE else None
    study.tell(trial, value, state=state, skip_if_finished=True)
