"""A study's page as people see it: a real MLflow server, opened in a real Chromium.

AUTOCKD_SCREENSHOTS names a folder for what it looks like; without, pictures go to pytest's own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from search_events import EPOCHS, NAME, SPACE, STUDY, search_events

from autockd.cli.serving import SERVER, STORE, server_command
from autockd.config.saving import save_study
from autockd.folders import REPORT
from autockd.records import EpochFinished, StudyStarted, TrialFinished, TrialStarted
from autockd.report.writing import shown_of, write_report
from autockd.study import Study
from autockd.tracking import Ledger, sync
from autockd.tracking.saved_views import has_views, is_view
from autockd.tracking.study_page import study_page

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

EVENTS = search_events()
POINTS = {event.trial: event.params for event in EVENTS if isinstance(event, TrialStarted)}
VALUES = {event.trial: event.value for event in EVENTS if isinstance(event, TrialFinished) and event.value is not None}
SEARCHED = {trial for trial in VALUES if POINTS[trial]}
RANKING = sorted(VALUES, key=lambda trial: -VALUES[trial])
ERRORS = "[class*='notification-notice']"
PLOTS = """
() => [...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot._fullLayout).map(plot => ({
  x: plot._fullLayout.xaxis.title.text,
  y: plot._fullLayout.yaxis.title.text,
  traces: plot.data.map(trace => ({type: trace.type, name: trace.name, x: trace.x, y: trace.y, z: trace.z})),
  points: [...plot.querySelectorAll('.scatterlayer .point')].filter(point => point.getBBox().width > 0).length,
  contours: plot.querySelectorAll('.contourlayer path').length,
}))
"""
PARALLEL = """
() => {
  const chart = document.querySelector('.parcoords');
  const canvas = [...chart.querySelectorAll('canvas')].map(canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.filter((value, place) => place % 4 == 3 && value > 0).length;
  });
  const texts = [...chart.querySelectorAll('.dimension')].map(axis =>
    [...axis.querySelectorAll('text')].map(text => text.textContent));
  return {drawn: Math.max(...canvas), axes: texts};
}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Study:
    """A study whose ledger was replayed into MLflow, twice."""
    study = Study(STUDY, with_database(tmp_path_factory.mktemp("studies")) / NAME)
    study.folder.mkdir()
    save_study(STUDY, study.folder / "study.yaml")
    with Ledger(study.folder / "ledger.jsonl") as ledger:
        for event in EVENTS:
            ledger.append(event)
    write_report(EVENTS, study.folder / REPORT)
    pictures = shown_of(study.folder / REPORT)
    for _ in range(2):
        sync(study.folder / "ledger.jsonl", str(study.mlflow_uri()), study.experiment, artifacts=pictures)
    return study


@pytest.fixture(scope="module")
def site(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that `autockd ui` starts; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            server_command(port),
            cwd=folder,
            env=os.environ | SERVER | {STORE: str(study.mlflow_uri())},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [path.name for path in folder.iterdir()] == ["server.log"], "the server leaves nothing where it was started"


def wait_until_it_answers(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        # As root, which tests in a container are, Chromium has no sandbox; and /dev/shm may be small there.
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, site: str) -> Iterator[Callable[..., Any]]:
    """Opens a page of the site in a window of its own, as somebody sees it who has closed MLflow's assistant once."""
    context = browser.new_context(viewport={"width": 1500, "height": 2300})
    context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    foreign: list[str] = []
    context.on("request", lambda request: foreign.append(request.url) if is_foreign(request.url, site) else None)

    def open_page(path: str) -> Any:
        page = context.new_page()
        page.goto(site + path)
        return page

    yield open_page
    context.close()
    assert foreign == [], "the page asks nobody else"


def is_foreign(url: str, site: str) -> bool:
    return not url.startswith((site, "data:", "blob:"))


@pytest.fixture(scope="module")
def view(study: Study) -> str:
    start = EVENTS[0]
    assert isinstance(start, StudyStarted)
    path = study_page(str(study.mlflow_uri()), study.experiment, start)
    if not has_views(mlflow.__version__):
        pytest.skip(f"MLflow {mlflow.__version__} does not show the views that are written")
    assert is_view(path)
    return path


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[Any, str], None]:
    folder = Path(os.environ.get("AUTOCKD_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png")


def plots_of(page: Any, count: int) -> dict[tuple[str, str], Any]:
    """What Plotly has drawn, by the titles of the axes, once there are so many plots."""
    page.wait_for_function(f"({PLOTS})().length >= {count}")
    deadline, before, now = time.monotonic() + 60, None, page.evaluate(PLOTS)
    while now != before and time.monotonic() < deadline:  # the last of them move to their places
        page.wait_for_timeout(1000)
        before, now = now, page.evaluate(PLOTS)
    return {(plot["x"], plot["y"]): plot for plot in now}


def run_names(page: Any) -> list[str]:
    """The list of runs, from the top."""
    page.wait_for_selector(f"text={RANKING[0]:03d} continuation")
    rows = page.evaluate(
        """() => [...document.querySelectorAll("[role='row'][row-index] [col-id='rowDateAndNestInfo'],"
             + "[role='row'][row-index]")].map(row => [Number(row.closest('[row-index]').getAttribute('row-index')),
             row.textContent])"""
    )
    names = {index: found[0] for index, text in rows if (found := re.search(r"\d{3} (continuation|none)", text))}
    return [names[index] for index in sorted(names)]


def test_the_page_draws_the_study(visit: Callable[..., Any], view: str, keep: Callable[[Any, str], None]) -> None:
    page = visit(view)
    plots = plots_of(page, 2 + len(SPACE))
    keep(page, "search")

    parallel = page.evaluate(PARALLEL)
    assert parallel["drawn"] > 5_000, "lines are drawn"
    axes = parallel["axes"]
    wanted = ["log10_smoothing_start", "schedule_fraction", "axis_smoothing_shape", "hard_loss_ramp"]
    wanted += ["log10_soft_loss_weight", "margin_mode", "axis_margin", "log10_learning_rate", "best_val_accuracy"]
    assert [next(name for name in wanted if name in texts) for texts in axes] == wanted
    assert {"linear", "cosine", "exponenti"} <= set(axes[2])
    assert {"1:0.032", "2:0.099", "3:0.31", "4:0.99", "na"} <= set(axes[6])

    contour = plots["log10_smoothing_start", "schedule_fraction"]
    assert contour["contours"] > 0
    assert contour["points"] == len(SEARCHED)
    traces = {trace["type"]: trace for trace in contour["traces"]}
    assert {z for x, z in zip(traces["contour"]["x"], traces["contour"]["z"], strict=True) if x != "na"} == {
        VALUES[trial] for trial in SEARCHED
    }

    for name, axis in zip(SPACE, [*wanted[:6], "log10_margin", wanted[7]], strict=True):
        shown = plots[axis, "best_val_accuracy"]["points"]
        with_it = [trial for trial in SEARCHED if name in POINTS[trial]]
        # The baseline has a learning rate, and stands as `na` where an axis is one of names.
        assert shown == len(with_it) + (name == "learning_rate" or SPACE[name]["type"] == "choice"), name

    curves = {trace["name"]: trace["y"] for trace in plots_with_curves(plots)}
    assert curves.keys() == {f"{trial:03d} {'continuation' if POINTS[trial] else 'none'}" for trial in VALUES}
    best = f"{RANKING[0]:03d} continuation"
    assert curves[best] == [
        event.record.metric for event in EVENTS if isinstance(event, EpochFinished) and event.trial == RANKING[0]
    ]
    assert len(curves[best]) == EPOCHS
    assert run_names(page)[:5] == [f"{trial:03d} continuation" for trial in RANKING[:5]]
    assert page.locator(ERRORS).count() == 0


def plots_with_curves(plots: dict[tuple[str, str], Any]) -> list[Any]:
    (curves,) = [plot for (x, _), plot in plots.items() if x == "Step"]
    return list(curves["traces"])


def test_the_same_view_as_a_table_is_a_leaderboard(
    visit: Callable[..., Any], view: str, keep: Callable[[Any, str], None]
) -> None:
    page = visit(view.replace("compareRunsMode=CHART&", ""))
    names = run_names(page)
    keep(page, "leaderboard")
    assert names[: len(RANKING)] == [f"{trial:03d} {'continuation' if POINTS[trial] else 'none'}" for trial in RANKING]
    heads = page.locator("[role='columnheader']").all_text_contents()
    assert {"best_val_accuracy", "student_parameters", "hard_loss_ramp", "learning_rate"} <= {h.strip() for h in heads}
    assert page.locator(ERRORS).count() == 0


def test_the_studys_own_run_says_what_came_of_it(
    visit: Callable[..., Any], study: Study, keep: Callable[[Any, str], None]
) -> None:
    from mlflow import MlflowClient

    mlflow = MlflowClient(tracking_uri=study.mlflow_uri())
    experiment = mlflow.get_experiment_by_name(study.experiment).experiment_id
    (run,) = mlflow.search_runs([experiment], "tags.`autockd.kind` = 'study'")
    page = visit(f"/#/experiments/{experiment}/runs/{run.info.run_id}")
    page.get_by_text("Show more").click()
    page.wait_for_selector("text=Does a slow schedule help")
    keep(page, "study")
    heads = [page.locator("table").nth(number).locator("th").all_text_contents() for number in (0, 1)]
    assert [head.strip() for head in heads[0]][:3] == ["model", "validation accuracy", "test accuracy"]
    assert [head.strip() for head in heads[1]][:2] == ["dimension", "values"]
    page.goto(page.url.split("?")[0] + "/artifacts")
    page.get_by_text("importance.png").click()
    page.wait_for_selector("img[src*='blob:']", timeout=15_000)
    keep(page, "artifacts")


def test_a_view_that_is_not_there_is_an_error_on_the_page(visit: Callable[..., Any], view: str) -> None:
    """So that no error above means something."""
    page = visit(view.replace("viewStateShareKey=", "viewStateShareKey=another-"))
    page.wait_for_selector(ERRORS, timeout=20_000)
