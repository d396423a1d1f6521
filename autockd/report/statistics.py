"""Finalists over fresh seeds: means, spreads, and paired comparisons with a plain sentence."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from autockd.records import Record, TrialRole
from autockd.report.tables import StudySummary

Verdict = Literal["better", "worse", "cannot be told apart"]

CONFIDENCE = 0.95
"""Level of intervals, and of verdicts."""


class Finalist(Record):
    """One configuration, run again with fresh seeds."""

    trial: int
    role: TrialRole
    method: str
    arm: str
    searched: float
    """Its validation metric in the search, under the study's own seed: too good where it was chosen for that."""
    seeds: tuple[int, ...]
    """Of its runs that have a student."""
    validation: tuple[float, ...]
    """Metric of each run's best epoch, in the order of `seeds`."""
    test: tuple[float, ...]
    """The same runs on the test split; empty until it is opened."""

    @property
    def bias(self) -> float:
        """How far the search's value lies above the mean of fresh seeds (below, where the metric is to be small)."""
        return self.searched - statistics.fmean(self.validation)


class PairedComparison(Record):
    """One finalist against another over the same seeds."""

    seeds: int
    difference: float
    """Mean of the first's metric minus the second's."""
    low: float
    """Lower end of the confidence interval of that mean (Student's t); NaN for a single seed."""
    high: float
    p_value: float
    """Of the paired t-test, two-sided; NaN for a single seed."""
    verdict: Verdict
    """What may be said of the first."""


def finalists_of(summary: StudySummary) -> tuple[Finalist, ...]:
    """The finalists of a study that have a student, in the order of their trials."""
    rows = {row.trial: row for row in summary.trials}
    tested = {(found.trial, found.seed): found.test for found in summary.evaluated if found.seed is not None}
    found = []
    for trial in sorted({run.trial for run in summary.finalists}):
        row = rows[trial]
        runs = sorted(
            (run for run in summary.finalists if run.trial == trial and run.value is not None),
            key=lambda run: run.seed,
        )
        if not runs or row.value is None:
            continue
        known = [tested[trial, run.seed] for run in runs if (trial, run.seed) in tested]
        found.append(
            Finalist(
                trial=trial,
                role=row.role,
                method=row.method,
                arm=row.arm,
                searched=row.value,
                seeds=tuple(run.seed for run in runs),
                validation=tuple(run.value for run in runs if run.value is not None),
                test=tuple(known) if len(known) == len(runs) else (),
            )
        )
    return tuple(found)


def compare_paired(one: Sequence[float], other: Sequence[float], direction: str) -> PairedComparison:
    """Whether one finalist is better than another, over the same seeds in the same order.

    A paired t-test (scipy's `ttest_rel`) at 95 %: `better` or `worse` only where the interval of the mean difference
    leaves out 0, which few seeds seldom allow.

    Args:
        one: metric by seed.
        other: the same of the other finalist.
        direction: `maximize` or `minimize`.
    """
    from scipy import stats

    gaps = [mine - theirs for mine, theirs in zip(one, other, strict=True)]
    mean = statistics.fmean(gaps)
    if len(gaps) < 2:
        low = high = p_value = float("nan")
    elif len(set(gaps)) == 1:  # no spread at all: the test is not defined, and the interval is a point
        low = high = mean
        p_value = 1.0 if mean == 0 else 0.0
    else:
        test = stats.ttest_rel(one, other)
        interval = test.confidence_interval(CONFIDENCE)
        low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
    verdict: Verdict = "cannot be told apart"
    if low > 0 or high < 0:
        verdict = "better" if (mean > 0) == (direction == "maximize") else "worse"
    return PairedComparison(seeds=len(gaps), difference=mean, low=low, high=high, p_value=p_value, verdict=verdict)
