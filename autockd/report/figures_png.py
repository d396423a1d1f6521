"""Charts as PNG files, drawn by matplotlib: saving plotly's own would need a browser."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autockd.report.charts import GREY, Axis, Chart, Panel, Series
from autockd.tracking.figures import frame, plain_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS = 90.0
"""Of the page, to an inch of a picture."""
_WIDTH = 8.6
_DPI = 120
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_MARKERS = {
    **{"circle": "o", "hollow circle": "o", "square": "s", "hollow square": "s"},
    **{"diamond": "D", "star": "*", "cross": "x", "tick": "|"},
}
_HOLLOW = ("hollow circle", "hollow square")


def save_chart(chart: Chart, folder: Path) -> Path:
    """Draw a chart into `<folder>/<its name>.png`; its path."""
    path = folder / f"{chart.name}.png"
    with plain_style(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks, in names that others chose
        chart_figure(chart).savefig(path, dpi=_DPI)
    return path


def chart_figure(chart: Chart) -> Figure:
    """A chart, its panels in rows as on the page."""
    from matplotlib.figure import Figure

    columns = min(chart.columns, len(chart.panels))
    rows = math.ceil(len(chart.panels) / columns)
    height = 0.5 + rows * max(panel.height for panel in chart.panels) / _PIXELS
    figure = Figure(figsize=(_WIDTH * (1.25 if chart.wide else 1.0), height), layout="constrained")
    figure.suptitle(_plain(chart.title), fontsize=11, x=0.01, ha="left", weight="bold")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, panel in zip(grid, chart.panels, strict=False):
        _draw(axis, panel)
        if not chart.key:
            _name(axis, panel)
    if chart.key:
        handles = _handles(grid, [series.name for series in chart.key])
        figure.legend(handles=handles, loc="outside lower center", fontsize=7, frameon=False, ncols=4)
    for axis in grid[len(chart.panels) :]:
        axis.set_axis_off()
    return figure


def _draw(axis: Any, panel: Panel) -> None:
    frame(axis)
    if panel.title:
        axis.set_title(_plain(panel.title), fontsize=9, loc="left")
    _set_up(axis.xaxis, axis.set_xlim, axis.set_xscale, panel.x)
    _set_up(axis.yaxis, axis.set_ylim, axis.set_yscale, panel.y)
    floor: dict[float, float] = {}
    for series in panel.series:
        _draw_series(axis, series, floor)
    for label in panel.labels:
        shift, side = (3, "bottom") if label.above else (-3, "top")
        axis.annotate(
            _plain(label.text),
            (label.x, label.y),
            xytext=(0, shift),
            textcoords="offset points",
            **{"ha": "center", "va": side, "fontsize": 7, "color": GREY, "zorder": 5},
        )


def _name(axis: Any, panel: Panel) -> None:
    """The legend of a panel that stands alone, above it."""
    handles, names = axis.get_legend_handles_labels()
    if panel.backwards:
        handles, names = handles[::-1], names[::-1]
    if names:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": min(len(names), 4)}
        axis.legend(handles, names, fontsize=7, frameon=False, **place)


def _handles(axes: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """What a legend shows for these names, wherever they are drawn."""
    drawn = {name: one for axis in axes for one, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    return [drawn[_plain(name)] for name in names]


def _set_up(ruler: Any, limit: Any, scale: Any, axis: Axis) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, LogFormatterSciNotation, MaxNLocator, NullFormatter

    if axis.log:
        scale("log")
        ruler.set_major_formatter(LogFormatterSciNotation())
        ruler.set_minor_formatter(NullFormatter())
    ruler.set_label_text(_plain(axis.title), fontsize=9)
    ruler.set_tick_params(labelsize=8)
    if axis.span is not None:
        limit(*axis.span)
    if axis.ticks:
        ruler.set_major_locator(FixedLocator([place for place, _ in axis.ticks]))
        ruler.set_major_formatter(FixedFormatter([_wrapped(text) for _, text in axis.ticks]))
        ruler.grid(visible=False)
    elif axis.whole:
        ruler.set_major_locator(MaxNLocator(integer=True))
    if not axis.shown:
        ruler.set_visible(False)


def _draw_series(axis: Any, series: Series, floor: dict[float, float]) -> None:
    label = _plain(series.name) if series.named else "_"
    y = [math.nan if value is None else value for value in series.y]
    color, marker = series.look.color, _MARKERS[series.look.symbol]
    if series.mark == "hbars":
        starts = [floor.get(place, 0.0) for place in y]
        axis.barh(y, series.x, left=starts, color=color, height=0.6, label=label)
        floor.update({place: under + value for place, under, value in zip(y, starts, series.x, strict=True)})
    elif series.mark == "bars":  # on top of each other, as on the page
        bottoms = [floor.get(place, 0.0) for place in series.x]
        axis.bar(series.x, y, bottom=bottoms, color=color, width=0.65, label=label)
        floor.update({place: under + value for place, under, value in zip(series.x, bottoms, y, strict=True)})
    elif series.mark == "dots":
        face, edge = ("none", color) if series.look.symbol in _HOLLOW else (color, "white")
        area = (0.72 * series.size * (1.4 if series.look.symbol == "star" else 1.0)) ** 2
        edges = {} if marker in ("x", "|") else {"edgecolors": edge, "facecolors": face}
        colors = {"c": color} if not edges else {}
        axis.scatter(series.x, y, s=area, marker=marker, label=label, zorder=3, **edges, **colors)
    else:
        dots = {"marker": marker, "markersize": 0.72 * series.size} if series.mark == "curve" else {}
        style = "steps-post" if series.mark == "steps" else "default"
        line = {"color": color, "linestyle": _DASHES[series.look.dash], "linewidth": 0.8 * series.width}
        axis.plot(series.x, y, label=label, drawstyle=style, **line, **dots)


def _plain(text: str) -> str:
    """A dollar begins a formula, in matplotlib; and a name that begins with `_` is kept from the legend."""
    text = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(_plain(text), 26)[:3])
