"""From events to runs: what MLflow has to be told, worked out without MLflow.

The same events give the same updates, whether they come one by one during a search or all at once from the ledger.
An event that comes twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autockd.facts import Direction
from autockd.records import (
    AssistantReady,
    BankReady,
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    PrecisionChosen,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking import mlflow_fields as fields
from autockd.tracking.charted_space import charted_space
from autockd.tracking.mlflow_runs import RunDraft, RunUpdate, Status, milliseconds
from autockd.tracking.saved_views import view_tags
from autockd.tracking.study_note import StudyNote
from autockd.verdicts import Finalist, winner_of

_STATUS: Mapping[str, Status] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class Projection:
    """The runs of one study, built up event by event.

    Attributes:
        study: name of the study, once its start is known.
        study_id: tells it from others that had its name before.
    """

    def __init__(self) -> None:
        self.study: str | None = None
        self.study_id: str | None = None
        self._metric = ""
        self._direction: Direction = "maximize"
        self._began = 0.0
        self._resumed = 0
        self._note: StudyNote | None = None
        self._has_news = False
        self._better: Callable[[float, float], float] = max
        self._space: Mapping[str, Mapping[str, Any]] = {}
        self._objectives: tuple[str, ...] = ()
        self._runs: dict[int | None, RunDraft] = {}
        self._seen: set[tuple[object, ...]] = set()
        self._finished = 0
        self._baselines: set[int] = set()
        self._best: float | None = None

    def apply(self, event: Event) -> bool:
        """Take in one event; False if it has no place: the start of its study or trial is not known."""
        identity = _identity(event)
        if identity in self._seen:
            return True
        if isinstance(event, StudyStarted):
            self._start_study(event)
        elif isinstance(event, TrialStarted) and self.study_id is not None:
            self._start_trial(event)
        elif (run := self._runs.get(_owner(event))) is not None:
            self._tell(run, event)
        else:
            return False
        if self._note is not None and self._note.hear(event):
            self._has_news = self._runs[None].changed = True
        self._seen.add(identity)
        return True

    def interrupt(self) -> None:
        """Nothing more will come: what is still open ends as KILLED, at the last moment it was heard of."""
        for run in self._runs.values():
            if run.status == "RUNNING":
                run.tell(run.latest / 1000, tags={"autockd.state": "interrupted"})
                run.end("KILLED", run.latest)

    def take(self) -> list[RunUpdate]:
        """What is new since the last call, the study's own run first."""
        if self._note is not None and self._has_news:  # once for many events, for it is made of all there were
            self._runs[None].tags["mlflow.note.content"] = self._note.text
            self._has_news = False
        return [run.take() for run in self._runs.values() if run.changed]

    def _start_study(self, event: StudyStarted) -> None:
        if (run := self._runs.get(None)) is None:
            self.study, self.study_id = event.study, fields.study_id(event)
            self._metric, self._began = event.metric, event.time
            self._direction = event.direction
            self._better = max if event.direction == "maximize" else min
            self._note = StudyNote(event)
            run = self._runs[None] = RunDraft(None, event.study, milliseconds(event.time))
            run.experiment_tags = view_tags(event)
            run.tell(event.time, params=fields.study_params(event.config))
        self._space = charted_space(event.config)
        self._objectives = tuple(event.config.get("search", {}).get("objectives", ()))
        run.tell(event.time, tags=fields.study_tags(event) | {"autockd.state": "running"})
        run.reopen()

    def _start_trial(self, event: TrialStarted) -> None:
        assert self.study_id is not None, "a study starts before its trials"
        if event.role == "baseline":
            self._baselines.add(event.trial)
        run = RunDraft(event.trial, fields.trial_name(event), milliseconds(event.time))
        tags, params = fields.trial_tags(event, self.study_id), fields.trial_params(event, self._space)
        run.tell(event.time, tags=tags, params=params)
        self._runs[event.trial] = run

    def _tell(self, run: RunDraft, event: Event) -> None:
        match event:
            case EpochFinished():
                run.tell(event.time, metrics=self._epoch_metrics(event), step=event.record.epoch)
            case RungReached():
                run.tell(event.time, tags=fields.rung_tags(event))
            case TrialFinished():
                self._finish_trial(run, event)
            case StudyResumed():
                self._resumed += 1
                run.tell(event.time, tags=fields.resumption_tags(event, self._resumed) | {"autockd.state": "running"})
                run.reopen()
            case StudyFinished():
                run.tell(event.time, metrics=fields.study_metrics(event, self._metric))
                finals = self._note.finalists if self._note is not None else ()
                run.tell(event.time, metrics=fields.finalist_metrics(finals, self._metric, self._direction))
                self._tell_finalists(finals, event.time)
                has_student = event.best_trial is not None  # baselines count as complete trials, but are no result
                run.tell(event.time, tags={"autockd.state": "complete" if has_student else "failed"})
                run.end("FINISHED" if has_student else "FAILED", milliseconds(event.time))
            case TeacherReady():
                run.tell(event.time, metrics=fields.teacher_metrics(event.teacher, self._metric))
                run.tell(event.time, tags=fields.teacher_tags(event.teacher))
            case AssistantReady():
                run.tell(event.time, metrics=fields.teacher_metrics(event.assistant, self._metric, "assistant"))
                run.tell(event.time, tags=fields.teacher_tags(event.assistant, "assistant"))
            case BankReady():
                run.tell(event.time, metrics=fields.bank_metrics(event.bank, event.whose))
            case PrecisionChosen():
                run.tell(event.time, tags=fields.precision_tags(event.choice))
            case TestOpened():
                run.tell(event.time, tags={"autockd.test_opened": "; ".join(event.subjects)})
            case Evaluated() if event.seed is None:  # those of finalists are told together, at the end
                run.tell(event.time, metrics=fields.evaluation_metrics(event, self._metric))
            case Exported():
                run.tell(event.time, tags=fields.export_tags(event))

    def _epoch_metrics(self, event: EpochFinished) -> fields.Metrics:
        return fields.epoch_metrics(event.record, self._metric, self._objectives)

    def _tell_finalists(self, finalists: Sequence[Finalist], moment: float) -> None:
        """The runs of trials that ran again say so: the search's best value is partly luck."""
        winner = winner_of(finalists, self._direction)
        for finalist in finalists:
            if (run := self._runs.get(finalist.trial)) is not None:
                run.tell(moment, metrics=fields.fresh_metrics(finalist, self._metric))
                run.tell(moment, tags=fields.finalist_tags(finalist, winner))

    def _finish_trial(self, run: RunDraft, event: TrialFinished) -> None:
        run.tell(event.time, metrics=fields.trial_metrics(event, self._metric, self._objectives), step=event.epochs)
        run.tell(event.time, tags=fields.outcome_tags(event))
        run.end(_STATUS[event.state], milliseconds(event.time))
        self._finished += 1
        if event.state == "complete" and event.value is not None and event.trial not in self._baselines:
            self._best = event.value if self._best is None else self._better(self._best, event.value)
        study = self._runs[None]
        study.tell(event.time, metrics={"best_so_far": self._best}, step=self._finished)
        seconds = round(event.time - self._began)
        study.tell(event.time, metrics={"best_so_far_by_second": self._best}, step=seconds)


def _owner(event: Event) -> int | None:
    """The trial whose run an event belongs to; None for the study's own run."""
    return event.trial if isinstance(event, EpochFinished | RungReached | TrialFinished) else None


def _identity(event: Event) -> tuple[object, ...]:
    """Equal for an event that comes twice, and for an epoch that is trained again after a crash."""
    if isinstance(event, EpochFinished):
        return (event.event, event.trial, event.record.epoch)
    return (event.event, event.time, *(getattr(event, name, None) for name in ("trial", "seed", "label")))
