"""The Pareto front of a study with several objectives: students that no other beats in everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autockd.report.tables import StudySummary, TrialRow


def pareto_front(summary: StudySummary) -> tuple[TrialRow, ...]:
    """The complete trials that no other dominates, the best metric first; without objectives, the best one alone.

    One trial dominates another if it is nowhere worse and somewhere better: in the metric, or in a cost, which is
    always to be low. Of trials that are equal in all, the first stays.
    """
    sign = 1 if summary.direction == "maximize" else -1
    points = {
        row.trial: (sign * row.value, *(-row.costs[name] for name in summary.objectives))
        for row in summary.trials
        if row.state == "complete" and row.value is not None and set(summary.objectives) <= set(row.costs)
    }
    front = [
        row
        for row in summary.trials
        if row.trial in points and not any(_beats(points, other, row.trial) for other in points)
    ]
    return tuple(sorted(front, key=lambda row: (*(-number for number in points[row.trial]), row.trial)))


def _beats(points: dict[int, tuple[float, ...]], one: int, other: int) -> bool:
    if points[one] == points[other]:
        return one < other
    return _is_nowhere_worse(points[one], points[other])


def _is_nowhere_worse(one: Sequence[float], other: Iterable[float]) -> bool:
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
