"""The numbers as CSV: a line for each trial, a line for each run of a finalist."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from autockd.records import Evaluated, FinalistFinished
from autockd.report.content import ReportContent
from autockd.summary import TrialRow

_TRIAL = (
    *("trial", "role", "method", "arm", "state", "value", "best_epoch", "epochs", "seconds", "cpu_seconds"),
    *("gpu_seconds", "rung", "parameters", "reason"),
)
_RUN = ("state", "value", "best_epoch", "epochs", "seconds", "cpu_seconds", "gpu_seconds", "reason")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would run."""


def trials_csv(content: ReportContent) -> str:
    """Every trial with its point; `param.NAME` and `cost.NAME` are empty where a trial is without."""
    params = list(content.space)
    params += [name for name in dict.fromkeys(n for row in content.trials for n in row.params) if name not in params]
    costs = list(dict.fromkeys(name for row in content.trials for name in row.costs))
    heads = [*_TRIAL, *(f"param.{name}" for name in params), *(f"cost.{name}" for name in costs)]
    rows = (
        [
            *(getattr(row, name) for name in _TRIAL),
            *(row.params.get(name) for name in params),
            *(row.costs.get(name) for name in costs),
        ]
        for row in content.trials
    )
    return _text(heads, rows)


def finalists_csv(content: ReportContent, runs: Iterable[FinalistFinished], evaluated: Iterable[Evaluated]) -> str:
    """Every run with a fresh seed; `test` is empty until it was tested."""
    rows = {row.trial: row for row in content.trials}
    tested = {(found.trial, found.seed): found for found in evaluated if found.seed is not None}
    heads = [*("trial", "seed", "role", "method", "arm", "searched"), *_RUN, "test", "parameters", "bytes", "ece"]
    heads.append("agreement")
    lines = (
        _run(run, rows, tested.get((run.trial, run.seed))) for run in sorted(runs, key=lambda r: (r.trial, r.seed))
    )
    return _text(heads, lines)


def _run(run: FinalistFinished, rows: Mapping[int, TrialRow], found: Evaluated | None) -> list[object]:
    row = rows[run.trial]
    diagnosis = found.diagnosis if found else None
    return [
        *(run.trial, run.seed, row.role, row.method, row.arm, row.value),
        *(getattr(run, name) for name in _RUN),
        found.test if found else None,
        found.parameters if found else run.parameters,
        found.bytes if found else None,
        diagnosis.ece if diagnosis else None,
        diagnosis.agreement if diagnosis else None,
    ]


def _text(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(head) for head in heads])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
