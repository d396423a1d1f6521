"""Finalists of a study over fresh seeds: means, spreads, and paired comparisons with a plain sentence."""

from __future__ import annotations

from autockd.records import FinalistFinished
from autockd.report.tables import StudySummary, TrialRow
from autockd.verdicts import (
    CONFIDENCE,
    Finalist,
    Judgement,
    PairedComparison,
    Searched,
    Verdict,
    compare_paired,
    conclusions,
    gather,
    judgements,
    mean_and_deviation,
    names,
    selection_bias,
    spread_text,
    winner_of,
)


def finalists_of(summary: StudySummary) -> tuple[Finalist, ...]:
    """The finalists of a study that have a student, in the order of their trials."""
    rows = {
        row.trial: Searched(row.role, row.method, row.arm, row.value, row.state == "pruned") for row in summary.trials
    }
    return gather(rows, summary.finalists, summary.evaluated, summary.chosen)


def runs_of(summary: StudySummary) -> list[FinalistFinished]:
    """The runs of the finalists that were chosen last; earlier ones that the choice leaves out do not count."""
    chosen = summary.chosen
    return [
        run for run in summary.finalists if chosen is None or (run.trial in chosen.trials and run.seed in chosen.seeds)
    ]


def conclusions_of(summary: StudySummary) -> tuple[str, ...]:
    """What may be said of a study's finalists, in sentences; nothing for a study without any."""
    return conclusions(finalists_of(summary), summary.metric, summary.direction)


def finalist_trials(summary: StudySummary, top: int, barred: frozenset[int] = frozenset()) -> tuple[int, ...]:
    """The trials that run again: the best, all baselines, and the study's own values (in each compared method).

    Args:
        summary: of a study whose search is over.
        top: how many of the best; of each compared method. Two trials at the same point are one.
        barred: trials that cannot win, and so are not among the best.
    """
    sign = 1 if summary.direction == "maximize" else -1
    whole = [row for row in summary.trials if row.state == "complete" and row.value is not None]
    chosen = {row.trial for row in whole if row.role == "baseline"}
    chosen |= {row.trial for row in summary.trials if row.role == "default" and row.state in ("complete", "pruned")}
    ranked = sorted(whole, key=lambda row: (-sign * (row.value or 0.0), row.trial))
    for arm in {row.arm for row in ranked}:
        points: dict[tuple[object, ...], TrialRow] = {}
        for row in ranked:
            if row.role != "baseline" and row.arm == arm and row.trial not in barred:
                points.setdefault((row.method, *sorted(row.params.items())), row)
        chosen |= {row.trial for row in list(points.values())[:top]}
    return tuple(sorted(chosen))


def winning_run(summary: StudySummary) -> FinalistFinished | None:
    """The run whose student a study exports: the best, by validation, of the winner's; None without finalists."""
    winner = winner_of(finalists_of(summary), summary.direction)
    if winner is None:
        return None
    sign = 1 if summary.direction == "maximize" else -1
    runs = [run for run in runs_of(summary) if run.trial == winner.trial and run.value is not None]
    return max(runs, key=lambda run: (sign * (run.value or 0.0), -run.seed))


__all__ = [
    "CONFIDENCE",
    "Finalist",
    "Judgement",
    "PairedComparison",
    "Verdict",
    "compare_paired",
    "conclusions",
    "conclusions_of",
    "finalist_trials",
    "finalists_of",
    "gather",
    "judgements",
    "mean_and_deviation",
    "names",
    "runs_of",
    "selection_bias",
    "spread_text",
    "winner_of",
    "winning_run",
]
