from __future__ import annotations

from typing import Any

import pytest

from autockd.config.methods import METHOD_CONFIGS
from autockd.config.models import CifarResNet
from autockd.config.schema import StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import LrSchedule, TrainingConfig
from autockd.config.trial import trial_config
from autockd.distillation import compile_plan
from autockd.distillation.space_warnings import NOMINAL_STEPS
from autockd.errors import ConfigError
from autockd.report.preview import Preview, preview


def preview_of(name: str, epochs: int = 10, **settings: Any) -> Preview:
    study = StudyConfig(
        name="s",
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet()),
        method=METHOD_CONFIGS[name](**settings),  # type: ignore[arg-type]
        training=TrainingConfig(epochs=epochs, learning_rate=0.2, lr_schedule=LrSchedule(shape="step")),
    )
    return preview(study)


def test_the_papers_schedule_at_every_epoch() -> None:
    """Algorithm 1 with n = 10 and T_max = 5: T falls by 1 in epochs 2, 4, 6 and 8."""
    found = preview_of("continuation", smoothing_start=5, hard_loss_ramp=0.5, margin=0.1)
    assert (found.method, found.epochs) == ("continuation", 10)
    assert (found.epoch[0], found.epoch[-1], found.progress[0], found.progress[-1]) == (1, 10, 0, 1)
    columns = {name: values[99::100] for name, values in found.columns.items()}
    assert columns["smoothing"] == pytest.approx([0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1.0, 1.0, 1.0])
    assert columns["hard_weight"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1, 1, 1, 1, 1])
    assert columns["margin"] == pytest.approx([0.1 * phi for phi in columns["smoothing"]])
    assert columns["learning_rate"] == pytest.approx([0.2] * 5 + [0.02] * 2 + [0.002] * 3)


@pytest.mark.parametrize("granularity", ["epoch", "step"])
@pytest.mark.parametrize(
    ("name", "has_phi"), [("none", False), ("kd", False), ("annealing", True), ("continuation", 1)]
)
def test_every_method_has_a_row_for_each_step(name: str, has_phi: bool, granularity: str) -> None:
    found = preview_of(name, **({"smoothing_start": 4, "granularity": granularity} if has_phi else {}))
    assert {"hard_weight", "learning_rate"} <= found.columns.keys()
    assert ("smoothing" in found.columns) == has_phi
    assert all(len(column) == 10 * NOMINAL_STEPS for column in found.columns.values())


@pytest.mark.parametrize("samples", [320, 3201])
def test_what_it_shows_is_what_a_run_does(samples: int) -> None:
    """Whatever the size of the data set, the last step of every epoch has the coefficients that were shown."""
    settings = {"smoothing_start": 4, "margin": 0.05}
    found = preview_of("continuation", **settings)
    study = StudyConfig(
        name="s",
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet()),
        method=METHOD_CONFIGS["continuation"](**settings),  # type: ignore[arg-type]
        training=TrainingConfig(epochs=10, learning_rate=0.2),
    )
    plan = compile_plan(trial_config(study, {}), samples, 1.0)
    last = [epoch * plan.run.steps_per_epoch - 1 for epoch in range(1, 11)]
    for name, column in found.columns.items():
        assert column[99::100] == pytest.approx([plan.column(name)[step] for step in last]), name


def test_a_margin_in_the_dead_zone_is_noted() -> None:
    quiet = preview_of("continuation", smoothing_start=5, margin=0.19, hard_loss_ramp=1.0)
    assert [note.split(":")[0] for note in quiet.notes] == ["margin"]
    noted = preview_of("continuation", smoothing_start=5, margin=0.21, hard_loss_ramp=1.0)
    assert [note.split(":")[0] for note in noted.notes] == ["dead zone", "margin"]


def test_whether_an_absolute_margin_is_in_the_dead_zone_is_not_known_before_the_teacher() -> None:
    assert (
        preview_of("continuation", margin_mode="absolute", margin=0.3, smoothing_start=5, hard_loss_ramp=1.0).notes
        == ()
    )


def test_a_schedule_that_does_not_fit_into_the_run_is_a_mistake_of_the_study() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.smoothing_start: smoothing_start is 101, beyond .* 100 steps -> lower"
    ):
        preview_of("continuation", epochs=1, granularity="step", smoothing_start=101)


def test_a_teacher_that_is_never_seen_whole_is_noted() -> None:
    """Psi is 1 from epoch 8 on, where phi is 0.8: what phi does later does not matter."""
    found = preview_of("continuation", smoothing_start=5, hard_loss_ramp=0.8, margin=0.0)
    (note,) = found.notes
    assert "phi reaches only 0.80" in note
    assert preview_of("continuation", smoothing_start=5, hard_loss_ramp=0.8, schedule_fraction=0.6).notes == ()
    assert preview_of("annealing", smoothing_start=5).notes == ()
    assert preview_of("kd").notes == ()


@pytest.mark.parametrize(
    "settings", [{"anneal_hard_loss": False, "frozen_hard_loss": 1.0}, {"soft_loss_weight": 0.0}], ids=["psi", "weight"]
)
def test_a_teacher_that_is_never_used_is_noted_and_no_other_schedule_advised(settings: dict[str, Any]) -> None:
    (note,) = preview_of("continuation", smoothing_start=5, **settings).notes
    assert note.startswith("the soft loss never has a weight")
    assert note.endswith("the teacher is not used")
