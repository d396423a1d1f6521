"""How a command's end becomes a message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autockd.cli.app import main
from autockd.cli.exits import DEBUG_ENV, GIVEN_UP, Settings, exit_code_of
from autockd.errors import (
    AutockdError,
    ConfigError,
    DataError,
    EnvironmentProblem,
    ExportError,
    Interrupted,
    NoTrialSucceeded,
    Problem,
    StudyError,
)
from autockd.tracking import MlflowSink


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEBUG_ENV, raising=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(0), 0),
        (SystemExit(None), 0),
        (SystemExit(2), 2),
        (SystemExit("text"), 1),
        (SystemExit(130), 130),
        (KeyboardInterrupt(), 130),
        (Interrupted("stopped"), 130),
        (DataError("no"), 2),
        (StudyError("no"), 2),
        (EnvironmentProblem("no"), 3),
        (NoTrialSucceeded("no"), 4),
        (ExportError("no"), 5),
        (AutockdError("no"), 1),
        (ValueError("no"), 1),
    ],
)
def test_every_end_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(raising(error), Settings()) == code


def test_a_command_that_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(lambda: None, Settings()) == 0
    assert capsys.readouterr() == ("", "")


def test_errors_of_ours_are_messages_on_stderr_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("a.b", "is wrong", "mend it", "s.yaml:3"), Problem("c", "is required", "add it")]
    exit_code_of(raising(ConfigError(problems)), Settings())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: 2 problems in the configuration:",
        "  s.yaml:3: a.b: is wrong -> mend it",
        "  c: is required -> add it",
    ]


def test_a_bug_of_ours_is_short_and_asks_to_be_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(raising(KeyError("weights")), Settings()) == 1
    err = capsys.readouterr().err
    assert "unexpected error: KeyError: 'weights'" in err
    assert "report it" in err
    assert "Traceback" not in err


def test_a_bug_does_not_tell_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(raising(RuntimeError("cannot reach https://me:hunter2pass@host/x")), Settings())
    assert "hunter2pass" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("x"), DataError("x")])
def test_verbose_adds_the_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(raising(error), Settings(verbose=True))
    assert "Traceback" in capsys.readouterr().err


def test_the_environment_asks_for_tracebacks_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(DEBUG_ENV, "1")
    exit_code_of(raising(ValueError("x")), Settings())
    assert "Traceback" in capsys.readouterr().err


def test_control_characters_of_a_message_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(raising(DataError("file \x1b[2J\x07")), Settings())
    assert "\x1b" not in capsys.readouterr().err


LEAVING = """
import atexit, sys, threading, time
from autockd.cli.exits import leave
atexit.register(print, "python ended")
threading.Thread(target=time.sleep, args=(60,), name=sys.argv[1], daemon=True).start()
print("said", end="")
leave(4)
"""


@pytest.mark.parametrize(
    ("thread", "output"), [*((name, "said") for name in sorted(GIVEN_UP)), ("another", "saidpython ended\n")]
)
def test_a_thread_that_was_given_up_is_left_where_it_is(thread: str, output: str) -> None:
    """Its end would take the exit code with it: Python aborts where it finds C++ in the way."""
    done = subprocess.run([sys.executable, "-c", LEAVING, thread], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, output)


TIDYING = """
import atexit
from autockd.cli.exits import leave

class Cycle:
    def __del__(self):
        print("collected")

cycle = Cycle()
cycle.itself = cycle
del cycle
atexit.register(print, "python ended")
leave(0)
"""


def test_no_garbage_is_looked_for_at_the_end() -> None:
    """There are millions of objects to look at once torch and its like are loaded."""
    done = subprocess.run([sys.executable, "-c", TIDYING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "python ended\n")


def test_the_thread_that_may_be_given_up_is_the_sinks(tmp_path: Path) -> None:
    sink = MlflowSink(f"sqlite:///{tmp_path}/mlflow.db", "experiment", "study", ledger=tmp_path / "ledger.jsonl")
    assert sink._thread.name in GIVEN_UP


def wrapped(error: Exception) -> Exception:
    """As Tune raises what a search raised."""
    outer = RuntimeError("the search failed")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free space there"), (errno.EDQUOT, "free space there"), (errno.EROFS, "permit this user to do")],
)
@pytest.mark.parametrize("wrap", [lambda error: error, wrapped])
def test_what_a_disk_has_against_it_is_no_bug_of_ours(
    number: int, remedy: str, wrap: Callable[[Exception], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "/studies/a/optuna.journal")
    assert exit_code_of(raising(wrap(error)), Settings()) == 3
    assert capsys.readouterr().err.startswith(f"error: /studies/a/optuna.journal: {os.strerror(number)} -> {remedy}")


def test_a_name_that_no_disk_has_room_for_is_no_bug_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "aaa.yaml")
    assert exit_code_of(raising(error), Settings()) == 2
    assert capsys.readouterr().err == "error: aaa.yaml: File name too long -> give it a shorter name\n"


def test_so_it_is_of_a_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / ("a" * 300))]) == 2
    assert "This is a bug" not in capsys.readouterr().err
