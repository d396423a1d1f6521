"""A report as people see it: written by the command, opened in a real Chromium.

AUTOCKD_SCREENSHOTS names a folder for what it looks like; without, pictures go to pytest's own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_events import report_events
from search_events import STUDY

from autockd.cli.app import main
from autockd.config.saving import save_study
from autockd.records import Event, StudyStarted, TrialFinished, TrialStarted
from autockd.report.figures_html import plotly_figure
from autockd.report.gathering import content_of
from autockd.report.sections import charts_of, sections_of
from autockd.tracking import Ledger

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"),
]

SCRIPT = "<script>window.hacked=1</script>"
HOSTILE = f"{SCRIPT}<img src=x onerror=window.hacked=1><a href='javascript:window.hacked=1'>x</a>{{{{7*7}}}}"


def hostile(event: Event) -> Event:
    if isinstance(event, StudyStarted):
        config = event.config | {"note": HOSTILE}
        return event.model_copy(update={"config": config, "classes": (f"</script>{HOSTILE}", *event.classes[1:])})
    if isinstance(event, TrialStarted) and event.trial == 2:
        return event.model_copy(update={"method": HOSTILE})
    if isinstance(event, TrialFinished) and event.state == "failed":
        return event.model_copy(update={"reason": HOSTILE})
    return event


EVENTS = [hostile(event) for event in report_events()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `autockd report` writes for a study with a hostile note, class, method and reason."""
    studies = tmp_path_factory.mktemp("studies")
    folder = studies / STUDY.name
    folder.mkdir()
    search = STUDY.search.model_copy(update={"enqueue_defaults": False})  # its presets lie outside of its space
    save_study(STUDY.model_copy(update={"search": search}), folder / "study.yaml")
    with Ledger(folder / "ledger.jsonl") as ledger:
        for event in EVENTS:
            ledger.append(event)
    assert main(["report", STUDY.name, "--studies", str(studies)]) == 0
    return folder / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        # As root, which tests in a container are, Chromium has no sandbox; and /dev/shm may be small there.
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Any, written: Path) -> Iterator[Any]:
    """The page, drawn; it must not have asked for anything but itself, nor complained."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    requests: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    address = (written / "report.html").as_uri()
    page.goto(address)
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    assert complaints == []
    yield page
    context.close()
    assert requests == [address], "the page loads nothing"


def test_it_draws_the_studys_points(page: Any, tmp_path: Path) -> None:
    page.screenshot(path=Path(os.environ.get("AUTOCKD_SCREENSHOTS") or tmp_path) / "report.png", full_page=True)
    content = content_of(EVENTS)
    panels = {
        f"{chart.name}-{place}": panel
        for chart in charts_of(sections_of(content))
        for place, panel in enumerate(chart.panels)
    }
    assert int(page.get_attribute("html", "data-drawn")) == len(panels) > 20
    drawn = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('[data-figure]')].map(place => [place.dataset.figure,
            [...place.querySelectorAll('.scatterlayer .point, .barlayer .point')].length]))"""
    )
    for name, panel in panels.items():
        marked = [series for series in panel.series if series.mark not in ("line", "steps")]
        wanted = sum(y is not None for series in marked for y in series.y)
        assert drawn[name] == wanted, name
    counts = {state: sum(row.state == state for row in content.trials) for state in ("complete", "pruned", "failed")}
    assert counts == {"complete": 19, "pruned": 9, "failed": 2}
    assert drawn["search_history-0"] == sum(counts.values()) - 2, "two baselines are lines"


def test_what_others_wrote_is_text(page: Any) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 3
    assert page.locator("img, iframe, object, a[href^='javascript'], [onerror]").count() == 0
    assert page.locator(".note").text_content() == HOSTILE
    shown = page.locator("[data-figure='agreement-0']").text_content()
    assert "</script><script>window" in shown, "a class's name, cut, as it is"
    assert page.get_by_text("{{7*7}}").count() > 0
    assert page.get_by_text("49", exact=True).count() == 0


def test_a_script_that_got_in_would_not_run(page: Any) -> None:
    """So that the policy, and not our escaping alone, keeps scripts out."""
    found = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', event => done(event.violatedDirective));
            const script = document.createElement('script');
            script.textContent = 'window.hacked = 2';
            document.body.append(script);
            script.remove();
            setTimeout(() => done('it ran'), 2000);
        })"""
    )
    assert found.startswith("script-src")
    assert page.evaluate("window.hacked") is None


def test_it_fits_a_phone(page: Any, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)  # plotly follows
    page.screenshot(path=Path(os.environ.get("AUTOCKD_SCREENSHOTS") or tmp_path) / "report-phone.png", full_page=True)
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide, .scroll, pre, svg') &&"
    wide += " e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_same_figures_lie_beside_it_as_pictures(written: Path) -> None:
    from PIL import Image

    charts = charts_of(sections_of(content_of(EVENTS)))
    assert {path.stem for path in written.glob("*.png")} == {chart.name for chart in charts}
    for path in written.glob("*.png"):
        with Image.open(path) as picture:
            colors = picture.convert("RGB").getcolors(maxcolors=1 << 20)
        assert colors is not None
        assert len(colors) > 20, f"{path.name} shows something"


def test_plotly_knows_every_word(written: Path) -> None:
    import plotly.graph_objects as go

    for chart in charts_of(sections_of(content_of(EVENTS))):
        for panel in chart.panels:
            go.Figure(plotly_figure(panel))
    assert json.loads((written / "report.json").read_text(encoding="utf-8"))["study"] == STUDY.name
