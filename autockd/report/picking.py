"""The student that a constraint picks: the best by metric among those that fulfil it."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Iterable
from typing import get_args

from autockd.config.objective_rules import ALWAYS_KNOWN
from autockd.config.pick import Constraint, parse_pick
from autockd.config.schema import Objective
from autockd.errors import StudyError, UsageError
from autockd.report.standings import mean_costs
from autockd.summary import StudySummary, TrialRow, best_trial
from autockd.verdicts import runs_of


def picked_row(summary: StudySummary, pick: str) -> TrialRow:
    """The best trial, no baseline, whose metric and costs fulfil constraints such as `latency_ms <= 2`.

    Args:
        summary: the study.
        pick: see `parse_pick`; an empty one is fulfilled by all.

    Raises:
        UsageError: it cannot be read.
        StudyError: it names what the study does not know, or no trial fulfils it; the message says the nearest.
    """
    try:
        constraints = parse_pick(pick)
    except ValueError as error:
        raise UsageError(f"pick: {error}") from error
    rows = [row for row in summary.trials if row.state == "complete" and row.role != "baseline" and row.weights]
    if not rows:
        raise StudyError(f"{summary.study}: no trial has succeeded yet, so there is none to pick")
    for constraint in constraints:
        _check_name(summary, constraint)
    fulfilling = [row for row in rows if _fulfils(summary, row, constraints)]
    number = best_trial(fulfilling, summary.direction)
    if number is None:
        raise StudyError(f"{summary.study}: {_say_nearest(summary, rows, constraints)}")
    return next(row for row in fulfilling if row.trial == number)


def barred_trials(summary: StudySummary, pick: str) -> frozenset[int]:
    """The trials that break constraints such as `latency_ms <= 2`; none where the constraints are empty.

    A trial that was stopped early is judged by its runs with fresh seeds, and not before there are any.
    """
    constraints = parse_pick(pick)
    whole = [found for row in summary.trials if (found := _as_whole(summary, row))]
    return frozenset(row.trial for row in whole if not _fulfils(summary, row, constraints))


def _as_whole(summary: StudySummary, row: TrialRow) -> TrialRow | None:
    """A trial with the numbers of a whole run: its own, or means over its runs as a finalist; None without any."""
    if row.state != "pruned":
        return row
    runs = [run for run in runs_of(summary) if run.trial == row.trial and run.value is not None]
    if not runs:
        return None
    value = statistics.fmean(run.value or 0.0 for run in runs)
    costs = mean_costs(row.trial, summary)
    return row.model_copy(update={"value": value, "parameters": runs[0].parameters, "costs": costs})


def _fulfils(summary: StudySummary, row: TrialRow, constraints: Iterable[Constraint]) -> bool:
    return all(each.holds(_number(summary, row, each)) for each in constraints)


def _check_name(summary: StudySummary, constraint: Constraint) -> None:
    known = [summary.metric, *dict.fromkeys((*summary.objectives, ALWAYS_KNOWN))]
    if constraint.name in known:
        return
    if constraint.name in get_args(Objective):
        raise StudyError(
            f"pick: {summary.study} did not measure {constraint.name}, it knows {', '.join(known)} -> pick by these, "
            f"or run a new study with {constraint.name} among its search.objectives"
        )
    near = difflib.get_close_matches(constraint.name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"name one of {', '.join(known)}"
    raise StudyError(f"pick: {constraint.name!r} is neither a cost that {summary.study} knows nor its metric -> {hint}")


def _number(summary: StudySummary, row: TrialRow, constraint: Constraint) -> float:
    """The trial's value of what a constraint is about; NaN where it has none."""
    if constraint.name == summary.metric:
        found: float | None = row.value
    elif constraint.name == ALWAYS_KNOWN:
        found = row.parameters
    else:
        found = row.costs.get(constraint.name)
    return float("nan") if found is None else found


def _say_nearest(summary: StudySummary, rows: list[TrialRow], constraints: tuple[Constraint, ...]) -> str:
    def excess(row: TrialRow) -> float:
        return sum(each.excess(_number(summary, row, each)) for each in constraints)

    nearest = min(rows, key=lambda row: (excess(row), row.trial))
    names = dict.fromkeys((summary.metric, *(each.name for each in constraints)))
    numbers = {each.name: _number(summary, nearest, each) for each in constraints} | {summary.metric: nearest.value}
    has = ", ".join(f"{name} {numbers[name]:.4g}" for name in names)
    wanted = " and ".join(map(str, constraints))
    return f"none of {len(rows)} trials has {wanted}; the nearest is trial {nearest.trial} with {has}"
