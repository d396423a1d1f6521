"""TrialConfig: from a point of the space to all that decides a trial's mathematics."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from autockd.config import StudyConfig, TrialConfig, baseline_config, trial_config
from autockd.config.methods import AnnealingKD, ContinuationKD, HintonKD, NoDistillation
from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.config.trial import conditioned_space, default_params, largest_training


def study(space: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    data: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "task": {"source": "digits"},
        "teacher": {"model": {"family": "cifar_resnet", "depth": 20}},
        "student": {"model": {"family": "cifar_resnet", "depth": 14, "width": 4}},
        "method": {"name": "continuation", "smoothing_start": 5, "margin": 0.01},
        "training": {"epochs": 40, "batch_size": 8},
        "search": {"space": space or {}},
    }
    return StudyConfig.model_validate(data | changes)


ALL_METHODS = {"type": "choice", "choices": ["none", "kd", "annealing", "continuation"]}


def test_an_empty_point_is_the_study_itself() -> None:
    trial = trial_config(study(), {})
    assert trial.method == ContinuationKD(smoothing_start=5, margin=0.01)
    assert (trial.training.epochs, trial.student, trial.seed) == (40, CifarResNet(depth=14, width=4), 3)


def test_each_name_goes_to_its_place_and_the_rest_stays() -> None:
    point = {"learning_rate": 0.05, "epochs": 30, "student_depth": 8, "student_width": 16, "hard_loss_ramp": 0.5}
    trial = trial_config(study(), point)
    assert (trial.training.learning_rate, trial.training.epochs, trial.training.batch_size) == (0.05, 30, 8)
    assert trial.student == CifarResNet(depth=8, width=16)
    assert trial.method == ContinuationKD(smoothing_start=5, margin=0.01, hard_loss_ramp=0.5)


def test_another_method_starts_from_its_own_defaults() -> None:
    assert trial_config(study(), {"method": "kd", "temperature": 2.0}).method == HintonKD(temperature=2.0)
    assert trial_config(study(), {"method": "none"}).method == NoDistillation()


@pytest.mark.parametrize(
    ("point", "location"),
    [
        ({"method": "kd", "margin": 0.1}, "method"),
        ({"learning_rate": -1.0}, "training"),
        ({"student_depth": 9}, "student"),
        ({"smoothing_start": 41}, "method, training"),
    ],
)
def test_a_point_that_breaks_a_rule_says_where(point: dict[str, object], location: str) -> None:
    with pytest.raises(ValidationError) as caught:
        trial_config(study(), point)
    place = caught.value.errors()[0]["loc"][:1]
    assert (str(place[0]) if place else "method, training") == location, "of both, where they do not go together"


@pytest.mark.parametrize(
    ("method", "epochs", "fits"),
    [
        (ContinuationKD(smoothing_start=20), 20, True),
        (ContinuationKD(smoothing_start=20), 19, False),
        (ContinuationKD(smoothing_start=20, schedule_fraction=0.5), 40, True),
        (ContinuationKD(smoothing_start=20, schedule_fraction=0.5), 39, False),
        (ContinuationKD(smoothing_start=20, smoothing_shape="linear"), 2, True),
        (ContinuationKD(smoothing_start=20, granularity="step"), 2, True),
        (AnnealingKD(smoothing_start=20), 40, True),
        (AnnealingKD(smoothing_start=20), 39, False),
    ],
)
def test_a_schedule_by_epochs_must_fit_the_run(method: Any, epochs: int, fits: bool) -> None:
    def build() -> TrialConfig:
        return TrialConfig(method=method, training=TrainingConfig(epochs=epochs), student=CifarResNet(), seed=0)

    if fits:
        assert build().training.epochs == epochs
        return
    with pytest.raises(ValidationError, match="smoothing_start is 20, beyond the schedule of 19 epochs"):
        build()


def test_a_baseline_is_the_study_with_another_method() -> None:
    baseline, own = baseline_config(study(), HintonKD(alpha=0.5)), trial_config(study(), {})
    assert baseline.method == HintonKD(alpha=0.5)
    assert (baseline.training, baseline.student, baseline.seed) == (own.training, own.student, own.seed)


def test_the_largest_training_is_of_the_largest_student_and_batch_that_may_be_proposed() -> None:
    space = {
        "batch_size": {"type": "choice", "choices": [16, 64, 32]},
        "student_width": {"type": "int", "low": 2, "high": 9, "step": 2},
        "learning_rate": {"type": "float", "low": 0.1, "high": 1.0},
        "method": ALL_METHODS,
    }
    assert largest_training(study(space)) == (
        CifarResNet(depth=14, width=8),
        TrainingConfig(epochs=40, batch_size=64),
    )
    assert largest_training(study()) == (study().student.model, study().training)


def test_default_params_are_the_studys_values_at_the_dimensions_alone() -> None:
    space = {
        "learning_rate": {"type": "float", "low": 0.01, "high": 0.3},
        "student_depth": {"type": "int", "low": 8, "high": 20, "step": 6},
        "smoothing_start": {"type": "int", "low": 1, "high": 40},
    }
    params = default_params(study(space))
    assert params == {"learning_rate": 0.2, "student_depth": 14, "smoothing_start": 5}
    assert trial_config(study(space), params) == trial_config(study(space), {})


def test_default_params_leave_out_what_the_studys_method_does_not_have() -> None:
    space = {
        "method": ALL_METHODS,
        "temperature": {"type": "float", "low": 1, "high": 10},
        "smoothing_start": {"type": "int", "low": 1, "high": 20},
        "ramp_power": {"type": "float", "low": 1, "high": 3, "when": {"ramp_shape": "power"}},
        "ramp_shape": {"type": "choice", "choices": ["linear", "power"]},
    }
    assert default_params(study(space)) == {"method": "continuation", "smoothing_start": 5, "ramp_shape": "linear"}
    kd = default_params(study(space, method={"name": "kd", "temperature": 3.0}))
    assert kd == {"method": "kd", "temperature": 3.0}


def test_a_methods_field_exists_only_under_methods_that_have_it() -> None:
    space = conditioned_space(
        study(
            {
                "method": ALL_METHODS,
                "temperature": {"type": "float", "low": 1, "high": 10},
                "smoothing_start": {"type": "int", "low": 1, "high": 20},
                "learning_rate": {"type": "float", "low": 0.01, "high": 0.3},
                "margin": {"type": "float", "low": 0, "high": 1, "when": {"hinge": "sample"}},
                "hinge": {"type": "choice", "choices": ["sample", "batch"]},
            }
        )
    )
    assert space["temperature"].when == {"method": ("kd",)}
    assert space["smoothing_start"].when == {"method": ("annealing", "continuation")}
    assert space["learning_rate"].when == {}
    assert space["margin"].when == {"hinge": "sample", "method": ("continuation",)}


def test_a_single_method_needs_no_condition() -> None:
    space = conditioned_space(study({"smoothing_start": {"type": "int", "low": 1, "high": 20}}))
    assert space["smoothing_start"].when == {}


def test_a_field_that_all_methods_of_the_space_have_needs_no_condition() -> None:
    two = {"type": "choice", "choices": ["annealing", "continuation"]}
    space = conditioned_space(study({"method": two, "smoothing_start": {"type": "int", "low": 1, "high": 20}}))
    assert space["smoothing_start"].when == {}


def test_a_condition_on_the_method_that_the_user_wrote_stays() -> None:
    space = conditioned_space(
        study(
            {
                "method": ALL_METHODS,
                "smoothing_start": {"type": "int", "low": 1, "high": 20, "when": {"method": "continuation"}},
            }
        )
    )
    assert space["smoothing_start"].when == {"method": "continuation"}


def test_a_fingerprint_is_that_of_the_mathematics() -> None:
    own = trial_config(study(), {})
    assert own.fingerprint == trial_config(study(name="other", note="x"), {"learning_rate": 0.2}).fingerprint
    changes = [{"learning_rate": 0.1}, {"margin": 0.02}, {"student_width": 5}, {"method": "kd"}]
    prints = {own.fingerprint, *(trial_config(study(), change).fingerprint for change in changes)}
    assert len(prints) == 5
    assert trial_config(study(seed=4), {}).fingerprint not in prints


def test_a_trial_survives_json() -> None:
    trial = trial_config(study(), {"student_width": 8})
    assert TrialConfig.model_validate_json(trial.model_dump_json()) == trial


def test_methods_of_a_study_are_those_that_it_may_propose() -> None:
    assert study().methods == ("continuation",)
    assert study({"method": {"type": "choice", "choices": ["kd", "none"]}}).methods == ("kd", "none")
