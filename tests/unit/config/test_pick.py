from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autockd.config.pick import Constraint, parse_pick

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: name != "and")
NUMBERS = st.floats(-1e300, 1e300).map(lambda number: float(f"{number:.15g}"))
CONSTRAINTS = st.builds(Constraint, NAMES, st.sampled_from(["<=", ">=", "<", ">"]), NUMBERS)


@settings(max_examples=50)
@given(st.lists(CONSTRAINTS, max_size=4), st.sampled_from([" and ", ", ", ",", "  and\t"]))
def test_what_is_written_is_read_again(constraints: list[Constraint], joint: str) -> None:
    assert parse_pick(joint.join(map(str, constraints))) == tuple(constraints)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_other_text_is_refused_with_a_reason_and_never_run(text: str) -> None:
    refusal = ""
    try:
        found = parse_pick(text)
    except ValueError as error:
        found, refusal = (), str(error)
    assert all(math.isfinite(each.limit) for each in found)
    said = [word for word in ("is no constraint", "is missing", "is no number", "is no limit") if word in refusal]
    assert bool(said) is (not found and bool(text.strip()))


def test_spaces_and_joints_are_free() -> None:
    expected = (Constraint("latency_ms", "<=", 2.0), Constraint("accuracy", ">=", 0.97))
    for text in (
        "latency_ms <= 2 and accuracy >= 0.97",
        "latency_ms<=2,accuracy>=.97",
        " latency_ms <=2.0, accuracy>= 97e-2 ",
    ):
        assert parse_pick(text) == expected
    assert parse_pick("brand <= 1") == (Constraint("brand", "<=", 1.0),), "an `and` inside a name joins nothing"
    assert parse_pick("") == parse_pick("  ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_ms", "'latency_ms' is no constraint; a constraint reads NAME <= NUMBER"),
        ("latency_ms = 2", "'latency_ms = 2' is no constraint"),
        ("2 >= latency_ms", "'2 >= latency_ms' is no constraint"),
        ("latency_ms <= 2 ms", "'latency_ms <= 2 ms' is no constraint"),
        ("1 <= latency_ms <= 2", "'1 <= latency_ms <= 2' is no constraint"),
        ("latency_ms <= 2ms", "'2ms' in 'latency_ms <= 2ms' is no number; write it without a unit"),
        ("latency_ms <= nan", "'nan' in 'latency_ms <= nan' is no limit"),
        ("latency_ms <= inf", "'inf' in 'latency_ms <= inf' is no limit"),
        ("latency_ms <= 2 and", "a constraint is missing beside `and` or a comma"),
        (", bytes < 1", "a constraint is missing beside `and` or a comma"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_pick(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "below", "at", "above"),
    [("<=", True, True, False), ("<", True, False, False), (">=", False, True, True), (">", False, False, True)],
)
def test_a_limit_holds_on_its_side(operator: str, below: bool, at: bool, above: bool) -> None:
    constraint = Constraint("x", operator, 2.0)
    assert [constraint.holds(value) for value in (1.0, 2.0, 3.0)] == [below, at, above]
    assert not constraint.holds(float("nan"))


def test_how_far_a_value_is_beyond_a_limit() -> None:
    assert [Constraint("x", "<=", 2.0).excess(value) for value in (1.0, 2.0, 3.0)] == [0.0, 0.0, 0.5]
    assert [Constraint("x", ">", 2.0).excess(value) for value in (1.0, 3.0)] == [0.5, 0.0]
    assert Constraint("x", "<", 0.0).excess(3.0) == 3.0
