"""A session: what is said of MLflow at its end, and that one in which nothing happens leaves MLflow alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config import StudyConfig, parse_study
from autockd.records import Event, Noted
from autockd.session import missing_text, open_session
from autockd.tracking import SinkSummary

STUDY = """\
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
"""


def study(folder: Path) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", folder)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (SinkSummary(delivered=9, missed=0), ""),
        (SinkSummary(delivered=9, missed=2, last_error="it is away"), "2 events (it is away)"),
        (
            SinkSummary(delivered=9, missed=1, artifacts_missed=(Path("a.png"), Path("b.png"))),
            "1 event and 2 files (there was no time left for more)",
        ),
    ],
)
def test_it_says_what_mlflow_misses(told: SinkSummary, text: str) -> None:
    assert missing_text(told) == text


def test_a_session_without_an_event_leaves_mlflow_alone(tmp_path: Path) -> None:
    seen: list[Event] = []
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with open_session(study(tmp_path), tmp_path / "s", seen.append, uri, "digits", resume=True) as session:
        session.recorder.show("looking")
    assert [type(event) for event in seen] == [Noted]
    assert (tmp_path / "s" / "ledger.jsonl").read_bytes() == b""
    assert not (tmp_path / "mlflow.db").exists()
