"""A report's folder: the page, the numbers, the pictures. It is rebuilt from the ledger whenever somebody asks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autockd.errors import EnvironmentProblem, UsageError, reason_of
from autockd.folders import alone_in, entries_of, whole_folder
from autockd.records import Event
from autockd.report.content import ReportContent
from autockd.report.csv_files import finalists_csv, trials_csv
from autockd.report.figures_png import save_chart
from autockd.report.gathering import content_of
from autockd.report.html import page_of
from autockd.report.sections import charts_of, sections_of
from autockd.summary import summarise

PAGE, CONTENT, TRIALS, FINALISTS = "report.html", "report.json", "trials.csv", "finalists.csv"
PICTURES = (
    *("methods", "winning_plan", "learning_curves", "reliability", "agreement", "cost", "search_history"),
    *("pareto_front", "slices", "importance", "rungs", "parallel_coordinates"),
)
"""Names of all charts that there are; a report has some of them."""

_KNOWN = frozenset({PAGE, CONTENT, TRIALS, FINALISTS, "plan.png", *(f"{name}.png" for name in PICTURES)})


def write_report(events: Iterable[Event], folder: Path) -> ReportContent:
    """Write a study's report, in place of an older one as a whole.

    Args:
        events: the study's events, in order.
        folder: where `report.html`, `report.json`, `trials.csv`, `finalists.csv` and the pictures come to lie.

    Returns:
        What it says.

    Raises:
        StudyError: the study has not begun.
        UsageError: the folder exists and is not a report.
        EnvironmentProblem: the folder cannot be written.
    """
    history = list(events)
    summary = summarise(history)
    content = content_of(history, summary)
    assert summary is not None, "a study with content has a summary"
    sections = sections_of(content)
    with _replaced(folder) as stage:
        (stage / PAGE).write_text(page_of(content, sections), encoding="utf-8")
        (stage / CONTENT).write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (stage / TRIALS).write_text(trials_csv(content), encoding="utf-8")
        runs = finalists_csv(content, summary.finalists, summary.evaluated)
        (stage / FINALISTS).write_text(runs, encoding="utf-8")
        for chart in charts_of(sections):
            assert chart.name in PICTURES, "a report knows its own files"
            save_chart(chart, stage)
    return content


def shown_of(folder: Path) -> list[Path]:
    """What people look at of a report, as far as it is there: its page and its pictures."""
    return [*folder.glob(PAGE), *sorted(folder.glob("*.png"))]


def files_of(folder: Path) -> list[Path]:
    """The files of a report, the page first."""
    with alone_in(folder.parent):
        return sorted(folder.iterdir(), key=lambda path: (path.name != PAGE, path.name))


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """A folder that takes the place of `target`, which is a report or is not there, as `whole_folder`."""
    target = target.absolute()
    with alone_in(target.parent):
        if os.path.lexists(target) and not _is_report(target):
            raise UsageError(
                f"{target}: exists and is not a report{_what_else(target)}, so it is left alone -> name another folder"
            )
    try:
        with whole_folder(target) as stage:
            yield stage
    except OSError as error:
        raise EnvironmentProblem(
            f"{target}: the report cannot be written: {reason_of(error)} -> name another folder"
        ) from error


def _what_else(folder: Path) -> str:
    """What lies there that is no part of a report, for its name."""
    others = sorted({path.name for path in entries_of(folder)} - _KNOWN) if folder.is_dir() else []
    return f" alone (there is {others[0]})" if others else ""


def _is_report(folder: Path) -> bool:
    """Whether nothing is lost with the folder but a report, or it is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    entries = entries_of(folder)
    names = {path.name for path in entries}
    is_plain = all(path.is_file() and not path.is_symlink() for path in entries)
    return not entries or (is_plain and {PAGE, CONTENT} <= names <= _KNOWN)
