"""Who runs again, what final models are called, and that the test split is that which the ledger says was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_records import PROVENANCE, teacher_record

from autockd.config import parse_study
from autockd.config.schema import FinalistsConfig
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, Task
from autockd.errors import StudyError
from autockd.folders import LEDGER
from autockd.judging import _choose, _require_same, _searched, _starts
from autockd.records import FinalistsChosen, StudyStarted, TestOpened, TrialFinished, TrialRole, TrialStarted
from autockd.session import Session, open_session
from autockd.study import ignore
from autockd.tracking import events
from autockd.training.teacher import TeacherSpec

MakeTrial = Callable[..., TrialConfig]
STUDY = """\
name: s
seed: 5
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
finalists: {seeds: 2, top: 1}
"""


@pytest.fixture
def session(tmp_path: Path, make_trial: MakeTrial) -> Iterator[Session]:
    """One whose search is over: two baselines of the same method, and two points of the space."""
    study = parse_study(STUDY, "study.yaml", tmp_path)
    with open_session(study, tmp_path, ignore, None, "digits", resume=False) as found:
        found.recorder.record(
            StudyStarted(
                time=0.0,
                study="s",
                config=study.model_dump(mode="json"),
                config_hash="c",
                metric="accuracy",
                direction="maximize",
                task_fingerprint="data",
                provenance=PROVENANCE,
            )
        )
        search(found, 0, "baseline", make_trial("kd"), 0.95)
        search(found, 1, "baseline", make_trial("kd", {"temperature": 2.0}), 0.96)
        search(found, 2, "sampled", make_trial("continuation", learning_rate=0.2), 0.9, learning_rate=0.2)
        search(found, 3, "sampled", make_trial("continuation", learning_rate=0.3), 0.8, learning_rate=0.3)
        yield found


def search(session: Session, trial: int, role: TrialRole, config: TrialConfig, value: float, **params: float) -> None:
    session.recorder.record(
        TrialStarted(
            time=1.0,
            trial=trial,
            role=role,
            method=config.method.name,
            params=params,
            config=config.model_dump(mode="json"),
            fingerprint=config.fingerprint,
            conventions="",
        )
    )
    weights = f"trials/{trial:04d}/best.safetensors"
    session.recorder.record(TrialFinished(time=2.0, trial=trial, state="complete", value=value, weights=weights))


def chosen_in(session: Session) -> list[FinalistsChosen]:
    return [event for event in events(session.folder / LEDGER) if isinstance(event, FinalistsChosen)]


def test_finalists_are_written_down_once_and_again_only_where_others_are_wanted(session: Session) -> None:
    first = _choose(session)
    assert first is not None
    assert (first.trials, first.seeds, first.barred) == ((0, 1, 2), (6, 7), ())
    assert _choose(session) == first
    assert chosen_in(session) == [first]
    finalists = FinalistsConfig(seeds=2, top=2)
    wider = replace(session, config=session.config.model_copy(update={"finalists": finalists}))
    second = _choose(wider)
    assert second is not None
    assert second.trials == (0, 1, 2, 3)
    assert _choose(wider) == second
    assert chosen_in(session) == [first, second]


def test_no_finalists_are_not_written_down(session: Session) -> None:
    without = replace(session, config=session.config.model_copy(update={"finalists": FinalistsConfig()}))
    assert _choose(without) is None
    assert chosen_in(session) == []


def test_baselines_of_the_same_method_have_names_of_their_own(session: Session) -> None:
    teacher = TeacherSpec(session.config.teacher, session.folder / "teacher" / "model.safetensors", teacher_record())
    starts = _starts(events(session.folder / LEDGER))
    subjects = _searched(session, session.summary, starts, teacher)
    assert [(subject.label, subject.trial) for subject in subjects] == [("kd", 0), ("kd 1", 1), ("best", 2)]
    assert [subject.kind for subject in subjects] == ["baseline", "baseline", "best"]
    assert [subject.weights for subject in subjects] == [
        session.folder / f"trials/{trial:04d}/best.safetensors" for trial in (0, 1, 2)
    ]


def test_models_are_not_scored_on_two_test_splits(digits: tuple[Task, HeldOut]) -> None:
    """A study that stopped between two evaluations goes on with the same data, or not at all."""
    _, held_out = digits
    opened = TestOpened(time=0.0, subjects=("teacher",), test_fingerprint=held_out.fingerprint)
    _require_same(None, held_out, "s")
    _require_same(opened, held_out, "s")
    _require_same(opened.model_copy(update={"test_fingerprint": ""}), held_out, "s")
    with pytest.raises(
        StudyError, match=r"s cannot go on: its test split has changed since it was opened.*put the data back"
    ):
        _require_same(opened, replace(held_out, fingerprint="another"), "s")
