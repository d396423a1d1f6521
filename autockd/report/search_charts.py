"""Charts of a search: its history, its dimensions, its rungs, its front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from autockd.report.charts import (
    BARS,
    FAILED,
    INK,
    LOG_MARGIN,
    LOOKS,
    PALE,
    STOPPED,
    Axis,
    Chart,
    Look,
    Mark,
    Panel,
    Series,
    Symbol,
    arm_look,
    level,
    log_ticks,
    look_of,
    metric_title,
    scale_of,
)
from autockd.report.content import STATES, ReportContent
from autockd.report.gathering import value_text
from autockd.summary import TrialRow
from autockd.text import metric_text

_WIDE = 20
"""A cost whose largest value is so many times its smallest is drawn on a logarithmic axis."""
_HOLLOW: dict[Symbol, Symbol] = {"circle": "hollow circle", "square": "hollow square"}
"""What trials that are not complete have for their method's symbol."""


def searched(content: ReportContent) -> list[TrialRow]:
    """Trials with a number that can be drawn, baselines left out."""
    return [row for row in content.trials if row.role != "baseline" and has_number(row)]


def has_number(row: TrialRow) -> bool:
    """Whether a trial has a finite metric."""
    return row.value is not None and math.isfinite(row.value)


def hover_of(row: TrialRow, metric: str) -> str:
    """What is said of a trial where the mouse is."""
    return f"trial {row.trial} ({row.arm or row.method}): {metric_text(row.value, metric)}, {STATES[row.state]}"


def history_chart(content: ReportContent) -> Chart | None:
    """Every trial's metric by its number, with the best so far, the baselines and the teacher."""
    rows = searched(content)
    if not rows:
        return None
    scale = scale_of(content.metric)
    span = (-0.5, max(row.trial for row in content.trials) + 0.5)
    series = [*_levels(content, span, scale), *_best_so_far(content, scale), *_dots(content, rows, scale)]
    failed = [row for row in content.trials if row.state == "failed" and row.role != "baseline"]
    if failed:
        floor = min(row.value or 0.0 for row in rows) * scale
        texts = tuple(f"trial {row.trial}: failed, {row.reason}" for row in failed)
        look = Look(FAILED, symbol="cross")
        series.append(Series("failed", _x(failed), (floor,) * len(failed), "dots", look, hover=texts))
    axis = Axis("trial", whole=True, span=span)
    panel = Panel(axis, Axis(metric_title(content.metric, "validation")), tuple(series), height=400)
    alt = f"The validation metric of {len(rows)} trials, with the best so far."
    return Chart("search_history", "Search history", alt, (panel,))


def _x(rows: Iterable[TrialRow]) -> tuple[float, ...]:
    return tuple(float(row.trial) for row in rows)


def _levels(content: ReportContent, span: tuple[float, float], scale: float) -> Iterator[Series]:
    for standing in content.standings:
        if standing.kind in ("teacher", "baseline") and standing.searched is not None:
            text = f"{standing.name}: {metric_text(standing.searched, content.metric)}"
            yield level(standing.name, scale * standing.searched, span, look_of(content, standing.name), text)


def _best_so_far(content: ReportContent, scale: float) -> Iterator[Series]:
    """One line; where methods are compared, one for each of them."""
    better: Callable[[float, float], float] = max if content.direction == "maximize" else min
    groups = [arm.arm for arm in content.arms] or [""]
    for arm in groups:
        rows = [row for row in searched(content) if row.state == "complete" and row.arm == arm]
        best = list(accumulate((scale * (row.value or 0.0) for row in rows), better))
        if rows:
            x, y = [*_x(rows), float(content.trials[-1].trial)], [*best, best[-1]]
            look = arm_look(content, arm) if arm else Look(INK)
            texts = tuple(f"best so far: {metric_text(value / scale, content.metric)}" for value in y)
            name = f"best so far, {arm}" if arm else "best so far"
            yield Series(name, tuple(x), tuple(y), "steps", look, width=1.8, hover=texts)


def _dots(content: ReportContent, rows: Sequence[TrialRow], scale: float) -> Iterator[Series]:
    for state in ("complete", "pruned", "running"):
        for arm in dict.fromkeys(row.arm for row in rows):
            mine = [row for row in rows if row.state == state and row.arm == arm]
            if not mine:
                continue
            look = arm_look(content, arm) if arm else Look(LOOKS["winner"].color)
            if state != "complete":
                look = replace(look, color=look.color if arm else STOPPED, symbol=_HOLLOW[look.symbol])
            name = f"{arm}, {STATES[state]}" if arm else STATES[state]
            texts = tuple(hover_of(row, content.metric) for row in mine)
            values = tuple(scale * (row.value or 0.0) for row in mine)
            yield Series(name, _x(mine), values, "dots", look, hover=texts)


def front_chart(content: ReportContent) -> Chart | None:
    """The metric against each cost, with the Pareto front."""
    scale = scale_of(content.metric)
    panels = []
    for cost in content.objectives:
        known = [row for row in content.trials if row.state == "complete" and has_number(row) and cost in row.costs]
        rows, baselines = ([row for row in known if (row.role == "baseline") is is_one] for is_one in (False, True))
        if not rows:
            continue
        front = sorted((row for row in rows if row.trial in content.front), key=lambda row: row.costs[cost])
        others = [row for row in rows if row.trial not in content.front]
        mark: Mark = "curve" if len(content.objectives) == 1 else "dots"
        series = [
            _cost_series("other trials", others, cost, content, scale, "dots", Look(PALE)),
            _cost_series("baselines", baselines, cost, content, scale, "dots", LOOKS["baseline"]),
            _cost_series("Pareto front", front, cost, content, scale, mark, LOOKS["winner"]),
        ]
        x = _cost_axis(cost, [row.costs[cost] for row in known])
        y = Axis(metric_title(content.metric, "validation"))
        panels.append(Panel(x, y, tuple(one for one in series if one.x), height=360))
    if not panels:
        return None
    alt = f"Metric against cost; {len(content.front)} trials on the Pareto front."
    return Chart("pareto_front", "Pareto front", alt, tuple(panels), columns=2)


def _cost_axis(cost: str, values: Sequence[float]) -> Axis:
    """A cost's axis; a logarithmic one where the largest is many times the smallest."""
    low, high, name = min(values), max(values), cost.replace("_", " ")
    return _log_axis(name, low, high) if 0 < low * _WIDE < high < math.inf else Axis(name)


def _log_axis(name: str, low: float, high: float) -> Axis:
    return Axis(name, log=True, ticks=log_ticks(low, high), span=(low * LOG_MARGIN, high / LOG_MARGIN))


def _cost_series(
    name: str, rows: Sequence[TrialRow], cost: str, content: ReportContent, scale: float, mark: Mark, look: Look
) -> Series:
    texts = tuple(f"{hover_of(row, content.metric)}; {cost} {row.costs[cost]:.4g}" for row in rows)
    x, y = tuple(row.costs[cost] for row in rows), tuple(scale * (row.value or 0.0) for row in rows)
    return Series(name, x, y, mark, look, hover=texts)


def slices_chart(content: ReportContent) -> Chart | None:
    """The metric against each dimension, one after the other."""
    rows = searched(content)
    panels = tuple(
        panel for name, dimension in content.space.items() if (panel := _slice(content, rows, name, dimension))
    )
    alt = f"The validation metric against each of {len(panels)} dimensions."
    title = f"Slices: {metric_title(content.metric, 'validation')}, against each dimension"
    return Chart("slices", title, alt, panels, columns=3) if panels else None


def _slice(content: ReportContent, rows: Sequence[TrialRow], name: str, dimension: dict[str, Any]) -> Panel | None:
    choices = [value_text(choice) for choice in dimension.get("choices", ())]
    # A compared method may search a dimension of this name in another way.
    mine = [row for row in rows if name in row.params and (not choices or value_text(row.params[name]) in choices)]
    if not mine:
        return None
    ticks = tuple((float(place), choice) for place, choice in enumerate(choices))
    span = (-0.5, len(choices) - 0.5) if choices else None
    series = []
    for what, look, size, chosen in _groups(content, mine):
        texts = tuple(f"{hover_of(row, content.metric)}; {name} {value_text(row.params[name])}" for row in chosen)
        x = tuple(place_of(row.params[name], choices) for row in chosen)
        y = tuple(scale_of(content.metric) * (row.value or 0.0) for row in chosen)
        series.append(Series(what, x, y, "dots", look, size=size, hover=texts, named=False))
    axis = Axis(name, ticks=ticks, span=span)
    if dimension.get("log"):
        axis = _log_axis(name, dimension["low"], dimension["high"])
    return Panel(axis, Axis(), tuple(series), height=230)


def _groups(content: ReportContent, rows: Sequence[TrialRow]) -> Iterator[tuple[str, Look, float, list[TrialRow]]]:
    """Trials that are drawn alike, with their look and size: the presets and the winner last, on top of the others."""
    special = [row for kind in ("preset", "winner") for row in content.standings if row.kind == kind]
    taken = {standing.trial for standing in special}
    for state, color in (("pruned", PALE), ("complete", BARS)):
        if chosen := [row for row in rows if row.state == state and row.trial not in taken]:
            yield STATES[state], Look(color), 7.0, chosen
    for standing in special:
        if chosen := [row for row in rows if row.trial == standing.trial]:
            yield standing.kind, look_of(content, standing.name), 13.0 if standing.kind == "winner" else 10.0, chosen


def place_of(value: object, choices: Sequence[str]) -> float:
    """Where a value stands on its axis: a choice by its index."""
    if choices:
        return float(choices.index(value_text(value)))
    return float(value)  # type: ignore[arg-type]


def importance_chart(content: ReportContent) -> Chart | None:
    """How much of the metric's variation each dimension explains."""
    shares = content.importance.shares
    if not shares:
        return None
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    texts = tuple(f"{name}: {share:.0%} of the explained variation" for name, share in zip(names, values, strict=True))
    places = tuple(float(place) for place in range(len(names)))
    bars = Series("importance", tuple(values), places, "hbars", Look(BARS), hover=texts, named=False)
    y = Axis(ticks=tuple(zip(places, names, strict=True)), span=(-0.6, len(names) - 0.4))
    panel = Panel(Axis("share of the explained variation"), y, (bars,), height=90 + 30 * len(names))
    return Chart("importance", "Importance of the dimensions", f"Most important: {names[-1]}.", (panel,))


def rungs_chart(content: ReportContent) -> Chart | None:
    """How many trials passed each rung."""
    if not content.rungs:
        return None
    rungs = content.rungs[::-1]
    places = tuple(float(place) for place in range(len(rungs)))
    went = tuple(float(rung.reached - rung.stopped) for rung in rungs)
    stopped = tuple(float(rung.stopped) for rung in rungs)
    series = (
        Series("went on", went, places, "hbars", LOOKS["winner"], hover=tuple(f"{n:.0f} went on" for n in went)),
        Series("stopped", stopped, places, "hbars", Look(PALE), hover=tuple(f"{n:.0f} stopped" for n in stopped)),
    )
    names = (f"rung {rung.rung}, epoch {rung.epochs}" for rung in rungs)
    y = Axis(ticks=tuple(zip(places, names, strict=True)), span=(-0.6, len(places) - 0.4))
    alt = "Trials that went on and trials that were stopped, by rung."
    panel = Panel(Axis("trials", whole=True), y, series, height=120 + 44 * len(rungs))
    return Chart("rungs", "Rung survival", alt, (panel,))
