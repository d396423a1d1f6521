"""A session: what is said of MLflow at its end, and that one in which nothing happens leaves MLflow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autockd.config import StudyConfig, parse_study
from autockd.errors import StudyError
from autockd.folders import CONFIG, LEDGER
from autockd.history import History
from autockd.records import Event, Noted
from autockd.search.halt import STOP
from autockd.session import missing_text, open_session
from autockd.study import Study, ignore
from autockd.tracking import Ledger, SinkSummary

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


def test_a_request_to_the_session_before_is_over(tmp_path: Path) -> None:
    (tmp_path / STOP).touch()
    with open_session(study(tmp_path), tmp_path, ignore, None, "digits", resume=True) as session:
        assert not session.halt.is_asked


def test_a_request_goes_with_the_session_that_it_was_for(tmp_path: Path) -> None:
    with open_session(study(tmp_path), tmp_path, ignore, None, "digits", resume=True) as session:
        (tmp_path / STOP).touch()
        assert session.halt.is_asked
    assert not (tmp_path / STOP).exists()


def test_a_request_while_the_ledger_is_read_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(told: list[Event]) -> History:
        (tmp_path / STOP).touch()
        return History(told)

    monkeypatch.setattr("autockd.session.History", read)
    with open_session(study(tmp_path), tmp_path, ignore, None, "digits", resume=True) as session:
        assert session.halt.is_asked


def test_a_session_that_is_refused_takes_no_request_from_the_one_that_runs(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER):
        (tmp_path / STOP).touch()
        with (
            pytest.raises(StudyError, match="in use"),
            open_session(study(tmp_path), tmp_path, ignore, None, "digits", resume=True),
        ):
            pass
        assert (tmp_path / STOP).exists()


def test_another_study_takes_no_name_of_one_that_runs(tmp_path: Path) -> None:
    """Also while that one has not begun, for its data are being read."""
    config = study(tmp_path)
    first = Study.create(config, tmp_path)
    with open_session(config, first.folder, ignore, None, "digits", resume=False):
        before = (first.folder / CONFIG).read_text()
        with pytest.raises(StudyError, match=r"runs now; stop it with `autockd stop .*/s`, or give .*name=s-2"):
            Study.create(config.model_copy(update={"seed": 5}), tmp_path)
        assert (first.folder / CONFIG).read_text() == before
    Study.create(config, tmp_path)


@pytest.mark.parametrize("name", [CONFIG, "teacher", "assistant"])
def test_what_somebody_put_where_a_study_is_to_be_is_not_written_over(name: str, tmp_path: Path) -> None:
    config = study(tmp_path)
    own = tmp_path / config.name / name
    own.parent.mkdir()
    own.write_text("name: s  # mine\n")
    with pytest.raises(StudyError, match=rf"{name}: autockd did not write it, .* -> move it elsewhere"):
        Study.create(config, tmp_path)
    assert own.read_text() == "name: s  # mine\n"


def test_a_study_that_was_made_in_python_has_no_path_that_depends_on_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder: dict[str, Any] = {"model": {"family": "encoder", "path": "base"}}
    data = {
        "name": "s",
        "teacher": encoder,
        "student": encoder,
        "task": {"source": "text", "path": "./reviews.csv", "label_column": "stars"},
    }
    Study.create(StudyConfig.model_validate(data), tmp_path / "studies")
    again = Study.open("s", tmp_path / "studies").config.task
    assert getattr(again, "path", None) == str(tmp_path / "reviews.csv")


def test_the_file_of_a_study_is_that_of_whoever_runs_it(tmp_path: Path) -> None:
    """Another one may have come between the making of its folder and its beginning."""
    config = study(tmp_path)
    mine = Study.create(config, tmp_path)
    Study.create(config.model_copy(update={"seed": 5}), tmp_path)
    with open_session(config, mine.folder, ignore, None, "digits", resume=False):
        assert Study.open("s", tmp_path).config == config
