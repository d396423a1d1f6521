from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import optuna
import pytest

from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.config.trial import conditioned_space
from autockd.search.proposals import (
    BASELINE,
    ROLE,
    enqueue_first_trials,
    informed_trials,
    make_sampler,
    suggest_params,
)

SPACE: dict[str, Any] = {
    "method": {"type": "choice", "choices": ["continuation", "kd"]},
    "temperature": {"type": "float", "low": 1.0, "high": 8.0},
    "learning_rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "weight_decay": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.25},
    "smoothing_start": {"type": "int", "low": 1, "high": 16, "log": True},
    "batch_size": {"type": "int", "low": 16, "high": 64, "step": 16},
    "margin_mode": {"type": "choice", "choices": ["relative", "dead_zone"]},
    "margin": {"type": "float", "low": 0.0, "high": 0.5, "when": {"margin_mode": "dead_zone"}},
}


def study_of(seed: int = 0, **search: Any) -> StudyConfig:
    return StudyConfig(
        name="s",
        seed=seed,
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet(width=4)),
        method=ContinuationKD(smoothing_start=4),
        training=TrainingConfig(weight_decay=0.25),
        search=SearchConfig.model_validate({"space": SPACE} | search),
    )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def sample(study: StudyConfig, count: int) -> list[dict[str, Any]]:
    space = conditioned_space(study)
    store = optuna.create_study()
    points = []
    for number in range(count):
        store.sampler = make_sampler(study, number, parallel=1)
        trial = store.ask()
        points.append(suggest_params(trial, space))
        store.tell(trial, float(number % 5))
    return points


@functools.cache
def forty_points() -> list[dict[str, Any]]:
    return sample(study_of(), 40)


@pytest.mark.parametrize(
    ("trials", "parallel", "rule", "count"),
    [
        (24, 1, "none", 13),  # 3 baselines, 8 results, and every one of the others knows the trial before it
        (24, 2, "none", 11),
        (24, 4, "none", 7),
        (24, 4, "fraction", 1),
        (24, 8, "none", 0),
        (50, 8, "none", 25),
        (50, 16, "none", 9),
    ],
)
def test_how_many_trials_rest_on_results(trials: int, parallel: int, rule: str, count: int) -> None:
    search = {"trials": trials, "baselines": [{"name": "none"}] * 3, "stopping": {"rule": rule}}
    assert informed_trials(study_of(**search), parallel) == count
    assert informed_trials(study_of(**search, sampler="random"), parallel) == 0


@pytest.mark.parametrize(
    ("sampler", "points", "parallel", "count"),
    [
        ("tpe", 20, 1, 18),  # a baseline, the study's own values and the named points are given, and known by then
        ("tpe", 1, 1, 31),  # results of given points are results: a baseline and 8 of them
        ("nsga2", 1, 1, 29),  # a given point is of no generation
        ("nsga2", 1, 8, 7),  # a generation has 16 then
    ],
)
def test_given_points_rest_on_no_results(sampler: str, points: int, parallel: int, count: int) -> None:
    point = {"method": "kd", "temperature": 2.0}
    study = study_of(trials=40, sampler=sampler, baselines=[{"name": "none"}], enqueue=[point] * points)
    assert informed_trials(study, parallel) == count


@pytest.mark.parametrize(("parallel", "size"), [(1, 8), (4, 8), (8, 16)])
def test_a_generation_of_nsga2_has_two_trials_for_each_worker(parallel: int, size: int) -> None:
    assert make_sampler(study_of(sampler="nsga2"), 0, parallel)._population_size == size  # type: ignore[attr-defined]


def test_ranges_are_searched_on_the_scale_that_they_name() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_params(trial, {name: space for name, space in conditioned_space(study_of()).items() if not space.when})
    found = {name: getattr(each, "log", False) for name, each in trial.distributions.items()}
    assert {name for name, is_log in found.items() if is_log} == {"learning_rate"}
    method = {"method": {"type": "choice", "choices": ["continuation"]}}
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_params(trial, conditioned_space(study_of(space=SPACE | method)))
    assert trial.distributions["smoothing_start"] == optuna.distributions.IntDistribution(1, 16, log=True)


def test_values_have_the_types_and_bounds_of_their_dimensions() -> None:
    space = conditioned_space(study_of())
    points = forty_points()
    for point in points:
        for name, value in point.items():
            assert space[name].contains(value), (name, value)
            expected = {"int": int, "float": float, "choice": str}[SPACE[name]["type"]]
            assert type(value) is expected
    assert {point["weight_decay"] for point in points} == {0.0, 0.25, 0.5}
    assert {point["batch_size"] for point in points} == {16, 32, 48, 64}


def test_dimensions_exist_only_under_their_conditions() -> None:
    points = forty_points()
    everywhere = {"method", "learning_rate", "weight_decay", "batch_size"}
    shapes = set()
    for point in points:
        expected = set(everywhere)
        if point["method"] == "kd":
            expected |= {"temperature"}
        else:
            expected |= {"smoothing_start", "margin_mode"}
            expected |= {"margin"} if point["margin_mode"] == "dead_zone" else set()
        assert set(point) == expected
        shapes.add(frozenset(point))
    assert len(shapes) == 3, "all three kinds of points were proposed"


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_proposals_are_a_function_of_seed_and_number(sampler: str) -> None:
    one, again, other = (sample(study_of(seed, sampler=sampler), 15) for seed in (3, 3, 4))
    assert one == again
    assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))
    assert len({str(point) for point in one}) == 15, "each trial has random numbers of its own"


@pytest.mark.parametrize(("name", "kind"), [("tpe", "TPESampler"), ("random", "RandomSampler")])
def test_the_sampler_is_the_one_that_was_asked_for(name: str, kind: str) -> None:
    assert type(make_sampler(study_of(sampler=name), 0, 2)).__name__ == kind


def test_tpe_learns_once_it_has_begun() -> None:
    """Near the best of a smooth valley it proposes closer than chance does."""

    def distance(sampler: str, seed: int) -> float:
        space = {"learning_rate": {"type": "float", "low": 0.0, "high": 1.0}}
        study = study_of(seed, sampler=sampler, space=space)
        store = optuna.create_study()
        found = []
        for number in range(40):
            store.sampler = make_sampler(study, number, parallel=1)
            trial = store.ask()
            value = suggest_params(trial, conditioned_space(study))["learning_rate"]
            assert isinstance(value, float)
            found.append(abs(value - 0.3))
            store.tell(trial, found[-1])
        return sum(found[20:])

    assert sum(distance("tpe", seed) for seed in range(8)) < 0.8 * sum(distance("random", seed) for seed in range(8))


def proposed_next_to(*running: float) -> float:
    """The learning rate that TPE proposes after twelve results, while trials with others run."""
    study = study_of(space={"learning_rate": {"type": "float", "low": 0.0, "high": 1.0}})
    store = optuna.create_study()
    for number in range(12):
        store.enqueue_trial({"learning_rate": number / 12})
        trial = store.ask()
        store.tell(trial, abs(float(suggest_params(trial, conditioned_space(study))["learning_rate"]) - 0.5))
    for rate in running:
        store.enqueue_trial({"learning_rate": rate})
        suggest_params(store.ask(), conditioned_space(study))
    store.sampler = make_sampler(study, 13, parallel=1)
    return float(suggest_params(store.ask(), conditioned_space(study))["learning_rate"])


def test_tpe_keeps_away_from_what_runs() -> None:
    """Or workers side by side would try the same again."""
    alone = proposed_next_to()
    assert proposed_next_to(alone, alone, alone) != alone


def test_tpe_models_dimensions_that_exist_under_a_condition_with_the_others() -> None:
    study, store = study_of(), optuna.create_study()
    for number in range(20):
        store.sampler = make_sampler(study, number, parallel=1)
        trial = store.ask()
        suggest_params(trial, conditioned_space(study))
        store.tell(trial, float(number))
    sampler, trial = make_sampler(study, 20, parallel=1), store.ask()
    modelled = sampler.infer_relative_search_space(store, store.trials[trial.number])
    assert modelled.keys() == SPACE.keys()


def test_first_come_baselines_then_the_studys_own_values_then_the_named_points() -> None:
    point = {"method": "kd", "temperature": 2.0}
    study = study_of(baselines=[{"name": "none"}, {"name": "kd"}], enqueue=[point])
    store = optuna.create_study()
    enqueue_first_trials(study, store)
    roles, params = [], []
    for number in range(5):
        store.sampler = make_sampler(study, number, parallel=1)
        trial = store.ask()
        roles.append((trial.user_attrs.get(ROLE, "sampled"), trial.user_attrs.get(BASELINE)))
        params.append(suggest_params(trial, conditioned_space(study)) if "baseline" not in roles[-1] else {})
        store.tell(trial, 0.0)
    assert roles == [("baseline", 0), ("baseline", 1), ("default", None), ("enqueued", None), ("sampled", None)]
    own = {"learning_rate": 0.2, "weight_decay": 0.25, "batch_size": 32, "smoothing_start": 4}
    assert {name: params[2][name] for name in own} == own
    assert params[3].items() >= point.items()
    assert "learning_rate" in params[3], "what an enqueued point leaves out is sampled"


@pytest.mark.parametrize("search", [{"enqueue_defaults": False, "baselines": []}, {"space": {}, "baselines": []}])
def test_nothing_is_enqueued_where_nothing_was_asked_for(search: dict[str, Any]) -> None:
    store = optuna.create_study()
    enqueue_first_trials(study_of(**search), store)
    assert store.trials == []
