"""How often Python looks for garbage, and that whoever's process it is has it as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from autockd.cli.app import main
from autockd.garbage import look_seldom, looking_seldom


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_seldom_within_and_as_before_afterwards() -> None:
    within: list[tuple[int, int, int]] = []

    @looking_seldom()
    def fail() -> None:
        within.append(gc.get_threshold())
        raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        fail()
    assert within == [(20_000, 10, 10)]
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("already", [0, 50_000])
def test_who_looks_more_seldom_or_never_goes_on_so(already: int) -> None:
    gc.set_threshold(already, 5, 5)
    look_seldom()
    assert gc.get_threshold() == (already, 5, 5)


def test_a_command_in_somebody_elses_process_changes_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out
    assert gc.get_threshold() == (700, 10, 10)
