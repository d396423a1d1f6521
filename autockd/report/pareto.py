"""The Pareto front of a study with several objectives: students that no other beats in everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autockd.facts import sign_of
from autockd.summary import StudySummary, TrialRow


def pareto_front(summary: StudySummary) -> tuple[TrialRow, ...]:
    """The complete trials that no other dominates, the best metric first; without objectives, the best one alone.

    One trial dominates another if it is nowhere worse and somewhere better: in the metric, or in a cost, which is
    always to be low. Of trials that are equal in all, the first stays. Baselines are there to compare with, and have no
    place on it.
    """
    sign = sign_of(summary.direction)
    rows = {
        row.trial: row
        for row in summary.trials
        if row.state == "complete"
        and row.role != "baseline"
        and row.value is not None
        and set(summary.objectives) <= set(row.costs)
    }
    points = {
        number: (sign * (row.value or 0.0), *(-row.costs[name] for name in summary.objectives))
        for number, row in rows.items()
    }
    return tuple(rows[number] for number in nondominated(points))


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
    return all(mine >= theirs for mine, theirs in zip(points[one], points[other], strict=True))
