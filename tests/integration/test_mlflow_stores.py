"""A study and two MLflows: which one has it, what `autockd ui` says where that is the other, and who warns when."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow_events import client, runs_of
from sample_records import PROVENANCE, study_started

from autockd.cli.serving import STORE, serve
from autockd.config import StudyConfig
from autockd.folders import LEDGER
from autockd.records import Event, Noted, StudyFinished, StudyResumed, StudyStarted
from autockd.session import open_session
from autockd.study import Study
from autockd.tracking import Ledger, default_uri, events, sync
from autockd.tracking.mlflow_store import URI_ENV
from autockd.tracking.saved_views import VIEW_TAG

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

MODEL = {"family": "cifar_resnet", "depth": 8}
CONFIG = StudyConfig.model_validate(
    {"name": "tiny", "task": {"source": "digits"}, "teacher": {"model": MODEL}, "student": {"model": MODEL}}
)
RESUMED = StudyResumed(time=10.0, config=CONFIG.model_dump(mode="json"), provenance=PROVENANCE)
END = StudyFinished(time=20.0, complete=0, pruned=0, failed=0, best_trial=None, best_value=None, seconds={})


@pytest.fixture
def study(tmp_path: Path, with_database: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.delenv(URI_ENV, raising=False)
    return Study.create(CONFIG, with_database(tmp_path / "studies"))


@pytest.fixture
def own(study: Study) -> str:
    return default_uri(study.folder.parent)


@pytest.fixture
def other(tmp_path: Path, with_database: Callable[[Path], Path]) -> str:
    return default_uri(with_database(tmp_path / "other"))


def session(study: Study, uri: str, *told: Event) -> list[str]:
    """One that writes these events; its warnings."""
    seen: list[Event] = []
    with open_session(study.config, study.folder, seen.append, uri, study.experiment, resume=True) as opened:
        for event in told:
            if isinstance(event, StudyStarted | StudyResumed):
                opened.begin(event)
            else:
                opened.recorder.record(event)
    return [event.text for event in seen if isinstance(event, Noted) and event.kind == "warning"]


def ui(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """`autockd ui`, up to the server."""
    monkeypatch.setenv(STORE, "")
    monkeypatch.setattr(os, "execvp", lambda *_: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    serve(study.name, study.folder.parent, port, browser=False)


def test_a_session_notes_where_it_writes_to(study: Study, own: str) -> None:
    assert session(study, own, study_started(CONFIG)) == []
    (start,) = events(study.folder / LEDGER)
    assert isinstance(start, StudyStarted)
    assert start.tracking_uri == own
    assert session(study, own, RESUMED) == []
    (_, resumed) = events(study.folder / LEDGER)
    assert isinstance(resumed, StudyResumed)
    assert resumed.tracking_uri == own


def test_a_password_of_the_store_is_not_noted(study: Study) -> None:
    session(study, "http://ada:hunter2pass@127.0.0.1:9", study_started(CONFIG))
    start = events(study.folder / LEDGER)[0]
    assert isinstance(start, StudyStarted)
    assert start.tracking_uri == "http://127.0.0.1:9"
    assert b"hunter2pass" not in (study.folder / LEDGER).read_bytes()


def test_going_on_in_another_store_is_warned_of_once(study: Study, own: str, other: str) -> None:
    session(study, own, study_started(CONFIG))
    (warning,) = session(study, other, RESUMED)
    assert f"was written to MLflow at {own}; from here on it is written to {other}, which gets all" in warning
    assert len(list(runs_of(other))) == 1, "and it has"
    assert session(study, other, RESUMED.model_copy(update={"time": 11.0})) == []


def test_a_finished_study_that_is_brought_elsewhere_says_so(study: Study, own: str, other: str) -> None:
    session(study, own, study_started(CONFIG), END)
    before = (study.folder / LEDGER).read_bytes()
    seen: list[Event] = []
    with open_session(study.config, study.folder, seen.append, other, study.experiment, resume=True) as opened:
        opened.catch_up()
    texts = [event.text for event in seen if isinstance(event, Noted)]
    assert any(own in text and other in text for text in texts)
    assert len(list(runs_of(other))) == 1
    assert (study.folder / LEDGER).read_bytes() == before


def test_a_sync_into_another_store_is_warned_of_while_that_has_nothing(study: Study, own: str, other: str) -> None:
    session(study, own, study_started(CONFIG))
    ledger = study.folder / LEDGER
    assert sync(ledger, own, study.experiment).warning == ""
    assert sync(ledger, other, study.experiment).warning == (
        f"this study was written to MLflow at {own}; {other} had nothing of it until now"
    )
    assert sync(ledger, other, study.experiment).warning == "", "it has it now"


def test_ui_tells_a_study_that_is_elsewhere_from_one_without_a_view(
    study: Study, own: str, other: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other store has the experiment, and another study in it."""
    session(study, other, study_started(CONFIG))
    neighbour = CONFIG.model_copy(update={"name": "neighbour"})
    with Ledger(study.folder.parent / "neighbour" / LEDGER) as ledger:
        ledger.append(study_started(neighbour, time=5.0))
    sync(study.folder.parent / "neighbour" / LEDGER, own, study.experiment)

    ui(study, monkeypatch)
    told = capsys.readouterr()
    said = " ".join(told.err.split())
    assert f"study tiny is not in MLflow at {own}: it was written to {other} -> set MLFLOW_TRACKING_URI or" in said
    assert "experiments" not in told.out, "no page of runs that are not there"

    sync(study.folder / LEDGER, own, study.experiment)
    ui(study, monkeypatch)
    told = capsys.readouterr()
    assert "is not in MLflow" not in told.err
    assert "/#/experiments/" in told.out

    store = client(own)
    experiment = store.get_experiment_by_name(study.experiment)
    for tag in [name for name in experiment.tags if name.startswith(VIEW_TAG)]:
        store.delete_experiment_tag(experiment.experiment_id, tag)
    ui(study, monkeypatch)
    assert "MLflow has no saved view of it" in capsys.readouterr().err
