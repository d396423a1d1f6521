"""The arms of a comparison: their names and numbers, and what each of them searches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autockd.config.arms import arm_labels, arms_of
from autockd.config.budget import budget_problems
from autockd.config.comparison_rules import comparison_mistakes
from autockd.config.kinds import NEED_ASSISTANT
from autockd.config.method_spaces import fitted, method_space
from autockd.config.methods import (
    METHOD_CONFIGS,
    AnnealingKD,
    ContinuationKD,
    DecoupledKD,
    Dist,
    HintonKD,
    MethodConfig,
    NoDistillation,
)
from autockd.config.schema import StudyConfig
from autockd.config.space import AnyDimension, Choice, FloatRange, IntRange
from autockd.config.space_rules import space_mistakes
from autockd.config.trial import default_params, trial_config
from autockd.distillation import make_method

RATE = {"type": "float", "low": 0.01, "high": 1.0, "log": True}


def study_of(compare: list[dict[str, Any]], space: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "task": {"source": "digits"},
            "teacher": {"model": {"family": "cifar_resnet", "depth": 20}},
            "student": {"model": {"family": "cifar_resnet", "depth": 8}},
            "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.1},
            "search": {"trials": 5, "space": {"learning_rate": RATE} if space is None else space},
            "compare": compare,
        }
        | changes
    )


def space_of(study: StudyConfig, place: int = 0, samples: int | None = None) -> dict[str, AnyDimension]:
    return arms_of(study, samples)[place].study.search.space


def test_a_study_that_compares_nothing_is_its_own_arm() -> None:
    study = study_of([])
    (arm,) = arms_of(study)
    assert (arm.label, arm.first, arm.study) == ("", 0, study)
    assert study.asked == 5


def test_arms_differ_in_nothing_but_method_and_space() -> None:
    study = study_of([{"name": "none"}, {"name": "kd"}, {"name": "dkd"}])
    arms = arms_of(study)
    assert [(arm.label, arm.first) for arm in arms] == [("none", 0), ("kd", 5), ("dkd", 10)]
    assert study.asked == 15
    assert study.methods == ("none", "kd", "dkd")
    rest = {"method", "search", "compare"}
    for arm in arms:
        assert arm.study.model_dump(exclude=rest) == study.model_dump(exclude=rest)
        assert arm.study.search.baselines == ()
        assert arm.study.search.model_dump(exclude={"space", "baselines"}) == study.search.model_dump(
            exclude={"space", "baselines"}
        )
        assert arm.study.search.space["learning_rate"] == study.search.space["learning_rate"]


def test_one_trial_of_each_method_is_a_comparison() -> None:
    """Its methods differ, though nothing is searched; and the baseline that a study has by default is not run."""
    study = study_of([{"name": "none"}, {"name": "kd"}], {}, search={"trials": 1, "space": {}})
    assert budget_problems(study) == []
    assert budget_problems(study.model_copy(update={"compare": ()})) != []


def test_labels_are_unique_and_tell_standardised_logits() -> None:
    methods = (HintonKD(), HintonKD(standardise_logits=True), HintonKD(alpha=0.5), ContinuationKD())
    assert arm_labels(methods) == ("kd", "kd-std", "kd-2", "continuation")


@pytest.mark.parametrize("name", METHOD_CONFIGS)
def test_every_method_has_knobs_of_its_own_that_hold_its_own_values(name: str) -> None:
    study = study_of([{"name": name} | ({"granularity": "step"} if name in ("annealing", "continuation") else {})])
    arm = arms_of(study, samples=1_000)[0].study
    assert (len(arm.search.space) > 1) == (name != "none")
    assert space_mistakes(arm) == []
    assert trial_config(arm, default_params(arm)) == trial_config(arm, {})


def test_the_space_of_the_studys_own_method_is_the_studys() -> None:
    space = {"learning_rate": RATE, "temperature": {"type": "float", "low": 2.0, "high": 5.0}}
    study = study_of([{"name": "kd"}, {"name": "dkd"}], space, method={"name": "kd"})
    assert set(space_of(study)) == {"learning_rate", "temperature"}, "alpha is left alone, as the study says"
    other = space_of(study, 1)
    assert set(other) == {"learning_rate", "target_weight", "other_weight", "temperature", "warmup"}
    assert other["temperature"] == study.search.space["temperature"], "what the study names, it names for all"


def test_where_no_method_is_named_the_space_is_of_none_in_particular() -> None:
    """Continuation KD, which a study has by default, keeps its usual dimensions as all others do."""
    start = {"type": "int", "low": 1, "high": 5}
    study = study_of(
        [{"name": "annealing"}, {"name": "continuation"}], {"learning_rate": RATE, "smoothing_start": start}
    )
    for place, method in enumerate((AnnealingKD(), ContinuationKD())):
        space = space_of(study, place)
        assert space.keys() == method_space(method, is_regression=False, is_binary=False).keys() | {"learning_rate"}
        assert space["smoothing_start"] == IntRange.model_validate(start)
    assert study.method == NoDistillation()
    assert "method" not in study.model_fields_set
    assert StudyConfig.model_validate(study.model_dump()) == study, "as it is when it goes on"


def test_schedules_of_the_studys_own_space_fit_into_a_run_of_steps() -> None:
    start = {"type": "int", "low": 1, "high": 40}
    method = {"name": "continuation", "granularity": "step", "smoothing_start": 2}
    study = study_of([method], {"smoothing_start": start}, method=method, training={"epochs": 1, "batch_size": 100})
    assert space_of(study, samples=1000)["smoothing_start"] == IntRange(type="int", low=1, high=10)
    assert space_of(study)["smoothing_start"] == IntRange.model_validate(start), "how many steps is not known yet"


def test_a_dimension_that_exists_under_other_methods_alone_is_left_out() -> None:
    space = {
        "method": {"type": "choice", "choices": ["kd", "dkd", "dist"]},
        "temperature": {"type": "float", "low": 2.0, "high": 5.0, "when": {"method": ["kd", "dkd"]}},
        "batch_size": {"type": "choice", "choices": [16, 32], "when": {"method": "dkd"}},
        "warmup": {"type": "float", "low": 0.0, "high": 0.5, "when": {"batch_size": 16}},
    }
    study = study_of([{"name": "kd"}, {"name": "dkd"}], space)
    assert set(space_of(study)) == {"temperature"}
    second = space_of(study, 1)
    assert {name: dict(dimension.when) for name, dimension in second.items()} == {
        "temperature": {},
        "batch_size": {},
        "warmup": {"batch_size": 16},
    }


def test_a_dimension_that_some_compared_method_uses_is_no_idle_one() -> None:
    """The study's own ramp has no power, and one that it compares has."""
    methods = [{"name": "kd"}, {"name": "continuation", "ramp_shape": "power", "granularity": "step"}]
    power = {"type": "float", "low": 1.5, "high": 4.0}
    study = study_of(methods, {"learning_rate": RATE, "ramp_power": power}, method={"name": "continuation"})
    assert comparison_mistakes(study) == []


def test_a_space_may_be_of_a_method_that_is_not_compared() -> None:
    weight = {"type": "float", "low": 0.5, "high": 2.0}
    study = study_of(
        [{"name": "kd"}, {"name": "dkd"}], {"learning_rate": RATE, "class_weight": weight}, method={"name": "dist"}
    )
    assert comparison_mistakes(study) == []


def test_a_temperature_that_softens_no_score_is_not_searched() -> None:
    assert set(method_space(HintonKD(), is_regression=True, is_binary=False)) == {"alpha"}


def test_a_peak_that_no_ramp_has_is_not_searched() -> None:
    assert "hard_loss_peak" not in method_space(ContinuationKD(ramp_shape="step"), is_regression=False, is_binary=False)


def test_a_schedule_that_is_frozen_is_not_searched() -> None:
    method = ContinuationKD(anneal_hard_loss=False, anneal_teacher=False, anneal_margin=False)
    assert set(method_space(method, is_regression=False, is_binary=False)) == {
        "soft_loss_weight",
        "margin_mode",
        "margin",
    }


@pytest.mark.parametrize(
    ("method", "idle"), [(DecoupledKD(), {"other_weight"}), (Dist(), {"sample_weight"}), (HintonKD(), set())]
)
def test_what_two_classes_cannot_tell_is_not_searched(method: MethodConfig, idle: set[str]) -> None:
    """Beside the right class there is one other, and two probabilities of a sample always correlate."""
    many, two = (set(method_space(method, is_regression=False, is_binary=binary)) for binary in (False, True))
    assert many - two == idle


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        (ContinuationKD(), "dead_zone"),
        (ContinuationKD(margin_mode="relative", margin=0.01), "relative"),
        (ContinuationKD(margin_mode="absolute", margin=5.0), "absolute"),
        (ContinuationKD(margin_mode="dead_zone", margin=0.5), "dead_zone"),
    ],
)
def test_a_margin_is_searched_in_the_methods_own_unit(method: ContinuationKD, mode: str) -> None:
    space = method_space(method, is_regression=False, is_binary=False)
    if method.margin:
        assert "margin_mode" not in space
        assert space["margin"].contains(method.margin)
    else:
        assert isinstance(space["margin_mode"], Choice)
        assert set(space["margin_mode"].choices) == {"none", mode}
        assert space["margin"].when == {"margin_mode": mode}
    study = study_of([method.model_dump() | {"granularity": "step"}])
    assert space_mistakes(arms_of(study)[0].study) == []


@pytest.mark.parametrize(
    ("method", "ends"),
    [
        (ContinuationKD(), (0.01, 0.99)),
        (ContinuationKD(margin_mode="dead_zone", margin=0.5), (0.01, 0.99)),
        (ContinuationKD(margin_mode="relative", margin=0.01, smoothing_start=20), (1e-3, 0.99 / 40)),
        (ContinuationKD(margin_mode="relative", margin=0.01, smoothing_start=50), (1e-3, 0.99 / 50)),
        (ContinuationKD(margin_mode="absolute", margin=5.0), (0.5, 50.0)),
    ],
)
def test_a_margin_is_searched_below_the_dead_zone_or_about_its_own_value(
    method: ContinuationKD, ends: tuple[float, float]
) -> None:
    assert method_space(method, is_regression=False, is_binary=False)["margin"].corners == pytest.approx(ends)


def test_a_weight_of_nothing_widens_no_logarithmic_range() -> None:
    space = method_space(DecoupledKD(target_weight=0.0, other_weight=32.0), is_regression=False, is_binary=False)
    assert space["target_weight"].corners == (0.3, 3.0)
    assert space["other_weight"].corners == (0.5, 32.0)


def test_a_range_that_begins_beyond_the_run_ends_with_it() -> None:
    start = {"smoothing_start": IntRange(type="int", low=8, high=40)}
    assert fitted(start, ContinuationKD(smoothing_start=2), 5)["smoothing_start"].corners == (5, 5)


@given(
    ticks=st.integers(1, 400),
    start=st.integers(1, 40),
    fraction=st.floats(0.25, 1.0),
    stage=st.floats(0.2, 0.9),
    name=st.sampled_from(["annealing", "continuation"]),
)
def test_no_point_of_a_fitted_space_has_a_schedule_beyond_the_run(
    ticks: int, start: int, fraction: float, stage: float, name: str
) -> None:
    values: dict[str, Any] = {"smoothing_start": start, "schedule_fraction": fraction}
    method = AnnealingKD(stage_fraction=stage, **values) if name == "annealing" else ContinuationKD(**values)
    if method.smoothing_start > method.smoothed_length(ticks):
        return  # the method's own values do not fit, which is refused elsewhere
    space = fitted(method_space(method, is_regression=False, is_binary=False), method, ticks)
    highest = space["smoothing_start"]
    shares = {key: space[key] for key in ("schedule_fraction", "stage_fraction") if key in space}
    assert isinstance(highest, IntRange)
    lows = {key: each.low for key, each in shares.items() if isinstance(each, FloatRange)}
    assert highest.high <= method.model_copy(update=lows).smoothed_length(ticks)
    assert all(space[key].contains(getattr(method, key)) for key in (*shares, "smoothing_start"))


def test_a_short_run_narrows_the_shares_only_as_far_as_it_must() -> None:
    """Thirty epochs, ten values of phi, half of the run in stage one: two thirds of fifteen epochs are ten."""
    method = AnnealingKD(smoothing_start=10)
    space = fitted(method_space(method, is_regression=False, is_binary=False), method, 30)
    assert space["smoothing_start"].corners == (1, 10)
    assert space["stage_fraction"].corners == (0.5, 0.8)
    assert space["schedule_fraction"].corners == (pytest.approx(2 / 3), 1.0)


def test_schedules_fit_into_the_steps_of_the_shortest_run() -> None:
    space = {"learning_rate": RATE, "epochs": {"type": "int", "low": 2, "high": 10}}
    study = study_of([{"name": "continuation", "granularity": "step", "smoothing_start": 4}], space)
    assert space_of(study)["smoothing_start"].corners == (1, 40), "steps are not known yet"
    assert space_of(study, samples=320)["smoothing_start"].corners == (1, 5), "a quarter of two epochs of ten steps"


@pytest.mark.parametrize(
    ("epochs", "mistake"),
    [
        ({"type": "float", "low": 5.0, "high": 10.0}, "at 6.592: Input should be a valid integer"),
        ({"type": "choice", "choices": ["few", "many"]}, "at few: Input should be a valid integer"),
    ],
)
def test_epochs_that_are_no_whole_numbers_are_a_mistake_of_the_space(epochs: dict[str, Any], mistake: str) -> None:
    study = study_of([{"name": "continuation", "smoothing_start": 3}], {"learning_rate": RATE, "epochs": epochs})
    arms_of(study)
    assert any(
        field == "search.space.epochs" and message.startswith(mistake) for field, message in comparison_mistakes(study)
    )


def test_methods_say_the_same_of_who_teaches_as_the_rules_do() -> None:
    taught = {name for name, config in METHOD_CONFIGS.items() if make_method(config()).taught_by == "assistant"}  # type: ignore[arg-type]
    assert taught == NEED_ASSISTANT
