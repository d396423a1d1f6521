"""From a ledger's events to the content of a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autockd.errors import StudyError
from autockd.records import (
    EpochFinished,
    EpochRecord,
    Event,
    Exported,
    Noted,
    PrecisionChosen,
    RungReached,
    StudyResumed,
    StudyStarted,
    TestOpened,
    TrialStarted,
)
from autockd.report.content import (
    ArmStanding,
    Cost,
    Curve,
    PlanTrack,
    ReportContent,
    RungStep,
    Spent,
    Standing,
    preset_among,
)
from autockd.report.diagnoses import diagnoses_of
from autockd.report.importance import importance_of
from autockd.report.pareto import beaten_by_a_baseline, pareto_front
from autockd.report.standings import standings_of
from autockd.report.words import caveats, sentences
from autockd.summary import StudySummary, TrialRow, best_of_arms, summarise
from autockd.verdicts import finalists_of, runs_of, selection_bias, winner_of


def content_of(events: Iterable[Event], summary: StudySummary | None = None) -> ReportContent:
    """Everything that a report says of a study, whatever state it is in.

    Args:
        events: a study's events, in order.
        summary: what they say, if it has been made already.

    Raises:
        StudyError: the study has not begun.
    """
    history = list(events)
    summary = summarise(history) if summary is None else summary
    start = next((event for event in history if isinstance(event, StudyStarted)), None)
    if summary is None or start is None:
        raise StudyError("this study has not begun, so there is nothing to report; start one with `autockd run`")
    standings = standings_of(summary)
    config = next((event.config for event in reversed(history) if isinstance(event, StudyResumed)), start.config)
    space = config.get("search", {}).get("space", {})
    content = ReportContent.model_validate(
        {
            **_identity(start, config, summary, history),
            "space": space,
            "standings": standings,
            "judged_on": _judged_on(standings),
            "arms": _arms(summary),
            "trials": summary.trials,
            "objectives": summary.objectives,
            "front": tuple(row.trial for row in pareto_front(summary)) if summary.objectives else (),
            "beaten": beaten_by_a_baseline(summary) if summary.objectives else (),
            "importance": importance_of(space, summary.trials),
            **_over_seeds(summary),
            **_courses(standings, history),
            "rungs": _rungs(history),
            "diagnoses": diagnoses_of(standings, summary.evaluated),
            "cost": _cost(summary, history),
            "conventions": _conventions(standings, history),
            **_facts(summary, history),
        }
    )
    return content.model_copy(update={"summary": sentences(content), "caveats": caveats(content)})


def _identity(
    start: StudyStarted, config: Mapping[str, Any], summary: StudySummary, history: Sequence[Event]
) -> dict[str, Any]:
    return {
        "study": start.study,
        "note": str(config.get("note") or "").strip(),
        "finished": summary.finished,
        "metric": start.metric,
        "direction": start.direction,
        "task": _task_text(config.get("task", {})),
        "task_fingerprint": start.task_fingerprint,
        "config_hash": start.config_hash,
        "classes": start.classes,
        "seed": config.get("seed", 0),
        "asked": summary.asked,
        "started": start.time,
        "ended": history[-1].time,
        "provenance": start.provenance,
    }


def _task_text(task: Mapping[str, Any]) -> str:
    """Such as `torchvision CIFAR10`, `glue sst2` or `digits`."""
    which = next((str(task[key]) for key in ("dataset", "task", "path") if task.get(key)), "")
    return f"{task.get('source', 'unknown data')} {which}".strip()


def _arms(summary: StudySummary) -> list[ArmStanding]:
    found, best = [], best_of_arms(summary)
    for arm in dict.fromkeys(row.arm for row in summary.trials if row.arm):
        rows, top = [row for row in summary.trials if row.arm == arm], best.get(arm)
        found.append(
            ArmStanding(
                arm=arm,
                trials=len(rows),
                complete=sum(row.state == "complete" for row in rows),
                best_trial=top.trial if top else None,
                best_value=top.value if top else None,
            )
        )
    return found


def _over_seeds(summary: StudySummary) -> dict[str, Any]:
    runs, finalists = runs_of(summary), finalists_of(summary)
    luck = selection_bias(finalists, summary.metric, summary.direction)
    return {
        "luck": luck or "" if winner_of(finalists, summary.direction) else "",
        "failed_runs": (sum(run.value is None for run in runs), len(runs)),
    }


def _courses(standings: Sequence[Standing], history: Sequence[Event]) -> dict[str, Any]:
    """Learning curves, and the plans of the winner and of the preset."""
    preset = preset_among(standings)
    planned = [row for row in standings if row.kind == "winner" or row == preset]
    wanted = {row.trial for row in standings if row in planned or row.kind == "baseline"}
    epochs: dict[int, dict[int, EpochRecord]] = {}
    for event in history:
        if isinstance(event, EpochFinished) and event.trial in wanted:
            epochs.setdefault(event.trial, {})[event.record.epoch] = event.record
    curves, plans = [], []
    for row in standings:
        if row.trial is None or row.trial not in epochs:
            continue
        records = [epochs[row.trial][epoch] for epoch in sorted(epochs[row.trial])]
        numbers = tuple(record.epoch for record in records)
        values = tuple(record.metric for record in records)
        curves.append(Curve(name=row.name, kind=row.kind, trial=row.trial, epochs=numbers, values=values))
        if row in planned:
            plans.append(_plan(row, records))
    return {"curves": curves, "plans": plans}


def _plan(row: Standing, records: Sequence[EpochRecord]) -> PlanTrack:
    assert row.trial is not None, "only students have plans"
    names = dict.fromkeys(name for record in records for name in record.coefficients)
    return PlanTrack(
        name=row.name,
        kind=row.kind,
        trial=row.trial,
        epochs=tuple(record.epoch for record in records),
        columns={name: tuple(record.coefficients.get(name) for record in records) for name in names},
        active_fraction=tuple(record.active_fraction for record in records),
    )


def _rungs(history: Sequence[Event]) -> list[RungStep]:
    reached: dict[int, dict[int, RungReached]] = {}
    for event in history:
        if isinstance(event, RungReached):
            reached.setdefault(event.rung, {})[event.trial] = event
    found = []
    for rung in sorted(reached):
        standings = list(reached[rung].values())
        thresholds = [event.threshold for event in standings if event.threshold is not None]
        found.append(
            RungStep(
                rung=rung,
                epochs=max(event.epochs for event in standings),
                reached=len(standings),
                stopped=sum(event.stopped for event in standings),
                lowest_threshold=min(thresholds, default=None),
                highest_threshold=max(thresholds, default=None),
            )
        )
    return found


def _cost(summary: StudySummary, history: Sequence[Event]) -> Cost:
    spent = [_spent("search", summary.trials)]
    if summary.finalists:
        spent.append(_spent("finalists, fresh seeds", summary.finalists))
    return Cost(
        stages=summary.seconds,
        sessions=1 + sum(isinstance(event, StudyResumed) for event in history),
        spent=tuple(spent),
    )


def _judged_on(standings: Sequence[Standing]) -> str:
    """`test` once the winner was tested: a study may be stopped in between."""
    students = [row for row in standings if row.kind != "teacher"]
    winners = [row for row in students if row.kind == "winner"] or students
    return "test" if any(row.test for row in winners) else "validation"


def _spent(what: str, runs: Sequence[Any]) -> Spent:
    sums = {name: sum(getattr(run, name) or 0.0 for run in runs) for name in ("seconds", "cpu_seconds", "gpu_seconds")}
    return Spent(what=what, runs=len(runs), **sums)


def _facts(summary: StudySummary, history: Sequence[Event]) -> dict[str, Any]:
    choice = summary.precision
    chosen = next((event for event in reversed(history) if isinstance(event, PrecisionChosen)), None)
    exported = next((event for event in reversed(history) if isinstance(event, Exported)), None)
    notes = [event for event in history if isinstance(event, Noted)]
    seed = "" if exported is None or exported.seed is None else f", seed {exported.seed}"
    return {
        "device": choice.device if choice else "",
        "precision": choice.precision if choice else "",
        "precision_reason": choice.reason if choice else "",
        "parallel": chosen.parallel if chosen else None,
        "notes": tuple(dict.fromkeys(f"{note.kind}: {note.text}" for note in notes if note.kind != "progress")),
        "test_opened": tuple(event.time for event in history if isinstance(event, TestOpened)),
        "exported": f"trial {exported.trial}{seed}" if exported else "",
    }


def _conventions(standings: Sequence[Standing], history: Sequence[Event]) -> dict[str, str]:
    """Those of each method: where its trials differ in them, all that there are, the winner's first."""
    winner = next((row.trial for row in standings if row.kind == "winner"), None)
    starts = [event for event in history if isinstance(event, TrialStarted) and event.conventions]
    found: dict[str, dict[str, None]] = {}
    for start in sorted(starts, key=lambda start: start.trial != winner):
        found.setdefault(start.arm or start.method, {})[start.conventions] = None
    return {method: "; or ".join(texts) for method, texts in found.items()}


def point_of(row: TrialRow) -> str:
    """A trial's point of the space, in one line."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in row.params.items() if name != "method")


def value_text(value: object) -> str:
    """A value of a dimension, in three digits where it is real."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)
