"""Comparisons in study files and from `autockd compare`: what is refused, and what a study becomes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from autockd.cli.comparing import compared
from autockd.config.arms import arm_labels
from autockd.config.comparison import LABELS, USUAL, comparison
from autockd.config.loading import parse_study
from autockd.config.methods import AnnealingKD, ContinuationKD, Dist, HintonKD
from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError, UsageError

BASE = """
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
training: {epochs: 10}
search:
  space: {learning_rate: {type: float, low: 0.05, high: 0.5}}
"""
COMPARE = "compare: [{name: none}, {name: kd}, {name: annealing, smoothing_start: 2}]"
ASSISTANT = "assistant={model: {family: cifar_resnet, depth: 14}}"
SCORES = (
    "task={source: glue, path: data, task: stsb}",
    "teacher.model={family: encoder, path: base}",
    "student.model={family: encoder}",
    "training.learning_rate=0.1",
)

Change = Callable[[StudyConfig], StudyConfig]


def study(text: str = COMPARE, *overrides: str, change: Change | None = None) -> StudyConfig:
    return parse_study(f"{BASE}{text}", "s.yaml", Path("/studies"), overrides, change=change)


def problems(text: str, *overrides: str, change: Change | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        study(text, *overrides, change=change)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_comparison_is_read() -> None:
    assert arm_labels(study().compare) == ("none", "kd", "annealing")
    assert study().asked == 150


@pytest.mark.parametrize(
    ("override", "field", "message"),
    [
        ("search.baselines=[{name: none}, {name: kd}]", "search.baselines", "add what it names to compare"),
        ("search.enqueue=[{learning_rate: 0.1}]", "search.enqueue", "each compared method has its own"),
        ("compare=[{name: kd}, {name: none}, {name: kd}]", "compare.2", "is the same as compare.0"),
        ("search.space={}", "compare.0", "nothing to search for none; add a dimension"),
        ("compare=[{name: kd}, {name: annealing}]", "compare.1", "smoothing_start is 20, beyond the schedule of 5"),
        (
            "search.space.learning_rate={type: float, low: -1, high: 1}",
            "search.space.learning_rate",
            "(compare.0, none)",
        ),
        ("search.space.temperatur={type: float, low: 1, high: 2}", "search.space.temperatur", "did you mean"),
        ("compare=[{name: none}, {name: takd}]", "assistant", "is required, for takd learns from it"),
        (ASSISTANT, "assistant", "teaches nobody here"),
    ],
)
def test_what_a_comparison_leaves_no_room_for_is_refused(override: str, field: str, message: str) -> None:
    found = problems(COMPARE, override)
    assert list(found) == [field], found
    assert message in found[field]


def test_a_mistake_of_a_usual_dimension_names_the_method() -> None:
    """A share of the run that is fixed at a value so small that no schedule fits."""
    found = problems(
        "compare: [{name: kd, alpha: 0.5}, {name: continuation, smoothing_start: 1}]",
        "search.space.smoothing_start={type: choice, choices: [1, 8]}",
        "method={name: kd}",
    )
    assert found == {"search.space.smoothing_start": found["search.space.smoothing_start"]}
    assert "(compare.1, continuation)" in found["search.space.smoothing_start"]


def test_an_assistant_must_fit_the_task() -> None:
    found = problems("compare: [{name: none}, {name: takd}]", "assistant={model: {family: encoder, path: x}}")
    assert "takes texts, and this task is of images" in found["assistant.model.family"]


@pytest.mark.parametrize("where", ["search.baselines=[{name: takd}]", "method={name: takd}"])
def test_takd_outside_of_a_comparison_needs_its_assistant_too(where: str) -> None:
    assert "assistant" in problems("", "method={name: kd}", where)
    assert study("", "method={name: kd}", where, ASSISTANT).assistant is not None


def test_takd_may_be_one_of_the_methods_of_a_space() -> None:
    choice = "search.space.method={type: choice, choices: [kd, takd]}"
    assert "assistant" in problems("", choice, "method={name: kd}")
    assert study("", choice, "method={name: kd}", ASSISTANT).methods == ("kd", "takd")


def test_scores_allow_no_method_of_classes() -> None:
    found = problems("compare: [{name: none}, {name: dkd}, {name: kd, standardise_logits: true}]", *SCORES)
    assert "dkd compares classes" in found["compare.1"]
    assert "no deviation" in found["compare.2.standardise_logits"]


def test_all_that_fits_is_compared() -> None:
    assert arm_labels(study("", change=comparison).compare) == tuple(label for label in USUAL if label != "takd")
    with_assistant = study("", ASSISTANT, change=comparison)
    assert arm_labels(with_assistant.compare) == USUAL
    assert arm_labels(study("", *SCORES, change=comparison).compare) == ("none", "kd", "annealing", "continuation")


def test_a_comparison_that_stands_in_the_file_is_kept() -> None:
    assert comparison(study()) == study()
    picked = comparison(study(), ["annealing", "dist"]).compare
    assert picked[0] == study().compare[2], "the file's own values"
    assert arm_labels(picked) == ("annealing", "dist")


@pytest.mark.parametrize("label", LABELS)
def test_each_label_makes_the_method_of_this_label(label: str) -> None:
    change = functools.partial(comparison, labels=["none", label] if label != "none" else ["none"])
    assert label in arm_labels(study("", ASSISTANT, change=change).compare)


def test_an_unknown_label_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"'dk' is no method -> name some of none, kd, annealing, kd-std"):
        comparison(study(), ["none", "dk"])


@pytest.mark.parametrize("methods", ["", " , "])
def test_an_empty_list_of_methods_is_refused(methods: str) -> None:
    with pytest.raises(UsageError, match="--methods: names no method"):
        compared(methods, ())


def test_what_the_studys_own_method_says_holds_for_those_that_share_it() -> None:
    own = study("method: {name: continuation, smoothing_start: 6, granularity: epoch, reduction: sum}")
    annealing, continuation = comparison(own, ["annealing", "continuation"]).compare
    assert continuation == own.method
    assert isinstance(annealing, AnnealingKD)
    assert (annealing.smoothing_start, annealing.reduction) == (5, "sum"), "stage one has five epochs of the ten"


def test_without_a_schedule_of_its_own_a_short_study_climbs_step_by_step() -> None:
    own = study("method: {name: kd, temperature: 3.0}")
    kd, standardised, continuation = comparison(own, ["kd", "kd-std", "continuation"]).compare
    assert (kd, standardised) == (HintonKD(temperature=3.0), HintonKD(temperature=3.0, standardise_logits=True))
    assert continuation == ContinuationKD(granularity="step")


def test_baselines_points_and_an_assistant_without_use_go() -> None:
    extra = ("search.baselines=[{name: none}, {name: takd}]", "search.enqueue=[{learning_rate: 0.1}]", ASSISTANT)
    found = study("", *extra, change=functools.partial(comparison, labels=["none", "kd"]))
    assert (found.search.enqueue, found.assistant) == ((), None)
    assert [baseline.name for baseline in found.search.baselines] == ["none"]


@pytest.mark.parametrize(
    ("text", "overrides", "name"),
    [("", [], "s-compare"), ("", ["name=mine"], "mine"), (COMPARE, [], "s")],
)
def test_a_comparison_has_a_name_of_its_own(text: str, overrides: list[str], name: str) -> None:
    assert study(text, *overrides, change=compared(None, overrides)).name == name


def test_a_name_that_has_no_room_for_more_is_refused_while_another_can_be_chosen() -> None:
    """A study of a longer name than the rule allows could begin, and no command would open it again."""
    longest = f"name: {'a' * 92}"
    made = parse_study(BASE.replace("name: s", longest), "s.yaml", Path("/s"), change=compared(None, ()))
    assert len(made.name) == 100
    text = BASE.replace("name: s", f"{longest}a")
    with pytest.raises(
        ConfigError, match=r"name: would be 'a+-compare', and a name has up to 100 letters -> name the c"
    ):
        parse_study(text, "s.yaml", Path("/s"), change=compared(None, ()))
    named = ("name=mine",)
    assert parse_study(text, "s.yaml", Path("/s"), named, change=compared(None, named)).name == "mine"


@pytest.mark.parametrize(("task", "fits"), [("sst2", False), ("mnli", True)])
def test_two_classes_are_not_compared_by_standardised_logits(task: str, fits: bool) -> None:
    glue = (f"task={{source: glue, path: data, task: {task}}}", *SCORES[1:])
    labels = arm_labels(study("", *glue, change=comparison).compare)
    assert ("kd-std" in labels) == fits
    assert {"none", "kd", "dkd", "dist", "annealing", "continuation"} <= set(labels)


def test_defaults_of_the_studys_own_method_are_no_values_of_others() -> None:
    kd, standardised, dist = comparison(study("method: {name: kd}"), ["kd", "kd-std", "dist"]).compare
    assert (kd, standardised, dist) == (HintonKD(), HintonKD(temperature=2.0, standardise_logits=True), Dist())
