"""Which MLflow a study was written to: as its events say it, never with a credential."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from sample_records import PROVENANCE

from autockd.records import Event, StudyResumed, StudyStarted
from autockd.tracking.whereabouts import former_store, last_store, store_name


def sessions(study: Sequence[Event], *uris: str) -> list[Event]:
    start = study[0]
    assert isinstance(start, StudyStarted)
    later = [StudyResumed(time=99.0, config={}, provenance=PROVENANCE, tracking_uri=uri) for uri in uris[1:]]
    return [start.model_copy(update={"tracking_uri": uris[0]}), *later]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("http://ada:hunter2pass@mlflow:5000/", "http://mlflow:5000"),
        ("http://ada@mlflow:5000", "http://mlflow:5000"),
        ("https://mlflow/x?token=hunter2pass", "https://mlflow/x?token=***"),
        ("postgresql://ada:hunter2pass@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////home/ada/mlflow.db", "sqlite:////home/ada/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_a_store_is_named_without_credentials(uri: str, name: str) -> None:
    assert store_name(uri) == name


def test_a_database_has_one_name_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_name("sqlite:///mlflow.db") == f"sqlite:///{tmp_path.resolve()}{os.sep}mlflow.db"


def test_the_last_session_that_was_tracked_says_where(study: list[Event]) -> None:
    assert last_store(study) == "", "older ledgers do not say it"
    assert last_store(sessions(study, "http://a", "http://b", "")) == "http://b"


def test_another_store_is_told_from_the_same_one(study: list[Event]) -> None:
    assert former_store(study, "http://b") == ""
    told = sessions(study, "http://a")
    assert former_store(told, "http://b") == "http://a"
    assert former_store(told, "http://ada:hunter2pass@a/") == ""


def test_a_database_that_moved_with_the_studies_is_no_other(study: list[Event], tmp_path: Path) -> None:
    told = sessions(study, f"sqlite:///{tmp_path}/old.db")
    assert former_store(told, f"sqlite:///{tmp_path}/new.db") == ""
    (tmp_path / "old.db").touch()
    assert former_store(told, f"sqlite:///{tmp_path}/new.db") == f"sqlite:///{tmp_path}/old.db"
