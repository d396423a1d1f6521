"""Take the README's pictures of a finished study: the top of its report, and its page in MLflow's UI.

.venv/bin/python scripts/take_pictures.py digits tests/pictures

Needs what the tests need: Playwright's Python package, and Debian's chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autockd.cli.serving import SERVER, STORE, server_command
from autockd.errors import AutockdError, EnvironmentProblem
from autockd.folders import studies_folder
from autockd.study import Study

REPORT_SIZE = {"width": 1280, "height": 900}
MLFLOW_SIZE = {"width": 1500, "height": 1600}
PORT = 5055
_PATIENCE = 90.0
_SETTLE = 6_000
"""Milliseconds in which MLflow's charts get drawn."""


@contextmanager
def served(study: Study) -> Iterator[None]:
    """MLflow's server on the study's store, on this machine alone."""
    process = subprocess.Popen(
        server_command(PORT),
        env=os.environ | SERVER | {STORE: str(study.mlflow_uri())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _answers(f"http://127.0.0.1:{PORT}/health"):
            if time.monotonic() > deadline or process.poll() is not None:
                raise EnvironmentProblem("MLflow's server does not answer; is its port free?")
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def take(page: Any, study: Study, target: Path) -> list[Path]:
    """Both pictures, as PNG."""
    folder, _ = study.report()
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.screenshot(path=target / "report.png")
    page.set_viewport_size(MLFLOW_SIZE)
    page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    with served(study):
        page.goto(study.ui_url(PORT))
        page.wait_for_selector(".js-plotly-plot", state="attached", timeout=1000 * _PATIENCE)
        page.wait_for_timeout(_SETTLE)
        page.screenshot(path=target / "mlflow.png")
    return [target / "report.png", target / "mlflow.png"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="its name, or its folder")
    parser.add_argument("target", type=Path, help="folder for the pictures")
    parser.add_argument("--studies", type=Path, default=studies_folder(), help="folder of all studies")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    try:
        study = Study.open(options.study, options.studies)
        options.target.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=REPORT_SIZE)
            for path in take(page, study, options.target):
                print(path)
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
