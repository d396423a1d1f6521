"""Tables of studies and trials. Cells are plain text: names and reasons cannot carry markup into a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from autockd.cli.output import plain_data
from autockd.cli.text import cost_text, printable
from autockd.records import Evaluated
from autockd.report.content import STATES
from autockd.report.pareto import pareto_front
from autockd.summary import StudySummary, TrialRow, best_of_arms
from autockd.text import count_text, duration, kilobytes, metric_text, plural
from autockd.verdicts import (
    Finalist,
    conclusions_of,
    finalists_of,
    judgements,
    names,
    runs_of,
    spread_text,
    subject_name,
    validation_heading,
    winner_of,
)

_OVER = ("complete", "pruned", "failed")

_SUBJECT_ORDER = {"teacher": 0, "baseline": 1, "best": 2, "finalist": 3}


ROOMY = 100
"""Columns of a terminal that has room for all that is known of a trial."""


def plain_table(columns: Mapping[str, str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A table of plain text.

    Args:
        columns: heading, and `left` or `right` for how its cells stand.
        rows: cells, shown by `str`.
        title: stands above, where given.
    """
    from rich.box import SIMPLE_HEAD

    table = Table(
        title=Text(printable(title)) if title else None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for heading, justify in columns.items():
        is_number = justify == "right"  # and stays whole
        table.add_column(Text(heading), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def comparison_table(summary: StudySummary) -> Table:
    """The result of a study: teacher, student without distillation, other baselines, best student.

    With finalists: the teacher, and each finalist over its fresh seeds, the winner marked by a star.
    """
    are_tested = not summary.evaluated or any(row.seed is not None for row in summary.evaluated)
    if are_tested and (finalists := finalists_of(summary)):
        return _finalists_table(summary, finalists)
    columns = {"model": "left"}
    columns |= dict.fromkeys((validation_heading(summary), "test", "parameters", "size"), "right")
    order = sorted(summary.evaluated, key=lambda row: (_SUBJECT_ORDER[row.subject], row.label != "none"))
    rows = [(subject_name(row, summary), *_score_cells(row, summary.metric)) for row in order]
    return plain_table(columns, rows, f"{summary.study}: {summary.metric}")


def arms_table(summary: StudySummary) -> Table:
    """Each compared method with its trials and the best of them."""
    best = best_of_arms(summary)
    columns = {"method": "left", "trials": "right", "failed": "right", f"best {summary.metric}": "right"}
    columns |= {"trial": "right", "its point": "left"}
    rows = []
    for label in dict.fromkeys(row.arm for row in summary.trials if row.arm):
        own = [row for row in summary.trials if row.arm == label]
        done, failed = (sum(row.state in states for row in own) for states in (_OVER, ("failed",)))
        row = best.get(label)
        cells = (metric_text(row.value, summary.metric), row.trial, point_text(row.params)) if row else ("-", "-", "")
        rows.append((label, done, failed, *cells))
    return plain_table(columns, rows, "methods at equal budgets (validation)")


def _score_cells(row: Evaluated, metric: str) -> tuple[str, ...]:
    values = (metric_text(row.validation, metric), metric_text(row.test, metric))
    return (*values, count_text(row.parameters), kilobytes(row.bytes))


def _finalists_table(summary: StudySummary, finalists: Sequence[Finalist]) -> Table:
    columns = {
        "model": "left",
        "in the search": "right",
        "validation": "right",
        "test": "right",
        "seeds": "right",
        "parameters": "right",
        "size": "right",
    }
    rows: list[tuple[object, ...]] = []
    for row in summary.evaluated:
        if row.subject == "teacher":
            validation, test, *sizes = _score_cells(row, summary.metric)
            rows.append(("teacher", "-", validation, test, "-", *sizes))
    called, best = names(finalists), winner_of(finalists, summary.direction)
    rows += [
        (
            f"{'* ' if one == best else ''}{called[one.trial]}",
            "stopped early" if one.was_stopped else metric_text(one.searched, summary.metric),
            spread_text(one.validation, summary.metric),
            spread_text(one.test, summary.metric),
            len(one.seeds),
            *_size_cells(summary, one),
        )
        for one in sorted(finalists, key=lambda one: (one.role != "baseline", one.method != "none", one == best))
    ]
    return plain_table(columns, rows, f"{summary.study}: {summary.metric}, mean ± standard deviation over fresh seeds")


def _size_cells(summary: StudySummary, finalist: Finalist) -> tuple[str, str]:
    scored = next((row for row in summary.evaluated if row.trial == finalist.trial and row.seed is not None), None)
    ran = next(run for run in runs_of(summary) if run.trial == finalist.trial and run.value is not None)
    return count_text(ran.parameters), "-" if scored is None else kilobytes(scored.bytes)


def summary_data(summary: StudySummary) -> dict[str, Any]:
    """All of a summary as JSON, with what may be said of its finalists."""
    finalists = finalists_of(summary)
    made = judgements(finalists, summary.metric, summary.direction)
    winner = winner_of(finalists, summary.direction)
    data: dict[str, Any] = plain_data(summary)
    return data | {
        "winner": winner.trial if winner else None,
        "over_seeds": [plain_data(finalist) for finalist in finalists],
        "judgements": [plain_data(judgement) for judgement in made],
        "conclusions": finalist_lines(summary),
    }


def finalist_lines(summary: StudySummary) -> list[str]:
    """What may be said of a study's finalists, in sentences, and when the test split was opened."""
    lines = list(conclusions_of(summary))
    runs = runs_of(summary)
    if failed := sum(run.value is None for run in runs):
        lines.append(f"{failed} of {plural(len(runs), 'run')} with fresh seeds failed")
    if lines and summary.test_opened is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.test_opened))
        lines.append(f"the test split was opened once, at {when}, when all of these runs were over")
    return lines


def front_table(summary: StudySummary) -> Table:
    """The Pareto front of a study with several objectives: students that no other beats in everything."""
    columns = {"trial": "right", "method": "left", summary.metric: "right"}
    columns |= dict.fromkeys(summary.objectives, "right") | {"parameters of the trial": "left"}
    rows = [
        (
            row.trial,
            row.arm or row.method,
            metric_text(row.value, summary.metric),
            *(cost_text(name, row.costs[name]) for name in summary.objectives),
            point_text(row.params),
        )
        for row in pareto_front(summary)
    ]
    return plain_table(columns, rows, "Pareto front: no other trial, baselines aside, is as good in everything")


def trials_table(
    rows: Iterable[TrialRow], metric: str, best: int | None, *, is_running: bool = True, width: int = ROOMY
) -> Table:
    """Trials, the best one marked by a star.

    Args:
        rows: the trials.
        metric: of the study.
        best: number of the best trial.
        is_running: whether the study runs; in one that does not, no trial does.
        width: of the terminal, in columns; on a narrow one roles and epochs give way to the points.
    """
    states = STATES | ({"running": "running"} if is_running else {})
    columns = {
        "trial": "right",
        "method": "left",
        "role": "left",
        "state": "left",
        metric: "right",
        "epochs": "right",
        "time": "right",
        "parameters of the trial, or why it ended": "left",
    }
    shown = [heading for heading in columns if width >= ROOMY or heading not in ("role", "epochs")]
    cells = (dict(zip(columns, _trial_cells(row, states, metric, best), strict=True)) for row in rows)
    return plain_table(
        {heading: columns[heading] for heading in shown}, ([row[heading] for heading in shown] for row in cells)
    )


def _trial_cells(row: TrialRow, states: Mapping[str, str], metric: str, best: int | None) -> tuple[object, ...]:
    return (
        f"{'* ' if row.trial == best else ''}{row.trial}",
        row.arm or row.method,
        row.role,
        states[row.state],
        metric_text(row.value, metric),
        row.epochs,
        duration(row.seconds),
        _story(row),
    )


def _story(row: TrialRow) -> str:
    """A trial's point, and why it was stopped; of a failed one why it failed."""
    if row.state == "failed":
        return row.reason
    return "; ".join(filter(None, (row.reason if row.state == "pruned" else "", point_text(row.params))))


def point_text(params: Mapping[str, object]) -> str:
    """A point of the space in one line: `learning_rate=0.0312 smoothing_start=12`; the method has its own column."""
    return " ".join(f"{name}={_value(value)}" for name, value in params.items() if name != "method")


def studies_table(summaries: Iterable[StudySummary], states: Iterable[str]) -> Table:
    """One line a study, with how it stands: `finished`, `running` or `interrupted`."""
    columns = {"study": "left", "state": "left", "trials": "right", "metric": "left", "best": "right", "bundle": "left"}
    rows = [
        (
            summary.folder or summary.study,
            state,
            f"{len(summary.trials) - summary.count('running')}/{summary.asked}",
            summary.metric,
            metric_text(summary.best.value if summary.best else None, summary.metric),
            summary.bundle or "-",
        )
        for summary, state in zip(summaries, states, strict=True)
    ]
    return plain_table(columns, rows)


def time_line(summary: StudySummary) -> str:
    """Where the time of a finished study's last session went, and its share of what its machine could do.

    Empty before its end.
    """
    total = summary.seconds.get("total", 0.0)
    if not summary.split or total <= 0:
        return ""
    parts = [f"{name} {seconds / total:.0%}" for name, seconds in summary.split.items() if seconds >= total / 200]
    took = duration(total) if summary.resumed is None else f"the last session took {duration(total)}"
    line = f"time: {took}: {', '.join(parts)}"
    bound = summary.bound
    if bound is None:
        return line
    return f"{line}; {bound.share:.0%} of the machine's limit, {bound.training_share:.0%} in training steps"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
