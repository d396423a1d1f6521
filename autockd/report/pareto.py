"""The Pareto front of a study with several objectives: students that no other beats in everything."""

from __future__ import annotations

from autockd.report.tables import StudySummary, TrialRow
from autockd.tracking.pareto import nondominated


def pareto_front(summary: StudySummary) -> tuple[TrialRow, ...]:
    """The complete trials that no other dominates, the best metric first; without objectives, the best one alone.

    One trial dominates another if it is nowhere worse and somewhere better: in the metric, or in a cost, which is
    always to be low. Of trials that are equal in all, the first stays. Baselines are there to compare with, and have no
    place on it.
    """
    sign = 1 if summary.direction == "maximize" else -1
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
