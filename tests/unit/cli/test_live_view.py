"""LiveView: lines where nobody watches, a table where somebody does, and nothing that an event's text can break."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from autockd.cli.live import SHOWN_BEST, LiveView, shown_trials
from autockd.cli.output import console
from autockd.cli.progress import Progress
from autockd.records import EpochFinished, Event, RungReached, TrialFinished, TrialStarted
from autockd.summary import summarise


class Terminal(io.StringIO):
    """Keeps what a terminal is sent."""

    def isatty(self) -> bool:
        return True


def shown_to(is_terminal: bool, events: list[Event]) -> str:
    stream = Terminal() if is_terminal else io.StringIO()
    screen = Console(file=stream, force_terminal=is_terminal, width=160, markup=False, highlight=False, emoji=False)
    with LiveView(screen) as view:
        for event in events:
            view(event)
    return stream.getvalue()


def test_in_a_pipe_every_finished_stage_and_trial_is_one_plain_line(story: list[Event], ending: list[Event]) -> None:
    stream = io.StringIO()
    with LiveView(console(stream)) as view:
        for event in [*story, *ending]:
            view(event)
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert lines[0] == "study tiny: 6 trials, accuracy to maximize"
    assert sum(line.startswith("trial ") for line in lines) == 5
    assert lines[-1].startswith("finished in 29 s")
    assert all(line.strip() for line in lines)


def lines_of_trials(stream: io.StringIO, events: list[Event]) -> int:
    """How many lines a live view writes about trials; it may write nothing else than lines."""
    with LiveView(console(stream)) as view:
        for event in events:
            view(event)
    assert "\x1b" not in stream.getvalue()
    return sum(line.startswith("trial ") for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_colour_that_is_asked_for_makes_no_terminal_of_a_pipe(
    variable: str, story: list[Event], ending: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    assert lines_of_trials(io.StringIO(), [*story, *ending]) == 5


def test_a_terminal_that_can_draw_nothing_gets_lines(
    story: list[Event], ending: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert lines_of_trials(Terminal(), [*story, *ending]) == 5


def test_on_a_terminal_there_is_a_table_with_header_and_budget(story: list[Event]) -> None:
    text = shown_to(True, story)
    for part in (
        "best so far 96.7 % (continuation, trial 1)",
        "teacher 98.5 %",
        "no distillation 94.0 %",
        "4/6 trials, 1 running, 1 stopped early, 1 failed",
        "learning_rate=0.2",
        "failed: the loss is not finite",
        "stopped at rung 1; learning_rate=0.0123",
    ):
        assert part in text
    assert "trial 1 (continuation): done" not in text, "the table shows finished trials, no line does"


def test_the_table_holds_the_best_few_the_last_stopped_and_all_running_trials(story: list[Event]) -> None:
    events = list(story)
    start, end = events[9], events[12]
    assert isinstance(start, TrialStarted)
    assert isinstance(end, TrialFinished)
    for number in range(10, 20):
        events.append(start.model_copy(update={"trial": number}))
        if number % 2:
            events.append(end.model_copy(update={"trial": number, "value": number / 100}))
    summary = summarise(events)
    assert summary is not None
    rows = shown_trials(summary, 120.0)
    assert [row.trial for row in rows] == [1, 0, 19, 17, 15, 2, 4, 10, 12, 14, 16, 18]
    assert len([row for row in rows if row.state == "complete"]) == SHOWN_BEST
    assert rows[-1].seconds == pytest.approx(10.0)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_hostile_text_is_shown_as_it_is_and_obeyed_nowhere(story: list[Event], is_terminal: bool) -> None:
    evil = "[bold red]x[/] [/nope] :bomb: \x1b[2J\x07\rgone"
    start, end = story[9], story[16]
    assert isinstance(start, TrialStarted)
    assert isinstance(end, TrialFinished)
    events = [
        *story,
        start.model_copy(update={"trial": 5, "method": evil, "params": {"a[b]": evil}}),
        end.model_copy(update={"reason": evil}),
    ]
    text = shown_to(is_terminal, events)
    assert "[bold red]x[/] [/nope] :bomb:" in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "\rgone" not in text


def test_events_may_come_from_many_threads(story: list[Event]) -> None:
    stream = io.StringIO()
    start, end = story[9], story[12]
    assert isinstance(start, TrialStarted)
    assert isinstance(end, TrialFinished)
    with LiveView(console(stream)) as view:
        view(story[0])

        def one_trial(number: int) -> None:
            view(start.model_copy(update={"trial": number}))
            view(end.model_copy(update={"trial": number}))

        threads = [threading.Thread(target=one_trial, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = stream.getvalue().splitlines()
    assert sorted(line.split(" (")[0] for line in lines[1:]) == sorted(f"trial {number}" for number in range(30))


def test_nothing_is_summed_up_for_what_no_line_is_about(story: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an epoch for each moment of a large study, and Tune waits meanwhile."""
    summed = []
    plain = Progress.summary.fget
    assert plain is not None

    def counted(self: Progress) -> object:
        summed.append(1)
        return plain(self)

    monkeypatch.setattr(Progress, "summary", property(counted))
    silent = [event for event in story if isinstance(event, EpochFinished | RungReached | TrialStarted)]
    assert len(silent) > 3
    with LiveView(console(io.StringIO())) as view:
        for event in story:
            view(event)
    assert len(summed) == len(story) - len(silent)


def test_the_best_so_far_stands_above_what_may_be_cut_off(story: list[Event]) -> None:
    screen = Console(file=Terminal(), force_terminal=True, width=100)
    with LiveView(screen) as view:
        for event in story:
            view(event)
        shown = view._render()
    assert isinstance(shown, Group)
    assert [type(part) for part in shown.renderables] == [Text, Text, Table]


def test_an_error_inside_leaves_the_terminal_as_it_was(story: list[Event]) -> None:
    stream = Terminal()
    screen = Console(file=stream, force_terminal=True, width=100)

    def fail() -> None:
        with LiveView(screen) as view:
            view(story[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l"), "the cursor is back"


def test_a_large_study_is_folded_in_milliseconds(story: list[Event]) -> None:
    progress = Progress()
    start, end = story[9], story[12]
    for event in story[:6]:
        progress.add(event)
    for number in range(1000):
        progress.add(start.model_copy(update={"trial": number}))
        progress.add(end.model_copy(update={"trial": number}))
    spent = []
    for _ in range(3):
        progress.add(end)
        began = time.process_time()
        assert progress.summary is not None
        spent.append(time.process_time() - began)
    assert min(spent) < 0.25


@pytest.mark.parametrize("is_terminal", [False, True])
def test_runs_of_finalists_have_lines_where_no_live_table_is(finals: list[Event], is_terminal: bool) -> None:
    text = shown_to(is_terminal, finals)
    assert "trial 4 with seed 8: failed: its worker died" in text
    assert ("finalist, trial 0 with seed 7: done" in text) is not is_terminal
    assert ("evaluated trial 0, seed 7" in text) is not is_terminal
    assert "test split opened for teacher and 5 runs of finalists" in text
