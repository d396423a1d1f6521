"""What stands on top of a study's page in MLflow, in Markdown: its result, its search space, and the user's note."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autockd.records import EpochFinished, Evaluated, Event, StudyFinished, StudyResumed, StudyStarted
from autockd.summary import StudySummary, TrialRow, best_of_arms, summarise
from autockd.text import metric_text
from autockd.tracking.charted_space import ARM, charted_space
from autockd.tracking.redaction import redact
from autockd.verdicts import (
    Finalist,
    conclusions_of,
    finalists_of,
    names,
    runs_of,
    spread_text,
    subject_name,
    validation_heading,
    winner_of,
)

_MARKDOWN = re.compile(r"([\\`*_\[\]|~])")
_LONGEST = 80
_GAP = "\N{NO-BREAK SPACE}" * 3
"""MLflow shows a table's columns without any room between them."""


class StudyNote:
    """The text, as far as the events tell; the same events make the same text."""

    def __init__(self, start: StudyStarted) -> None:
        self._config = start.config
        self._events: list[Event] = [start]

    def hear(self, event: Event) -> bool:
        """Take in an event; whether the text may be another one now."""
        if isinstance(event, StudyResumed):
            self._config = event.config
        if not isinstance(event, EpochFinished):  # how a trial ended says what they came to
            self._events.append(event)
        return isinstance(event, StudyStarted | StudyResumed | Evaluated | StudyFinished)

    @property
    def finalists(self) -> tuple[Finalist, ...]:
        """Those that have a student, as far as they are known."""
        return finalists_of(self._summary())

    @property
    def text(self) -> str:
        """All that is known, the user's own words last, for they may be any Markdown."""
        summary = self._summary()
        parts = [*_result(summary), *_search(summary, self._config)]
        if note := str(self._config.get("note") or "").strip():
            parts += ["### Note", note]
        return "\n\n".join(parts)

    def _summary(self) -> StudySummary:
        summary = summarise(self._events)
        assert summary is not None, "the first event is the study's start"
        return summary


def _result(summary: StudySummary) -> Iterator[str]:
    if not summary.evaluated and not summary.finished:
        return
    yield "### Result"
    finalists = finalists_of(summary)
    if summary.finished:
        yield _outcome(summary, finalists)
    if winner_of(finalists, summary.direction) is not None:
        yield from _over_seeds(summary, finalists)
    elif summary.evaluated:
        heads = (
            "model",
            validation_heading(summary, f"validation {summary.metric}"),
            f"test {summary.metric}",
            "parameters",
            "bytes",
        )
        yield _table(heads, [_row(event, summary) for event in summary.evaluated])
    if arms := dict.fromkeys(row.arm for row in summary.trials if row.arm):
        columns = ("compared method", "trials", "best trial", f"validation {summary.metric}")
        best = best_of_arms(summary)
        yield _table(columns, [_arm(arm, summary, best.get(arm)) for arm in arms])


def _arm(arm: str, summary: StudySummary, best: TrialRow | None) -> list[str]:
    """A compared method with the best of its trials."""
    count = str(sum(row.arm == arm for row in summary.trials))
    return [arm, count, *((str(best.trial), metric_text(best.value, summary.metric)) if best else ("", ""))]


def _over_seeds(summary: StudySummary, finalists: Sequence[Finalist]) -> Iterator[str]:
    metric = summary.metric
    heads = ("model", "in the search", f"validation {metric}", f"test {metric}", "seeds", "parameters")
    called, best = names(finalists), winner_of(finalists, summary.direction)
    rows = [
        ["teacher", "", *_spreads(metric, (event.validation,), (event.test,)), "", f"{event.parameters:,}"]
        for event in summary.evaluated
        if event.subject == "teacher"
    ]
    for one in finalists:
        name = f"best student, {called[one.trial]}" if one == best else called[one.trial]
        searched, *spreads = _spreads(metric, (one.searched,), one.validation, one.test)
        searched = "stopped early" if one.was_stopped else searched
        size = next((run.parameters for run in runs_of(summary) if run.trial == one.trial and run.parameters), 0)
        rows.append([name, searched, *spreads, str(len(one.seeds)), f"{size:,}"])
    yield "Mean and standard deviation over fresh seeds, which the search did not see:"
    yield _table(heads, rows)
    if said := conclusions_of(summary):
        yield "\n".join(f"- {_escaped(sentence)}" for sentence in said)
    if summary.test_opened is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(summary.test_opened))
        yield f"The test split was opened once, at {when}, when all of these runs were over."


def _spreads(metric: str, *values: Sequence[float]) -> list[str]:
    return [spread_text(each, metric) for each in values]


def _outcome(summary: StudySummary, finalists: Sequence[Finalist]) -> str:
    complete, pruned, failed = (summary.count(state) for state in ("complete", "pruned", "failed"))
    counts = f"{complete} trials complete, {pruned} stopped early, {failed} failed"
    best = summary.best
    if best is None or best.value is None:
        return f"No student: {counts}."
    name = f"trial {best.trial} ({_plain(best.arm or best.method)})"
    value = f"validation {_plain(summary.metric)} {metric_text(best.value, summary.metric)}; {counts}."
    return f"The best of the search is {name}, {value}" if finalists else f"The best student is **{name}**, {value}"


def _search(summary: StudySummary, config: Mapping[str, Any]) -> Iterator[str]:
    search: Mapping[str, Any] = config.get("search", {})
    yield "### Search"
    yield ", ".join(_plain(part) for part in _settings(search, len(config.get("compare", ())))) + "."
    space = {name: dimension for name, dimension in charted_space(config).items() if name != ARM}
    if not space:
        return
    best = _chosen(summary) if summary.finished else None
    heads = ["dimension", "values", "scale", "exists where", *([f"trial {best.trial}"] if best else [])]
    rows = [[name, *_dimension(dimension)] for name, dimension in space.items()]
    if best is not None:
        rows = [[*row, _number(best.params.get(row[0], ""))] for row in rows]
    yield _table(heads, rows)


def _chosen(summary: StudySummary) -> TrialRow | None:
    """The trial of the best student: the winner over fresh seeds, or the best of the search without any."""
    winner = winner_of(finalists_of(summary), summary.direction)
    return next((row for row in summary.trials if winner and row.trial == winner.trial), summary.best)


def _row(event: Evaluated, summary: StudySummary) -> list[str]:
    metrics = (metric_text(value, summary.metric) for value in (event.validation, event.test))
    return [subject_name(event, summary), *metrics, f"{event.parameters:,}", f"{event.bytes:,}"]


def _settings(search: Mapping[str, Any], compared: int) -> Iterator[str]:
    yield f"{search.get('trials', 'some')} trials" + (f" of each of {compared} methods" if compared else "")
    yield f"sampler {search.get('sampler', 'unknown')}"
    if objectives := search.get("objectives"):
        yield "costs to keep low " + " and ".join(map(str, objectives))
    if (baselines := search.get("baselines")) and not compared:
        yield "baselines " + " and ".join(str(baseline.get("name")) for baseline in baselines)
    rule = search.get("stopping", {}).get("rule", "none")
    yield "no early stopping" if rule == "none" else f"early stopping by {rule}"


def _dimension(dimension: Mapping[str, Any]) -> list[str]:
    if "choices" in dimension:
        values = ", ".join(_number(choice) for choice in dimension["choices"])
    else:
        values = f"{_number(dimension.get('low'))} to {_number(dimension.get('high'))}"
    scale = "log" if dimension.get("log") else "linear" if "low" in dimension else ""
    where = " and ".join(f"{name} is {_allowed(values)}" for name, values in dimension.get("when", {}).items())
    return [values, scale, where]


def _allowed(values: object) -> str:
    return " or ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[_plain(cell) + _GAP for cell in line] for line in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: object) -> str:
    """Text that Markdown and HTML leave as it is, on one line and not too long, whoever chose it."""
    line = redact(" ".join(str(text).split()))  # before it is escaped, when a password still looks like one
    return _escaped(line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "...")


def _escaped(line: str) -> str:
    return _MARKDOWN.sub(r"\\\1", html.escape(line, quote=False))
