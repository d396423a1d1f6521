"""What one sees of a running study: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from autockd.cli.progress import Progress, budget_line, event_line, standing_line
from autockd.cli.tables import trials_table
from autockd.cli.text import printable
from autockd.records import (
    EpochFinished,
    Evaluated,
    Event,
    FinalistFinished,
    RungReached,
    TrialFinished,
    TrialStarted,
)
from autockd.summary import StudySummary, TrialRow, ranked

SHOWN_BEST = 5
"""How many of the best trials the live table shows, besides the running ones."""

SHOWN_STOPPED = 3
"""How many of those that were stopped early it shows, the latest, with the reason."""

_REFRESH_HZ = 4

_SILENT = (EpochFinished, RungReached, TrialStarted)
"""Events that no line is about; there are so many of them that the study is not summed up for each."""


class LiveView:
    """Shows a study's events as they come; a context manager around the run, to be called with each event.

    May be called from any thread.

    Args:
        console: where to show; a live table if it is a terminal that can draw one, else a line for every finished
            stage and trial.
        past: the events of a study that goes on.
    """

    def __init__(self, console: Console, past: Iterable[Event] = ()) -> None:
        self._console = console
        self._progress = Progress(past)
        self._mutex = threading.Lock()
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=_REFRESH_HZ, transient=True)
            if _can_draw(console)
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one more event into account."""
        with self._mutex:
            self._progress.add(event)
            if isinstance(event, _SILENT) or (self._live and _is_shown_anyway(event)):
                return
            summary = self._progress.summary
            line = event_line(event, summary, time.time()) if summary else None
        if line:
            self._console.print(Text(printable(line)), soft_wrap=True)

    def _render(self) -> RenderableType:
        """The header and the table of this moment; called by rich's own thread, a few times a second."""
        with self._mutex:
            summary = self._progress.summary
        if summary is None:
            return Text("starting ...")
        lines = [standing_line(summary), budget_line(summary, time.time())]
        header = [Text(printable(line)) for line in lines if line]
        rows = shown_trials(summary, time.time())
        table = [trials_table(rows, summary.metric, summary.best_trial, width=self._console.width)] if rows else []
        return Group(*header, *table)  # what a terminal has no room for is cut off below


def _can_draw(console: Console) -> bool:
    """Whether somebody watches a terminal that moves its cursor; rich takes a pipe for one where colour is forced."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def _is_shown_anyway(event: Event) -> bool:
    """By the live table, the budget line, or the final table."""
    if isinstance(event, TrialFinished | FinalistFinished):
        return event.state != "failed"
    return isinstance(event, Evaluated) and event.seed is not None


def shown_trials(summary: StudySummary, now: float) -> list[TrialRow]:
    """The best few trials, best first, the last few that were stopped early, and the running ones with their time."""
    running = [row for row in summary.trials if row.state == "running"]
    timed = [row.model_copy(update={"seconds": max(0.0, now - row.started)}) for row in running]
    stopped = [row for row in summary.trials if row.state == "pruned"]
    return [*ranked(summary.trials, summary.direction)[:SHOWN_BEST], *stopped[-SHOWN_STOPPED:], *timed]
