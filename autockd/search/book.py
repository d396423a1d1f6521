"""StudyBook: proposes trials and takes their results. It knows Optuna and the record, but no Ray.

The record is written first; Optuna's storage follows. With `parallel` trials at a time, trial n is proposed from the
results of the trials up to n - lag, exactly, whichever finished in between: so one seed makes the same trials.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from pydantic import ValidationError

from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, baseline_config, conditioned_space, trial_config
from autockd.distillation import make_method
from autockd.records import EpochFinished, Event, TrialFinished, TrialOutcome, TrialReport, TrialStarted
from autockd.search.proposals import BASELINE, ROLE, enqueue_first_trials, make_sampler, suggest_params

_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
    "failed": optuna.trial.TrialState.FAIL,
}


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    number: int
    config: TrialConfig


class StudyBook:
    """The one place where trials are numbered, proposed, and closed."""

    def __init__(
        self, study: StudyConfig, journal: Path, record: Callable[[Event], None], *, parallel: int, direction: str
    ) -> None:
        """Open the study's journal, or start it with its first trials.

        Args:
            study: the study.
            journal: Optuna's journal file.
            record: writes an event down before anything else hears of it.
            parallel: trials at a time.
            direction: `maximize` or `minimize`.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
        self._optuna = optuna.create_study(storage=storage, study_name=study.name, direction=direction)
        self._study = study
        self._record = record
        self._parallel = parallel
        self._lag = 2 * parallel - 1
        self._space = conditioned_space(study)
        self._trials: dict[int, optuna.Trial] = {}
        self._epochs: dict[int, int] = {}
        self._outcomes: dict[int, TrialOutcome] = {}
        self._told = 0
        enqueue_first_trials(study, self._optuna)

    @property
    def finished(self) -> bool:
        """Whether every trial that was asked for has been proposed."""
        return len(self._trials) >= self._study.search.trials

    @property
    def running(self) -> int:
        """Trials that are proposed and not closed."""
        return len(self._trials) - len(self._outcomes)

    def propose(self) -> Proposal | None:
        """The next trial; None while none may start: all are proposed, enough run, or results are still awaited.

        A point whose configuration breaks a rule is recorded as a failed trial, and the next one is proposed.
        """
        while not self.finished and self.running < self._parallel and self._tell_up_to(len(self._trials) - self._lag):
            number = len(self._trials)
            self._optuna.sampler = make_sampler(self._study, number, self._parallel)
            trial = self._optuna.ask()
            assert trial.number == number, "this book is the only one to ask"
            self._trials[number] = trial
            if proposal := self._start(trial):
                return proposal
        return None

    def report(self, report: TrialReport) -> None:
        """Take what a worker tells; a worker that went on from a checkpoint may tell some epochs again."""
        for record in report.records:
            if record.epoch <= self._epochs.get(report.trial, 0):
                continue
            self._epochs[report.trial] = record.epoch
            self._record(EpochFinished(time=time.time(), trial=report.trial, record=record))
            self._trials[report.trial].report(record.metric, record.epoch)
        if report.outcome is not None:
            self.close(report.trial, report.outcome)

    def close(self, number: int, outcome: TrialOutcome) -> None:
        """Take a trial's outcome; the first one counts."""
        if number in self._outcomes:
            return
        self._record(TrialFinished(time=time.time(), trial=number, **outcome.model_dump()))
        self._outcomes[number] = outcome
        if self.finished and self.running == 0:
            self._tell_up_to(number=len(self._trials) - 1)

    def _start(self, trial: optuna.Trial) -> Proposal | None:
        role = trial.user_attrs.get(ROLE, "sampled")
        params = {} if role == "baseline" else suggest_params(trial, self._space)
        problem, config = "", None
        try:
            if role == "baseline":
                config = baseline_config(self._study, self._study.search.baselines[trial.user_attrs[BASELINE]])
            else:
                config = trial_config(self._study, params)
        except ValidationError as error:
            problem = "; ".join(detail["msg"] for detail in error.errors())
        trial.set_user_attr("method", config.method.name if config else "")
        self._record(
            TrialStarted(
                time=time.time(),
                trial=trial.number,
                role=role,
                method=config.method.name if config else str(params.get("method", self._study.method.name)),
                params=params,
                config=json.loads(config.model_dump_json()) if config else {},
                fingerprint=config.fingerprint if config else "",
                conventions=make_method(config.method).conventions if config else "",
            )
        )
        if config is None:
            self.close(trial.number, TrialOutcome(state="failed", reason=problem))
            return None
        return Proposal(trial.number, config)

    def _tell_up_to(self, number: int) -> bool:
        """Tell Optuna the outcomes up to a trial, in order; False if one of them is still awaited."""
        while self._told <= number:
            outcome = self._outcomes.get(self._told)
            if outcome is None:
                return False
            self._tell(self._trials[self._told], outcome)
            self._told += 1
        return True

    def _tell(self, trial: optuna.Trial, outcome: TrialOutcome) -> None:
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
        state = _STATES[outcome.state]
        if trial.user_attrs.get(ROLE) == "baseline":  # as a good trial it would take the place of a point to learn from
            state = optuna.trial.TrialState.FAIL
            trial.set_user_attr("baseline_value", outcome.value)
        value = outcome.value if state == optuna.trial.TrialState.COMPLETE else None
        self._optuna.tell(trial, value, state=state, skip_if_finished=True)
