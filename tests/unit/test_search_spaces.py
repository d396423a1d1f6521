"""The shipped search spaces: each is valid, documents itself, and starts with the trial that it promises."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from autockd.config import StudyConfig, load_study, trial_config
from autockd.config.arms import arm_labels, arms_of
from autockd.config.comparison import USUAL
from autockd.config.method_spaces import fitted, method_space
from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet, Encoder
from autockd.config.objective_rules import architecture_points
from autockd.config.schema import FinalistsConfig
from autockd.config.space import AnyDimension, Choice, FloatRange, IntRange
from autockd.config.tasks import Augmentation, Glue, HuggingFace, Torchvision
from autockd.config.training import LrSchedule, TrainingConfig
from autockd.config.trial import default_params
from autockd.data import load_task

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))
COMPARISONS = ("compare_methods_digits",)
NAME = re.compile(r"resnet(?P<student>\d+)_from_resnet(?P<teacher>\d+)_[a-z0-9_]+")
CIFAR = {10: "resnet8_from_resnet110_cifar10", 100: "resnet8_from_resnet110_cifar100"}
DEMO = "resnet8_from_resnet20_digits"
FRONT = "small_resnet_from_resnet20_digits"
GLUE = {
    "glue_distilroberta_from_roberta_large": ("distilbert/distilroberta-base", "FacebookAI/roberta-large"),
    "glue_bert_small_from_bert_large": ("google/bert_uncased_L-4_H-512_A-8", "google-bert/bert-large-uncased"),
}
MINILM = {f"minilm3_from_minilm6_{task}": task for task in ("rte", "cola", "mrpc", "stsb", "sst2")}
CPU_SIZED = ("resnet8_from_resnet56_cifar10_jpeg", "resnet8_from_resnet20_fashion_mnist")

RANGES: dict[str, tuple[float, float, bool]] = {
    "smoothing_start": (1, 40, True),
    "schedule_fraction": (0.25, 1, False),
    "hard_loss_ramp": (0.3, 1, False),
    "hard_loss_peak": (0.2, 1, False),
    "soft_loss_weight": (0.1, 10, True),
    "margin": (0.01, 0.99, True),
}
"""Low, high and whether logarithmic, of every dimension that all spaces share."""

LEARNING_RATES: dict[str, tuple[float, float, bool]] = {
    "resnet": (0.01, 0.3, True),
    "small_resnet": (0.01, 0.3, True),
    "glue": (5e-6, 1e-4, True),
    "minilm3": (2e-5, 5e-4, True),  # a student of 30 MB bears more than one of 300
}
"""That of the learning rate, by how a file's name begins."""

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
each_search = pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem not in COMPARISONS], ids=lambda file: file.stem
)


@functools.cache
def loaded(file: Path, *, smoke: bool) -> StudyConfig:
    return load_study(file, smoke=smoke)


def study(name: str, *, smoke: bool = False) -> StudyConfig:
    return loaded(FOLDER / f"{name}.yaml", smoke=smoke)


def test_these_are_shipped() -> None:
    assert {file.stem for file in FILES} == {DEMO, FRONT, *CIFAR.values(), *CPU_SIZED, *GLUE, *MINILM, *COMPARISONS}


@each_file
def test_a_file_opens_with_what_it_is_how_long_it_takes_and_its_command(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    opening = [line for line in lines[: lines.index("")] if line.startswith("#")]
    assert len(opening[0]) > 40
    entries = {words[1]: words[2:] for line in opening if len(words := line.split()) > 2}
    assert entries["reproduces"]
    assert entries["time"]
    assert entries["command"][:3] == ["autockd", "run", file.stem]


@pytest.mark.parametrize("name", [DEMO, *CIFAR.values(), *CPU_SIZED])
def test_a_files_name_says_its_nets(name: str) -> None:
    found = NAME.fullmatch(name)
    assert found is not None
    config = study(name)
    nets = (config.student.model, config.teacher.model)
    assert all(isinstance(net, CifarResNet) for net in nets)
    assert [str(getattr(net, "depth", None)) for net in nets] == [found["student"], found["teacher"]]


@pytest.mark.parametrize("name", GLUE)
def test_the_glue_studies_begin_with_the_papers_preset(name: str) -> None:
    config = study(name)
    paths = tuple(getattr(net, "path", None) for net in (config.student.model, config.teacher.model))
    assert paths == GLUE[name]
    trial = trial_config(config, default_params(config))
    assert (trial.training.epochs, trial.training.batch_size, trial.training.learning_rate) == (30, 64, 2e-5)
    assert trial.method == ContinuationKD(
        smoothing_start=10,
        schedule_fraction=1.0,
        hard_loss_ramp=2 / 3,
        hard_loss_peak=0.5,
        soft_loss_weight=1.0,
        margin=0.0,
        margin_mode="none",
        smoothing_shape="step",
        ramp_shape="linear",
        granularity="epoch",
        reduction="mean",
        hinge="sample",
    )


@pytest.mark.parametrize("name", MINILM)
def test_the_minilm_studies_cut_the_student_from_the_teacher(name: str) -> None:
    config = study(name)
    assert isinstance(config.task, Glue)
    assert (config.task.task, config.name) == (MINILM[name], f"minilm-{MINILM[name]}")
    assert config.student.model == Encoder(layers=(0, 2, 5))
    assert {baseline.name for baseline in config.search.baselines} == {"none", "kd", "annealing"}


@each_file
def test_a_smoke_run_is_the_same_study_made_small(file: Path) -> None:
    whole, smoke = loaded(file, smoke=False), loaded(file, smoke=True)
    assert smoke.name == f"{whole.name}-smoke"
    assert smoke.search.space == whole.search.space
    assert smoke.training.epochs <= 2
    assert smoke.teacher.training.epochs <= 2
    baselines = () if smoke.compare else smoke.search.baselines
    assert smoke.search.trials <= len(baselines) + 4
    assert smoke.search.trials > len(baselines) + (not smoke.compare), "a trial must be sampled too"


@each_search
def test_the_first_trial_is_the_files_own_point(file: Path) -> None:
    config = loaded(file, smoke=False)
    point = default_params(config)
    assert config.search.enqueue_defaults
    assert trial_config(config, point) == trial_config(config, {})
    assert all(config.search.space[name].contains(value) for name, value in point.items())
    assert set(point) == {name for name, dimension in config.search.space.items() if dimension.is_active(point)}


@each_search
def test_the_ranges_are_those_of_the_method(file: Path) -> None:
    space = loaded(file, smoke=False).search.space
    rate = next(values for start, values in LEARNING_RATES.items() if file.stem.startswith(start))
    for name, (low, high, log) in {**RANGES, "learning_rate": rate}.items():
        found = ends(space[name])
        if file.stem in (DEMO, FRONT, *GLUE):
            assert low <= found[0] < found[1] <= high, "two minutes, or thirty epochs, may be spent on a part"
        else:
            assert found == (low, high, log), name
    assert isinstance(space["margin_mode"], Choice)
    assert set(space["margin_mode"].choices) == {"none", "dead_zone"}
    assert space["margin"].when == {"margin_mode": "dead_zone"}


def ends(dimension: AnyDimension) -> tuple[float, float, bool]:
    assert isinstance(dimension, FloatRange | IntRange)
    return dimension.low, dimension.high, dimension.log


@pytest.mark.parametrize("classes", CIFAR)
def test_the_cifar_studies_begin_with_the_papers_preset(classes: int) -> None:
    config = study(CIFAR[classes])
    trial = trial_config(config, default_params(config))
    assert trial.student == CifarResNet(depth=8, width=16, shortcut="A")
    assert trial.method == ContinuationKD(
        smoothing_start=20,
        schedule_fraction=1.0,
        hard_loss_ramp=0.75,
        hard_loss_peak=1.0,
        soft_loss_weight=1.0,
        margin=0.0,
        margin_mode="none",
        smoothing_shape="step",
        ramp_shape="linear",
        granularity="epoch",
        reduction="mean",
        hinge="sample",
    )
    assert trial.training == TrainingConfig(
        epochs=200,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.2,
        momentum=0.9,
        weight_decay=1e-4,
        lr_schedule=LrSchedule(shape="step", milestones=(0.5, 0.75), factor=0.1),
    )


@pytest.mark.parametrize("classes", CIFAR)
def test_the_cifar_studies_have_the_papers_pair_data_and_rivals(classes: int) -> None:
    config = study(CIFAR[classes])
    assert isinstance(config.task, Torchvision)
    assert (config.task.dataset, config.task.limit_train) == (f"CIFAR{classes}", None)
    assert config.task.augmentation == Augmentation(crop_padding=4, flip=True)
    assert config.teacher.model == CifarResNet(depth=110, width=16)
    recipe = config.teacher.training
    assert (recipe.batch_size, recipe.learning_rate, recipe.lr_schedule.warmup > 0) == (128, 0.1, True)
    assert [baseline.name for baseline in config.search.baselines] == ["none", "kd", "annealing"]


@pytest.mark.parametrize("name", CPU_SIZED)
def test_studies_for_a_cpu_are_real_studies(name: str) -> None:
    config = study(name)
    assert isinstance(config.task, Torchvision | HuggingFace)
    assert config.task.limit_train is not None
    assert config.task.limit_train * (1 - config.task.validation_fraction) >= 10_000
    assert config.training.epochs >= 10
    assert config.search.trials >= 8


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("smoke", [False, True])
def test_a_comparison_searches_every_method_with_its_usual_dimensions(name: str, smoke: bool) -> None:
    config = study(name, smoke=smoke)
    assert arm_labels(config.compare) == USUAL
    assert config.assistant is not None
    assert config.teacher.training == config.assistant.training
    assert config.finalists == FinalistsConfig(seeds=1 if smoke else 3, top=1)
    task, _ = load_task(config.task)
    for arm in arms_of(config, len(task.train)):
        own = set(arm.study.search.space) - {"learning_rate"}
        assert own == set(method_space(arm.study.method, is_regression=False, is_binary=False))
        steps = -(-len(task.train) // config.training.batch_size) * config.training.epochs
        assert fitted(arm.study.search.space, arm.study.method, steps) == arm.study.search.space


def test_the_front_is_searched_over_nine_students() -> None:
    config = study(FRONT)
    assert config.search.objectives == ("latency_ms", "parameters")
    points = architecture_points(config, 9)
    assert points is not None
    assert len(points) == 9
    largest = trial_config(config, {"student_depth": 20, "student_width": 16}).student
    assert largest == config.teacher.model, "up to the teacher itself"
