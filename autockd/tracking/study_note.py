"""What stands on top of a study's page in MLflow, in Markdown: its result, its search space, and the user's note."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autockd.records import (
    Evaluated,
    Event,
    FinalistFinished,
    FinalistsChosen,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking.redaction import redact
from autockd.verdicts import Finalist, Searched, conclusions, gather, names, spread_text, winner_of

_MARKDOWN = re.compile(r"([\\`*_\[\]|~])")
_LONGEST = 80
_GAP = "\N{NO-BREAK SPACE}" * 3
"""MLflow shows a table's columns without any room between them."""


class StudyNote:
    """The text, as far as the events tell; the same events make the same text."""

    def __init__(self, start: StudyStarted) -> None:
        self._metric, self._direction = start.metric, start.direction
        self._config = start.config
        self._trials: dict[int, TrialStarted] = {}
        self._outcomes: dict[int, TrialFinished] = {}
        self._chosen: FinalistsChosen | None = None
        self._runs: dict[tuple[int, int], FinalistFinished] = {}
        self._evaluated: dict[str, Evaluated] = {}
        self._opened: TestOpened | None = None
        self._finished: StudyFinished | None = None

    def hear(self, event: Event) -> bool:
        """Take in an event; whether the text may be another one now."""
        match event:
            case StudyResumed():
                self._config, self._finished = event.config, None
            case Evaluated():
                self._evaluated[event.label] = event
            case StudyFinished():
                self._finished = event
            case TrialStarted() | TrialFinished() | FinalistsChosen() | FinalistFinished() | TestOpened():
                self._remember(event)
                return False
            case _:
                return isinstance(event, StudyStarted)
        return True

    def _remember(self, event: TrialStarted | TrialFinished | FinalistsChosen | FinalistFinished | TestOpened) -> None:
        match event:
            case TrialStarted():
                self._trials[event.trial] = event
            case TrialFinished():
                self._outcomes[event.trial] = event
            case FinalistsChosen():
                self._chosen = event
            case FinalistFinished():
                self._runs[event.trial, event.seed] = event
            case TestOpened():
                self._opened = event

    @property
    def finalists(self) -> tuple[Finalist, ...]:
        """Those that have a student, as far as they are known."""
        trials = {
            number: Searched(start.role, start.method, start.arm, end.value, end.state == "pruned")
            for number, end in self._outcomes.items()
            if (start := self._trials.get(number)) is not None
        }
        return gather(trials, self._runs.values(), self._evaluated.values(), self._chosen)

    @property
    def text(self) -> str:
        """All that is known, the user's own words last, for they may be any Markdown."""
        parts = [*self._result(), *self._search()]
        if note := str(self._config.get("note") or "").strip():
            parts += ["### Note", note]
        return "\n\n".join(parts)

    def _result(self) -> Iterator[str]:
        if not self._evaluated and self._finished is None:
            return
        yield "### Result"
        if self._finished is not None:
            yield self._outcome(self._finished)
        finalists = self.finalists
        if winner_of(finalists, self._direction) is not None:
            yield from self._over_seeds(finalists)
        elif self._evaluated:
            heads = ("model", "trial", f"validation {self._metric}", f"test {self._metric}", "parameters", "bytes")
            yield _table(heads, [_row(event) for event in self._evaluated.values()])
        if arms := dict.fromkeys(event.arm for event in self._trials.values() if event.arm):
            columns = ("compared method", "trials", "best trial", f"validation {self._metric}")
            yield _table(columns, [self._arm(arm) for arm in arms])

    def _arm(self, arm: str) -> list[str]:
        """A compared method with the best of its trials; the earlier one of equals."""
        own = sorted(number for number, event in self._trials.items() if event.arm == arm)
        values = {number: end.value for number in own if (end := self._outcomes.get(number)) and end.value is not None}
        scored = [number for number in values if self._outcomes[number].state == "complete"]
        if not scored:
            return [arm, str(len(own)), "", ""]
        choose = max if self._direction == "maximize" else min
        best = choose(scored, key=values.__getitem__)
        return [arm, str(len(own)), str(best), f"{values[best]:.4g}"]

    def _over_seeds(self, finalists: Sequence[Finalist]) -> Iterator[str]:
        heads = ("model", "in the search", f"validation {self._metric}", f"test {self._metric}", "seeds", "parameters")
        called, best = names(finalists), winner_of(finalists, self._direction)
        rows = [
            ["teacher", "", *self._numbers((event.validation,), (event.test,)), "", f"{event.parameters:,}"]
            for event in self._evaluated.values()
            if event.subject == "teacher"
        ]
        for one in finalists:
            name = f"best student, {called[one.trial]}" if one == best else called[one.trial]
            searched, *spreads = self._numbers((one.searched,), one.validation, one.test)
            searched = "stopped early" if one.was_stopped else searched
            size = next((run.parameters for run in self._runs.values() if run.trial == one.trial and run.parameters), 0)
            rows.append([name, searched, *spreads, str(len(one.seeds)), f"{size:,}"])
        yield "Mean and standard deviation over fresh seeds, which the search did not see:"
        yield _table(heads, rows)
        if said := conclusions(finalists, self._metric, self._direction):
            yield "\n".join(f"- {_escaped(sentence)}" for sentence in said)
        if self._opened is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._opened.time))
            yield f"The test split was opened once, at {when}, when all of these runs were over."

    def _numbers(self, *values: Sequence[float]) -> list[str]:
        return [spread_text(each, self._metric) for each in values]

    def _outcome(self, end: StudyFinished) -> str:
        counts = f"{end.complete} trials complete, {end.pruned} stopped early, {end.failed} failed"
        best = self._trials.get(-1 if end.best_trial is None else end.best_trial)
        if best is None or end.best_value is None:
            return f"No student: {counts}."
        name = f"trial {best.trial} ({_plain(best.arm or best.method)})"
        if self.finalists:
            return (
                f"The best of the search is {name}, validation {_plain(self._metric)} {end.best_value:.4g}; {counts}."
            )
        return f"The best student is **{name}**, validation {_plain(self._metric)} {end.best_value:.4g}; {counts}."

    def _search(self) -> Iterator[str]:
        search: Mapping[str, Any] = self._config.get("search", {})
        yield "### Search"
        compared = len(self._config.get("compare", ()))
        yield ", ".join(_plain(part) for part in _settings(search, compared)) + "."
        space: Mapping[str, Mapping[str, Any]] = search.get("space", {})
        if not space:
            return
        end = self._finished
        best = self._trials.get(end.best_trial) if end is not None and end.best_trial is not None else None
        heads = ["dimension", "values", "scale", "exists where", *(["best trial"] if best else [])]
        rows = [[name, *_dimension(dimension)] for name, dimension in space.items()]
        if best is not None:
            rows = [[*row, _number(best.params.get(row[0], ""))] for row in rows]
        yield _table(heads, rows)


def _row(event: Evaluated) -> list[str]:
    subject = "student" if event.subject == "baseline" else event.subject
    name = event.label if event.label == subject else f"{subject}, {event.label}"
    trial = "" if event.trial is None else str(event.trial)
    return [name, trial, f"{event.validation:.4g}", f"{event.test:.4g}", f"{event.parameters:,}", f"{event.bytes:,}"]


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
