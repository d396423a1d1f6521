"""What a running study has come to, from its events alone, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autockd.facts import sign_of
from autockd.records import (
    AssistantReady,
    BankReady,
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    FinalistsChosen,
    Noted,
    PrecisionChosen,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.report.content import STATES
from autockd.summary import StudySummary, TrialRow, best_of_arms, summarise
from autockd.text import count_text, duration, metric_text, plural
from autockd.verdicts import runs_of


class Progress:
    """The summary of a study so far. Keeps the newest event of each kind and trial, so that a fold stays cheap.

    Args:
        past: what the study has behind it already.
    """

    def __init__(self, past: Iterable[Event] = ()) -> None:
        self._newest: dict[tuple[object, ...], Event] = {}
        self._summary: StudySummary | None = None
        for event in past:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one more event into account."""
        if isinstance(event, StudyResumed):
            self._newest.pop(("study_finished",), None)
        self._newest[_slot(event)] = event
        self._summary = None

    @property
    def summary(self) -> StudySummary | None:
        """The study so far; None before it has started."""
        if self._summary is None:
            self._summary = summarise(self._newest.values())
        return self._summary


def _slot(event: Event) -> tuple[object, ...]:
    """Events with the same slot replace each other: epochs of a trial, evaluations of a model."""
    match event:
        case TrialStarted() | EpochFinished() | RungReached() | TrialFinished():
            return event.event, event.trial
        case Evaluated():
            return event.event, event.label
        case BankReady():
            return event.event, event.whose
        case FinalistFinished():
            return event.event, event.trial, event.seed
        case _:
            return (event.event,)


def budget_line(summary: StudySummary, now: float | None) -> str:
    """Such as `12/50 trials, 3 running, 5 stopped early, 1 failed, 41 min left`; later `9/21 runs of finalists` too.

    Args:
        summary: of the study.
        now: this moment, in Unix seconds; None for a study that does not run: no trial of it does, and no time passes.
    """
    begun = summary.count("running")
    done = len(summary.trials) - begun
    parts = [f"{done}/{summary.asked} trials"]
    open_state = STATES["running"] if now is None else "running"
    counts = {open_state: begun, "stopped early": summary.count("pruned"), "failed": summary.count("failed")}
    parts += [f"{count} {state}" for state, count in counts.items() if count]
    parts += _finalist_parts(summary)
    left = None if now is None else seconds_left(summary, now)
    return ", ".join([*parts, f"{duration(left)} left"] if left is not None else parts)


def _finalist_parts(summary: StudySummary) -> list[str]:
    """Such as `9/21 runs of finalists`, once they are chosen, and how many of them failed."""
    if summary.chosen is None or not summary.chosen.seeds:
        return []
    runs = runs_of(summary)
    failed = sum(run.value is None for run in runs)
    done = f"{len(runs)}/{len(summary.chosen.trials) * len(summary.chosen.seeds)} runs of finalists"
    return [done, *([f"{failed} of them failed"] if failed else [])]


def seconds_left(summary: StudySummary, now: float) -> float | None:
    """Seconds until the last trial, or the last run of a finalist, ends, at the pace since the study last went on.

    None before two trials, or runs, have begun and ended since, and when all have ended.
    """
    if summary.finished:
        return None
    if summary.chosen is not None and not summary.count("running"):  # with more trials, a search goes on after a choice
        return _finalists_left(summary, summary.chosen, now)
    left = summary.asked - len(summary.trials) + summary.count("running")
    since = [row for row in summary.trials if row.started >= (summary.resumed or summary.started)]
    done = sum(row.state != "running" for row in since)
    if done < 2 or left <= 0:
        return None
    elapsed = now - min(row.started for row in since)
    return max(0.0, elapsed / done * left)


def _finalists_left(summary: StudySummary, chosen: FinalistsChosen, now: float) -> float | None:
    since = max(chosen.time, summary.resumed or 0.0)
    ended = [run for run in summary.finalists if run.time > since]
    left = len(chosen.trials) * len(chosen.seeds) - len(runs_of(summary))
    if len(ended) < 2 or left < 1:
        return None
    return max(0.0, (now - since) / len(ended) * left)


def standing_line(summary: StudySummary) -> str:
    """The best student so far beside the teacher and the student without distillation."""
    parts = []
    if best := summary.best or _leader(summary):
        parts.append(
            f"best so far {metric_text(best.value, summary.metric)} ({best.arm or best.method}, trial {best.trial})"
        )
    if summary.teacher:
        parts.append(f"teacher {metric_text(summary.teacher.metric, summary.metric)}")
    if baseline := _undistilled(summary):
        parts.append(f"no distillation {metric_text(baseline.value, summary.metric)}")
    return ", ".join(parts)


def _undistilled(summary: StudySummary) -> TrialRow | None:
    """The trial without a teacher: the baseline, or the best where that is a method like others."""
    rows = [row for row in summary.trials if row.method == "none"]
    baseline = next((row for row in rows if row.role == "baseline"), None)
    return baseline or best_of_arms(summary).get("none")


def _leader(summary: StudySummary) -> TrialRow | None:
    """The best running trial, before any has finished."""
    sign = sign_of(summary.direction)
    rows = [row for row in summary.trials if row.value is not None and row.state == "running"]
    return max((row for row in rows if row.role != "baseline"), key=lambda row: sign * (row.value or 0.0), default=None)


def event_line(event: Event, summary: StudySummary, now: float) -> str | None:
    """One line about a finished stage or trial; None for what is not worth one."""
    match event:
        case StudyStarted():
            return f"study {event.study}: {plural(summary.asked, 'trial')}, {event.metric} to {event.direction}"
        case StudyResumed():
            return f"study {summary.study} goes on: " + "; ".join([budget_line(summary, now), *event.changes])
        case TrialFinished():
            return _trial_line(event, summary, now)
        case FinalistFinished():
            return _finalist_line(event, summary, now)
        case StudyFinished():
            return f"{_end_text(event, summary)}: {budget_line(summary, now)}"
        case _:
            return _preparation_line(event, summary.metric) or _result_line(event, summary.metric)


def _end_text(event: StudyFinished, summary: StudySummary) -> str:
    """That a study has ended, and after how long; what lies between two sessions is none of its time."""
    took = duration(event.seconds["total"])
    return f"finished in {took}" if summary.resumed is None else f"finished; the last session took {took}"


def _preparation_line(event: Event, metric: str) -> str | None:
    match event:
        case TeacherReady(teacher=teacher):
            return _teacher_line("teacher", teacher, metric)
        case AssistantReady(assistant=assistant):
            return _teacher_line("assistant", assistant, metric)
        case BankReady(bank=bank):
            return (
                f"{event.whose} bank: {count_text(bank.filled)} of {count_text(bank.entries)} entries, "
                f"{count_text(bank.hits)} hits, {count_text(bank.misses)} misses, {duration(bank.seconds)}"
            )
        case PrecisionChosen(choice=choice):
            return f"precision on {choice.device}: {choice.reason}"
        case Noted():
            return f"{'warning: ' if event.kind == 'warning' else ''}{event.text}"
        case _:
            return None


def _teacher_line(role: str, teacher: TeacherRecord, metric: str) -> str:
    off = f"{100 * teacher.answers_difference:.1f} % off"
    why = f" ({off} fp32)" if teacher.answers == "bf16" else f" (bf16 is {off})" if teacher.answers_difference else ""
    return (
        f"{role} ({teacher.origin}): {metric} {metric_text(teacher.metric, metric)}, "
        f"{count_text(teacher.parameters)} parameters, answers in {teacher.answers}{why}, {duration(teacher.seconds)}"
    )


def _result_line(event: Event, metric: str) -> str | None:
    match event:
        case FinalistsChosen():
            return _choice_line(event)
        case TestOpened():
            return f"test split opened for {_subjects_text(event.subjects)}"
        case Evaluated():
            validation, test = metric_text(event.validation, metric), metric_text(event.test, metric)
            return f"evaluated {event.label}: validation {validation}, test {test}"
        case Exported():
            seed = "" if event.seed is None else f", seed {event.seed},"
            return f"exported trial {event.trial}{seed} to {event.bundle}"
        case _:
            return None


def _trial_line(event: TrialFinished, summary: StudySummary, now: float) -> str:
    row = next(row for row in summary.trials if row.trial == event.trial)
    head = f"trial {event.trial} ({row.arm or row.method})"
    if event.state == "failed":
        body = f"failed: {event.reason}"
    else:
        value = metric_text(event.value, summary.metric)
        if event.state == "pruned":
            body = f"stopped early with {value}, {duration(event.seconds)} ({event.reason})"
        else:
            body = f"done, {value} at epoch {event.best_epoch} of {event.epochs}, {duration(event.seconds)}"
        if event.micro_batches > 1:
            body += f", in {event.micro_batches} parts of each batch after it ran out of memory"
    return f"{head}: {body}; {standing_line(summary)}; {budget_line(summary, now)}"


def _choice_line(event: FinalistsChosen) -> str:
    if not event.trials:
        return "no finalists: the search's own students are tested"
    seeds, trials = (", ".join(map(str, numbers)) for numbers in (event.seeds, event.trials))
    who = f"{_noun('trial', event.trials)} {trials} again, with {_noun('fresh seed', event.seeds)} {seeds}"
    return f"finalists: {who}: {plural(len(event.trials) * len(event.seeds), 'run')}"


def _finalist_line(event: FinalistFinished, summary: StudySummary, now: float) -> str:
    if event.state == "failed":
        body = f"failed: {event.reason}"
    else:
        value = metric_text(event.value, summary.metric)
        body = f"done, {value} at epoch {event.best_epoch} of {event.epochs}, {duration(event.seconds)}"
    return f"finalist, trial {event.trial} with seed {event.seed}: {body}; {budget_line(summary, now)}"


def _subjects_text(subjects: Sequence[str]) -> str:
    """Their labels; runs of finalists are counted, for there are many."""
    runs = [subject for subject in subjects if subject.startswith("trial ")]
    others = [subject for subject in subjects if subject not in runs]
    return ", ".join(others) + (f" and {plural(len(runs), 'run')} of finalists" if runs else "")


def _noun(noun: str, things: Sequence[object]) -> str:
    return noun if len(things) == 1 else f"{noun}s"
