"""How models look: in every chart alike, and each so that it can be told from the others."""

from __future__ import annotations

from typing import get_args

import pytest
from report_events import SEEDS, report_events

from autockd.records import Event, TrialStarted
from autockd.report import figures_html, figures_png, html
from autockd.report.charts import LOG_MARGIN, Chart, Dash, Symbol, log_ticks, look_of
from autockd.report.content import ReportContent
from autockd.report.gathering import content_of
from autockd.report.page_tables import plans_table
from autockd.report.sections import charts_of, sections_of

ARMS = ("none", "kd", "kd-std", "takd", "dkd", "dist", "annealing", "continuation")


def compared(seeds: tuple[int, ...]) -> ReportContent:
    """A comparison of eight methods, the first trial of each its preset."""

    def in_arm(event: Event) -> Event:
        if not isinstance(event, TrialStarted):
            return event
        role = "default" if event.trial < len(ARMS) else "sampled"
        return event.model_copy(update={"arm": ARMS[event.trial % len(ARMS)], "role": role})

    return content_of([in_arm(event) for event in report_events(seeds)])


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return compared(())


def chart_of(content: ReportContent, name: str) -> Chart:
    return next(chart for chart in charts_of(sections_of(content)) if chart.name == name)


def test_eight_methods_can_be_told_apart_in_the_history(content: ReportContent) -> None:
    series = chart_of(content, "search_history").panels[0].series
    lines = {(one.look.color, one.look.dash) for one in series if one.mark == "steps"}
    assert len(lines) == sum(one.mark == "steps" for one in series) == len(ARMS) - 1, "one has no complete trial"
    dots = [one for one in series if one.mark == "dots"]
    assert len({(one.look.color, one.look.symbol) for one in dots}) == len(dots)
    stopped = {one.look.symbol for one in dots if one.name.endswith("stopped early")}
    assert stopped == {"hollow circle", "hollow square"}


def test_presets_look_as_their_methods_and_none_as_the_winner(content: ReportContent) -> None:
    (winner,) = (row for row in content.standings if row.kind == "winner")
    presets = [row for row in content.standings if row.kind == "preset"]
    looks = {look_of(content, row.name) for row in (winner, *presets)}
    assert len(looks) == 1 + len(presets) > 6
    assert [look.color for look in looks].count(look_of(content, winner.name).color) == 1
    for row in content.standings:
        if row.kind == "candidate":
            preset = next(other for other in presets if other.arm == row.arm)
            assert look_of(content, row.name) == look_of(content, preset.name)


@pytest.mark.parametrize("name", ["parallel_coordinates", "slices"])
def test_the_presets_of_a_search_look_so_too(content: ReportContent, name: str) -> None:
    own = {look_of(content, row.name) for row in content.standings if row.kind == "preset"}
    drawn = {one.look for panel in chart_of(content, name).panels for one in panel.series}
    trials = {row.trial for row in content.trials if row.params}
    assert drawn & own == {
        look_of(content, row.name) for row in content.standings if row.kind == "preset" and row.trial in trials
    }
    assert len(drawn & own) > 4


def test_a_table_of_plans_has_the_colours_of_their_chart() -> None:
    content = compared(SEEDS)
    series = chart_of(content, "winning_plan").panels[0].series[::-1]
    assert plans_table(content).colors == tuple(one.look.color for one in series)


def test_page_and_pictures_know_every_symbol_and_dash() -> None:
    symbols = set(get_args(Symbol))
    assert figures_png._MARKERS.keys() == figures_html._SYMBOLS.keys() == html._GLYPHS.keys() == symbols
    hollow = {symbol for symbol in symbols if symbol.startswith("hollow")}
    assert hollow == set(figures_png._HOLLOW) == set(figures_html._STROKES) - {"cross", "tick"}
    assert figures_png._DASHES.keys() == set(get_args(Dash))


@pytest.mark.parametrize(
    ("low", "high"), [(0.06, 0.09), (3e-4, 4.5e-4), (0.3, 0.45), (6, 9), (1e-5, 1.0), (0.01, 0.3), (2e-3, 2.2e-3)]
)
def test_a_logarithmic_axis_shows_two_numbers_at_least(low: float, high: float) -> None:
    seen = [tick for tick, _ in log_ticks(low, high) if low * LOG_MARGIN <= tick <= high / LOG_MARGIN]
    assert len(seen) == len(log_ticks(low, high)) >= 2


def test_a_single_value_is_its_own_number() -> None:
    assert log_ticks(0.03, 0.03) == ((0.03, "0.03"),)
