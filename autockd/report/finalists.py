"""Which trials of a study run again with fresh seeds, and which of these runs is exported."""

from __future__ import annotations

from autockd.facts import sign_of
from autockd.records import FinalistFinished
from autockd.summary import StudySummary, TrialRow, ranked
from autockd.verdicts import finalists_of, runs_of, winner_of


def finalist_trials(summary: StudySummary, top: int, barred: frozenset[int] = frozenset()) -> tuple[int, ...]:
    """The trials that run again: the best, all baselines, and the study's own values (in each compared method).

    Args:
        summary: of a study whose search is over.
        top: how many of the best; of each compared method. Two trials at the same point are one.
        barred: trials that cannot win, and so are not among the best.
    """
    whole = ranked(summary.trials, summary.direction)
    chosen = {row.trial for row in whole if row.role == "baseline"}
    presets = [row for row in summary.trials if row.role == "default" and row.state in ("complete", "pruned")]
    chosen |= {row.trial for row in presets if row.value is not None}  # not one that was cut before its first epoch
    for arm in {row.arm for row in whole}:
        points: dict[tuple[object, ...], TrialRow] = {}
        for row in whole:
            if row.role != "baseline" and row.arm == arm and row.trial not in barred:
                points.setdefault((row.method, *sorted(row.params.items())), row)
        chosen |= {row.trial for row in list(points.values())[:top]}
    return tuple(sorted(chosen))


def winning_run(summary: StudySummary) -> FinalistFinished | None:
    """The run whose student a study exports: the best, by validation, of the winner's; None without finalists."""
    winner = winner_of(finalists_of(summary), summary.direction)
    if winner is None:
        return None
    sign = sign_of(summary.direction)
    runs = [run for run in runs_of(summary) if run.trial == winner.trial and run.value is not None]
    return max(runs, key=lambda run: (sign * (run.value or 0.0), -run.seed))
