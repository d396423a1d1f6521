from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, get_ident
from time import sleep

import pytest
import torch

from autockd.training import threads as threads_module
from autockd.training.threads import CoreWatch, for_each

PATIENCE = 30.0
"""Seconds after which threads that should have met have not."""


@pytest.fixture(autouse=True)
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_is_given_once(threads: int) -> None:
    given: list[int] = []
    for_each(given.append, iter(range(100)), threads)
    assert sorted(given) == list(range(100))


def test_items_are_taken_by_one_thread_at_a_time() -> None:
    """A generator that is at work takes no second question."""

    def slow() -> Iterator[int]:
        for item in range(20):
            sleep(0.002)
            yield item

    given: list[int] = []
    for_each(given.append, slow(), threads=4)
    assert sorted(given) == list(range(20))


def test_items_are_computed_side_by_side_on_one_core_each() -> None:
    together, cores, idents = Barrier(3), [], set()

    def meet(item: int) -> None:
        together.wait(PATIENCE)
        cores.append(torch.get_num_threads())
        idents.add(get_ident())

    for_each(meet, iter(range(3)), threads=3)
    assert cores == [1, 1, 1]
    assert len(idents) == 3
    assert torch.get_num_threads() == 2


def test_one_thread_is_the_caller_with_its_cores() -> None:
    seen = []
    for_each(lambda item: seen.append((get_ident(), torch.get_num_threads())), iter(range(2)), threads=1)
    assert seen == [(get_ident(), 2)] * 2


def test_items_are_made_no_earlier_than_needed() -> None:
    made, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal made
        for item in range(50):
            made += 1
            yield item

    done = 0

    def note(item: int) -> None:
        nonlocal done, most
        most = max(most, made - done)
        done += 1

    for_each(note, items(), threads=2)
    assert 1 <= most <= 3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_ends_all_and_is_raised(threads: int) -> None:
    given = []

    def fail(item: int) -> None:
        given.append(item)
        if item == 3:
            raise ValueError("no")

    def endless() -> Iterator[int]:
        item = 0
        while True:
            yield item
            item += 1

    with pytest.raises(ValueError, match="no"):
        for_each(fail, endless(), threads)
    assert 3 in given
    assert torch.get_num_threads() == 2


def test_an_error_of_the_items_is_raised_too() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        for_each(lambda item: None, broken(), threads=2)


class Clock:
    """Time that passes as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(threads_module, "perf_counter", lambda: self.now)

    def steps(self, watch: CoreWatch, count: int, seconds: float) -> None:
        for _ in range(count):
            self.now += seconds
            watch.step()


def test_steps_that_take_longer_than_on_one_thread_are_left_to_one_until_the_epoch_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, watch = Clock(monkeypatch), CoreWatch(2, alone=0.5)
    watch.begin()
    clock.steps(watch, 30, 0.3)
    assert (torch.get_num_threads(), watch.is_crowded) == (2, False)
    clock.steps(watch, 3, 4.0)
    assert (torch.get_num_threads(), watch.is_crowded) == (1, True)
    watch.begin()
    assert (torch.get_num_threads(), watch.is_crowded) == (2, False)
    clock.steps(watch, 1, 6.0)
    assert watch.is_crowded, "each epoch is looked at anew"


def test_a_moment_of_other_work_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), CoreWatch(2, alone=0.5)
    watch.begin()
    clock.steps(watch, 12, 0.3)
    clock.steps(watch, 1, 4.0)
    assert not watch.is_crowded, "7.6 s for 13 steps are 0.58 s each"


@pytest.mark.parametrize(("threads", "alone"), [(1, 0.5), (2, None)])
def test_one_thread_and_steps_that_were_not_timed_are_not_watched(
    threads: int, alone: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, watch = Clock(monkeypatch), CoreWatch(threads, alone)
    watch.begin()
    clock.steps(watch, 3, 60.0)
    assert (torch.get_num_threads(), watch.is_crowded) == (threads, False)
