"""A whole small study by the command line: run, and then looked at, exported, gone on with and served.

A command runs in a process of its own where it is the first of its kind, and within this one from then on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from place import Place, without_ray

from autockd.tracking.saved_views import has_views

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def finished(place: Place) -> subprocess.CompletedProcess[str]:
    """The tiny study, run."""
    return place.done("run", "tiny.yaml")


def test_a_run_ends_with_a_table_the_bundle_and_the_next_commands(
    place: Place, finished: subprocess.CompletedProcess[str]
) -> None:
    rows = [line.split("  ")[0].strip() for line in finished.stdout.splitlines() if "%" in line]
    assert rows[:2] == ["teacher", "student, no distillation"]
    assert re.fullmatch(r"best student \(continuation, trial \d\)", rows[2])
    assert f"bundle: {place.folder / 'studies' / 'tiny' / 'bundle'}" in finished.stdout
    for command in ("autockd ui tiny", "autockd status tiny", "autockd evaluate "):
        assert command in finished.stderr
    assert finished.stderr.count(f"MLflow: sqlite:///{place.folder}") == 2
    assert len(re.findall(r"^trial \d \(\w+\): done", finished.stderr, re.MULTILINE)) == 3


def test_a_run_leaves_data_on_stdout_and_all_else_on_stderr(finished: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in finished.stdout + finished.stderr
    assert not re.search(r"Traceback|Warning", finished.stderr)
    assert all(line == "" or line.startswith(" ") or ":" in line for line in finished.stdout.splitlines())


@pytest.mark.usefixtures("finished")
def test_status_shows_one_study_or_all(place: Place) -> None:
    assert json.loads(place.done("status", "tiny", "--json").stdout)["finished"] is True
    assert [study["study"] for study in json.loads(place.done_inside("status", "--json").stdout)] == ["tiny"]
    shown = place.done_inside("status", "tiny")
    assert re.search(r"\* \d +continuation", shown.stdout)
    assert "tiny: finished" in shown.stderr
    assert re.search(r"tiny +finished +3/3 +accuracy", place.done_inside("status").stdout)


@pytest.mark.usefixtures("finished")
def test_a_study_that_failed_before_it_began_hides_no_other(place: Place) -> None:
    weights = "teacher.model.weights=studies/tiny/bundle/model.safetensors"  # of a student, which is narrower
    with without_ray():
        assert place.inside("run", "tiny.yaml", "name=never", weights).returncode == 2
    assert (place.folder / "studies" / "never" / "ledger.jsonl").exists()
    assert [study["study"] for study in json.loads(place.done_inside("status", "--json").stdout)] == ["tiny"]
    assert place.inside("status", "never").returncode == 2


@pytest.mark.usefixtures("finished")
def test_the_bundle_gives_the_recorded_metric_again(place: Place) -> None:
    for runtime, run in (("torch", place.done), ("onnx", place.inside)):
        result = json.loads(run("evaluate", "studies/tiny/bundle", "--runtime", runtime, "--json").stdout)
        assert result["value"] == pytest.approx(result["recorded"], abs=1e-9)
    elsewhere = json.loads(place.inside("evaluate", "studies/tiny/bundle", "--data", "tiny.yaml", "--json").stdout)
    assert (elsewhere["value"], "recorded" in elsewhere) == (result["recorded"], False)
    without = place.inside("evaluate", "studies/tiny/bundle", "--runtime", "int8")
    assert without.returncode == 5
    assert "has no model.int8.onnx -> export with int8" in without.stderr


@pytest.mark.usefixtures("finished")
def test_an_int8_model_is_exported_with_figures_of_its_own(place: Place) -> None:
    done = place.done_inside("export", "tiny", "--to", "small", "--int8")
    folder = Path(done.stdout.strip())
    assert re.search(r"int8 +\d+ kB +\d", done.stderr)
    _, int8 = json.loads((folder / "figures.json").read_text())["models"]
    result = json.loads(place.inside("evaluate", "small", "--runtime", "int8", "--json").stdout)
    assert result["value"] == result["recorded"] == int8["test"]
    refused = place.inside("export", "tiny", "--to", "other8", "--int8", "--no-onnx")
    assert refused.returncode == 2
    assert "export.int8" in refused.stderr


@pytest.mark.usefixtures("finished")
def test_another_trial_is_exported_elsewhere_and_nothing_is_overwritten(place: Place) -> None:
    words = ("export", "tiny", "--trial", "0", "--to", "other", "--no-onnx")
    assert Path(place.done(*words).stdout.strip()).samefile(place.folder / "other")
    assert not (place.folder / "other" / "model.onnx").exists()
    assert place.inside(*words).returncode == 5
    assert place.inside(*words, "--force").returncode == 0
    taken = place.inside("export", "tiny")
    assert (taken.returncode, "bundle: exists already" in taken.stderr) == (5, True)
    assert place.inside("export", "tiny", "--trial", "99").returncode == 2
    wrong = place.inside("export", "tiny", "--trial", "last")
    assert wrong.returncode == 2
    assert "--trial: 'last' is neither `best` nor a trial's number" in wrong.stderr


@pytest.mark.usefixtures("finished")
def test_a_second_study_of_that_name_is_refused(place: Place) -> None:
    result = place.inside("run", "tiny.yaml")
    assert result.returncode == 2
    assert "a study of this name exists" in result.stderr


@pytest.mark.usefixtures("finished")
def test_a_finished_study_goes_on_by_saying_its_result_again(
    place: Place, finished: subprocess.CompletedProcess[str]
) -> None:
    ledger = place.folder / "studies" / "tiny" / "ledger.jsonl"
    before = ledger.read_bytes()
    again = place.done_inside("resume", "tiny")
    assert again.stdout == finished.stdout
    assert ledger.read_bytes() == before
    more = place.inside("resume", "tiny", "--trials", "9")
    assert more.returncode == 2
    assert "opened its test split at" in more.stderr
    other = place.inside("resume", "tiny", "--trials", "9", "training.epochs=3")
    assert "training.epochs: 2 -> 3" in other.stderr
    changed = place.inside("resume", "tiny", "search.space.learning_rate.high=0.4")
    assert changed.returncode == 2
    assert "search.space.learning_rate.high: 0.3 -> 0.4" in changed.stderr
    idle = place.inside("resume", "tiny", "export.onnx=false")
    assert "tiny is finished, so this changes nothing: export.onnx: True -> False" in idle.stderr
    assert ledger.read_bytes() == before


@pytest.mark.usefixtures("finished")
def test_sync_changes_nothing_that_is_there(place: Place) -> None:
    database = place.folder / "studies" / "mlflow.db"
    runs = "select run_uuid, status, start_time, end_time from runs order by run_uuid"
    with sqlite3.connect(database) as connection:
        before = connection.execute(runs).fetchall()
    said = place.done_inside("sync", "tiny").stderr
    assert re.fullmatch(
        r"tiny: MLflow at .* has all of its \d+ events\ntiny: .* digits version 1, champion: .*\n", said
    )
    with sqlite3.connect(database) as connection:
        assert connection.execute(runs).fetchall() == before
    assert len(before) == 4


@pytest.mark.usefixtures("finished")
def test_what_does_not_run_cannot_be_stopped(place: Place) -> None:
    result = place.inside("stop", "tiny")
    assert result.returncode == 2
    assert "tiny is not running" in result.stderr


@pytest.mark.usefixtures("finished")
def test_an_unknown_study_gets_the_names_that_are_there(place: Place) -> None:
    result = place.inside("status", "tinny")
    assert result.returncode == 2
    assert "tinny" in result.stderr
    assert "tiny" in result.stderr


@pytest.fixture
def server(place: Place, finished: subprocess.CompletedProcess[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "autockd", "ui", "--no-browser", "--port", str(port)],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        yield process, port
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def listening_on(port: int) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which somebody listens for TCP connections to a port."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
    sockets = [line.split()[1:4:2] for line in lines]
    return {local.split(":")[0] for local, state in sockets if state == "0A" and int(local.split(":")[1], 16) == port}


def test_ui_serves_the_latest_study_on_this_machine_alone(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    view = "viewStateShareKey=autockd-" if has_views(version("mlflow")) else ""
    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/#/experiments/\d+/runs\?.*{view}.*", url)
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                assert answer.read() == b"OK"
                assert listening_on(port) == {"0100007F"}
                return
        except OSError:
            assert time.monotonic() < deadline, "the server does not answer"
            assert process.poll() is None
            time.sleep(0.5)
