"""How much each dimension matters: judged by complete trials in the space, and not where it cannot be judged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report_events import report_events

from autockd.records import StudyStarted
from autockd.report.figures_png import save_chart
from autockd.report.gathering import content_of
from autockd.report.importance import importance_of
from autockd.report.search_charts import importance_chart
from autockd.report.sections import charts_of, sections_of
from autockd.summary import TrialRow

SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
    "batch_size": {"type": "choice", "choices": [32, 64]},
    "smoothing_start": {"type": "int", "low": 1, "high": 8},
    "margin": {"type": "float", "low": 0.1, "high": 1.0, "when": {"batch_size": 32}},
}


def search(count: int, *, space: dict[str, dict[str, Any]] = SPACE, noise: float = 0.001) -> list[TrialRow]:
    """Trials in which the learning rate alone matters."""
    chance, rows = random.Random(0), []
    for trial in range(count):
        rate, size = 10 ** chance.uniform(-3, 0), chance.choice([32, 64])
        point: dict[str, Any] = {"learning_rate": rate, "batch_size": size, "smoothing_start": chance.randint(1, 8)}
        point |= {"margin": 0.5} if size == 32 else {}
        value = 0.9 - (0.1 * abs(rate - 0.1) if noise else 0.0) + chance.gauss(0, noise)
        params = {name: value for name, value in point.items() if name in space}
        rows.append(row(trial, value=value, params=params))
    return rows


def row(trial: int, **changes: Any) -> TrialRow:
    values = {"trial": trial, "role": "sampled", "method": "kd", "params": {}, "state": "complete", "started": 0.0}
    return TrialRow.model_validate(values | changes)


def said(space: dict[str, dict[str, Any]], trials: Sequence[TrialRow]) -> str:
    """The warnings of the report's part on dimensions."""
    found = content_of(report_events(seeds=()))
    update = {"importance": importance_of(space, trials), "space": space, "trials": tuple(trials)}
    parts = {section.anchor: section for section in sections_of(found.model_copy(update=update))}
    return " ".join(parts["dimensions"].warnings) if "dimensions" in parts else ""


def test_the_dimension_that_matters_has_the_largest_share() -> None:
    found = importance_of(SPACE, search(40))
    assert next(iter(found.shares)) == "learning_rate"
    assert found.shares["learning_rate"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.trials, found.left_out, found.problem, found.few) == (40, ("margin",), "", False)


@pytest.mark.parametrize(("kind", "low", "high"), [("float", 1e-6, 1e-2), ("int", 1, 10_000)])
def test_a_dimension_on_a_log_scale_is_judged_by_its_logarithm(kind: str, low: float, high: float) -> None:
    """Evenly along the axis of the search, where the last of four decades is a quarter, and not nine tenths."""
    space: dict[str, dict[str, Any]] = {
        "decades": {"type": kind, "low": low, "high": high, "log": True},
        "share": {"type": "float", "low": 0.0, "high": 1.0},
    }
    chance, trials = random.Random(1), []
    for trial in range(60):
        power, share = chance.uniform(0, 4), chance.uniform(0, 1)
        decades = low * 10**power
        point = {"decades": round(decades) if kind == "int" else decades, "share": share}
        trials.append(row(trial, value=0.8 + 0.02 * power + 0.05 * share, params=point))
    assert importance_of(space, trials).shares["decades"] > 0.7


def test_few_trials_come_with_a_warning() -> None:
    space = {name: SPACE[name] for name in ("batch_size", "margin")}
    left_out = "Importance leaves out margin: some trials are without."
    few = "Only 29 complete trials: the order of importance may be chance."
    assert said(space, search(29, space=space)) == f"{few} {left_out}"
    assert said(space, search(30, space=space)) == left_out


def test_the_same_trials_have_the_same_shares() -> None:
    assert importance_of(SPACE, search(8)) == importance_of(SPACE, search(8))


def test_stopped_trials_and_baselines_are_not_judged() -> None:
    trials = [row(0, role="baseline", value=0.9), row(1, value=0.95), row(2, state="pruned", value=0.3)]
    found = importance_of(SPACE, [*trials, row(3, state="failed"), row(4, value=float("nan"))])
    assert found.trials == 1
    assert found.problem == "too few complete trials to judge: 1"


def test_methods_that_are_compared_have_no_space_in_common() -> None:
    found = importance_of(SPACE, [one.model_copy(update={"arm": "kd"}) for one in search(40)])
    assert found.shares == {}
    assert "a space of its own" in found.problem


@pytest.mark.parametrize(
    ("dimensions", "noise", "problem"),
    [
        (("margin",), 0.001, "no dimension is in every trial"),
        ((), 0.001, "no dimension is in every trial"),
        (("learning_rate",), 0.0, "every trial has the same metric"),
    ],
)
def test_what_cannot_be_judged_says_why(dimensions: tuple[str, ...], noise: float, problem: str) -> None:
    space = {name: SPACE[name] for name in dimensions}
    trials = search(10, space=space, noise=noise)
    found = importance_of(space, trials)
    assert (found.shares, found.problem) == ({}, problem)
    assert problem in said(space, trials) or not space


def test_one_dimension_explains_everything() -> None:
    space = {"batch_size": SPACE["batch_size"]}
    assert importance_of(space, search(10, space=space)).shares == {"batch_size": 1.0}


@pytest.mark.parametrize(
    "space", [{"x": {"type": "float", "low": 1.0, "high": 1.0}}, {"x": SPACE["learning_rate"] | {"high": 0.002}}]
)
def test_an_odd_space_is_judged_or_said_not_to_be(space: dict[str, dict[str, Any]]) -> None:
    trials = [row(trial, value=0.1 * trial, params={"x": 1.0 if trial % 2 else 0.5}) for trial in range(6)]
    found = importance_of(space, trials)
    assert bool(found.shares) != bool(found.problem)


def test_a_dollar_is_no_formula(tmp_path: Path) -> None:
    events = report_events(seeds=())
    start = events[0]
    assert isinstance(start, StudyStarted)
    content = content_of(events)
    odd = content.importance.model_copy(update={"shares": {"a$\\frac$": 0.7, "b": 0.3}})
    chart = importance_chart(content.model_copy(update={"importance": odd}))
    assert chart is not None
    save_chart(chart, tmp_path)
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_whose_values_are_no_numbers_has_a_report_all_the_same() -> None:
    content = content_of(report_events(seeds=()))
    trials = tuple(one.model_copy(update={"value": float("nan")}) for one in content.trials)
    importance = importance_of(content.space, trials)
    assert importance.problem == "too few complete trials to judge: 0"
    charts = charts_of(sections_of(content.model_copy(update={"trials": trials, "importance": importance})))
    assert "search_history" not in {chart.name for chart in charts}, "there is nothing to draw"
