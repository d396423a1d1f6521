"""The page: one HTML file that asks nobody for anything, and runs no script but its own two."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from autockd.report.charts import Chart
from autockd.report.content import ReportContent
from autockd.report.figures_html import plotly_figure
from autockd.report.page_tables import cards_of
from autockd.report.sections import Section, charts_of, sections_of
from autockd.report.words import moment

_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""Scripts run by their hashes alone; plotly writes styles of its own."""


_GLYPHS = {
    **{"circle": "\u25cf", "hollow circle": "\u25cb", "square": "\u25a0", "hollow square": "\u25a1"},
    **{"diamond": "\u25c6", "star": "\u2605", "cross": "\u2715", "tick": "|"},
}
"""Symbols as characters."""


def page_of(content: ReportContent, sections: Sequence[Section] | None = None) -> str:
    """A report as HTML.

    Every text is escaped: names, notes and reasons are what others wrote.

    Args:
        content: what it says.
        sections: its parts, if they have been made already.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    parts = sections_of(content) if sections is None else tuple(sections)
    plotly, draw = _plotly(), _file("report.js")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("report.html.jinja"))
    return template.render(
        content=content,
        sections=parts,
        policy=_POLICY.format(scripts=" ".join(_hash(script) for script in (plotly, draw))),
        style=Markup(_file("report.css")),  # noqa: S704 - our own file
        plotly=Markup(plotly),  # noqa: S704 - plotly's own file
        draw=Markup(draw),  # noqa: S704 - our own file
        cards=cards_of(content),
        glyphs=_GLYPHS,
        figures=Markup(_embedded(charts_of(parts))),  # noqa: S704 - JSON without a `<`
        moment=moment,
    )


def _embedded(charts: Sequence[Chart]) -> str:
    """All figures as JSON that a script element may hold: nothing in it can end that element."""
    figures = {
        f"{chart.name}-{n}": plotly_figure(panel, legend=not chart.key)
        for chart in charts
        for n, panel in enumerate(chart.panels)
    }
    text = json.dumps(figures, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script = str(get_plotlyjs()).strip()
    assert "</script" not in script.lower(), "plotly's script fits into a script element"
    return script


@cache
def _file(name: str) -> str:
    return resources.files("autockd.report").joinpath(name).read_text(encoding="utf-8").strip()


def _hash(script: str) -> str:
    """A script as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
