"""StudyBook: proposes trials, judges them at their rungs, takes their results. It knows Optuna and the record, no Ray.

The record is written first; Optuna's storage follows, and is rebuilt from the record when a study goes on. Every
proposal and every judgement on trial n rests on the trials up to n - lag, exactly, whichever finished in between: so
one seed makes the same trials.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from pydantic import ValidationError

from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, baseline_config, conditioned_space, trial_config
from autockd.distillation import make_method
from autockd.facts import Direction
from autockd.records import (
    EpochFinished,
    EpochRecord,
    Event,
    RungReached,
    RungResult,
    TrialFinished,
    TrialOutcome,
    TrialReport,
    TrialStarted,
)
from autockd.search.journal import new_optuna_study, tell
from autockd.search.meter import cost_of
from autockd.search.pace import Pace
from autockd.search.proposal import Proposal, trial_folder
from autockd.search.proposals import (
    BASELINE,
    ROLE,
    enqueue_first_trials,
    leaves_marks,
    make_sampler,
    proposal_lag,
    suggest_params,
)
from autockd.search.rungs import Rungs
from autockd.search.stopping import rung_epochs
from autockd.tracking.redaction import redact_record


class StudyBook:
    """The one place where trials are numbered, proposed, judged, and closed."""

    def __init__(
        self,
        study: StudyConfig,
        journal: Path,
        record: Callable[[Event], None],
        *,
        parallel: int,
        direction: Direction,
        history: Iterable[Event] = (),
        arm: str = "",
        first: int = 0,
    ) -> None:
        """Write the study's journal, from its history where it has one.

        Args:
            study: the study.
            journal: Optuna's journal file; one that stands there is replaced.
            record: writes an event down before anything else hears of it.
            parallel: trials at a time.
            direction: `maximize` or `minimize`.
            history: the events so far of a study that goes on; those of other arms are passed over.
            arm: label of the compared method whose trials these are; empty where nothing is compared.
            first: number of its first trial. Optuna counts from 0.
        """
        self._study = study
        self._arm = arm
        self._first = first
        self._record = record
        self._parallel = parallel
        self._lag = proposal_lag(study, parallel)
        self._space = conditioned_space(study)
        self._trials: dict[int, optuna.Trial] = {}
        self._starts: dict[int, TrialStarted] = {}
        self._standing: dict[int, TrialOutcome] = {}
        self._rungs = Rungs(study.search.stopping, direction, self._lag)
        self._outcomes: dict[int, TrialOutcome] = {}
        self._climbed: set[int] = set()
        self._orphans: deque[int] = deque()
        self._configs: dict[int, TrialConfig] = {}
        self._pace = Pace()
        self._told = first
        name, objectives = f"{study.name} {arm}".rstrip(), study.search.objectives
        self._optuna = new_optuna_study(name, journal, direction, objectives)
        self._restore(history)
        enqueue_first_trials(study, self._optuna, skip=len(self._trials))

    @property
    def all_proposed(self) -> bool:
        """Whether every trial that was asked for has been proposed."""
        return len(self._trials) >= self._study.search.trials and not self._orphans

    @property
    def is_over(self) -> bool:
        """Whether every trial that was asked for has an outcome."""
        return self.all_proposed and self.running == 0

    @property
    def left(self) -> int:
        """Trials that have no outcome yet: those that are open, and those that will be proposed."""
        return max(self._study.search.trials, len(self._trials)) - len(self._outcomes)

    @property
    def running(self) -> int:
        """Trials that are proposed and not closed."""
        return len(self._trials) - len(self._outcomes)

    @property
    def closed(self) -> tuple[int, ...]:
        """Numbers of the trials that have an outcome."""
        return tuple(self._outcomes)

    @property
    def _next(self) -> int:
        """Number of the next trial."""
        return self._first + len(self._trials)

    def folder(self, study: Path, number: int) -> Path:
        """Where a trial keeps its checkpoint and its weights, in the study's folder."""
        return trial_folder(study, number)

    def propose(self) -> Proposal | None:
        """The next trial; None while none may start: all are proposed, enough run, or results are still awaited.

        Trials that ran when the study stopped come first. A point whose configuration breaks a rule is recorded as a
        failed trial, and the next one is proposed.
        """
        if self._orphans:
            is_full = self.running - len(self._orphans) >= self._parallel
            return None if is_full else self._proposal(self._starts[self._orphans.popleft()])
        while not self.all_proposed and self.running < self._parallel and self._tell_up_to(self._next - self._lag):
            number = self._next
            self._optuna.sampler = self._sampler(number)
            trial = self._optuna.ask()
            assert trial.number == number - self._first, "this book is the only one to ask"
            self._trials[number] = trial
            if started := self._start(number, trial):
                return self._proposal(started)
        return None

    def report(self, report: TrialReport) -> bool:
        """Take what a worker tells; one that went on from a checkpoint may tell some of it again.

        Returns:
            Whether the trial must stop, because a rung stopped it; it is closed then.
        """
        for record in report.records:
            if record.epoch <= self._standing[report.trial].epochs:
                continue
            self._record(EpochFinished(time=time.time(), trial=report.trial, record=record))
            self._pace.note(self._config(report.trial), record)
            self._note_epoch(report.trial, record)
        self._standing[report.trial] = self._standing[report.trial].model_copy(
            update={**cost_of(report), "work": report.work or self._standing[report.trial].work}
        )
        if report.outcome is not None:
            self.close(report.trial, report.outcome)
        elif report.rung is not None:
            self._judge(report.trial, report.rung)
        return report.trial in self._outcomes

    def close(self, number: int, outcome: TrialOutcome) -> None:
        """Take a trial's outcome; the first one counts."""
        if number in self._outcomes:
            return
        outcome = redact_record(outcome)  # Optuna's journal is a file too
        self._record(TrialFinished(time=time.time(), trial=number, **outcome.model_dump()))
        self._outcomes[number] = outcome
        if self.is_over:
            self._tell_up_to(self._next - 1)

    def give_up(self, number: int, reason: str) -> None:
        """Close a trial as failed, with what is known of its cost."""
        update = {"state": "failed", "value": None, "best_epoch": None, "reason": reason}
        self.close(number, self._standing[number].model_copy(update=update))

    def cut(self, reason: str) -> None:
        """End the search here: what runs is closed as stopped early, and nothing more is proposed."""
        self._study = self._study.model_copy(
            update={"search": self._study.search.model_copy(update={"trials": len(self._trials)})}
        )
        self._orphans.clear()
        for number in sorted(self._trials.keys() - self._outcomes.keys()):
            self.close(number, self._standing[number].model_copy(update={"reason": reason}))
        self._tell_up_to(self._next - 1)

    def settle(self) -> None:
        """Tell Optuna every outcome that there is: whoever looks into the journal of a stopped study finds them there.

        Proposals rest on fewer of them, so nothing may be proposed after it; a study that goes on has a new book.
        """
        for number in sorted(number for number in self._outcomes if number >= self._told):
            self._tell(number)

    def _proposal(self, started: TrialStarted) -> Proposal:
        config = self._config(started.trial)
        stopping = self._study.search.stopping
        rungs = () if started.role == "baseline" else rung_epochs(stopping, config.training.epochs)
        return Proposal(
            started.trial,
            config,
            rungs,
            stopping.rungs - len(rungs) + 1,  # those that fall together are the ones at the smallest shares
            ladder=stopping.rule == "ladder",
            slowest_epoch=self._pace.longest(config),
        )

    def _config(self, number: int) -> TrialConfig:
        if number not in self._configs:
            self._configs[number] = TrialConfig.model_validate(self._starts[number].config)
        return self._configs[number]

    def _start(self, number: int, trial: optuna.Trial) -> TrialStarted | None:
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
        started = TrialStarted(
            time=time.time(),
            trial=number,
            role=role,
            method=config.method.name if config else str(params.get("method", self._study.method.name)),
            params=params,
            config=json.loads(config.model_dump_json()) if config else {},
            fingerprint=config.fingerprint if config else "",
            conventions=make_method(config.method).conventions if config else "",
            arm=self._arm,
        )
        self._record(started)
        self._note_start(trial, started)
        if config is None:
            self.close(number, TrialOutcome(state="failed", reason=problem, of_its_point=True))
            return None
        return started

    def _note_start(self, trial: optuna.Trial, started: TrialStarted) -> None:
        self._starts[started.trial] = started
        self._standing[started.trial] = TrialOutcome(state="pruned")
        trial.set_user_attr("method", started.method)

    def _note_epoch(self, number: int, record: EpochRecord) -> None:
        told = {"value": record.best_metric, "best_epoch": record.best_epoch, "epochs": record.epoch}
        self._standing[number] = self._standing[number].model_copy(update=told)

    def _judge(self, number: int, result: RungResult) -> None:
        if self._rungs.is_judged(number, result.rung):
            return
        reached = self._rungs.judge(number, result)
        self._record(reached)
        self._note_verdict(reached)
        if reached.stopped:
            self._stop(reached)

    def _note_verdict(self, reached: RungReached) -> None:
        self._climbed.add(reached.trial)
        self._rungs.note(reached)
        self._trials[reached.trial].report(reached.value, reached.rung)

    def _stop(self, reached: RungReached) -> None:
        update = {"value": reached.value, "rung": reached.rung, "reason": reached.reason}
        standing = self._standing[reached.trial]
        if standing.epochs < reached.epochs:  # the ladder's compressed runs have no epochs of the run itself
            update["epochs"] = reached.epochs
        self.close(reached.trial, standing.model_copy(update=update))

    def _restore(self, history: Iterable[Event]) -> None:
        """Bring the book to where the record ends, Optuna's storage with it."""
        stopped: dict[int, RungReached] = {}
        for event in history:
            match event:
                case TrialStarted():
                    if event.arm == self._arm:
                        self._restart(event)
                case EpochFinished(trial=number, record=record) if number in self._trials:
                    self._note_epoch(number, record)
                case RungReached() if event.trial in self._trials:
                    self._note_verdict(event)
                    if event.stopped:
                        stopped[event.trial] = event
                case TrialFinished() if event.trial in self._trials:
                    self._outcomes[event.trial] = TrialOutcome.model_validate(
                        event.model_dump(include=set(TrialOutcome.model_fields))
                    )
        for number in sorted(self._trials.keys() - self._outcomes.keys()):
            if number in stopped:
                self._stop(stopped[number])
            elif not self._starts[number].config:
                reason = "its point of the space breaks a rule"
                self.close(number, TrialOutcome(state="failed", reason=reason, of_its_point=True))
            else:
                self._orphans.append(number)
        if self.is_over:
            self._tell_up_to(self._next - 1)

    def _restart(self, started: TrialStarted) -> None:
        """Give a trial of the history to Optuna again: the same number, the same point, after the same results."""
        self._tell_up_to(started.trial - self._lag)
        attributes: dict[str, object] = {ROLE: started.role}
        if started.role == "baseline":
            attributes[BASELINE] = started.trial
        marked = leaves_marks(self._study, started)
        number = started.trial - self._first
        sampler = self._sampler(started.trial) if marked else RandomSampler(seed=0)
        self._optuna.sampler = sampler  # the point is known: where there are no marks to leave, it costs nothing
        self._optuna.enqueue_trial(dict(started.params), user_attrs=attributes)
        trial = self._optuna.ask()
        assert trial.number == number, "a ledger holds trials in the order of their numbers"
        if marked:
            _ = trial.relative_params  # asking for them leaves the marks
        if started.role != "baseline":
            suggest_params(trial, self._space)
        self._trials[started.trial] = trial
        self._note_start(trial, started)

    def _sampler(self, number: int) -> BaseSampler:
        avoided = sum(map(self._is_avoided, range(self._first, self._told)))
        return make_sampler(self._study, number - self._first, self._parallel, self._arm, avoided=avoided)

    def _is_avoided(self, number: int) -> bool:
        """Whether a trial failed by its own values; not after a rung, whose value Optuna would take it for."""
        is_baseline = self._starts[number].role == "baseline"
        return self._outcomes[number].of_its_point and not is_baseline and number not in self._climbed

    def _tell(self, number: int) -> None:
        trial, outcome, objectives = self._trials[number], self._outcomes[number], self._study.search.objectives
        is_cut = outcome.state == "pruned" and number not in self._climbed
        tell(self._optuna, trial, outcome, objectives, is_avoided=self._is_avoided(number), is_cut=is_cut)

    def _tell_up_to(self, number: int) -> bool:
        """Tell Optuna the outcomes up to a trial, in order; False if one of them is still awaited."""
        while self._told <= number:
            outcome = self._outcomes.get(self._told)
            if outcome is None:
                return False
            self._tell(self._told)
            self._told += 1
        return True
