"""The Pareto front of a study with several objectives: students that no other beats in everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autockd.facts import sign_of
from autockd.summary import StudySummary, TrialRow


def pareto_front(summary: StudySummary) -> tuple[TrialRow, ...]:
    """The complete trials that no other dominates, the best metric first; without objectives, the best one alone.

    One trial dominates another if it is nowhere worse and somewhere better: in the metric, or in a cost, which is
    always to be low. Of trials that are equal in all, the first stays. Baselines are there to compare with, and have no
    place on it.
    """
    rows = {row.trial: row for row in summary.trials if row.role != "baseline"}
    return tuple(rows[number] for number in nondominated(_points(summary, rows.values())))


def beaten_by_a_baseline(summary: StudySummary) -> tuple[int, ...]:
    """The trials of the front that a baseline dominates, or is equal to in all."""
    baselines = _points(summary, (row for row in summary.trials if row.role == "baseline")).values()
    front = _points(summary, pareto_front(summary))
    return tuple(number for number, point in front.items() if any(_nowhere_worse(other, point) for other in baselines))


def _points(summary: StudySummary, rows: Iterable[TrialRow]) -> dict[int, tuple[float, ...]]:
    """Of complete trials with all costs: the metric and the costs, turned so that more is better."""
    sign = sign_of(summary.direction)
    return {
        row.trial: (sign * row.value, *(-row.costs[name] for name in summary.objectives))
        for row in rows
        if row.state == "complete" and row.value is not None and set(summary.objectives) <= set(row.costs)
    }


def nondominated(points: Mapping[int, Sequence[float]]) -> tuple[int, ...]:
    """The trials that no other dominates, those with the best first number first.

    One trial dominates another if it is nowhere worse and somewhere better. Of trials that are equal in all, the first
    stays.

    Args:
        points: numbers of each trial, all of which are the better the larger they are.
    """
    front = [one for one in points if not any(_beats(points, other, one) for other in points)]
    return tuple(sorted(front, key=lambda trial: (*(-number for number in points[trial]), trial)))


def _beats(points: Mapping[int, Sequence[float]], one: int, other: int) -> bool:
    if tuple(points[one]) == tuple(points[other]):
        return one < other
    return _nowhere_worse(points[one], points[other])


def _nowhere_worse(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
