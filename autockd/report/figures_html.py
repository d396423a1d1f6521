"""Charts as plotly draws them: plain dictionaries of `data` and `layout`, one for each panel."""

from __future__ import annotations

import html
import math
from typing import Any

from autockd.report.charts import GREY, INK, Axis, Label, Panel, Series

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_MODES = {"line": "lines", "steps": "lines", "curve": "lines+markers", "dots": "markers"}
_SYMBOLS = {
    **{"circle": "circle", "hollow circle": "circle-open", "square": "square", "hollow square": "square-open"},
    **{"diamond": "diamond", "star": "star", "cross": "x-thin", "tick": "line-ns"},
}
_STROKES = ("cross", "tick", "hollow circle", "hollow square")
"""Symbols that are lines, and so need a width."""
_GRID = "#e9ecf0"
_LEGEND = {
    **{"orientation": "h", "x": 0, "y": 1.01, "xanchor": "left", "yanchor": "bottom"},
    **{"font": {"size": 12}},
}


def plotly_figure(panel: Panel, *, legend: bool = True) -> dict[str, Any]:
    """A panel as `Plotly.newPlot` takes it.

    Texts are escaped: plotly shows a subset of HTML, and others chose these names.

    Args:
        panel: what to draw.
        legend: whether it has a legend of its own, if there is something to name.
    """
    is_named = legend and any(series.named for series in panel.series)
    layout = {
        "height": panel.height,
        "barmode": "stack",
        "bargap": 0.35,
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 16, "t": 34 if is_named else 12, "b": 12},
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "showlegend": is_named,
        "legend": _LEGEND | {"traceorder": "reversed" if panel.backwards else "normal"},
        "xaxis": _axis(panel.x),
        "yaxis": _axis(panel.y),
        "annotations": [_annotation(label) for label in panel.labels],
    }
    return {"data": [_trace(series) for series in panel.series], "layout": layout}


def safe(text: str) -> str:
    """Text that plotly shows as it is: no tag of its subset of HTML, on lines of a readable length."""
    lines = [text[start : start + 90] for start in range(0, min(len(text), 450), 90)] or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _trace(series: Series) -> dict[str, Any]:
    color = series.look.color
    common: dict[str, Any] = {
        "name": safe(_short(series.name)),
        "x": [_finite(value) for value in series.x],
        "y": [_finite(value) for value in series.y],
        "showlegend": series.named,
        "hovertext": [safe(text) for text in series.hover],
        "hoverinfo": "text" if series.hover else "skip",
    }
    if series.mark in ("bars", "hbars"):
        kind = {"type": "bar", "orientation": "v" if series.mark == "bars" else "h"}
        return common | kind | {"marker": {"color": color}}
    line = {"color": color, "width": series.width, "dash": series.look.dash}
    if series.mark == "steps":
        line["shape"] = "hv"
    return common | {
        "type": "scatter",
        "mode": _MODES[series.mark],
        "line": line,
        "marker": _marker(series, color),
        "connectgaps": False,
        "cliponaxis": False,
    }


def _marker(series: Series, color: str) -> dict[str, Any]:
    edge = {"color": "white", "width": 0.8}
    if series.look.symbol in _STROKES:
        edge = {"color": color, "width": 2.0}
    return {"color": color, "size": series.size, "symbol": _SYMBOLS[series.look.symbol], "line": edge}


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": {"text": safe(axis.title), "font": {"size": 12, "color": GREY}, "standoff": 8},
        "type": "log" if axis.log else "linear",
        "automargin": True,
        "gridcolor": _GRID,
        "zeroline": False,
        "linecolor": "#c9d0d8",
        "tickfont": {"size": 12},
    }
    if axis.span is not None:
        found["range"] = [math.log10(end) for end in axis.span] if axis.log else list(axis.span)
    if axis.ticks:
        found |= {"tickmode": "array", "tickvals": [place for place, _ in axis.ticks], "showgrid": False}
        found["ticktext"] = [safe(_short(text)) for _, text in axis.ticks]
    elif axis.log:
        found["exponentformat"] = "power"
    if axis.whole and not axis.ticks:
        found |= {"tickformat": ",d"}
    return found if axis.shown else found | {"visible": False}


def _annotation(label: Label) -> dict[str, Any]:
    return {
        "x": label.x,
        "y": label.y,
        "text": safe(_short(label.text)),
        "showarrow": False,
        "yanchor": "bottom" if label.above else "top",
        "yshift": 3 if label.above else -3,
        "font": {"size": 11, "color": GREY},
        "bgcolor": "rgba(255,255,255,0.75)",
    }


def _short(text: str, longest: int = 32) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
