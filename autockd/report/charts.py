"""What a chart shows, apart from how it is drawn: the page (plotly) and the PNG files (matplotlib) draw the same.

A model has one colour, dash and symbol in every chart; colours can be told apart by the colour-blind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from autockd.report.content import Kind, ReportContent
from autockd.tracking.figures import COLORS

Mark = Literal["line", "curve", "steps", "dots", "bars", "hbars"]
"""`curve` is a line with dots; `hbars` lie, with their length along x."""
Dash = Literal["solid", "dash", "dot", "dashdot"]
Symbol = Literal["circle", "hollow circle", "square", "hollow square", "diamond", "star", "cross", "tick"]
"""`tick` is a short upright line."""

PALE = "#c3cad4"
STOPPED = "#98a2b0"
FAILED = "#c62828"
BARS = "#7a8798"
GREY = "#6b6b6b"
INK = "#222222"

_BASELINES = (COLORS[1], COLORS[2], COLORS[4], "#b3541e", "#0f6d8c")
_ARMS = (*COLORS[1:5], "#0f6d8c")
"""Of compared methods: not the winner's blue, nor the grey of many trials."""
_ROUNDS: tuple[tuple[Dash, Symbol], ...] = (
    ("solid", "circle"),
    ("dash", "square"),
    ("dot", "circle"),
    ("dashdot", "square"),
)
"""What those of the same colour are told apart by."""


@dataclass(frozen=True)
class Look:
    """How one model looks, everywhere."""

    color: str
    dash: Dash = "solid"
    symbol: Symbol = "circle"


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        title: what it measures.
        log: whether it is logarithmic.
        ticks: places with their own texts, instead of numbers.
        span: from where to where it goes; None fits the data.
        whole: whether only whole numbers make sense.
        shown: whether numbers and grid are drawn.
    """

    title: str = ""
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    span: tuple[float, float] | None = None
    whole: bool = False
    shown: bool = True


@dataclass(frozen=True)
class Series:
    """Points that belong together; a y of None leaves a gap.

    Attributes:
        width: of a line, in points.
        size: of a dot, in points.
        hover: a text for each point.
        named: whether it stands in the legend.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    mark: Mark = "dots"
    look: Look = Look(COLORS[0])
    width: float = 2.0
    size: float = 8.0
    hover: tuple[str, ...] = ()
    named: bool = True


@dataclass(frozen=True)
class Label:
    """A text at a point of a panel."""

    x: float
    y: float
    text: str
    above: bool = True


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    title: str = ""
    labels: tuple[Label, ...] = ()
    height: int = 340
    """Pixels on the page."""
    backwards: bool = False
    """Whether the legend begins with the series drawn last, on top of the others."""


@dataclass(frozen=True)
class Chart:
    """Panels under one title.

    Attributes:
        name: of its PNG file, without the suffix.
        title: stands above.
        alt: what is to be seen, for those who cannot.
        columns: panels side by side, where there is room.
        wide: whether it needs room, and may be scrolled sideways on a phone.
    """

    name: str
    title: str
    alt: str
    panels: tuple[Panel, ...]
    columns: int = 1
    wide: bool = False

    @property
    def key(self) -> tuple[Series, ...]:
        """What its panels have in common, once each, where several share one legend; empty for a single panel."""
        if len(self.panels) == 1:
            return ()
        named = {
            series.name: series
            for panel in self.panels
            for series in (panel.series[::-1] if panel.backwards else panel.series)
            if series.named
        }
        return tuple(named.values())


LOOKS: dict[Kind, Look] = {
    "teacher": Look(INK, "dash", "square"),
    "winner": Look(COLORS[0], "solid", "star"),
    "preset": Look(COLORS[3], "dashdot", "diamond"),
    "candidate": Look("#7fb0ea", "solid", "circle"),
    "baseline": Look(COLORS[1], "dot", "circle"),
}
"""By what a model is; baselines and compared methods have a look each, see `look_of`."""


def look_of(content: ReportContent, name: str) -> Look:
    """The look of a model of the comparison, by its name."""
    row = next(row for row in content.standings if row.name == name)
    if row.arm and row.kind in ("preset", "candidate"):
        return arm_look(content, row.arm)
    if row.kind != "baseline":
        return LOOKS[row.kind]
    baselines = [row.name for row in content.standings if row.kind == "baseline"]
    plain = content.undistilled
    if plain is not None and plain.kind == "baseline":  # no distillation has the first colour in every report
        baselines = [plain.name, *(other for other in baselines if other != plain.name)]
    return replace(LOOKS["baseline"], color=_BASELINES[baselines.index(name) % len(_BASELINES)])


def arm_look(content: ReportContent, arm: str) -> Look:
    """The look of a compared method: as a part of the search, and of its students that did not win."""
    place = [standing.arm for standing in content.arms].index(arm)
    return Look(_ARMS[place % len(_ARMS)], *_ROUNDS[place // len(_ARMS) % len(_ROUNDS)])


def scale_of(metric: str) -> float:
    """What a metric is multiplied by on an axis: accuracies are percentages there."""
    return 100.0 if metric == "accuracy" else 1.0


def metric_title(metric: str, split: str) -> str:
    """Such as `test accuracy, %`."""
    return f"{split} {metric.replace('_', ' and ')}{', %' if metric == 'accuracy' else ''}"


LOG_MARGIN = 0.9
"""What an axis shows below its least value, as a factor; above its greatest as well."""


def log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Texts of a logarithmic axis: 1, 2 and 5 of every decade; 1 alone where there are many decades; both ends where
    fewer than two of these lie between them.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [tick for tick in ticks if low * LOG_MARGIN <= tick <= high / LOG_MARGIN]
    if len(inside) < 2:
        inside = [low, high] if low < high else [low]
    return tuple((tick, f"{tick:.3g}".replace("e-0", "e-").replace("e+0", "e")) for tick in inside)


def level(name: str, value: float, span: tuple[float, float], look: Look, hover: str = "") -> Series:
    """A horizontal line over a span."""
    texts = (hover or name,) * 2
    return Series(name, span, (value, value), "line", look, width=1.5, hover=texts)
