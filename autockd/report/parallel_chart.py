"""Parallel coordinates: every trial as a line over all dimensions to its metric.

Drawn as lines, not as plotly's own parallel coordinates: those need WebGL, and have no place for a dimension that a
trial is without.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autockd.facts import sign_of
from autockd.report.charts import GREY, Axis, Chart, Label, Look, Panel, Series, look_of, metric_title, scale_of
from autockd.report.content import Kind, ReportContent
from autockd.report.gathering import value_text
from autockd.report.search_charts import hover_of, place_of, searched
from autockd.summary import TrialRow

_SHADES = ("#dfe3e9", "#c3cad4", "#9ea9b8", "#74808f", "#454f5c")
"""From the worst fifth of the trials to the best."""
_ABSENT = -0.16
"""Where the line of a trial runs that is without a dimension."""
_SPECIAL: tuple[Kind, ...] = ("preset", "winner")


def parallel_chart(content: ReportContent) -> Chart | None:
    """All trials with a metric, the better ones darker, the winner and the preset in their colours."""
    rows = [row for row in searched(content) if row.params]
    names = [name for name in content.space if any(name in row.params for row in rows)]
    if len(rows) < 2 or not names:
        return None
    order = sorted(names, key=lambda name: -content.importance.shares.get(name, -1.0))
    low, high = (bound(row.value or 0.0 for row in rows) for bound in (min, max))
    lines = {row.trial: _line(content, row, order, (low, high)) for row in rows}
    axes = [
        Series(name, (place, place), (0.0, 1.0), "line", Look(GREY), 1.0, named=False) for place, name in _at(order)
    ]
    shades = list(_shaded(content, rows, lines))
    special = list(_special(content, rows, lines))
    labels = tuple(_labels(content, rows, order, (low, high)))
    title = metric_title(content.metric, "").strip()
    x = Axis(ticks=(*_at(order), (float(len(order)), title)), span=(-0.5, len(order) + 0.5))
    end = Series(title, (float(len(order)),) * 2, (0.0, 1.0), "line", Look(GREY), 1.0, named=False)
    panel = Panel(x, Axis(span=(-0.24, 1.12), shown=False), (*shades, *axes, end, *special), labels=labels, height=460)
    alt = f"{len(rows)} trials as lines over {len(order)} dimensions and the metric; better trials are darker."
    return Chart("parallel_coordinates", "Parallel coordinates", alt, (panel,), wide=True)


def _at(order: Sequence[str]) -> list[tuple[float, str]]:
    return [(float(place), name) for place, name in enumerate(order)]


def _line(content: ReportContent, row: TrialRow, order: Sequence[str], span: tuple[float, float]) -> tuple[float, ...]:
    heights = [height_of(content.space[name], row.params.get(name)) for name in order]
    return (*heights, _share(row.value or 0.0, *span))


def height_of(dimension: Mapping[str, Any], value: object) -> float:
    """Where a value stands on its axis, 0 to 1, on the dimension's own scale; below the axis where there is none."""
    if value is None:
        return _ABSENT
    choices = [value_text(choice) for choice in dimension.get("choices", ())]
    if choices and value_text(value) not in choices:  # a compared method searches it in another way
        return _ABSENT
    if choices:
        return _share(place_of(value, choices), 0.0, len(choices) - 1.0)
    scale = math.log if dimension.get("log") else float
    return _share(scale(float(str(value))), scale(dimension["low"]), scale(dimension["high"]))


def _share(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _shaded(
    content: ReportContent, rows: Sequence[TrialRow], lines: Mapping[int, tuple[float, ...]]
) -> Iterator[Series]:
    """Five series, the best last and so on top; within one, a gap between trials."""
    sign = sign_of(content.direction)
    ranked = sorted(rows, key=lambda row: (sign * (row.value or 0.0), -row.trial))
    for shade, color in enumerate(_SHADES):
        mine = [row for place, row in enumerate(ranked) if place * len(_SHADES) // len(ranked) == shade]
        if mine:
            name = {0: "worst fifth", len(_SHADES) - 1: "best fifth"}.get(shade, "")
            yield _joined(content, name, mine, lines, Look(color), 1.3)


def _special(
    content: ReportContent, rows: Sequence[TrialRow], lines: Mapping[int, tuple[float, ...]]
) -> Iterator[Series]:
    kinds = {standing.trial: standing for standing in content.standings}
    for kind in _SPECIAL:
        for row in rows:
            if row.trial in kinds and kinds[row.trial].kind == kind:
                name = kinds[row.trial].name
                yield _joined(content, name, [row], lines, look_of(content, name), 3.0)


def _joined(
    content: ReportContent,
    name: str,
    rows: Sequence[TrialRow],
    lines: Mapping[int, tuple[float, ...]],
    look: Look,
    width: float,
) -> Series:
    x: list[float] = []
    y: list[float | None] = []
    texts: list[str] = []
    for row in rows:
        heights = lines[row.trial]
        x += [float(place) for place in range(len(heights))] + [float(len(heights) - 1)]
        y += [*heights, None]
        texts += [hover_of(row, content.metric)] * (len(heights) + 1)
    return Series(name, tuple(x), tuple(y), "line", look, width, hover=tuple(texts), named=bool(name))


def _labels(
    content: ReportContent, rows: Sequence[TrialRow], order: Sequence[str], span: tuple[float, float]
) -> Iterator[Label]:
    for place, name in _at(order):
        dimension = content.space[name]
        choices = [value_text(choice) for choice in dimension.get("choices", ())]
        if choices:
            for index, choice in enumerate(choices):
                yield Label(place, _share(index, 0.0, len(choices) - 1.0), choice)
        else:
            yield Label(place, 1.0, value_text(dimension["high"]))
            yield Label(place, 0.0, value_text(dimension["low"]), above=False)
        if any(name not in row.params for row in rows):
            yield Label(place, _ABSENT, "none", above=False)
    scale, digits = scale_of(content.metric), 1 if content.metric == "accuracy" else 3
    yield Label(float(len(order)), 1.0, f"{scale * span[1]:.{digits}f}")
    yield Label(float(len(order)), 0.0, f"{scale * span[0]:.{digits}f}", above=False)
