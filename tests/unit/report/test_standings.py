"""Who is compared with whom, where things did not go as they usually do."""

from __future__ import annotations

import pytest
from report_events import report_events

from autockd.records import Evaluated, Event, FinalistFinished, TrialStarted
from autockd.report.gathering import _task_text, content_of
from autockd.report.parallel_chart import height_of
from autockd.report.standings import standings_of
from autockd.report.words import sentences
from autockd.summary import summarise


def without_finalists_of_the_search(history: list[Event]) -> list[Event]:
    """As if all runs with fresh seeds had failed but those of the baselines."""
    baselines = {event.trial for event in history if isinstance(event, TrialStarted) and event.role == "baseline"}
    return [
        event
        for event in history
        if not isinstance(event, FinalistFinished | Evaluated) or event.trial is None or event.trial in baselines
    ]


def test_where_only_baselines_ran_again_the_searchs_choice_is_the_winner() -> None:
    history = without_finalists_of_the_search(report_events())
    summary = summarise(history)
    assert summary is not None
    (winner,) = [standing for standing in standings_of(summary) if standing.kind == "winner"]
    assert winner.trial == summary.best_trial
    assert "no winner" not in " ".join(sentences(content_of(history)))


def test_a_comparison_says_which_split_it_is_made_on() -> None:
    """A stop between two evaluations leaves a model without its test scores; then both are compared on validation."""
    baseline = next(row.trial for row in content_of(report_events()).standings if row.method == "none")
    missing = {row.seed for row in report_events() if isinstance(row, Evaluated) and row.trial == baseline}
    history = [
        event
        for event in report_events()
        if not (isinstance(event, Evaluated) and event.trial == baseline and event.seed == max(missing))
    ]
    told = " ".join(content_of(history).summary)
    assert "points on validation, 95 % interval" in told
    assert "points on test, 95 % interval" in told  # against the preset, which has all of them


def test_a_value_that_another_arm_searches_in_its_own_way_stands_where_there_is_none() -> None:
    dimension = {"type": "choice", "choices": [1, 2, 4]}
    assert height_of(dimension, 2.35) == height_of(dimension, None) < height_of(dimension, 1)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ({"source": "glue", "task": "sst2", "path": "nyu-mll/glue"}, "glue sst2"),
        ({"source": "torchvision", "dataset": "CIFAR10", "root": "data"}, "torchvision CIFAR10"),
        ({"source": "digits"}, "digits"),
    ],
)
def test_a_report_names_its_task(task: dict[str, str], text: str) -> None:
    assert _task_text(task) == text
