"""How runs end: well, with no student, stopped, and with their time over."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from place import Place

from autockd.records import (
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


def test_a_study_without_a_usable_student_ends_with_exit_code_4(place: Place) -> None:
    words = ("run", "tiny.yaml", "name=hopeless", "training.learning_rate=1e30", "search.space={}", "search.trials=2")
    result = place.autockd(*words, "resources.precision=fp32", "tracking.enabled=false", "--quiet", "--json")
    assert result.returncode == 4, result.stderr
    assert re.fullmatch(r"error: none of 2 trials succeeded: .*the loss became nan.*\n", result.stderr)
    assert result.stdout == ""
    told = told_by(place, "hopeless")
    assert [event.state for event in told if isinstance(event, TrialFinished)] == ["failed"] * 2
    assert isinstance(told[-1], StudyFinished)
    assert (told[-1].failed, told[-1].complete, told[-1].best_trial, told[-1].best_value) == (2, 0, None, None)
    assert not any(isinstance(event, TestOpened | Evaluated | Exported) for event in told)
    assert not (place.folder / "studies" / "hopeless" / "bundle").exists()


def test_ctrl_c_ends_a_run_with_exit_code_130(place: Place) -> None:
    words = ["run", "tiny.yaml", "name=stopped", "training.epochs=3000", "tracking.enabled=false"]
    words.append("resources.precision=fp32")
    with subprocess.Popen(
        [sys.executable, "-m", "autockd", *words],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        ledger = place.folder / "studies" / "stopped" / "ledger.jsonl"
        deadline = time.monotonic() + 120
        while not (ledger.exists() and '"epoch_finished"' in ledger.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped: stopped; what is finished is kept" in err
    assert "go on with: autockd resume stopped" in err
    assert "Traceback" not in err
    assert list((ledger.parent / "trials").glob("*/checkpoint.pt")), "what was running goes on from there"


def test_a_search_whose_time_is_over_exports_the_best_so_far(place: Place) -> None:
    """Quiet, it prints one JSON document and nothing else."""
    words = ("run", "tiny.yaml", "name=brief", "--trials", "500", "--time-budget", "10s", "export.onnx=false")
    result = place.done(*words, "resources.precision=fp32", "tracking.enabled=false", "--quiet", "--json")
    summary = json.loads(result.stdout)
    assert summary["finished"] is True
    assert {row["subject"] for row in summary["evaluated"]} == {"teacher", "baseline", "best"}
    assert result.stderr == ""
    told = told_by(place, "brief")
    begun = {event.trial for event in told if isinstance(event, TrialStarted)}
    ends = {event.trial: event for event in told if isinstance(event, TrialFinished)}
    assert begun == set(ends), "none is left open"
    assert 0 < sum(end.state == "complete" for end in ends.values()) <= len(ends) < 500
    said = [event.text for event in told if isinstance(event, Noted)]
    assert any(re.fullmatch(r"search\.time_budget of 10 s is used up after \d+ trials", text) for text in said)
    assert {event.reason for event in ends.values() if event.state == "pruned"} <= {"the search's time is over (10 s)"}
    assert [type(event) for event in told if isinstance(event, TestOpened | Exported | StudyFinished)] == [
        TestOpened,
        Exported,
        StudyFinished,
    ]
    more = place.autockd("resume", "brief", "--time-budget", "1h")
    assert more.returncode == 2
    assert "opened its test split" in more.stderr
