"""What comes after a study's end, its report and MLflow's last part, is made good where the study is resumed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_bundle import with_hash, write_demo_bundle
from mlflow_events import client, differences, dump, runs_of, until_end_of, whole_study, write

from autockd.config import parse_study
from autockd.folders import LEDGER
from autockd.records import Event, Noted, StudyStarted
from autockd.report.writing import PAGE
from autockd.study import Study
from autockd.tracking import Ledger, default_uri, sync

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

STUDY = """\
name: digits-demo
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
"""
DRAFT = ".report.0123456789ab.partial"


def cut_off(studies: Path, *overrides: str) -> Study:
    """A study whose driver was killed while it wrote the report of a study that is finished, and MLflow lagged."""
    study = Study.create(parse_study(STUDY, "study.yaml", studies, overrides), studies)
    manifest_hash = write_demo_bundle(study.folder / "bundle")

    def as_this_study(event: Event) -> Event:
        if isinstance(event, StudyStarted):
            return event.model_copy(update={"config": study.config.model_dump(mode="json")})
        return with_hash(event, manifest_hash)

    told = [as_this_study(event) for event in whole_study()]
    middle = until_end_of(2, told)
    uri = study.mlflow_uri()
    if uri is not None and uri.startswith("sqlite"):
        sync(write(study.folder / LEDGER, told[:middle]), uri, study.experiment)
        for run in runs_of(uri):
            if run.data.tags["autockd.state"] == "interrupted":
                client(uri).update_run(run.info.run_id, status="RUNNING")  # as a driver leaves it that is killed
    with Ledger(study.folder / LEDGER) as ledger:
        for event in told[middle if ledger.path.stat().st_size else 0 :]:
            ledger.append(event)
    (study.folder / DRAFT).mkdir()
    return study


def test_a_study_that_was_killed_after_its_end_is_made_good(
    tmp_path: Path, with_database: Callable[[Path], Path]
) -> None:
    studies = with_database(tmp_path / "studies")
    study, uri = cut_off(studies), default_uri(studies)
    ledger = (study.folder / LEDGER).read_bytes()
    assert {run.info.status for run in runs_of(uri)} == {"RUNNING", "FINISHED"}
    told: list[Event] = []
    assert study.resume(told.append).best_trial == 1
    assert (study.folder / "report" / PAGE).is_file()
    assert not (study.folder / DRAFT).exists()
    assert not differences(dump(uri), study.events())
    (own,) = [run for run in runs_of(uri) if run.data.tags["autockd.kind"] == "study"]
    assert {"study.yaml", PAGE} <= {file.path for file in client(uri).list_artifacts(own.info.run_id)}
    assert [int(found.version) for found in client(uri).search_model_versions("name = 'digits'")] == [1]
    assert [event.text for event in told if isinstance(event, Noted)] == [
        "registered in MLflow as digits version 1, champion: there was none before"
    ]
    first, pages = dump(uri), (study.folder / "report" / PAGE).stat()
    assert study.resume(told.append).best_trial == 1
    assert len(told) == 1, "a second time changes nothing"
    assert (dump(uri), (study.folder / LEDGER).read_bytes()) == (first, ledger)
    assert (study.folder / "report" / PAGE).stat().st_mtime_ns == pages.st_mtime_ns


def test_it_gives_its_result_although_mlflow_is_away(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        study = cut_off(tmp_path, f"tracking.uri=http://127.0.0.1:{taken.getsockname()[1]}")
        told: list[Event] = []
        began = time.monotonic()
        assert study.resume(told.append).best_trial == 1
        assert time.monotonic() - began < 30
    assert (study.folder / "report" / PAGE).is_file()
    (warning,) = [event for event in told if isinstance(event, Noted)]
    assert warning.kind == "warning"
    assert f"misses {len(whole_study())} events and " in warning.text
    assert f"`autockd sync {study.folder}`" in warning.text


def test_a_setting_that_is_said_to_change_nothing_changes_nothing(
    tmp_path: Path, with_database: Callable[[Path], Path]
) -> None:
    study = cut_off(with_database(tmp_path / "studies"))
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    told: list[Event] = []
    Study.open(study.name, study.folder.parent, [f"tracking.uri={elsewhere}"]).resume(told.append)
    assert [event.text for event in told if isinstance(event, Noted)] == [
        f"digits-demo is finished, so this changes nothing: tracking.uri: None -> {elsewhere}"
    ]
    assert not (tmp_path / "elsewhere.db").exists()
