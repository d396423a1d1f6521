"""Charts of models: the methods side by side, plans, learning curves, calibration, agreement, cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from autockd.report.charts import (
    BARS,
    FAILED,
    GREY,
    LOOKS,
    PALE,
    Axis,
    Chart,
    Look,
    Panel,
    Series,
    look_of,
    metric_title,
    scale_of,
)
from autockd.report.content import STATES, DiagnosisRow, PlanTrack, ReportContent, Standing
from autockd.text import duration, metric_text

PLAN_TITLES = {
    "smoothing": "φ (smoothing)",
    "hard_weight": "ψ (hard_weight)",
    "margin": "margin",
    "learning_rate": "learning rate",
}
"""Coefficients that are drawn, under the paper's letters."""

_SHARES = ("smoothing", "hard_weight")

MOST_CLASSES = 30
"""More are not drawn: those with the least agreement are."""


def methods_chart(content: ReportContent) -> Chart | None:
    """The metric that models are compared on: every seed a dot, the mean a tick."""
    rows = [row for row in content.standings if values_of(content, row)][::-1]
    if not rows:
        return None
    series = [one for place, row in enumerate(rows) for one in _seeds(content, row, float(place))]
    y = Axis(ticks=tuple((float(i), row.name) for i, row in enumerate(rows)), span=(-0.6, len(rows) - 0.4))
    x = Axis(metric_title(content.metric, content.judged_on))
    panel = Panel(x, y, tuple(series), height=110 + 36 * len(rows))
    alt = f"The {content.judged_on} metric of {len(rows)} models, a dot for each seed."
    return Chart("methods", f"{content.judged_on.capitalize()} metric by model, one dot a seed", alt, (panel,))


def values_of(content: ReportContent, row: Standing) -> tuple[float, ...]:
    """What a model is judged by: test values; where the test split is closed, validation of fresh seeds or of one."""
    if content.judged_on == "test":
        return row.test
    return _validated(row)


def judged_values(content: ReportContent, row: Standing) -> tuple[tuple[float, ...], str]:
    """The same and the split that they are of: validation too, where a model has no test values though others have."""
    values = values_of(content, row)
    if values or content.judged_on == "validation":
        return values, content.judged_on
    return _validated(row), "validation"


def _validated(row: Standing) -> tuple[float, ...]:
    return row.validation or (() if row.searched is None else (row.searched,))


def _seeds(content: ReportContent, row: Standing, place: float) -> Iterator[Series]:
    values, scale = values_of(content, row), scale_of(content.metric)
    look = look_of(content, row.name)
    names = [f"seed {seed}" for seed in row.seeds] or ["the search's seed" if row.trial is not None else "one seed"]
    texts = tuple(
        f"{row.name}, {name}: {metric_text(value, content.metric)}" for name, value in zip(names, values, strict=False)
    )
    dots = Look(look.color, symbol="circle")
    y = (place,) * len(values)
    yield Series(row.name, tuple(scale * v for v in values), y, "dots", dots, size=9, hover=texts, named=False)
    if len(values) > 1:
        mean = statistics.fmean(values)
        text = f"{row.name}: mean {metric_text(mean, content.metric)}"
        tick = Look(look.color, symbol="tick")
        yield Series(row.name, (scale * mean,), (place,), "dots", tick, 3.0, 24, hover=(text,), named=False)


def plan_chart(content: ReportContent) -> Chart | None:
    """Phi, psi, margin and learning rate of the winner and of the preset, and the share of active hinges."""
    panels = []
    for name, title in PLAN_TITLES.items():
        series = [
            _track(content, plan, plan.columns[name], title) for plan in content.plans[::-1] if name in plan.columns
        ]
        values = [value for one in series for value in one.y if value]
        if values:  # a margin of 0 throughout is no margin
            y = Axis(span=(-0.04, 1.04) if name in _SHARES else (0.0, 1.1 * max(values)))
            panel = Panel(Axis("epoch", whole=True), y, tuple(series), title, height=230, backwards=True)
            panels.append(panel)
    active = [plan for plan in content.plans if any(value is not None for value in plan.active_fraction)]
    if active:
        title = "active fraction, measured"
        series = [_track(content, plan, plan.active_fraction, title) for plan in active[::-1]]
        y = Axis(span=(-0.04, 1.04))
        panels.append(Panel(Axis("epoch", whole=True), y, tuple(series), title, height=230, backwards=True))
    if not panels:
        return None
    alt = "Coefficients of the plan by epoch: " + ", ".join(panel.title for panel in panels)
    return Chart("winning_plan", "The plan over the run", alt, tuple(panels), columns=2)


def _track(content: ReportContent, plan: PlanTrack, values: Sequence[float | None], title: str) -> Series:
    texts = tuple(
        f"{plan.name}, epoch {epoch}: {title} {value:.4g}" if value is not None else ""
        for epoch, value in zip(plan.epochs, values, strict=True)
    )
    x = tuple(float(epoch) for epoch in plan.epochs)
    return Series(plan.name, x, tuple(values), "curve", look_of(content, plan.name), size=5, hover=texts)


def curves_chart(content: ReportContent) -> Chart | None:
    """The validation metric by epoch, of the winner, the preset and the baselines."""
    if not content.curves:
        return None
    scale = scale_of(content.metric)
    series = []
    for curve in content.curves[::-1]:  # the winner last, on top
        values = tuple(scale * value for value in curve.values)
        texts = tuple(
            f"{curve.name}, epoch {epoch}: {metric_text(value, content.metric)}"
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
        )
        x = tuple(float(epoch) for epoch in curve.epochs)
        series.append(Series(curve.name, x, values, "curve", look_of(content, curve.name), size=5, hover=texts))
    y = Axis(metric_title(content.metric, "validation"))
    panel = Panel(Axis("epoch", whole=True), y, tuple(series), height=360, backwards=True)
    alt = "The validation metric after each epoch of " + ", ".join(curve.name for curve in content.curves)
    return Chart("learning_curves", "Learning curves", alt, (panel,))


def reliability_chart(content: ReportContent) -> Chart | None:
    """Accuracy by confidence: a calibrated model lies on the diagonal."""
    if not content.diagnoses:
        return None
    diagonal = Series("perfectly calibrated", (0.0, 1.0), (0.0, 1.0), "line", Look(GREY, "dot"), width=1.2)
    rows = _shown(content)
    series = [diagonal, *(_reliability(content, row) for row in rows[::-1])]
    axes = Axis("confidence", span=(-0.02, 1.02)), Axis("accuracy", span=(-0.02, 1.02))
    alt = "Reliability diagram of " + ", ".join(row.name for row in rows)
    panel = Panel(*axes, tuple(series), height=440, backwards=True)
    return Chart("reliability", "Reliability diagram", alt, (panel,))


def _shown(content: ReportContent) -> list[DiagnosisRow]:
    """Candidates that did not win stand in the table alone."""
    return [row for row in content.diagnoses if row.kind != "candidate"]


def _reliability(content: ReportContent, row: DiagnosisRow) -> Series:
    bins = sorted(
        (confidence, accuracy, count)
        for confidence, accuracy, count in zip(row.confidence, row.accuracy, row.counts, strict=True)
        if count
    )
    texts = tuple(
        f"{row.name}: confidence {100 * confidence:.0f} %, accuracy {100 * accuracy:.0f} %, {count:,} samples"
        for confidence, accuracy, count in bins
    )
    x, y = tuple(one[0] for one in bins), tuple(one[1] for one in bins)
    return Series(row.name, x, y, "curve", look_of(content, row.name), size=6, hover=texts)


def agreement_chart(content: ReportContent) -> Chart | None:
    """By class: how often a student says what the teacher says, and how often it is right."""
    rows = [row for row in _shown(content) if row.kind != "teacher"]
    if not rows:
        return None
    order = _classes(content, rows)
    panels = (
        _by_class(content, rows, order, "agreement with the teacher, %", lambda row: row.class_agreement),
        _by_class(content, _shown(content), order, "test accuracy, %", lambda row: row.class_accuracy),
    )
    alt = f"Agreement with the teacher, and accuracy, in {len(order)} classes."
    return Chart("agreement", "Agreement with the teacher, and accuracy, by class", alt, panels, columns=2)


def class_name(content: ReportContent, index: int) -> str:
    """A class by its name, or by its number where names are not recorded."""
    return content.classes[index] if index < len(content.classes) else f"class {index}"


def _classes(content: ReportContent, rows: Sequence[DiagnosisRow]) -> list[int]:
    """The classes in their order, or the ones with the least agreement of the first student, the least on top."""
    indices = list(range(len(rows[0].class_agreement)))
    if len(indices) > MOST_CLASSES:
        indices = [index for index in indices if not math.isnan(rows[0].class_agreement[index])]  # of no test sample
        indices = sorted(indices, key=lambda index: rows[0].class_agreement[index])[:MOST_CLASSES]
    return indices[::-1]


def _by_class(
    content: ReportContent,
    rows: Sequence[DiagnosisRow],
    order: Sequence[int],
    title: str,
    column: Callable[[DiagnosisRow], tuple[float, ...]],
) -> Panel:
    places = tuple(float(place) for place in range(len(order)))
    series = []
    for row in rows[::-1]:
        values = tuple(100 * column(row)[index] for index in order)
        texts = tuple(
            f"{row.name}, {class_name(content, index)}: {value:.1f} %"
            for index, value in zip(order, values, strict=True)
        )
        series.append(Series(row.name, values, places, "dots", look_of(content, row.name), hover=texts))
    names = (class_name(content, index) for index in order)
    y = Axis(ticks=tuple(zip(places, names, strict=True)), span=(-0.7, len(order) - 0.3))
    return Panel(Axis(title), y, tuple(series), height=70 + 24 * len(order), backwards=True)


def cost_chart(content: ReportContent) -> Chart | None:
    """Wall time by stage and by trial."""
    panels = []
    stages = {name: seconds for name, seconds in content.cost.stages.items() if name != "total"}
    if stages:
        names, seconds = list(stages)[::-1], list(stages.values())[::-1]
        places = tuple(float(place) for place in range(len(names)))
        texts = tuple(f"{name}: {duration(value)}" for name, value in zip(names, seconds, strict=True))
        bars = Series("stages", tuple(seconds), places, "hbars", Look(BARS), hover=texts, named=False)
        y = Axis(ticks=tuple(zip(places, names, strict=True)), span=(-0.6, len(names) - 0.4))
        panels.append(Panel(Axis("wall time, s"), y, (bars,), "by stage", height=300))
    series = tuple(_trial_bars(content))
    if series:
        y = Axis("wall time, s")
        panels.append(Panel(Axis("trial", whole=True), y, series, "by trial", height=300))
    alt = "Wall time by stage, and of each trial."
    return Chart("cost", "Wall time", alt, tuple(panels), columns=2) if panels else None


def _trial_bars(content: ReportContent) -> Iterator[Series]:
    colors = {"complete": LOOKS["winner"].color, "pruned": PALE, "failed": FAILED, "running": GREY}
    for state, color in colors.items():
        rows = [row for row in content.trials if row.state == state and row.seconds is not None]
        if rows:
            x, y = tuple(float(row.trial) for row in rows), tuple(row.seconds for row in rows)
            texts = tuple(f"trial {row.trial}: {duration(row.seconds)}, {STATES[state]}" for row in rows)
            yield Series(STATES[state], x, y, "bars", Look(color), hover=texts)
