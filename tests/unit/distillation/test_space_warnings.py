"""A search space that reaches into the dead zone is warned about, one that cannot is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config import StudyConfig, load_study, parse_study
from autockd.config.arms import arms_of
from autockd.distillation.space_warnings import space_warnings

STUDY = """\
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
method: {name: continuation, smoothing_start: 10, granularity: step}
training: {epochs: 20}
"""
MARGIN = "margin: {type: float, low: 0.01, high: %s}"
START = "smoothing_start: {type: int, low: 1, high: %s}"
SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def study_of(*dimensions: str, method: str = "") -> StudyConfig:
    space = f"search.space={{{', '.join(dimensions)}}}"
    return parse_study(STUDY, "study.yaml", Path.cwd(), [space, *([f"method={{{method}}}"] if method else [])])


@pytest.mark.parametrize(
    ("margin", "start", "is_warned"), [(0.09, 10, False), (0.11, 10, True), (0.09, 20, True), (0.049, 20, False)]
)
def test_the_largest_margin_at_the_largest_start_decides(margin: float, start: int, is_warned: bool) -> None:
    """A relative margin is dead from 1 / T_max on, whatever E[z_T^2] is."""
    settings = "name: continuation, smoothing_start: 5, granularity: step, margin: 0.01"
    study = study_of(MARGIN % margin, START % start, method=settings)
    for second_moment in (1.0, 7.0):
        assert bool(space_warnings(study, second_moment)) == is_warned


def test_the_warning_says_where_and_what_to_do() -> None:
    (text,) = space_warnings(
        study_of(
            MARGIN % 0.5, START % 20, method="name: continuation, smoothing_start: 5, granularity: step, margin: 0.01"
        ),
        8.0,
    )
    assert text.startswith("search.space reaches into the dead zone, at margin 0.5, smoothing_start 20: the margin (4)")
    assert "lower `margin` or use margin_mode: dead_zone" in text


def test_an_absolute_margin_depends_on_the_teacher() -> None:
    study = study_of(MARGIN % 0.5, method="name: continuation, smoothing_start: 10, margin: 0.1, margin_mode: absolute")
    assert space_warnings(study, 4.0)
    assert not space_warnings(study, 6.0)


def test_every_choice_of_the_unit_is_looked_at() -> None:
    dimensions = ["margin_mode: {type: choice, choices: [none, dead_zone%s]}", f"{MARGIN % 0.99}"]
    conditional = dimensions[1].replace("}", ", when: {margin_mode: [dead_zone%s]}}")
    method = "name: continuation, smoothing_start: 10, margin_mode: none"
    assert not space_warnings(study_of(dimensions[0] % "", conditional % "", method=method), 1.0)
    (text,) = space_warnings(study_of(dimensions[0] % ", relative", conditional % ", relative", method=method), 1.0)
    assert "margin_mode relative" in text


def test_every_choice_of_the_reduction_is_looked_at() -> None:
    """Of a sum over classes nothing is known, and the space has the mean too."""
    method = "name: continuation, smoothing_start: 10, margin: 0.05, reduction: sum"
    reduction = "reduction: {type: choice, choices: [%s]}"
    assert not space_warnings(study_of(MARGIN % 0.5, reduction % "sum", method=method), 1.0)
    (text,) = space_warnings(study_of(MARGIN % 0.5, reduction % "sum, mean", method=method), 1.0)
    assert "reduction mean" in text


def test_a_margin_outside_of_the_space_meets_a_start_within_it() -> None:
    study = study_of(START % 40, method="name: continuation, smoothing_start: 5, granularity: step, margin: 0.05")
    assert space_warnings(study, 1.0)


def test_other_methods_and_spaces_have_no_dead_zone() -> None:
    assert not space_warnings(study_of("learning_rate: {type: float, low: 0.01, high: 0.3}"), 1.0)
    method = "method: {type: choice, choices: [kd, annealing]}"
    study = study_of(method, START % 5, method="name: annealing, smoothing_start: 5, granularity: step")
    assert not space_warnings(study, 1.0)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_the_shipped_spaces_stay_out_of_it(path: Path) -> None:
    for arm in arms_of(load_study(path)):
        assert space_warnings(arm.study, 1.0) == ()
