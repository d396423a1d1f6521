"""The tables of a page: plain texts, which the page escapes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from autockd.report.charts import look_of
from autockd.report.content import STATES, ReportContent, Standing
from autockd.report.gathering import point_of, value_text
from autockd.report.model_charts import PLAN_TITLES, judged_values
from autockd.report.words import interval_text
from autockd.text import count_text, duration, kilobytes, metric_text
from autockd.verdicts import spread_text


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        heads: headings.
        rows: as many cells each.
        numbers: which columns are numbers, and so stand right.
        colors: of the mark before each row's first cell; empty for none.
        bold: which row stands out.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    colors: tuple[str, ...] = ()
    bold: int | None = None


@dataclass(frozen=True)
class Card:
    """A number to see at once."""

    what: str
    value: str
    about: str
    color: str = ""


def cards_of(content: ReportContent) -> list[Card]:
    """The numbers that matter most: winner, no distillation, teacher, size."""
    winner, plain, teacher = content.of_kind("winner"), content.undistilled, content.of_kind("teacher")
    if winner is None:
        return []
    named = ((winner, "winner"), (None if plain == winner else plain, "no distillation"), (teacher, "teacher"))
    cards = [_score_card(content, row, name) for row, name in named if row is not None]
    if winner.parameters is not None:
        about = ""
        if teacher is not None and teacher.parameters:
            about = f"the teacher has {teacher.parameters / winner.parameters:.3g} times as many"
        cards.append(Card("parameters of the winner", count_text(winner.parameters), about))
    return cards


def _score_card(content: ReportContent, row: Standing, name: str) -> Card:
    values, split = judged_values(content, row)
    seeds = f"{len(values)} seeds ± sd" if len(values) > 1 else "one run"
    about = f"{split} {content.metric.replace('_', ' and ')}, {seeds}"
    return Card(name, spread_text(values, content.metric), about, look_of(content, row.name).color)


def comparison_table(content: ReportContent) -> Table:
    """Every model with what was measured of it, and the verdict against no distillation."""
    metric = content.metric
    latencies = any(row.costs.get("latency_ms") for row in content.standings)
    difference = f"difference{', points' if metric == 'accuracy' else ''} (95 % interval)"
    heads = ["model", "seeds", "searched validation", "fresh validation", "test", "against no distillation", difference]
    heads += ["parameters", "size", *(["latency, ms"] if latencies else [])]
    rows = [
        (
            row.name,
            str(len(row.seeds) or 1),
            "stopped early" if row.was_stopped else metric_text(row.searched, metric),
            spread_text(row.validation, metric),
            spread_text(row.test, metric),
            *_verdict(content, row),
            count_text(row.parameters),
            "-" if row.bytes is None else kilobytes(row.bytes),
            *([_number(row.costs.get("latency_ms"))] if latencies else []),
        )
        for row in content.standings
    ]
    numbers = frozenset(range(1, len(heads))) - {5}
    colors = tuple(look_of(content, row.name).color for row in content.standings)
    bold = next((place for place, row in enumerate(content.standings) if row.kind == "winner"), None)
    return Table(tuple(heads), tuple(rows), numbers, colors, bold)


def _verdict(content: ReportContent, row: Standing) -> tuple[str, str]:
    """The verdict, and the difference with its interval."""
    plain = content.undistilled
    if row.kind == "teacher" or plain is None or plain.trial == row.trial:
        return "", ""
    if row.against_none is None:
        return "one seed, no verdict", ""
    return row.against_none.verdict, interval_text(row.against_none, content.metric)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def arms_table(content: ReportContent) -> Table:
    """The compared methods: budget, and the best of each."""
    rows = tuple(
        (
            arm.arm,
            str(arm.trials),
            str(arm.complete),
            metric_text(arm.best_value, content.metric),
            "-" if arm.best_trial is None else str(arm.best_trial),
        )
        for arm in content.arms
    )
    heads = ("method", "trials", "complete", "best searched validation", "trial")
    return Table(heads, rows, frozenset({1, 2, 3, 4}))


def front_table(content: ReportContent) -> Table:
    """The trials of the Pareto front, the best metric first."""
    known = {row.trial: row for row in content.trials}
    rows = tuple(
        (
            str(trial),
            known[trial].method,
            metric_text(known[trial].value, content.metric),
            *(_cost(known[trial].costs.get(cost)) for cost in content.objectives),
            point_of(known[trial]),
        )
        for trial in content.front
    )
    heads = ("trial", "method", f"validation {content.metric}", *content.objectives, "parameters of the trial")
    return Table(heads, rows, frozenset({0, *range(2, 3 + len(content.objectives))}))


def _cost(value: float | None) -> str:
    if value is None:
        return "-"
    return count_text(int(value)) if value >= 1000 else f"{value:.3g}"


def trials_table(content: ReportContent) -> Table:
    """Every trial, whatever became of it."""
    rows = tuple(
        (
            str(row.trial),
            row.arm or row.method,
            row.role,
            STATES[row.state],
            metric_text(row.value, content.metric),
            str(row.epochs),
            duration(row.seconds),
            (f"{point_of(row)}; {row.reason}" if row.params else row.reason) if row.reason else point_of(row),
        )
        for row in content.trials
    )
    heads = ("trial", "method", "role", "state", "validation", "epochs", "time", "parameters; why it ended early")
    winner = content.of_kind("winner")
    bold = next((place for place, row in enumerate(content.trials) if winner and row.trial == winner.trial), None)
    return Table(heads, rows, frozenset({0, 4, 5, 6}), bold=bold)


def space_table(content: ReportContent) -> Table:
    """The dimensions, with what the winner and the preset have."""
    trials = {row.trial: row.params for row in content.trials}
    special = [row for row in (content.of_kind("winner"), content.preset) if row is not None]
    rows = []
    for name, dimension in content.space.items():
        values = ", ".join(map(value_text, dimension.get("choices", ())))
        values = values or f"{value_text(dimension['low'])} to {value_text(dimension['high'])}"
        where = " and ".join(f"{other} is {_allowed(allowed)}" for other, allowed in dimension.get("when", {}).items())
        scale = "log" if dimension.get("log") else ""
        own = (value_text(trials[row.trial].get(name, "-")) for row in special if row.trial in trials)
        rows.append((name, values, scale, where, *own))
    kinds = (row.kind for row in special if row.trial in trials)
    return Table(("dimension", "values", "scale", "exists where", *kinds), tuple(rows))


def _allowed(values: object) -> str:
    return " or ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def plans_table(content: ReportContent) -> Table:
    """Where each coefficient of a plan begins and ends, and the mean share of active hinges."""
    rows = []
    for plan in content.plans:
        cells = [plan.name, str(len(plan.epochs))]
        for name in PLAN_TITLES:
            values = [value for value in plan.columns.get(name, ()) if value is not None]
            cells.append(f"{values[0]:.3g} to {values[-1]:.3g}" if values else "-")
        active = [value for value in plan.active_fraction if value is not None]
        cells.append(f"{100 * statistics.fmean(active):.0f} %" if active else "-")
        rows.append(tuple(cells))
    heads = ("trial", "epochs", *PLAN_TITLES.values(), "mean active fraction")
    colors = tuple(look_of(content, plan.name).color for plan in content.plans)
    return Table(heads, tuple(rows), frozenset(range(1, len(heads))), colors)


def rungs_table(content: ReportContent) -> Table:
    """Each rung in numbers."""
    rows = tuple(
        (
            str(rung.rung),
            str(rung.epochs),
            str(rung.reached),
            str(rung.reached - rung.stopped),
            str(rung.stopped),
            _range(rung.lowest_threshold, rung.highest_threshold, content.metric),
        )
        for rung in content.rungs
    )
    return Table(("rung", "epoch", "reached it", "went on", "stopped", "needed"), rows, frozenset(range(6)))


def _range(low: float | None, high: float | None, metric: str) -> str:
    if low is None or high is None:
        return "too few peers to judge"
    return metric_text(low, metric) if low == high else f"{metric_text(low, metric)} to {metric_text(high, metric)}"


def calibration_table(content: ReportContent) -> Table:
    """Calibration error and agreement with the teacher."""
    rows = tuple(
        (
            row.name,
            str(row.seeds),
            spread_text(row.ece, "accuracy"),
            "-" if row.kind == "teacher" else f"{100 * row.agreement:.1f} %",
            f"{sum(row.counts) // row.seeds:,}",
        )
        for row in content.diagnoses
    )
    colors = tuple(look_of(content, row.name).color for row in content.diagnoses)
    heads = ("model", "seeds", "ECE", "agrees with the teacher", "test samples")
    return Table(heads, rows, frozenset({1, 2, 3, 4}), colors)


def cost_table(content: ReportContent) -> Table:
    """What groups of runs took, and the study as a whole."""
    rows = [
        (one.what, str(one.runs), duration(one.seconds), duration(one.cpu_seconds), duration(one.gpu_seconds or None))
        for one in content.cost.spent
    ]
    total = content.cost.stages.get("total")
    if total is not None:
        what = "the study's last session" if content.cost.sessions > 1 else "the study, start to end"
        rows.append((what, "", duration(total), "", ""))
    return Table(("", "runs", "wall, summed", "CPU", "GPU"), tuple(rows), frozenset({1, 2, 3, 4}))
