"""A study's events, read as tables: counts, trials, and the final comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from autockd.facts import Direction, sign_of
from autockd.limits import Bound
from autockd.records import (
    AssistantReady,
    BankReady,
    BankRecord,
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    FinalistsChosen,
    PrecisionChoice,
    PrecisionChosen,
    Record,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
    TestOpened,
    TrialFinished,
    TrialRole,
    TrialStarted,
)

_OUTCOME_FIELDS = (
    *("state", "value", "best_epoch", "epochs", "seconds", "cpu_seconds", "gpu_seconds"),
    *("micro_batches", "parameters", "costs", "reason", "weights"),
)


class TrialRow(Record):
    """One trial, as far as it has come."""

    trial: int
    role: TrialRole
    method: str
    arm: str = ""
    """The compared method that it belongs to, where methods are compared."""
    params: dict[str, bool | int | float | str]
    state: Literal["running", "complete", "pruned", "failed"] = "running"
    value: float | None = None
    """Best validation metric so far; a fraction for accuracy (0.95, not 95)."""
    best_epoch: int | None = None
    """The epoch that it is of, from 1."""
    epochs: int = 0
    """Epochs that are over."""
    started: float
    """The moment, in Unix seconds."""
    seconds: float | None = None
    """Wall time; like the two below None while it runs."""
    cpu_seconds: float | None = None
    """Of all threads."""
    gpu_seconds: float | None = None
    """Wall time with the GPU, times the share of it."""
    rung: int | None = None
    """The last rung that it was judged at."""
    micro_batches: int = 1
    parameters: int | None = None
    """Of the student."""
    costs: dict[str, float] = {}
    """What it costs to use, by the names of `search.objectives`: milliseconds, bytes, counts."""
    reason: str = ""
    """Why it failed or was stopped."""
    weights: str | None = None
    """File of its best epoch's weights."""

    @property
    def is_scored(self) -> bool:
        """Whether it is complete, with a number to compare it by."""
        return self.state == "complete" and self.value is not None and math.isfinite(self.value)


class StudySummary(Record):
    """A study at one moment, as its events tell it."""

    study: str
    folder: str = ""
    """Name of its folder, by which commands know it; it may have been renamed."""
    asked: int
    """Trials that the study is to have."""
    metric: str
    direction: Direction
    finished: bool
    started: float
    resumed: float | None = None
    """When it last went on after a stop."""
    teacher: TeacherRecord | None = None
    assistant: TeacherRecord | None = None
    """The net between teacher and student, where a method has one."""
    bank: BankRecord | None = None
    """The teacher's."""
    precision: PrecisionChoice | None = None
    trials: tuple[TrialRow, ...] = ()
    best_trial: int | None = None
    """The best of the search that is no baseline; where there are finalists, another may win and be exported."""
    objectives: tuple[str, ...] = ()
    """Costs that were searched beside the metric, by name."""
    chosen: FinalistsChosen | None = None
    """Which trials run again with fresh seeds; None before the search is over, and without finalists."""
    finalists: tuple[FinalistFinished, ...] = ()
    """Their runs, one for each fresh seed; the latest of each trial and seed."""
    test_opened: float | None = None
    """The moment, in Unix seconds, at which the test split was opened, once."""
    evaluated: tuple[Evaluated, ...] = ()
    """Final evaluations, with test metrics; the latest of each label."""
    bundle: str | None = None
    """Folder of the exported student, an absolute path."""
    exported_trial: int | None = None
    """Whose student that is."""
    exported_seed: int | None = None
    """The fresh seed that it was trained with; None for the search's own student."""
    seconds: dict[str, float] = {}
    """Wall time of its stages since it was last begun or resumed, and in all (`total`), once the study is finished."""
    split: dict[str, float] = {}
    """Wall time by what it went into, once the study is finished."""
    bound: Bound | None = None

    def count(self, state: str) -> int:
        """Trials in a state."""
        return sum(row.state == state for row in self.trials)

    @property
    def best(self) -> TrialRow | None:
        """The best trial that is not a baseline."""
        return next((row for row in self.trials if row.trial == self.best_trial), None)


def summarise(events: Iterable[Event]) -> StudySummary | None:
    """The summary of events, in order; None where no study begins among them."""
    fields: dict[str, object] = {}
    trials: dict[int, TrialRow] = {}
    finalists: dict[tuple[int, int], FinalistFinished] = {}
    evaluated: dict[str, Evaluated] = {}
    for event in events:
        match event:
            case StudyStarted():
                fields |= _start(event)
            case StudyResumed():
                fields |= {"asked": _asked(event.config), "finished": False, "resumed": event.time}
                fields |= {"seconds": {}, "split": {}, "bound": None}
            case TeacherReady() | AssistantReady() | BankReady() | PrecisionChosen() | FinalistsChosen() | TestOpened():
                fields |= _stage(event)
            case TrialStarted() | EpochFinished() | RungReached() | TrialFinished():
                trials[event.trial] = _advance(trials.get(event.trial), event)
            case FinalistFinished():
                finalists[event.trial, event.seed] = event
            case Evaluated():
                evaluated[event.label] = event
            case Exported():
                fields |= {"bundle": event.bundle, "exported_trial": event.trial, "exported_seed": event.seed}
            case StudyFinished():
                fields |= {"finished": True, "seconds": event.seconds, "split": event.split, "bound": event.bound}
            case _:
                pass
    if "study" not in fields:
        return None
    rows = tuple(trials[number] for number in sorted(trials))
    fields |= {"trials": rows, "finalists": tuple(finalists.values()), "evaluated": tuple(evaluated.values())}
    summary = StudySummary.model_validate(fields)
    return summary.model_copy(update={"best_trial": best_trial(rows, summary.direction)})


def ranked(rows: Iterable[TrialRow], direction: Direction) -> list[TrialRow]:
    """The complete trials that have a number to compare them by, the best first, the earlier one of equals."""
    sign = sign_of(direction)
    return sorted((row for row in rows if row.is_scored), key=lambda row: (-sign * (row.value or 0.0), row.trial))


def best_trial(rows: Iterable[TrialRow], direction: Direction) -> int | None:
    """Number of the best complete trial that is no baseline; the earlier one of equals."""
    return next((row.trial for row in ranked(rows, direction) if row.role != "baseline"), None)


def best_of_arms(summary: StudySummary) -> dict[str, TrialRow]:
    """The best complete trial of each compared method that has one, by label, in the order of the search."""
    found: dict[str, TrialRow] = {}
    for label in dict.fromkeys(row.arm for row in summary.trials if row.arm):
        number = best_trial((row for row in summary.trials if row.arm == label), summary.direction)
        found.update((label, row) for row in summary.trials if row.trial == number)
    return found


def _stage(
    event: TeacherReady | AssistantReady | BankReady | PrecisionChosen | FinalistsChosen | TestOpened,
) -> dict[str, object]:
    match event:
        case TeacherReady():
            return {"teacher": event.teacher}
        case AssistantReady():
            return {"assistant": event.assistant}
        case BankReady():
            return {"bank": event.bank} if event.whose == "teacher" else {}
        case PrecisionChosen():
            return {"precision": event.choice}
        case FinalistsChosen():
            return {"chosen": event}
        case TestOpened():
            return {"test_opened": event.time}


def _asked(config: Mapping[str, Any]) -> int:
    """Trials in all: where methods are compared, `search.trials` of each."""
    return int(config["search"]["trials"]) * max(1, len(config.get("compare", ())))


def _start(event: StudyStarted) -> dict[str, object]:
    return {
        "study": event.study,
        "asked": _asked(event.config),
        "metric": event.metric,
        "direction": event.direction,
        "objectives": tuple(event.config["search"].get("objectives", ())),
        "finished": False,
        "started": event.time,
    }


def _advance(row: TrialRow | None, event: TrialStarted | EpochFinished | RungReached | TrialFinished) -> TrialRow:
    if isinstance(event, TrialStarted) or row is None:
        assert isinstance(event, TrialStarted), "a trial's first event is its start"
        return TrialRow(
            trial=event.trial,
            role=event.role,
            method=event.method,
            arm=event.arm,
            params=event.params,
            started=event.time,
        )
    update: dict[str, object]
    if isinstance(event, EpochFinished):
        record = event.record
        update = {"value": record.best_metric, "best_epoch": record.best_epoch, "epochs": record.epoch}
    elif isinstance(event, RungReached):
        # What the ladder's compressed runs reached stands for a trial until it has epochs of its own.
        update = {"rung": event.rung, "value": row.value if row.epochs else event.value}
    else:
        update = {name: getattr(event, name) for name in _OUTCOME_FIELDS}
        update["rung"] = row.rung if event.rung is None else event.rung
    return row.model_copy(update=update)
