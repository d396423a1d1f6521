from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autockd.records import Event, StudyStarted, TrialFinished
from autockd.report.pareto import pareto_front
from autockd.report.tables import summarise
from autockd.tracking.mlflow_fields import curve_keys, outcome_keys
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.pareto import front_figure, front_json, front_of
from autockd.tracking.saved_views import _charts, _columns
from autockd.tracking.search_figures import _save_front, save_figures
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


@pytest.mark.parametrize("names", [("latency_ms",), ("latency_ms", "bytes"), ("latency_ms", "parameters")])
def test_events_and_summary_have_the_same_front(study: list[Event], names: tuple[str, ...]) -> None:
    events = with_objectives(study, *names)
    if "parameters" in names:
        events = [
            event.model_copy(update={"costs": event.costs | {"parameters": 9.0}})
            if isinstance(event, TrialFinished) and event.costs
            else event
            for event in events
        ]
    summary = summarise(events)
    assert summary is not None
    front = front_of(events)
    assert front.members == tuple(row.trial for row in pareto_front(summary)) == (1, 5)
    assert [start.trial for start, _ in front.points] == [0, 1, 4, 5], "the baseline stands beside it"


def test_the_numbers_are_written_as_json(study: list[Event]) -> None:
    data = json.loads(front_json(front_of(with_objectives(study, "latency_ms", "bytes"))))
    assert (data["study"], data["metric"], data["objectives"]) == ("digits", "accuracy", ["latency_ms", "bytes"])
    assert [(point["trial"], point["value"], point["costs"]) for point in data["front"]] == [
        (1, 0.95, {"latency_ms": 0.4, "bytes": 4000.0}),
        (5, 0.5, {"latency_ms": 0.2, "bytes": 2000.0}),
    ]
    assert [(point["trial"], point["role"]) for point in data["others"]] == [(0, "baseline"), (4, "sampled")]


def test_the_picture_has_an_axis_for_each_cost_and_names_the_front(study: list[Event]) -> None:
    figure = front_figure(front_of(with_objectives(study, "latency_ms", "bytes")))
    left, right = figure.axes
    assert [axis.get_xlabel() for axis in (left, right)] == ["latency_ms", "bytes"]
    assert left.get_ylabel() == "validation accuracy"
    drawn: dict[str, Any] = {dots.get_label(): dots.get_offsets().tolist() for dots in left.collections}
    assert drawn["trials"] == [[0.4, 0.95], [0.5, 0.94], [0.2, 0.5]]
    assert drawn["baselines"] == [[0.1, 0.90]]
    assert sorted(drawn["front"]) == [[0.2, 0.5], [0.4, 0.95]]
    assert [text.get_text() for text in left.texts] == ["5", "1"]
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")


def test_a_study_with_objectives_is_saved_with_its_front_whatever_its_state(study: list[Event], tmp_path: Path) -> None:
    events = with_objectives(study, "latency_ms")
    for length in (1, 6):
        paths = _save_front(events[:length], tmp_path)
        assert [path.name for path in paths] == ["pareto.png", "pareto.json"]
        assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
        json.loads((tmp_path / "pareto.json").read_text(encoding="utf-8"))
        for path in paths:
            path.unlink()
    paths = save_figures(events, tmp_path)
    assert [path.name for path in paths[-2:]] == ["pareto.png", "pareto.json"]
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert [point["trial"] for point in json.loads((tmp_path / "pareto.json").read_text())["front"]] == [1, 5]
    assert _save_front(study, tmp_path) == []


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
