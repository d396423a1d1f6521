"""METHOD.md has two columns of defaults: a study of texts has that for GLUE where its file says nothing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from autockd.config.comparison import comparison
from autockd.config.loading import parse_study
from autockd.config.methods import AnnealingKD, ContinuationKD
from autockd.config.models import Encoder
from autockd.config.saving import save_study
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Glue
from autockd.config.training import TrainingConfig
from autockd.config.trial import trial_config
from autockd.errors import ConfigError

TEXTS: dict[str, Any] = {
    "name": "texts",
    "task": {"source": "glue", "task": "rte", "path": "glue"},
    "teacher": {"model": {"family": "encoder", "path": "teacher"}},
    "student": {"model": {"family": "encoder", "layers": 2}},
}
SPACE = {"learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True}}
IMAGES: dict[str, Any] = {
    "name": "images",
    "task": {"source": "digits"},
    "teacher": {"model": {"family": "cifar_resnet", "depth": 20}},
    "student": {"model": {"family": "cifar_resnet", "depth": 8}},
}


def read(folder: Path, base: dict[str, Any], **sections: Any) -> StudyConfig:
    return parse_study(yaml.safe_dump(base | sections), "a study", folder)


def test_a_study_of_texts_has_the_papers_values_for_glue(tmp_path: Path) -> None:
    study = read(tmp_path, TEXTS)
    assert isinstance(study.method, ContinuationKD)
    assert (study.method.smoothing_start, study.method.schedule_fraction) == (10, 1.0)
    assert (study.method.hard_loss_ramp, study.method.hard_loss_peak) == (2 / 3, 0.5)
    assert study.method.soft_loss_weight == 1.0
    training = study.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (30, 64, 2e-5)
    assert (training.optimizer, training.lr_schedule.shape) == ("adamw", "linear")
    teacher = study.teacher.training
    assert (teacher.epochs, teacher.optimizer, teacher.learning_rate) == (3, "adamw", 2e-5)


def test_a_study_of_images_has_those_for_cifar(tmp_path: Path) -> None:
    study = read(tmp_path, IMAGES)
    assert isinstance(study.method, ContinuationKD)
    assert (study.method.smoothing_start, study.method.hard_loss_ramp, study.method.hard_loss_peak) == (20, 0.75, 1.0)
    assert (study.training.epochs, study.training.learning_rate, study.training.optimizer) == (200, 0.2, "sgd")


def test_what_a_file_says_stays(tmp_path: Path) -> None:
    method = {"name": "continuation", "hard_loss_peak": 0.9}
    training = {"learning_rate": 1e-4, "lr_schedule": {"shape": "cosine", "warmup": 0.1}}
    study = read(tmp_path, TEXTS, method=method, training=training)
    assert isinstance(study.method, ContinuationKD)
    assert (study.method.hard_loss_peak, study.method.smoothing_start) == (0.9, 10)
    assert (study.training.learning_rate, study.training.lr_schedule.shape) == (1e-4, "cosine")
    assert (study.training.epochs, study.training.batch_size) == (30, 64)


def test_another_optimizer_has_no_learning_rate_of_adamw(tmp_path: Path) -> None:
    training = read(tmp_path, TEXTS, training={"optimizer": "sgd", "weight_decay": 0.0}).training
    assert (training.epochs, training.learning_rate, training.max_grad_norm) == (30, 0.2, None)


def test_adamw_for_images_does_not_take_the_rate_of_sgd(tmp_path: Path) -> None:
    assert read(tmp_path, IMAGES, training={"optimizer": "adamw"}).training.learning_rate == 1e-3
    assert read(tmp_path, IMAGES, training={"optimizer": "adamw", "learning_rate": 0.01}).training.learning_rate == 0.01
    assert read(tmp_path, IMAGES, training={}).training.learning_rate == 0.2
    teacher = {"model": {"family": "cifar_resnet"}, "training": {"optimizer": "adamw"}}
    found = read(tmp_path, IMAGES, teacher=teacher).teacher.training
    assert (found.learning_rate, found.batch_size) == (1e-3, 128)


def test_a_recipe_without_a_rate_has_that_of_its_study() -> None:
    recipe = TrainingConfig(optimizer="adamw")
    assert recipe.learning_rate == 1e-3
    assert StudyConfig.model_validate(TEXTS | {"training": recipe}).training.learning_rate == 2e-5


def test_rivals_have_them_too(tmp_path: Path) -> None:
    search = {"baselines": [{"name": "annealing", "granularity": "step"}, {"name": "kd"}]}
    rival, kd = read(tmp_path, TEXTS, search=search).search.baselines
    assert isinstance(rival, AnnealingKD)
    assert (rival.smoothing_start, rival.granularity, kd.name) == (10, "step", "kd")
    (compared,) = read(tmp_path, TEXTS, compare=[{"name": "continuation"}]).compare
    assert isinstance(compared, ContinuationKD)
    assert (compared.smoothing_start, compared.hard_loss_peak) == (10, 0.5)


def test_a_searched_method_has_them_too(tmp_path: Path) -> None:
    methods = {"method": {"type": "choice", "choices": ["kd", "continuation"]}}
    for base, start in ((TEXTS, 10), (IMAGES, 20)):
        study = read(tmp_path, base, method={"name": "kd"}, search={"space": methods})
        found = trial_config(study, {"method": "continuation"}).method
        assert isinstance(found, ContinuationKD)
        assert found.smoothing_start == start


def test_they_are_written_out_with_the_study(tmp_path: Path) -> None:
    study = read(tmp_path, TEXTS)
    save_study(study, tmp_path / "study.yaml")
    written = yaml.safe_load((tmp_path / "study.yaml").read_text(encoding="utf-8"))
    assert written["method"]["smoothing_start"] == 10
    assert written["training"]["learning_rate"] == 2e-5
    assert parse_study((tmp_path / "study.yaml").read_text(encoding="utf-8"), "again", tmp_path) == study


@pytest.mark.parametrize("section", [{"method": "continuation"}, {"training": 3}, {"compare": {"name": "kd"}}])
def test_what_is_no_section_is_still_refused(section: dict[str, Any], tmp_path: Path) -> None:
    (field,) = section
    with pytest.raises(ConfigError, match=field):
        read(tmp_path, TEXTS, **section)


def test_a_part_of_the_schedule_keeps_the_rest_of_it(tmp_path: Path) -> None:
    schedule = read(tmp_path, TEXTS, training={"lr_schedule": {"warmup": 0.06}}).training.lr_schedule
    assert (schedule.shape, schedule.warmup) == ("linear", 0.06)


def test_what_was_filled_in_nobody_has_set(tmp_path: Path) -> None:
    """A comparison climbs a staircase that is too long step by step, unless the file asks for that staircase."""
    text = yaml.safe_dump(TEXTS | {"training": {"epochs": 3, "learning_rate": 1e-4}, "search": {"space": SPACE}})
    change = functools.partial(comparison, labels=["continuation"])
    (found,) = parse_study(text, "a study", tmp_path, change=change).compare
    assert isinstance(found, ContinuationKD)
    assert (found.smoothing_start, found.granularity) == (10, "step")


def test_a_comparison_of_another_method_than_its_own_has_them(tmp_path: Path) -> None:
    for base, start, peak in ((TEXTS, 10, 0.5), (IMAGES, 20, 1.0)):
        study = read(tmp_path, base, method={"name": "kd"})
        (found,) = comparison(study, ["continuation"]).compare
        assert isinstance(found, ContinuationKD)
        assert (found.smoothing_start, found.hard_loss_peak) == (start, peak)


def test_studies_made_in_python_have_them_too() -> None:
    encoder = Encoder(path="base")
    study = StudyConfig(
        name="made",
        task=Glue(source="glue", task="rte", path="glue"),
        teacher=TeacherConfig(model=encoder),
        student=StudentConfig(model=encoder),
        method=ContinuationKD(hard_loss_peak=0.9),
        training=TrainingConfig(epochs=3),
        search=SearchConfig(baselines=(AnnealingKD(),)),
    )
    assert isinstance(study.method, ContinuationKD)
    assert (study.method.hard_loss_peak, study.method.smoothing_start) == (0.9, 10)
    assert (study.training.epochs, study.training.optimizer, study.training.batch_size) == (3, "adamw", 64)
    assert (study.teacher.training.epochs, study.teacher.training.optimizer) == (3, "adamw")
    assert StudyConfig.model_validate(study) == study


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"epochs": 5}, (5, 32, "adamw", 2e-5)),
        ({"learning_rate": 1e-4, "batch_size": 128}, (3, 128, "adamw", 1e-4)),
        ({"optimizer": "sgd", "weight_decay": 0.0}, (3, 32, "sgd", 0.1)),
    ],
)
def test_a_teacher_of_texts_made_in_python_is_that_of_a_file(
    training: dict[str, Any], expected: tuple[object, ...], tmp_path: Path
) -> None:
    """What a teacher of images has where its recipe says nothing was said by nobody."""
    encoder = Encoder(path="teacher")
    made = StudyConfig.model_validate(
        TEXTS | {"teacher": TeacherConfig.model_validate({"model": encoder, "training": training, "seed": 7})}
    )
    told = read(tmp_path, TEXTS, teacher={**TEXTS["teacher"], "training": training, "seed": 7})
    assert made.teacher == told.teacher
    found = made.teacher.training
    assert (found.epochs, found.batch_size, found.optimizer, found.learning_rate) == expected


@pytest.mark.parametrize("training", [{"epochs": 5}, {}])
def test_a_teacher_of_images_keeps_what_a_part_of_its_recipe_leaves_out(
    training: dict[str, Any], tmp_path: Path
) -> None:
    found = read(tmp_path, IMAGES, teacher={**IMAGES["teacher"], "training": training}).teacher.training
    assert (found.learning_rate, found.batch_size) == (0.1, 128)
