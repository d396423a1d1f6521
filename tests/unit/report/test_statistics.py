from __future__ import annotations

import math

import pytest
from scipy import stats

from autockd.records import Evaluated, FinalistFinished
from autockd.report.statistics import compare_paired, finalists_of
from autockd.report.tables import StudySummary, TrialRow

SUMMARY = StudySummary(study="s", asked=3, metric="accuracy", direction="maximize", finished=False, started=0.0)


def row(trial: int, value: float) -> TrialRow:
    return TrialRow(trial=trial, role="sampled", method="kd", params={}, started=0.0, state="complete", value=value)


def ran(trial: int, seed: int, value: float | None) -> FinalistFinished:
    state = "failed" if value is None else "complete"
    return FinalistFinished(time=0.0, trial=trial, seed=seed, state=state, value=value)


def evaluated(trial: int, seed: int, test: float) -> Evaluated:
    return Evaluated(
        time=0.0,
        subject="finalist",
        label=f"trial {trial}, seed {seed}",
        trial=trial,
        seed=seed,
        validation=0.5,
        test=test,
        parameters=1,
        bytes=1,
    )


def test_agrees_with_scipy() -> None:
    one, other = (0.91, 0.93, 0.92, 0.95), (0.90, 0.91, 0.92, 0.92)
    found = compare_paired(one, other, "maximize")
    expected = stats.ttest_rel(one, other)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.difference == pytest.approx(0.015)
    assert found.low < found.difference < found.high
    assert found.verdict == "cannot be told apart"


@pytest.mark.parametrize(("direction", "verdict"), [("maximize", "better"), ("minimize", "worse")])
def test_a_clear_gap_is_a_verdict_in_the_sense_of_the_metric(direction: str, verdict: str) -> None:
    one, other = (0.91, 0.92, 0.93, 0.94), (0.80, 0.82, 0.82, 0.84)
    assert compare_paired(one, other, direction).verdict == verdict
    swapped = compare_paired(other, one, direction).verdict
    assert {verdict, swapped} == {"better", "worse"}


def test_one_seed_proves_nothing() -> None:
    found = compare_paired((0.9,), (0.1,), "maximize")
    assert found.verdict == "cannot be told apart"
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "cannot be told apart"), (0.25, "better")])
def test_differences_without_spread(gap: float, verdict: str) -> None:
    one = (0.5 + gap, 0.75 + gap)
    assert compare_paired(one, (0.5, 0.75), "maximize").verdict == verdict


def test_finalists_are_gathered_by_trial_and_seed() -> None:
    summary = SUMMARY.model_copy(
        update={
            "trials": (row(0, 0.9), row(1, 0.95), row(2, 0.7)),
            "finalists": (ran(1, 8, 0.93), ran(0, 8, 0.91), ran(1, 7, 0.92), ran(0, 7, None)),
            "evaluated": (evaluated(1, 7, 0.81), evaluated(1, 8, 0.82)),
        }
    )
    zero, one = finalists_of(summary)
    assert (one.trial, one.seeds, one.validation, one.test) == (1, (7, 8), (0.92, 0.93), (0.81, 0.82))
    assert one.bias == pytest.approx(0.95 - 0.925)
    assert (zero.seeds, zero.validation, zero.test) == ((8,), (0.91,), ())
