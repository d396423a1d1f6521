"""The search space: dimensions, conditions, and the rules that need the whole study."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from autockd.config import StudyConfig, parse_study
from autockd.config.space import AnyDimension, Choice, FloatRange, IntRange, Space, active_params, ordered
from autockd.config.space_rules import known_dimensions
from autockd.errors import ConfigError

SPACES: TypeAdapter[Space] = TypeAdapter(Space)

BASE = """\
name: tiny
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
"""


KD = "method: {name: kd}\n"


def study(space: str, extra: str = "", base: str = BASE) -> StudyConfig:
    """A study whose space is `space`, lines of `name: {...}`; they start on line 7."""
    indented = "".join(f"    {line}\n" for line in space.splitlines())
    return parse_study(f"{base}search:\n  space:\n{indented}{extra}", "study.yaml", Path("/studies"))


def mistakes(space: str, extra: str = "", base: str = BASE) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        study(space, extra, base)
    return [(problem.field, f"{problem.message} {problem.remedy}") for problem in caught.value.problems]


def mistake(space: str, extra: str = "", base: str = BASE) -> tuple[str, str]:
    found = mistakes(space, extra, base)
    assert len(found) == 1, found
    return found[0]


# -- dimensions


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"type": "float", "low": 1.0, "high": 0.1}, "low is 1 and high is 0.1; swap them"),
        ({"type": "int", "low": 5, "high": 4}, "low is 5 and high is 4; swap them"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "must start above 0, but low is 0"),
        ({"type": "int", "low": 1, "high": 8, "log": True, "step": 2}, "either log or step"),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.0}, "greater than 0"),
        ({"type": "choice", "choices": []}, "at least 1 item"),
        ({"type": "choice", "choices": ["a", "a"]}, "choices must differ"),
        ({"type": "range", "low": 0}, "does not match any of the expected tags"),
        ({"type": "float", "low": 0.0, "high": 1.0, "choices": [1]}, "Extra inputs"),
        ({"type": "int", "low": 0.5, "high": 2}, "valid integer"),
        ({"type": "float", "low": 0.0, "high": float("inf")}, "finite"),
    ],
)
def test_a_dimension_that_cannot_be_searched_is_refused(dimension: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SPACES.validate_python({"x": dimension})


def test_one_and_true_are_different_choices() -> None:
    choice = Choice(type="choice", choices=(1, True, 1.0, "1"))
    assert [type(value) for value in choice.choices] == [int, bool, float, str]
    assert choice.contains(True)
    assert not Choice(type="choice", choices=(1,)).contains(True)
    assert not Choice(type="choice", choices=(1,)).contains(1.0)


@pytest.mark.parametrize(
    ("value", "inside"), [(0.1, True), (0.3, True), (0.25, False), (0.55, False), (True, False), ("0.1", False)]
)
def test_a_grid_of_floats_contains_its_points(value: object, inside: bool) -> None:
    assert FloatRange(type="float", low=0.1, high=0.5, step=0.1).contains(value) is inside


@pytest.mark.parametrize(
    ("value", "inside"), [(8, True), (14, True), (20, True), (10, False), (26, False), (8.0, False)]
)
def test_a_grid_of_ints_contains_its_points(value: object, inside: bool) -> None:
    assert IntRange(type="int", low=8, high=23, step=6).contains(value) is inside


def test_the_upper_corner_lies_on_the_grid() -> None:
    assert IntRange(type="int", low=8, high=23, step=6).corners == (8, 20)
    assert IntRange(type="int", low=1, high=4).corners == (1, 4)


@given(st.integers(-50, 50), st.integers(0, 100), st.integers(1, 20))
def test_corners_of_an_int_range_can_be_proposed(low: int, width: int, step: int) -> None:
    dimension = IntRange(type="int", low=low, high=low + width, step=step)
    assert all(dimension.contains(corner) for corner in dimension.corners)


# -- conditions


def conditional() -> Space:
    return SPACES.validate_python(
        {
            "power": {"type": "float", "low": 1, "high": 3, "when": {"shape": "power"}},
            "shape": {"type": "choice", "choices": ["linear", "power"], "when": {"method": ["a", "b"]}},
            "method": {"type": "choice", "choices": ["a", "b", "c"]},
        }
    )


def test_conditions_come_after_what_they_name() -> None:
    assert [name for name, _ in ordered(conditional())] == ["method", "shape", "power"]


@pytest.mark.parametrize(
    ("values", "active"),
    [
        ({"method": "a", "shape": "power", "power": 2.0}, ["method", "shape", "power"]),
        ({"method": "b", "shape": "linear", "power": 2.0}, ["method", "shape"]),
        ({"method": "c", "shape": "power", "power": 2.0}, ["method"]),
        ({"shape": "power", "power": 2.0}, []),
        ({"method": "a", "unknown": 1}, ["method"]),
    ],
)
def test_only_dimensions_whose_conditions_hold_are_active(values: dict[str, object], active: list[str]) -> None:
    assert list(active_params(conditional(), values)) == active


def test_conditions_in_a_circle_are_refused() -> None:
    circle = {
        "a": {"type": "choice", "choices": [1, 2], "when": {"b": 1}},
        "b": {"type": "choice", "choices": [1, 2], "when": {"a": 1}},
        "free": {"type": "int", "low": 0, "high": 1},
    }
    with pytest.raises(ValueError, match=r"circle: a, b$"):
        list(ordered(SPACES.validate_python(circle)))


def test_a_circle_in_a_study_file_is_a_mistake() -> None:
    field, message = mistake(
        "hinge: {type: choice, choices: [sample, batch], when: {reduction: mean}}\n"
        "reduction: {type: choice, choices: [mean, sum], when: {hinge: sample}}"
    )
    assert field == "search.space"
    assert "circle: hinge, reduction" in message


def test_a_condition_on_an_unknown_dimension_is_named_where_it_stands() -> None:
    field, message = mistake(
        "hinge: {type: choice, choices: [sample, batch]}\nmargin: {type: float, low: 0, high: 1, when: {hing: sample}}"
    )
    assert field.startswith("search.space.margin")
    assert "'hing', which is not a dimension" in message


def test_a_condition_that_can_never_hold_is_a_mistake() -> None:
    """The dimension would be ignored without a word."""
    field, message = mistake(
        "hinge: {type: choice, choices: [sample]}\nmargin: {type: float, low: 0, high: 1, when: {hinge: batch}}"
    )
    assert field.startswith("search.space.margin")
    assert "batch" in message


def test_a_misspelt_condition_value_is_a_mistake() -> None:
    found = mistakes(
        "hinge: {type: choice, choices: [sample, batch]}\nmargin: {type: float, low: 0, high: 1, when: {hinge: bach}}"
    )
    assert {field for field, _ in found} == {"search.space.margin"}


# -- the whole study


def test_a_space_over_everything_is_accepted() -> None:
    accepted = study(
        "method: {type: choice, choices: [none, kd, annealing, continuation]}\n"
        "learning_rate: {type: float, low: 0.01, high: 0.3, log: true}\n"
        "student_depth: {type: int, low: 8, high: 20, step: 6}\n"
        "student_width: {type: choice, choices: [4, 8, 16]}\n"
        "temperature: {type: float, low: 1, high: 10}\n"
        "smoothing_start: {type: int, low: 1, high: 40, log: true}\n"
        "margin: {type: float, low: 0, high: 0.05}\n"
        "ramp_shape: {type: choice, choices: [linear, power]}\n"
        "ramp_power: {type: float, low: 0.5, high: 3, when: {ramp_shape: power}}"
    )
    assert len(accepted.search.space) == 9


def test_known_dimensions_follow_the_methods_and_the_student() -> None:
    everything = study("method: {type: choice, choices: [kd, continuation]}")
    assert {"temperature", "margin", "student_depth", "learning_rate"} <= set(known_dimensions(everything))
    assert not {"stage_fraction", "name"} & set(known_dimensions(everything))
    torchvision = parse_study(BASE.replace("{family: cifar_resnet, depth: 8}", "{family: torchvision}"), "s", Path("/"))
    assert "student_depth" not in known_dimensions(torchvision)


def test_an_unknown_dimension_is_named_with_the_nearest_one() -> None:
    field, message = mistake("learning_rat: {type: float, low: 0.1, high: 0.3}")
    assert field == "search.space.learning_rat"
    assert "did you mean 'learning_rate'?" in message


def test_a_dimension_of_another_method_is_refused() -> None:
    assert mistake("temperature: {type: float, low: 1, high: 8}")[0] == "search.space.temperature"
    assert study("temperature: {type: float, low: 1, high: 8}", "method: {name: kd}\n")


@pytest.mark.parametrize("method", ["{type: float, low: 0, high: 1}", "{type: choice, choices: [kd, kdd]}"])
def test_the_method_must_be_a_choice_of_known_ones(method: str) -> None:
    field, message = mistake(f"method: {method}")
    assert field == "search.space.method"
    assert "none, kd, takd, dkd, dist, annealing, continuation" in message


@pytest.mark.parametrize(
    ("space", "corner"),
    [
        ("margin: {type: float, low: -0.1, high: 0.2}", "at -0.1"),
        ("hard_loss_ramp: {type: float, low: 0.5, high: 1.5}", "at 1.5"),
        ("student_depth: {type: int, low: 8, high: 20}", "at 9"),
        ("batch_size: {type: choice, choices: [0, 32]}", "at 0"),
        ("smoothing_shape: {type: choice, choices: [step, square]}", "at square"),
        ("momentum: {type: float, low: 0, high: 1}", "at 1"),
    ],
)
def test_a_dimensions_extreme_values_must_make_a_trial(space: str, corner: str) -> None:
    field, message = mistake(space, "  enqueue_defaults: false\n")
    assert field == f"search.space.{space.partition(':')[0]}"
    assert message.startswith(corner)


def test_a_stepped_range_ends_at_its_last_tick() -> None:
    """From 0.4 in steps of 0.4 that is 0.8: no trial would ever be given the 1.0 that is refused."""
    stage = "stage_fraction: {type: float, low: 0.4, high: 1.0, step: 0.4}"
    assert study(stage, "  enqueue_defaults: false\n", f"{BASE}method: {{name: annealing, granularity: step}}\n")
    assert FloatRange(type="float", low=0.1, high=0.7, step=0.1).corners == pytest.approx((0.1, 0.7))


@pytest.mark.parametrize(
    ("space", "between"),
    [
        ("smoothing_start: {type: float, low: 1, high: 40, log: true}", "at 13.41"),
        ("epochs: {type: float, low: 40, high: 80}", "at 52.73"),
        ("batch_size: {type: float, low: 16, high: 64, step: 0.5}", "at 16.5"),
        ("student_width: {type: float, low: 4, high: 16}", "at 7.82"),
        ("anneal_margin: {type: float, low: 0, high: 1}", "at 0.3183"),
    ],
)
def test_a_range_of_real_numbers_over_a_field_of_whole_ones_is_a_mistake(space: str, between: str) -> None:
    """Its ends are whole numbers, and nearly all that lies between them would be refused, trial by trial."""
    field, message = mistake(space, "  enqueue_defaults: false\n")
    assert field == f"search.space.{space.partition(':')[0]}"
    assert message.startswith(f"{between}: Input should be a valid")
    assert "write type: int" in message


def test_a_number_of_layers_is_whole_too() -> None:
    base = """\
name: tiny
task: {source: glue, task: rte}
teacher: {model: {family: encoder, path: bert-base-uncased}}
student: {model: {family: encoder, layers: 2}}
"""
    off = "  enqueue_defaults: false\n"
    field, message = mistake("student_layers: {type: float, low: 1, high: 6}", off, base)
    assert (field, message.startswith("at 2.592: Input should be a valid integer")) == (
        "search.space.student_layers",
        True,
    )
    assert study("student_layers: {type: int, low: 1, high: 6}", off, base)


@pytest.mark.parametrize(
    "space",
    [
        "batch_size: {type: float, low: 16, high: 64, step: 1}",
        "student_depth: {type: float, low: 8, high: 20, step: 6}",
        "smoothing_start: {type: float, low: 20, high: 20}",
    ],
)
def test_a_range_of_real_numbers_that_takes_whole_ones_alone_is_accepted(space: str) -> None:
    assert study(space, "  enqueue_defaults: false\n")


def test_the_ends_of_a_dimension_that_exists_under_a_condition_are_tried_where_it_exists() -> None:
    """At the study's own point it does not, and what it depends on may not either."""
    psi = "frozen_hard_loss: {type: float, low: 0.2, high: 1.5, when: {reduction: sum}}"
    reduction = "reduction: {type: choice, choices: [mean, sum]%s}"
    shape = "smoothing_shape: {type: choice, choices: [step, linear]}"
    chain = f"{shape}\n{reduction % ', when: {smoothing_shape: linear}'}\n{psi}"
    frozen = "method: {name: continuation, anneal_hard_loss: false}\n"
    for space in (f"{reduction % ''}\n{psi}", chain):
        field, message = mistake(space, frozen)
        assert (field, message.startswith("at 1.5: ")) == ("search.space.frozen_hard_loss", True)


def test_mistakes_of_the_study_itself_are_not_repeated_for_each_dimension() -> None:
    space = "learning_rate: {type: float, low: 0.01, high: 0.3}\nmomentum: {type: float, low: 0.5, high: 0.9}"
    field, message = mistake(space, "training: {epochs: 10}\n")
    assert field == "method"
    assert "smoothing_start is 20, beyond the schedule of 10 epochs" in message


def test_mistakes_of_dimensions_and_of_first_trials_are_reported_at_once() -> None:
    space = "margin: {type: float, low: -0.1, high: 0.2}\nlearning_rate: {type: float, low: 0.01, high: 0.3}"
    found = mistakes(space, "  enqueue:\n  - {learning_rate: 5}\n")
    assert [field for field, _ in found] == ["search.space.margin", "search.enqueue.0.learning_rate"]


def test_mistakes_of_several_dimensions_are_reported_at_once() -> None:
    found = mistakes("margin: {type: float, low: -0.1, high: 0.2}\nbatch_size: {type: choice, choices: [0, 32]}")
    assert [field for field, _ in found] == ["search.space.margin", "search.space.batch_size"]


def test_the_highest_smoothing_start_must_fit_the_shortest_schedule() -> None:
    space = "smoothing_start: {type: int, low: 1, high: 40}\nschedule_fraction: {type: float, low: 0.1, high: 1}"
    field, message = mistake(space)
    assert field == "search.space.smoothing_start"
    assert "smoothing_start is 40, beyond the schedule of 20 epochs" in message
    assert study(space.replace("40", "20"))


@pytest.mark.parametrize(
    ("method", "share", "length"),
    [("continuation", "schedule_fraction", 20), ("annealing", "stage_fraction", 20)],
)
def test_the_shortest_schedule_is_that_of_the_shortest_run_and_the_smallest_share(
    method: str, share: str, length: int
) -> None:
    """25 values fit into 40 epochs, and into half of 60, but not into half of 40."""
    space = f"epochs: {{type: int, low: 40, high: 80}}\n{share}: {{type: float, low: 0.5, high: 0.75}}\n"
    rest = f"  enqueue_defaults: false\nmethod: {{name: {method}, smoothing_start: 5, {share}: 0.75}}\n"
    rest += "training: {epochs: 60}\n"
    field, message = mistake(f"{space}smoothing_start: {{type: int, low: 1, high: 25}}", rest)
    assert field == "search.space.smoothing_start"
    assert f"smoothing_start is 25, beyond the schedule of {length} epochs" in message
    assert study(f"{space}smoothing_start: {{type: int, low: 1, high: {length}}}", rest)


@pytest.mark.parametrize(
    ("dimension", "method"),
    [
        ("smoothing_shape: {type: choice, choices: [linear, step]}", "smoothing_shape: linear"),
        ("granularity: {type: choice, choices: [step, epoch]}", "granularity: step"),
    ],
)
def test_the_highest_smoothing_start_must_fit_under_every_choice_of_the_space(dimension: str, method: str) -> None:
    """30 epochs cannot hold 40 steps of phi; the study's own shape and granularity need no such room."""
    field, _ = mistake(
        f"{dimension}\nsmoothing_start: {{type: int, low: 1, high: 40}}",
        f"method: {{name: continuation, smoothing_start: 5, {method}}}\ntraining: {{epochs: 30}}\n",
    )
    assert field == "search.space.smoothing_start"


def test_a_smoothing_start_that_exists_only_where_any_length_fits_is_accepted() -> None:
    assert study(
        "smoothing_shape: {type: choice, choices: [step, linear]}\n"
        "smoothing_start: {type: int, low: 1, high: 40, when: {smoothing_shape: linear}}",
        "method: {name: continuation, smoothing_start: 5}\ntraining: {epochs: 30}\n",
    )


def test_a_margin_beside_a_mode_that_ignores_it_is_a_mistake_of_the_space() -> None:
    """Half of the trials would fail; `when` mends it."""
    off = "  enqueue_defaults: false\n"
    modes = "\nmargin_mode: {type: choice, choices: [relative, none]}"
    assert study("margin: {type: float, low: 0.01, high: 1, when: {margin_mode: relative}}" + modes, off)
    ((field, message),) = mistakes("margin: {type: float, low: 0, high: 1}" + modes, off)
    assert field == "search.space.margin"
    assert message.startswith("at 1.0, with margin_mode at none: ")


# -- the first trials


def test_the_studys_own_values_must_lie_in_the_space() -> None:
    space = "learning_rate: {type: float, low: 0.01, high: 0.1, log: true}"
    field, message = mistake(space)
    assert field == "search.space.learning_rate"
    assert "0.2, lies outside" in message
    assert "enqueue_defaults: false" in message
    assert study(space, "  enqueue_defaults: false\n")


def test_points_to_try_first_must_lie_in_the_space() -> None:
    space = "learning_rate: {type: float, low: 0.01, high: 0.3}"
    found = mistakes(space, "  enqueue:\n  - {learning_rate: 0.1}\n  - {learning_rate: 5}\n  - {margin: 0.1}\n")
    assert [field for field, _ in found] == ["search.enqueue.1.learning_rate", "search.enqueue.2.margin"]
    assert "5, lies outside" in found[0][1]
    assert "not a dimension of the space" in found[1][1]


def test_a_value_to_try_first_that_does_not_exist_under_its_own_conditions_is_a_mistake() -> None:
    """The method kd has no smoothing_start; the value would be ignored without a word."""
    space = "method: {type: choice, choices: [kd, continuation]}\nsmoothing_start: {type: int, low: 1, high: 40}"
    assert study(space, "  enqueue: [{method: continuation, smoothing_start: 5}]\n")
    field, _ = mistake(space, "  enqueue: [{method: kd, smoothing_start: 5}]\n")
    assert field == "search.enqueue.0.smoothing_start"


def test_every_sixth_depth_is_one() -> None:
    for high in (26, 12):  # the highest that is proposed then is 8
        assert "student_depth" in study(f"student_depth: {{type: int, low: 8, high: {high}, step: 6}}", KD).search.space


def test_given_weights_leave_no_shape_to_search() -> None:
    base = BASE.replace("depth: 8}", "depth: 8, weights: w.safetensors}")
    field, message = mistake("student_width: {type: choice, choices: [8, 16]}", base=base)
    assert field == "search.space.student_width"
    assert "needs weights of every shape, and student.model.weights has one" in message


def test_widths_that_are_named_leave_no_width_to_search() -> None:
    base = BASE.replace("depth: 8}", "depth: 8, widths: [4, 8, 16]}")
    field, message = mistake("student_width: {type: int, low: 2, high: 8}", "  enqueue_defaults: false\n", base)
    assert (field, "changes nothing where student.model.widths" in message) == ("search.space.student_width", True)


def test_a_baseline_must_make_a_trial_too() -> None:
    """Before any data is read: annealing's staircase of 20 epochs does not fit into half of ten."""
    baselines = "  baselines: [{name: none}, {name: annealing}]\ntraining: {epochs: 10}\nmethod: {name: kd}\n"
    field, message = mistake("learning_rate: {type: float, low: 0.1, high: 0.3}", baselines)
    assert field == "search.baselines.1"
    assert "smoothing_start is 20, beyond the schedule of 5 epochs" in message


@pytest.mark.parametrize(
    ("dimension", "value", "own"),
    [
        (Choice(type="choice", choices=(1, 2, 4)), 4.0, 4),
        (Choice(type="choice", choices=(0, 1e-4)), 0.0, 0),
        (Choice(type="choice", choices=(1, 2)), True, True),
        (Choice(type="choice", choices=("a",)), "b", "b"),
        (IntRange(type="int", low=1, high=8), 4.0, 4),
        (IntRange(type="int", low=1, high=8), 4.5, 4.5),
        (FloatRange(type="float", low=0.0, high=8.0), 4.0, 4.0),
    ],
)
def test_a_whole_number_is_a_value_of_a_dimension_that_writes_it_without_a_point(
    dimension: AnyDimension, value: object, own: object
) -> None:
    found = dimension.own(value)
    assert (found, type(found)) == (own, type(own))
