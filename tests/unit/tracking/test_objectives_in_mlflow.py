from __future__ import annotations

from collections.abc import Sequence

import pytest

from autockd.records import Event, StudyStarted, TrialFinished
from autockd.tracking.mlflow_fields import curve_keys, outcome_keys
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.saved_views import _charts, _columns
from autockd.tracking.study_note import StudyNote

COSTS = {0: {"latency_ms": 0.1, "bytes": 50.0}, 1: {"latency_ms": 0.4, "bytes": 4000.0}}


def with_objectives(study: Sequence[Event], *names: str) -> list[Event]:
    """The study, and two more trials: 4 is beaten by 1 in all, 5 is the smallest."""
    begin = study[0]
    assert isinstance(begin, StudyStarted)
    search = begin.config["search"] | {"objectives": list(names)}
    events: list[Event] = [begin.model_copy(update={"config": begin.config | {"search": search}})]
    start = next(event for event in study if getattr(event, "trial", None) == 1)
    end = next(event for event in study if isinstance(event, TrialFinished) and event.trial == 1)
    for event in study[1:-2]:
        is_end = isinstance(event, TrialFinished)
        events.append(event.model_copy(update={"costs": COSTS.get(event.trial, {})}) if is_end else event)
    for trial, value, latency in ((4, 0.94, 0.5), (5, 0.5, 0.2)):
        costs = {"latency_ms": latency, "bytes": 10_000 * latency}
        events.append(start.model_copy(update={"trial": trial, "time": 150.0 + trial}))
        events.append(end.model_copy(update={"trial": trial, "time": 160.0 + trial, "value": value, "costs": costs}))
    return [*events, *study[-2:]]


@pytest.mark.parametrize(
    "names",
    [("latency_ms",), ("parameters", "latency_ms"), ("latency_ms", "latency_ms_batch32", "parameters", "bytes")],
)
def test_a_trial_has_its_costs_among_15_metric_keys(study: list[Event], names: tuple[str, ...]) -> None:
    projection = Projection()
    costs = {"latency_ms": 0.4, "latency_ms_batch32": 9.0, "parameters": 4800.0, "bytes": 4000.0}
    for event in with_objectives(study, *names):
        is_end = isinstance(event, TrialFinished) and event.trial == 1
        projection.apply(event.model_copy(update={"costs": costs}) if is_end else event)
    (update,) = [update for update in projection.take() if update.trial == 1]
    found = {point.key: point.value for point in update.points}
    assert found.keys() == {*curve_keys("accuracy", names), *outcome_keys("accuracy", names)}
    assert len(found) == 15
    assert found["student_parameters"] == 4800
    for name in names:
        assert found[f"student_{name}"] == costs[name]


def test_the_saved_view_shows_the_metric_against_each_cost(study: list[Event]) -> None:
    names = ("latency_ms", "latency_ms_batch32", "bytes", "parameters")
    start = with_objectives(study, *names)[0]
    assert isinstance(start, StudyStarted)
    charts = _charts(start)
    scatters = [chart for chart in charts if chart["type"] == "SCATTER" and chart["metricSectionId"] == "metric"]
    assert [chart["xaxis"]["key"] for chart in scatters] == [f"student_{name}" for name in names]
    shown = {chart["metricKey"] for chart in charts if "metricKey" in chart}
    assert shown >= {*curve_keys("accuracy", names), *outcome_keys("accuracy", names)}
    columns = _columns(start)
    assert "metrics.`student_latency_ms`" in columns
    assert len(columns) == len(set(columns))


def test_the_note_says_what_is_to_be_low(study: list[Event]) -> None:
    start = with_objectives(study, "latency_ms", "bytes")[0]
    assert isinstance(start, StudyStarted)
    assert r"costs to keep low latency\_ms and bytes" in StudyNote(start).text
