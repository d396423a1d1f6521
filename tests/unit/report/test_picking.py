from __future__ import annotations

from typing import Any

import pytest

from autockd.errors import StudyError, UsageError
from autockd.exporting import chosen_row, row_to_export
from autockd.records import FinalistFinished
from autockd.report.picking import barred_trials, picked_row
from autockd.summary import StudySummary, TrialRow


def row(trial: int, value: float | None, latency: float, **changes: Any) -> TrialRow:
    fields: dict[str, Any] = {
        "role": "sampled",
        "method": "kd",
        "params": {},
        "started": 0.0,
        "state": "complete",
        "parameters": 1000 * trial,
        "costs": {"latency_ms": latency},
        "weights": f"trials/{trial:04d}/best.safetensors",
    }
    return TrialRow(trial=trial, value=value, **fields | changes)


SUMMARY = StudySummary(
    study="s",
    asked=6,
    metric="accuracy",
    direction="maximize",
    finished=True,
    started=0.0,
    objectives=("latency_ms",),
    trials=(
        row(0, 0.99, 0.1, role="baseline"),
        row(1, 0.9, 3.0),
        row(2, 0.8, 1.0),
        row(3, 0.8, 1.0),
        row(4, None, 0.1, state="failed", weights=None),
        row(5, 0.7, 0.5),
    ),
)


@pytest.mark.parametrize(
    ("pick", "trial"),
    [
        ("", 1),
        ("latency_ms <= 3", 1),
        ("latency_ms < 3", 2),
        ("latency_ms <= 0.5", 5),
        ("parameters > 2000 and accuracy >= 0.75", 3),
        ("latency_ms >= 2", 1),
    ],
)
def test_the_best_that_fulfils_all_is_picked_and_no_baseline(pick: str, trial: int) -> None:
    assert picked_row(SUMMARY, pick).trial == trial


def test_where_none_fulfils_the_nearest_is_named() -> None:
    with pytest.raises(StudyError) as caught:
        picked_row(SUMMARY, "latency_ms <= 0.4 and parameters <= 5000")
    assert str(caught.value) == (
        "s: none of 4 trials has latency_ms <= 0.4 and parameters <= 5000; the nearest is trial 5 with accuracy 0.7, "
        "latency_ms 0.5, parameters 5000"
    )


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (
            "bytes <= 9",
            "pick: s did not measure bytes, it knows accuracy, latency_ms, parameters -> pick by these, or ",
        ),
        ("latency <= 9", "pick: 'latency' is neither a cost that s knows nor its metric -> did you mean 'latency_ms'?"),
        ("f1 >= 0.9", "name one of accuracy, latency_ms, parameters"),
    ],
)
def test_an_unknown_name_says_what_to_do(pick: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        picked_row(SUMMARY, pick)
    assert message in str(caught.value)


def test_a_text_that_cannot_be_read_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="is no constraint"):
        picked_row(SUMMARY, "latency_ms = 1")


def test_a_metric_may_be_one_to_keep_small() -> None:
    assert picked_row(SUMMARY.model_copy(update={"direction": "minimize"}), "latency_ms >= 1").trial == 2


def test_a_study_without_students_has_none_to_pick() -> None:
    with pytest.raises(StudyError, match="no trial has succeeded yet"):
        picked_row(SUMMARY.model_copy(update={"trials": SUMMARY.trials[:1]}), "latency_ms <= 1")


def test_a_finished_search_exports_the_best_or_the_picked_or_says_why_it_exports_nothing() -> None:
    whole = SUMMARY.model_copy(update={"best_trial": 1})
    for pick, trial in (("", 1), ("latency_ms <= 1", 2)):
        row, problem = row_to_export(whole, pick)
        assert row is not None
        assert (row.trial, problem) == (trial, "")
    nothing, problem = row_to_export(whole, "latency_ms <= 0.4")
    assert nothing is None
    assert problem.startswith("export.pick: s: none of 4 trials has latency_ms <= 0.4; the nearest is trial 5")
    assert row_to_export(SUMMARY, "latency_ms <= 0.4") == (None, ""), "no trial has succeeded: that is another error"


def test_a_trial_is_named_or_picked_but_not_both() -> None:
    with pytest.raises(UsageError, match="give one of them"):
        chosen_row(SUMMARY, 1, "latency_ms <= 1")
    assert chosen_row(SUMMARY, None, "latency_ms <= 1").trial == 2


def test_trials_that_break_the_constraints_are_barred() -> None:
    assert barred_trials(SUMMARY, "latency_ms <= 1") == frozenset({1})
    assert barred_trials(SUMMARY, "accuracy >= 0.75") == frozenset({4, 5}), "one without a value fulfils nothing"
    assert barred_trials(SUMMARY, "") == frozenset()


def test_one_that_was_stopped_early_is_barred_by_its_runs_with_fresh_seeds_alone() -> None:
    stopped = row(6, 0.3, 0.0, state="pruned", parameters=None, costs={}, weights=None)
    summary = SUMMARY.model_copy(update={"trials": (stopped,)})
    limits = ("parameters <= 500", "accuracy >= 0.8", "latency_ms <= 1")
    assert [barred_trials(summary, limit) for limit in limits] == [frozenset()] * 3, "nothing is known of a whole run"
    runs = tuple(
        FinalistFinished(
            time=0.0, trial=6, seed=seed, state="complete", value=value, parameters=400, costs={"latency_ms": latency}
        )
        for seed, value, latency in ((7, 0.85, 1.0), (8, 0.81, 3.0))
    )
    whole = summary.model_copy(update={"finalists": runs})
    assert barred_trials(whole, "parameters <= 500 and accuracy >= 0.8 and latency_ms <= 2") == frozenset()
    for limit in ("parameters <= 300", "accuracy >= 0.84", "latency_ms <= 1"):
        assert barred_trials(whole, limit) == frozenset({6}), limit
