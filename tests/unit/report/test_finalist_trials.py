"""Which trials run again, and which of these runs is exported."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from autockd.records import Evaluated, FinalistFinished, FinalistsChosen
from autockd.report.finalists import finalist_trials, winning_run
from autockd.summary import StudySummary, TrialRow
from autockd.verdicts import compare_paired, finalists_of

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


@pytest.mark.parametrize("gap", [0.0, 0.25])
def test_differences_without_spread_prove_nothing(gap: float) -> None:
    one = (0.5 + gap, 0.75 + gap)
    assert compare_paired(one, (0.5, 0.75), "maximize").verdict == "cannot be told apart"


def test_finalists_are_gathered_by_trial_and_seed() -> None:
    summary = SUMMARY.model_copy(
        update={
            "trials": (row(0, 0.9), row(1, 0.95), row(2, 0.7)),
            "finalists": (ran(1, 8, 0.93), ran(0, 8, 0.91), ran(1, 7, 0.92), ran(0, 7, None)),
            "evaluated": (evaluated(1, 7, 0.81), evaluated(1, 8, 0.82)),
        }
    )
    zero, one = finalists_of(summary)
    assert [zero.was_stopped, one.was_stopped] == [False, False]
    stopped = summary.trials[1].model_copy(update={"state": "pruned"})
    (_, cut) = finalists_of(summary.model_copy(update={"trials": (row(0, 0.9), stopped)}))
    assert cut.was_stopped, "its value of the search is not of a whole run"
    assert (one.trial, one.seeds, one.validation, one.test) == (1, (7, 8), (0.92, 0.93), (0.81, 0.82))
    assert one.bias == pytest.approx(0.95 - 0.925)
    assert (zero.seeds, zero.validation, zero.test) == ((8,), (0.91,), ())


def test_a_later_choice_leaves_out_what_ran_before_it() -> None:
    runs = tuple(ran(trial, seed, 0.9) for trial in (0, 1) for seed in (7, 8))
    update = {"trials": (row(0, 0.9), row(1, 0.95)), "finalists": runs}
    for trials, seeds, expected in (((1,), (7,), [(1, (7,))]), ((0, 1), (8,), [(0, (8,)), (1, (8,))]), ((), (), [])):
        chosen = FinalistsChosen(time=0.0, trials=trials, seeds=seeds)
        found = finalists_of(SUMMARY.model_copy(update={**update, "chosen": chosen}))
        assert [(finalist.trial, finalist.seeds) for finalist in found] == expected


def searched(*rows: TrialRow, direction: str = "maximize") -> StudySummary:
    return SUMMARY.model_copy(update={"trials": rows, "direction": direction})


def test_finalists_are_the_best_the_baselines_and_the_studys_own_values() -> None:
    rows = [
        row(0, 0.5).model_copy(update={"role": "baseline", "method": "none"}),
        row(1, 0.99).model_copy(update={"role": "baseline"}),
        row(2, 0.7).model_copy(update={"role": "default"}),
        *(row(number, value).model_copy(update={"params": {"x": value}}) for number, value in ((3, 0.8), (4, 0.9))),
        row(5, 0.95).model_copy(update={"state": "pruned"}),
        row(6, 0.1).model_copy(update={"state": "failed", "value": None}),
    ]
    assert finalist_trials(searched(*rows), 1) == (0, 1, 2, 4)
    assert finalist_trials(searched(*rows), 2) == (0, 1, 2, 3, 4)
    assert finalist_trials(searched(*rows), 9) == (0, 1, 2, 3, 4)
    assert finalist_trials(searched(*rows, direction="minimize"), 1) == (0, 1, 2)


def test_the_studys_own_values_are_a_finalist_though_the_search_stopped_them() -> None:
    preset = row(0, 0.3).model_copy(update={"role": "default", "state": "pruned"})
    assert finalist_trials(searched(preset, row(1, 0.9)), 1) == (0, 1)
    broken = preset.model_copy(update={"state": "failed", "value": None})
    assert finalist_trials(searched(broken, row(1, 0.9)), 1) == (1,)


def test_the_same_point_is_one_finalist() -> None:
    rows = [row(number, 0.9 - number / 100).model_copy(update={"params": {"x": number // 2}}) for number in range(6)]
    assert finalist_trials(searched(*rows), 2) == (0, 2)


def test_each_compared_method_has_its_best() -> None:
    rows = [
        row(number, number / 10).model_copy(update={"arm": "ab"[number % 2], "params": {"x": number}})
        for number in range(6)
    ]
    assert finalist_trials(searched(*rows), 1) == (4, 5)


def test_the_best_run_of_the_best_finalist_is_exported() -> None:
    update = {
        "trials": (row(0, 0.99).model_copy(update={"role": "baseline"}), row(1, 0.8), row(2, 0.9), row(3, 0.7)),
        "finalists": (
            *(ran(0, 7, 0.99), ran(0, 8, 0.99)),
            *(ran(1, 7, 0.7), ran(1, 8, 0.8)),
            *(ran(2, 7, 0.6), ran(2, 8, 0.85)),
            *(ran(3, 7, 0.9), ran(3, 8, None)),
        ),
    }
    run = winning_run(SUMMARY.model_copy(update=update))
    assert run is not None
    assert (run.trial, run.seed) == (1, 8), "not a baseline, not what failed with a seed, and by the mean"
    low = winning_run(SUMMARY.model_copy(update={**update, "direction": "minimize"}))
    assert low is not None
    assert (low.trial, low.seed) == (2, 7)
    assert winning_run(SUMMARY) is None


def test_one_that_cannot_win_takes_no_place_of_the_best() -> None:
    values = (0.7, 0.9, 0.8, 0.6)
    rows = [row(trial, value).model_copy(update={"params": {"x": value}}) for trial, value in enumerate(values)]
    assert finalist_trials(searched(*rows), 2) == (1, 2)
    assert finalist_trials(searched(*rows), 2, frozenset({1})) == (0, 2)


def test_a_finalist_that_breaks_the_constraints_cannot_win() -> None:
    chosen = FinalistsChosen(time=0.0, trials=(0, 1), seeds=(7,), barred=(1,))
    runs = (ran(0, 7, 0.9), ran(1, 7, 0.95))
    summary = SUMMARY.model_copy(update={"trials": (row(0, 0.9), row(1, 0.95)), "chosen": chosen, "finalists": runs})
    assert [finalist.is_barred for finalist in finalists_of(summary)] == [False, True]
    run = winning_run(summary)
    assert run is not None
    assert run.trial == 0
