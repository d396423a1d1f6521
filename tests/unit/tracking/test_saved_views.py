from __future__ import annotations

import base64
import json
import random
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sample_records import study_started

from autockd.config.loading import parse_study
from autockd.records import Event, StudyStarted
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.saved_views import has_views, is_view, list_path, view_key, view_path, view_tags


@pytest.fixture
def start(study: list[Event]) -> StudyStarted:
    assert isinstance(study[0], StudyStarted)
    return study[0]


def with_space(start: StudyStarted, space: dict[str, Any]) -> StudyStarted:
    return start.model_copy(update={"config": {"search": {"space": space}}})


def state_of(start: StudyStarted) -> dict[str, Any]:
    (tag,) = view_tags(start).values()
    method, _, packed = json.loads(tag)["state"].partition(";")
    assert method == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def charts_of(start: StudyStarted, kind: str, section: str | None = None) -> list[dict[str, Any]]:
    charts = state_of(start)["compareRunCharts"]
    return [chart for chart in charts if chart["type"] == kind and section in (None, chart["metricSectionId"])]


def axes(chart: dict[str, Any]) -> tuple[str, ...]:
    return tuple(chart[axis]["key"] for axis in ("xaxis", "yaxis", "zaxis") if axis in chart)


def test_the_charts_show_the_space_and_the_metric(start: StudyStarted) -> None:
    (parallel,) = charts_of(start, "PARALLEL")
    assert parallel["selectedParams"] == ["log10_learning_rate", "log10_smoothing_start", "temperature"]
    assert parallel["selectedMetrics"] == ["best_val_accuracy"]
    (contour,) = charts_of(start, "CONTOUR")
    assert axes(contour) == ("log10_learning_rate", "log10_smoothing_start", "best_val_accuracy")
    assert [chart["metricKey"] for chart in charts_of(start, "LINE", "metric")] == ["val_accuracy"]
    assert [axes(chart)[0] for chart in charts_of(start, "SCATTER", "slices")] == parallel["selectedParams"]


def test_the_schedule_is_what_the_contour_shows_where_it_is_searched(start: StudyStarted) -> None:
    number = {"type": "float", "low": 0.1, "high": 1.0}
    space = {"learning_rate": number, "schedule_fraction": number, "smoothing_start": number | {"log": True}}
    (contour,) = charts_of(with_space(start, space), "CONTOUR")
    assert axes(contour) == ("log10_smoothing_start", "schedule_fraction", "best_val_accuracy")


@pytest.mark.parametrize(
    ("space", "kinds"),
    [
        ({}, {"LINE", "BAR", "SCATTER"}),
        ({"momentum": {"type": "float", "low": 0.1, "high": 0.9}}, {"LINE", "BAR", "SCATTER", "PARALLEL"}),
        ({"margin_mode": {"type": "choice", "choices": ["a", "b"]}}, {"LINE", "BAR", "SCATTER", "PARALLEL"}),
    ],
)
def test_small_spaces_have_fewer_charts(start: StudyStarted, space: dict[str, Any], kinds: set[str]) -> None:
    state = state_of(with_space(start, space))
    assert {chart["type"] for chart in state["compareRunCharts"]} == kinds
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert sections == {chart["metricSectionId"] for chart in state["compareRunCharts"]}


def test_the_best_trials_of_this_study_come_first(start: StudyStarted) -> None:
    state = state_of(start)
    for condition in ("`autockd.study` = 'digits'", "`autockd.kind` = 'trial'", "`autockd.study_id` = '"):
        assert condition in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_accuracy`", False)
    assert state["selectedColumns"][0] == "metrics.`best_val_accuracy`"
    assert "params.`smoothing_start`" in state["selectedColumns"]
    assert state_of(start.model_copy(update={"direction": "minimize"}))["orderByAsc"] is True


def test_every_metric_of_a_trial_has_its_chart(start: StudyStarted, study: list[Event]) -> None:
    """MLflow appends and opens a section for metrics that are in none."""
    projection = Projection()
    for event in study:
        projection.apply(event)
    known = {point.key for update in projection.take() if update.trial is not None for point in update.points}
    charts = state_of(start)["compareRunCharts"]
    assert known <= {chart["metricKey"] for chart in charts if "metricKey" in chart}
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_what_fresh_seeds_gave_stands_beside_the_best_of_the_search(start: StudyStarted, finals: list[Event]) -> None:
    again = start.model_copy(update={"config": {**start.config, "finalists": {"seeds": 2, "top": 3}}})
    state = state_of(again)
    assert state["selectedColumns"][:4] == [
        "metrics.`best_val_accuracy`",
        "metrics.`fresh_val_accuracy`",
        "metrics.`fresh_test_accuracy`",
        "tags.`autockd.finalist`",
    ]
    projection = Projection()
    for event in finals:
        projection.apply(event)
    known = {point.key for update in projection.take() if update.trial is not None for point in update.points}
    assert known <= {chart["metricKey"] for chart in state["compareRunCharts"] if "metricKey" in chart}


def test_a_view_is_the_same_whenever_it_is_made(start: StudyStarted) -> None:
    assert view_tags(start) == view_tags(start.model_copy())
    other = start.model_copy(update={"time": start.time + 1})
    assert view_tags(other).keys().isdisjoint(view_tags(start))


def test_a_large_space_has_fewer_charts_and_a_huge_one_no_view(start: StudyStarted) -> None:
    def space(count: int) -> dict[str, Any]:
        names = {random.Random(number).randbytes(20).hex() for number in range(count)}  # which cannot be compressed
        return {name: {"type": "float", "low": 0.0, "high": 1.0} for name in sorted(names)}

    large = with_space(start, space(70))
    assert len(charts_of(large, "PARALLEL")) == 1
    assert charts_of(large, "SCATTER", "slices") == []
    assert all(len(tag) <= 5000 for tag in view_tags(large).values())
    assert view_tags(with_space(start, space(300))) == {}


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("3.17.2", True),
        ("3.17.0rc1", True),
        ("3.16.1", False),
        ("3.18.0", False),
        ("4.0", False),
        ("", False),
        ("x.y", False),
    ],
)
def test_views_are_for_versions_that_were_tried(version: str, known: bool) -> None:
    assert has_views(version) is known


def test_the_page_opens_the_view_or_the_list(start: StudyStarted) -> None:
    page = view_path("7", start)
    assert is_view(page)
    assert page.startswith("/#/experiments/7/runs?")
    assert f"mlflow.sharedViewState.{view_key(start)}" in view_tags(start)
    query = parse_qs(page.partition("?")[2])
    assert (query["viewStateShareKey"], query["compareRunsMode"]) == ([view_key(start)], ["CHART"])
    assert not is_view(list_path("7", start))
    query = parse_qs(list_path("7", start).partition("?")[2])
    assert "`autockd.kind` = 'trial'" in query["searchFilter"][0]


def test_the_projection_hands_the_view_out_once(study: list[Event], start: StudyStarted) -> None:
    projection = Projection()
    for event in study[:1]:
        projection.apply(event)
    (update,) = projection.take()
    assert update.experiment_tags == view_tags(start)
    for event in study[1:]:
        projection.apply(event)
    assert all(update.experiment_tags == {} for update in projection.take())


def test_the_shipped_comparison_of_eight_methods_fits_into_a_view_with_every_slice() -> None:
    file = Path(__file__).parents[3] / "search_spaces" / "compare_methods_digits.yaml"
    start = study_started(parse_study(file.read_text(encoding="utf-8"), str(file), file.parent))
    (parallel,) = charts_of(start, "PARALLEL")
    assert parallel["selectedParams"][0] == "axis_arm"
    assert len(parallel["selectedParams"]) > 10
    assert len(charts_of(start, "SCATTER", "slices")) == len(parallel["selectedParams"])
