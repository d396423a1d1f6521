"""How runs end: well, with no student, stopped, and with their time over."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from place import Place

from autockd.history import History
from autockd.records import (
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    Noted,
    StudyFinished,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking import events

pytestmark = pytest.mark.slow


def told_by(place: Place, study: str) -> list[Event]:
    return events(place.folder / "studies" / study / "ledger.jsonl")


def test_a_study_without_a_usable_student_ends_with_exit_code_4(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "tiny.yaml", "name=hopeless", "training.learning_rate=1e30", "search.space={}", "search.trials=2")
    result = place.inside(*words, "resources.precision=fp32", "tracking.enabled=false", "--quiet", "--json")
    assert result.returncode == 4, result.stderr
    assert re.fullmatch(r"error: none of 2 trials succeeded: .*the loss became nan.*\n", result.stderr)
    assert result.stdout == ""
    assert capfd.readouterr() == ("", ""), "nor does anything go past Python"
    told = told_by(place, "hopeless")
    assert [event.state for event in told if isinstance(event, TrialFinished)] == ["failed"] * 2
    assert isinstance(told[-1], StudyFinished)
    assert (told[-1].failed, told[-1].complete, told[-1].best_trial, told[-1].best_value) == (2, 0, None, None)
    assert not any(isinstance(event, TestOpened | Evaluated | Exported) for event in told)
    assert not (place.folder / "studies" / "hopeless" / "bundle").exists()


def is_amid_a_third_trial(ledger: Path) -> bool:
    """Whether two trials are over, and one that began afterwards has trained for an epoch."""
    told = events(ledger) if ledger.exists() else []
    ends = [place for place, event in enumerate(told) if isinstance(event, TrialFinished)]
    later = told[ends[1] :] if len(ends) > 1 else []
    begun = {event.trial for event in later if isinstance(event, TrialStarted)}
    return any(isinstance(event, EpochFinished) and event.trial in begun for event in later)


@pytest.fixture(scope="module")
def stopped(place: Place) -> tuple[int, str]:
    """Ctrl-C while the study `stopped` trains its third trial: the exit code, and what was said."""
    words = ("run", "tiny.yaml", "name=stopped", "--trials", "500", "training.epochs=80", "export.onnx=false")
    with subprocess.Popen(
        [sys.executable, "-m", "autockd", *words, "resources.precision=fp32", "tracking.enabled=false"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not is_amid_a_third_trial(place.folder / "studies" / "stopped" / "ledger.jsonl"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_ends_a_run_with_exit_code_130(place: Place, stopped: tuple[int, str]) -> None:
    code, err = stopped
    assert code == 130, err
    assert "stopped: stopped; what is finished is kept" in err
    assert "go on with: autockd resume stopped" in err
    assert "Traceback" not in err
    kept = list((place.folder / "studies" / "stopped" / "trials").glob("*/checkpoint.pt"))
    assert kept, "what was running goes on from there"


def test_a_search_whose_time_is_over_exports_the_best_so_far(
    place: Place, stopped: tuple[int, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Quiet, it prints one JSON document and nothing else."""
    del stopped
    used = History(told_by(place, "stopped")).arm_seconds("")
    words = ("resume", "stopped", "--time-budget", f"{used + 1:.1f}s", "--quiet", "--json")
    result = place.done_inside(*words)
    summary = json.loads(result.stdout)
    assert summary["finished"] is True
    assert {row["subject"] for row in summary["evaluated"]} == {"teacher", "baseline", "best"}
    assert result.stderr == ""
    assert capfd.readouterr() == ("", ""), "nor does anything go past Python"
    told = told_by(place, "stopped")
    begun = {event.trial for event in told if isinstance(event, TrialStarted)}
    ends = {event.trial: event for event in told if isinstance(event, TrialFinished)}
    assert begun == set(ends), "none is left open"
    assert 0 < sum(end.state == "complete" for end in ends.values()) < len(ends) < 500
    said = [event.text for event in told if isinstance(event, Noted)]
    assert any(re.fullmatch(r"search\.time_budget of \S+ s is used up after \d+ trials", text) for text in said)
    why = {event.reason for event in ends.values() if event.state == "pruned"}
    assert re.fullmatch(r"the search's time is over \(\S+ s\)", "; ".join(why))
    assert [type(event) for event in told if isinstance(event, TestOpened | Exported | StudyFinished)] == [
        TestOpened,
        Exported,
        StudyFinished,
    ]
    more = place.inside("resume", "stopped", "--time-budget", "1h")
    assert more.returncode == 2
    assert "opened its test split" in more.stderr
