from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autockd.report.pareto import beaten_by_a_baseline, pareto_front
from autockd.summary import StudySummary, TrialRow


def summary(points: list[tuple[float, float]], **changes: Any) -> StudySummary:
    trials = tuple(
        TrialRow(
            trial=number,
            role="sampled",
            method="kd",
            params={},
            started=0.0,
            state="complete",
            value=value,
            costs={"latency_ms": cost},
        )
        for number, (value, cost) in enumerate(points)
    )
    fields: dict[str, Any] = {"objectives": ("latency_ms",), "direction": "maximize"} | changes
    return StudySummary(
        study="s", asked=len(points), metric="accuracy", finished=True, started=0.0, trials=trials, **fields
    )


def test_what_nothing_beats_stays_the_best_metric_first() -> None:
    found = pareto_front(summary([(0.9, 3.0), (0.8, 1.0), (0.8, 2.0), (0.95, 4.0), (0.7, 1.0)]))
    assert [row.trial for row in found] == [3, 0, 1]


def test_a_metric_may_be_one_to_keep_small() -> None:
    found = pareto_front(summary([(0.9, 3.0), (0.8, 1.0)], direction="minimize"))
    assert [row.trial for row in found] == [1]


def test_of_equals_the_first_stays() -> None:
    assert [row.trial for row in pareto_front(summary([(0.9, 1.0), (0.9, 1.0)]))] == [0]


def test_without_objectives_the_front_is_the_best() -> None:
    assert [row.trial for row in pareto_front(summary([(0.8, 1.0), (0.9, 9.0)], objectives=()))] == [1]


def test_a_trial_without_its_costs_has_no_place() -> None:
    whole = summary([(0.8, 1.0), (0.9, 9.0)])
    unmeasured = whole.trials[1].model_copy(update={"costs": {}})
    assert [row.trial for row in pareto_front(whole.model_copy(update={"trials": (whole.trials[0], unmeasured)}))] == [
        0
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_every_point_outside_the_front_is_beaten_by_one_inside(points: list[tuple[int, int]]) -> None:
    front = pareto_front(summary([(float(value), float(cost)) for value, cost in points]))
    inside = {row.trial for row in front}
    for number, (value, cost) in enumerate(points):
        beaten = any(points[one][0] >= value and points[one][1] <= cost for one in inside - {number})
        assert (number in inside) != beaten


def test_baselines_are_not_on_it_and_it_is_known_whom_they_beat() -> None:
    found = summary([(0.9, 3.0), (0.8, 1.0), (0.8, 1.0), (0.7, 0.5)])
    rows = [row.model_copy(update={"role": "baseline"}) if row.trial == 1 else row for row in found.trials]
    found = found.model_copy(update={"trials": tuple(rows)})
    assert [row.trial for row in pareto_front(found)] == [0, 2, 3]
    assert beaten_by_a_baseline(found) == (2,)
