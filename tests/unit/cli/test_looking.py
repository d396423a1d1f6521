"""The commands that look at a study: what they say of one that runs, and of one that was stopped."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from autockd.cli.looking import show_studies, show_study, stop_study, sync_study, trial_number
from autockd.config import StudyConfig
from autockd.errors import UsageError
from autockd.folders import LEDGER
from autockd.records import Event
from autockd.search.halt import STOP
from autockd.session import open_session
from autockd.study import Study, ignore
from autockd.tracking import Ledger, SinkSummary

MODEL = {"family": "cifar_resnet", "depth": 8}


@pytest.fixture
def stopped(tmp_path: Path, story: list[Event]) -> Study:
    """The study of the story, which nobody runs."""
    config = {"name": "tiny", "task": {"source": "digits"}, "teacher": {"model": MODEL}, "student": {"model": MODEL}}
    study = Study.create(StudyConfig.model_validate(config), tmp_path)
    with Ledger(study.folder / "ledger.jsonl") as ledger:
        for event in story:
            ledger.append(event)
    return study


@pytest.mark.parametrize("is_running", [True, False])
def test_time_is_left_and_trials_run_in_a_study_that_runs(
    is_running: bool, stopped: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(stopped.folder / "ledger.jsonl") if is_running else nullcontext():
        show_study("tiny", stopped.folder.parent, as_json=False)
    out, err = capsys.readouterr()
    assert ("running" in out, "not ended" in out) == (is_running, not is_running)
    assert ("1 running" in err, "1 not ended" in err) == (is_running, not is_running)
    assert (" left" in err) == is_running
    assert ("autockd resume" in err) != is_running


@pytest.mark.parametrize(("is_running", "state"), [(True, "running"), (False, "interrupted")])
def test_a_script_can_tell_a_study_that_runs_from_one_that_died(
    is_running: bool, state: str, stopped: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(stopped.folder / "ledger.jsonl") if is_running else nullcontext():
        show_study("tiny", stopped.folder.parent, as_json=True)
        one = json.loads(capsys.readouterr().out)
        show_studies(stopped.folder.parent, as_json=True)
        (listed,) = json.loads(capsys.readouterr().out)
        show_studies(stopped.folder.parent, as_json=False)
    assert one["state"] == listed["state"] == state
    assert state in capsys.readouterr().out


def test_a_study_that_runs_is_told_to_stop_and_waited_for(stopped: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever runs it looks for that file; its lock is what says that it runs."""
    opened, told = threading.Event(), []

    def drive() -> None:
        with Ledger(stopped.folder / LEDGER):
            opened.set()
            deadline = time.monotonic() + 20
            while not (stopped.folder / STOP).exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            told.append((stopped.folder / STOP).exists())

    thread = threading.Thread(target=drive)
    thread.start()
    opened.wait(20)
    stop_study("tiny", stopped.folder.parent)
    thread.join()
    assert told == [True]
    assert "go on with: autockd resume" in capsys.readouterr().err


def test_what_is_no_trial_is_refused_with_the_command_that_shows_them(tmp_path: Path) -> None:
    assert (trial_number("best", tmp_path), trial_number("7", tmp_path)) == (None, 7)
    with pytest.raises(UsageError, match=f"--trial: 'x' is neither .* -> `autockd status {tmp_path}` shows them"):
        trial_number("x", tmp_path)


def test_a_study_that_runs_is_not_said_to_be_in_mlflow(
    stopped: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SinkSummary(delivered=0, missed=19, is_live=True, warning="its files are elsewhere")
    monkeypatch.setattr(Study, "sync", lambda study, warn: found)
    sync_study("tiny", stopped.folder.parent, as_json=False)
    lines = capsys.readouterr().err.splitlines()
    uri = f"sqlite:///{stopped.folder.parent / 'mlflow.db'}"
    assert lines == [
        "warning: its files are elsewhere",
        f"tiny: runs now, and keeps MLflow at {uri} up to date itself",
    ]
    sync_study("tiny", stopped.folder.parent, as_json=True)
    assert json.loads(capsys.readouterr().out)["running"] is True


def test_a_study_that_ends_before_it_hears_of_a_request_is_not_said_to_be_stopped(
    stopped: Study, ending: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    opened = threading.Event()

    def drive() -> None:
        with open_session(stopped.config, stopped.folder, ignore, None, "digits", resume=True) as session:
            opened.set()
            deadline = time.monotonic() + 20
            while not session.halt.is_asked and time.monotonic() < deadline:
                time.sleep(0.02)
            for event in ending:
                session.recorder.record(event)

    thread = threading.Thread(target=drive)
    thread.start()
    opened.wait(20)
    stop_study("tiny", stopped.folder.parent)
    thread.join()
    assert capsys.readouterr().err == "tiny: is finished; it had come to its end by itself\n"
    assert not (stopped.folder / STOP).exists()
