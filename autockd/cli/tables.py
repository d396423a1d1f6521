"""Tables of studies and trials. Cells are plain text: names and reasons cannot carry markup into a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from autockd.cli.text import count_text, duration, kilobytes, metric_text, printable
from autockd.records import Evaluated
from autockd.report.tables import StudySummary, TrialRow

STATES = {"running": "running", "complete": "complete", "pruned": "stopped early", "failed": "failed"}
"""What a trial's state is called."""

_SUBJECT_ORDER = {"teacher": 0, "baseline": 1, "best": 2}


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
        table.add_column(Text(heading), justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def comparison_table(summary: StudySummary) -> Table:
    """The result of a study: teacher, student without distillation, other baselines, best student."""
    columns = {"model": "left", "validation": "right", "test": "right", "parameters": "right", "size": "right"}
    order = sorted(summary.evaluated, key=lambda row: (_SUBJECT_ORDER[row.subject], row.label != "none"))
    rows = [
        (
            subject_name(row, summary),
            metric_text(row.validation, summary.metric),
            metric_text(row.test, summary.metric),
            count_text(row.parameters),
            kilobytes(row.bytes),
        )
        for row in order
    ]
    return plain_table(columns, rows, f"{summary.study}: {summary.metric}")


def subject_name(row: Evaluated, summary: StudySummary) -> str:
    """What a final model is called: `student, no distillation`, `best student (continuation, trial 7)`."""
    if row.subject == "teacher":
        return "teacher"
    if row.subject == "baseline":
        return "student, no distillation" if row.label == "none" else f"student, {row.label}"
    methods = {trial.trial: trial.method for trial in summary.trials}
    return f"best student ({methods.get(row.trial or 0, row.label)}, trial {row.trial})"


def trials_table(rows: Iterable[TrialRow], metric: str, best: int | None) -> Table:
    """Trials, the best one marked by a star."""
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
    return plain_table(columns, (_trial_cells(row, metric, best) for row in rows))


def _trial_cells(row: TrialRow, metric: str, best: int | None) -> tuple[object, ...]:
    return (
        f"{'* ' if row.trial == best else ''}{row.trial}",
        row.method,
        row.role,
        STATES[row.state],
        metric_text(row.value, metric),
        row.epochs,
        duration(row.seconds),
        row.reason if row.state == "failed" else point_text(row.params),
    )


def point_text(params: Mapping[str, object]) -> str:
    """A point of the space in one line: `learning_rate=0.0312 smoothing_start=12`; the method has its own column."""
    return " ".join(f"{name}={_value(value)}" for name, value in params.items() if name != "method")


def studies_table(summaries: Iterable[StudySummary]) -> Table:
    """One line a study."""
    columns = {"study": "left", "state": "left", "trials": "right", "metric": "left", "best": "right", "bundle": "left"}
    rows = [
        (
            summary.study,
            "finished" if summary.finished else "unfinished",
            f"{len(summary.trials) - summary.count('running')}/{summary.asked}",
            summary.metric,
            metric_text(summary.best.value if summary.best else None, summary.metric),
            summary.bundle or "-",
        )
        for summary in summaries
    ]
    return plain_table(columns, rows)


def time_line(summary: StudySummary) -> str:
    """Where the time of a finished study went, and its share of what its machine could do; empty before its end."""
    total = summary.seconds.get("total", 0.0)
    if not summary.split or total <= 0:
        return ""
    parts = [f"{name} {seconds / total:.0%}" for name, seconds in summary.split.items() if seconds >= total / 200]
    line = f"time: {duration(total)}: {', '.join(parts)}"
    bound = summary.bound
    if bound is None:
        return line
    return f"{line}; {bound.share:.0%} of the machine's limit, {bound.training_share:.0%} in training steps"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
