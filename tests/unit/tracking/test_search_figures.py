from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autockd.records import Event, StudyResumed, StudyStarted, TrialFinished, TrialStarted
from autockd.tracking.importance import importance_of
from autockd.tracking.search_figures import best_by_time_figure, importance_figure, save_figures

SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
    "batch_size": {"type": "choice", "choices": [32, 64]},
    "smoothing_start": {"type": "int", "low": 1, "high": 8},
    "margin": {"type": "float", "low": 0.1, "high": 1.0, "when": {"batch_size": 32}},
}


def search(
    study: Sequence[Event], count: int, *, space: dict[str, dict[str, Any]] = SPACE, noise: float = 0.001
) -> list[Event]:
    """A study in which the learning rate alone matters."""
    chance = random.Random(0)
    begin = study[0]
    assert isinstance(begin, StudyStarted)
    start = next(event for event in study if isinstance(event, TrialStarted) and event.trial == 1)
    end = next(event for event in study if isinstance(event, TrialFinished) and event.trial == 1)
    events: list[Event] = [begin.model_copy(update={"config": {"search": {"space": space}}})]
    for trial in range(count):
        rate, size = 10 ** chance.uniform(-3, 0), chance.choice([32, 64])
        point: dict[str, Any] = {"learning_rate": rate, "batch_size": size, "smoothing_start": chance.randint(1, 8)}
        point |= {"margin": 0.5} if size == 32 else {}
        value = 0.9 - (0.1 * abs(rate - 0.1) if noise else 0.0) + chance.gauss(0, noise)
        time = begin.time + 60.0 * trial
        params = {name: value for name, value in point.items() if name in space}
        events.append(start.model_copy(update={"trial": trial, "time": time, "params": params}))
        events.append(end.model_copy(update={"trial": trial, "time": time + 30, "value": value}))
    return events


def lines(axis: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()}


def remarks(events: Sequence[Event]) -> str:
    (axis,) = importance_figure(events).axes
    return str(axis.get_title(loc="left"))


def test_the_dimension_that_matters_has_the_largest_share(study: list[Event]) -> None:
    found = importance_of(search(study, 40))
    assert next(iter(found.shares)) == "learning_rate"
    assert found.shares["learning_rate"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.trials, found.left_out, found.problem) == (40, ("margin",), "")


def test_few_trials_come_with_a_warning(study: list[Event]) -> None:
    space = {name: SPACE[name] for name in ("batch_size", "margin")}
    left_out = "not judged, for some trials are without: margin"
    few = "only 29 complete trials: below 30, the order may be chance"
    assert remarks(search(study, 29, space=space)) == f"{few}\n{left_out}"
    assert remarks(search(study, 30, space=space)) == left_out


def test_the_same_trials_have_the_same_shares(study: list[Event]) -> None:
    assert importance_of(search(study, 8)) == importance_of(search(study, 8))


def test_stopped_trials_and_baselines_are_not_judged(study: list[Event]) -> None:
    found = importance_of(study)
    assert found.trials == 1
    assert found.problem == "too few complete trials to judge: 1"


@pytest.mark.parametrize(
    ("dimensions", "noise", "problem"),
    [
        (("margin",), 0.001, "no dimension is in every trial"),
        ((), 0.001, "no dimension is in every trial"),
        (("learning_rate",), 0.0, "every trial has the same metric"),
    ],
)
def test_what_cannot_be_judged_says_why(
    study: list[Event], dimensions: tuple[str, ...], noise: float, problem: str
) -> None:
    events = search(study, 10, space={name: SPACE[name] for name in dimensions}, noise=noise)
    found = importance_of(events)
    assert (found.shares, found.problem) == ({}, problem)
    assert problem in remarks(events)


def test_one_dimension_explains_everything(study: list[Event]) -> None:
    assert importance_of(search(study, 10, space={"batch_size": SPACE["batch_size"]})).shares == {"batch_size": 1.0}


def test_the_best_by_time_has_its_trials_and_its_stops(study: list[Event]) -> None:
    stop, go_on = study[-1].time, study[-1].time + 200
    assert isinstance(study[0], StudyStarted)
    resumed = StudyResumed(time=go_on, config={}, provenance=study[0].provenance)
    (axis,) = best_by_time_figure([*study, resumed]).axes
    assert axis.get_xlabel() == "minutes since the study began"
    drawn = lines(axis)
    assert drawn["best so far"][1] == [0.90, 0.95, 0.95]
    assert drawn["best so far"][0] == pytest.approx([15 / 60, 25 / 60, (go_on - 90) / 60])
    assert drawn["teacher"][1] == [0.98, 0.98]
    assert drawn["baseline none"][1] == [0.90, 0.90]
    assert [text.get_text() for text in axis.texts] == ["0", "1"]
    (span,) = [patch for patch in axis.patches if patch.get_label() == "the study stood still"]
    assert (span.get_x(), span.get_width()) == pytest.approx(((stop - 90) / 60, 200 / 60))


@pytest.mark.parametrize(("seconds", "unit"), [(10, "seconds"), (600, "minutes"), (20_000, "hours")])
def test_time_is_in_a_fitting_unit(study: list[Event], seconds: float, unit: str) -> None:
    events = [study[0], study[1].model_copy(update={"time": study[0].time + seconds})]
    (axis,) = best_by_time_figure(events).axes
    assert axis.get_xlabel().startswith(unit)


def odd_studies(study: list[Event]) -> dict[str, list[Event]]:
    failed = [event for event in study if not isinstance(event, TrialFinished) or event.state == "failed"]
    nan = [
        event.model_copy(update={"value": float("nan")}) if isinstance(event, TrialFinished) else event
        for event in study
    ]
    point = {"x": {"type": "float", "low": 1.0, "high": 1.0}}
    alien = [
        event.model_copy(update={"params": {"x": 1.0}}) if isinstance(event, TrialStarted) else event
        for event in search(study, 6, space=point)
    ]
    return {
        "nothing": [],
        "begun": study[:1],
        "all failed": failed,
        "not a number": nan,
        "one value of one dimension": alien,
        "outside of its space": search(study, 6, space={"learning_rate": SPACE["learning_rate"] | {"high": 0.002}}),
        "constant": search(study, 6, noise=0.0),
    }


@pytest.mark.parametrize("kind", ["nothing", "begun", "all failed", "not a number", "constant"])
def test_odd_studies_have_pictures_too(study: list[Event], kind: str, tmp_path: Path) -> None:
    paths = save_figures(odd_studies(study)[kind], tmp_path)
    assert [path.name for path in paths] == ["search_history.png", "best_by_time.png", "importance.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize("kind", ["one value of one dimension", "outside of its space"])
def test_the_importance_of_an_odd_space_is_drawn_too(study: list[Event], kind: str, tmp_path: Path) -> None:
    importance_figure(odd_studies(study)[kind]).savefig(tmp_path / "importance.png")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_a_dollar_is_no_formula(study: list[Event], tmp_path: Path) -> None:
    events = search(study, 6, space=SPACE | {"a$\\frac$": SPACE["margin"]})
    importance_figure(events).savefig(tmp_path / "importance.png")
    assert "a\\$" in remarks(events)
