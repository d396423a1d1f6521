"""A study's journal in the real optuna-dashboard, started as the README says."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from search_events import NAME, SPACE, STUDY, search_events

from autockd.records import Event, TrialFinished
from autockd.search.book import StudyBook

PROGRAM = shutil.which("optuna-dashboard", path=Path(sys.executable).parent)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="needs optuna-dashboard")]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard on the journal of a finished study."""
    folder = tmp_path_factory.mktemp("studies") / NAME
    folder.mkdir()
    told: list[Event] = []
    book = StudyBook(
        STUDY,
        folder / "optuna.journal",
        told.append,
        parallel=2,
        direction="maximize",
        history=search_events(),
    )
    assert book.is_over
    assert told == [], "the record holds everything already"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(PROGRAM), "optuna.journal", "--port", str(port), "--server", "wsgiref", "--quiet"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def wait_until_it_answers(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            get(f"{address}/api/studies")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the dashboard does not answer")


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def test_the_dashboard_shows_the_study_with_its_trials(dashboard: str) -> None:
    (summary,) = get(f"{dashboard}/api/studies")["study_summaries"]
    assert summary["study_name"] == NAME
    detail = get(f"{dashboard}/api/studies/{summary['study_id']}")
    assert detail["directions"] == ["maximize"]
    assert {item["name"] for item in detail["union_search_space"]} == set(SPACE)

    ends = [event for event in search_events() if isinstance(event, TrialFinished)]
    complete = {end.trial: end.value for end in ends if end.state == "complete" and end.trial}
    shown = {trial["number"]: trial["values"][0] for trial in detail["trials"] if trial["state"] == "Complete"}
    assert shown == pytest.approx(complete)
    # A baseline has no point of the space: it stands among the failures, with its value as an attribute.
    states = Counter(end.state for end in ends if end.trial)
    assert Counter(trial["state"] for trial in detail["trials"]) == Counter(
        Complete=states["complete"], Pruned=states["pruned"], Fail=states["failed"] + 1
    )
    stopped = next(trial for trial in detail["trials"] if trial["state"] == "Pruned")
    assert [value["step"] for value in stopped["intermediate_values"]] == [2], "its rung"


def test_the_dashboards_page_is_served(dashboard: str) -> None:
    with urllib.request.urlopen(f"{dashboard}/dashboard", timeout=10) as answer:
        assert b"Optuna Dashboard" in answer.read()
