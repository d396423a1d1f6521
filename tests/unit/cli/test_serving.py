"""`autockd ui`: what it prints and refuses, and the helper that waits for the server."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest
from sample_records import study_started

from autockd.cli.browser import has_display, wait_for
from autockd.cli.serving import STORE, serve
from autockd.config import StudyConfig
from autockd.config.schema import TrackingConfig
from autockd.errors import EnvironmentProblem, StudyError, UsageError
from autockd.folders import LEDGER
from autockd.study import Study
from autockd.tracking import Ledger


def create(studies: Path, **tracking: object) -> Study:
    model = {"family": "cifar_resnet", "depth": 8}
    config = {
        "name": "tiny",
        "task": {"source": "digits"},
        "teacher": {"model": model},
        "student": {"model": model},
        "tracking": tracking,
    }
    return Study.create(StudyConfig.model_validate(config), studies)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_any_study_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no study in .*autockd run"):
        serve(None, tmp_path, 5000, browser=False)


def test_a_study_outside_mlflow_is_refused(tmp_path: Path) -> None:
    create(tmp_path, enabled=False)
    with pytest.raises(UsageError, match=r"tracking\.enabled: study tiny .*autockd status"):
        serve("tiny", tmp_path, 5000, browser=False)


def test_a_study_on_a_server_is_shown_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path, uri="https://mlflow.example.org/x")
    serve("tiny", tmp_path, 5000, browser=False)
    assert capsys.readouterr().out == "https://mlflow.example.org/x\n"


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    create(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=rf"--port: 127\.0\.0\.1:{port} cannot be used: .*another port"):
            serve("tiny", tmp_path, port, browser=False)


def test_a_store_that_mlflow_cannot_open_is_no_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2pass@db/mlflow")
    study = create(tmp_path)

    def fail(*_: object) -> NoReturn:
        raise ModuleNotFoundError("no psycopg2 for postgresql://me:hunter2pass@db/mlflow")

    monkeypatch.setattr(Study, "ui_url", fail)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EnvironmentProblem) as caught:
        serve("tiny", tmp_path, port, browser=False)
    message = str(caught.value)
    assert message.startswith("MLflow cannot open postgresql://***@db/mlflow: ModuleNotFoundError: no psycopg2")
    assert "-> mend that, or name another store" in message
    assert message.endswith(f"`autockd sync {study.folder}`")
    assert "hunter2pass" not in message


def test_a_password_of_the_store_is_no_part_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are there for everybody on the machine to see."""
    uri, started = "postgresql://me:hunter2pass@db/mlflow", []

    def start(program: str, command: list[str]) -> None:
        started.append((*command, os.environ[STORE]))

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv(STORE, "")
    monkeypatch.setattr(os, "execvp", start)
    monkeypatch.setattr(Study, "ui_url", lambda *_: "http://127.0.0.1")
    create(tmp_path)
    serve("tiny", tmp_path, free_port(), browser=False)
    ((*command, store),) = started
    assert store == uri
    assert "--host 127.0.0.1" in " ".join(command)
    assert "hunter2pass" not in " ".join(command)


def begin(study: Study, tracking_uri: str) -> None:
    with Ledger(study.folder / LEDGER) as ledger:
        ledger.append(study_started(study.config, tracking_uri=tracking_uri))


@pytest.mark.parametrize(
    ("written_to", "message"),
    [
        ("http://mlflow.test", ": it was written to http://mlflow.test -> set MLFLOW_TRACKING_URI or tracking.uri to"),
        ("", ": it was written elsewhere, or nowhere -> set MLFLOW_TRACKING_URI or tracking.uri to where it is, or `"),
        ("here", " -> `autockd sync "),
    ],
)
def test_a_study_that_is_not_in_the_store_is_told_from_one_without_a_view(
    written_to: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "execvp", lambda *_: None)
    study = create(tmp_path)
    here = f"sqlite:///{tmp_path / 'mlflow.db'}"
    begin(study, here if written_to == "here" else written_to)
    serve("tiny", tmp_path, free_port(), browser=False)
    said = " ".join(capsys.readouterr().err.split())
    assert f"study tiny is not in MLflow at {here}{message}" in said
    assert f"`autockd sync {study.folder}` writes it" in said
    assert "saved view" not in said


def test_no_sync_is_advised_while_the_study_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its driver alone writes it."""
    monkeypatch.setattr(os, "execvp", lambda *_: None)
    study = create(tmp_path, uri=f"sqlite:///{tmp_path / 'own.db'}")
    begin(study, "http://mlflow.test")
    with Ledger(study.folder / LEDGER):
        serve("tiny", tmp_path, free_port(), browser=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "it was written to http://mlflow.test -> set tracking.uri to that" in said
    assert "autockd sync" not in said


def test_a_study_that_has_not_begun_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "execvp", lambda *_: None)
    create(tmp_path)
    serve("tiny", tmp_path, free_port(), browser=False)
    assert "study tiny has not begun: MLflow has nothing of it yet" in capsys.readouterr().err


def test_waiting_ends_when_the_server_listens_and_when_patience_does() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/#/experiments/1"
        assert not wait_for(url, patience=0.3)
        server.listen()
        assert wait_for(url, patience=5)


def test_no_browser_is_started_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_display()


def test_the_environments_server_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create(tmp_path)
    assert study.mlflow_uri() == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.test:5000")
    assert study.mlflow_uri() == "http://mlflow.test:5000"
    named = Study(study.config.model_copy(update={"tracking": TrackingConfig(uri="sqlite:////x.db")}), study.folder)
    assert named.mlflow_uri() == "sqlite:////x.db", "what the study says comes first"
