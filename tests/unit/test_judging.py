"""Who runs again, what final models are called, and that the test split is that which the ledger says was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sample_records import study_started, teacher_record

from autockd.config import parse_study
from autockd.config.schema import FinalistsConfig
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, Task
from autockd.errors import StudyError
from autockd.folders import LEDGER
from autockd.history import History
from autockd.judging import _choose, _require_same, _searched, evaluate_finals, run_finalists
from autockd.records import (
    FinalistsChosen,
    TestOpened,
    TrialFinished,
    TrialOutcome,
    TrialReport,
    TrialRole,
    TrialStarted,
    TrialState,
)
from autockd.search.finalists import FinalistBook
from autockd.search.halt import STOP
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
        found.recorder.record(study_started(study))
        search(found, 0, "baseline", make_trial("kd"), 0.95)
        search(found, 1, "baseline", make_trial("kd", {"temperature": 2.0}), 0.96)
        search(found, 2, "sampled", make_trial("continuation", learning_rate=0.2), 0.9, learning_rate=0.2)
        search(found, 3, "sampled", make_trial("continuation", learning_rate=0.3), 0.8, learning_rate=0.3)
        yield found


def search(
    session: Session,
    trial: int,
    role: TrialRole,
    config: TrialConfig,
    value: float,
    arm: str = "",
    state: TrialState = "complete",
    **params: float,
) -> None:
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
            arm=arm,
        )
    )
    weights = f"trials/{trial:04d}/best.safetensors"
    session.recorder.record(TrialFinished(time=2.0, trial=trial, state=state, value=value, weights=weights))


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
    starts = History(events(session.folder / LEDGER)).starts
    subjects = _searched(session, session.summary, starts, teacher)
    assert [(subject.label, subject.trial) for subject in subjects] == [("kd", 0), ("kd 1", 1), ("best", 2)]
    assert [subject.kind for subject in subjects] == ["baseline", "baseline", "best"]
    assert [subject.weights for subject in subjects] == [
        session.folder / f"trials/{trial:04d}/best.safetensors" for trial in (0, 1, 2)
    ]


def test_the_best_of_each_compared_method_is_tested_under_its_arm(session: Session, make_trial: MakeTrial) -> None:
    for trial, arm, value in ((4, "none", 0.5), (5, "none", 0.7), (6, "kd", 0.97), (7, "kd-std", 0.6)):
        search(session, trial, "sampled", make_trial(arm.removesuffix("-std")), value, arm)
    teacher = TeacherSpec(session.config.teacher, session.folder / "teacher" / "model.safetensors", teacher_record())
    subjects = _searched(session, session.summary, History(events(session.folder / LEDGER)).starts, teacher)
    found = [(subject.label, subject.trial, subject.kind) for subject in subjects]
    assert found[2:] == [("none", 5, "baseline"), ("best", 6, "best"), ("kd-std", 7, "baseline")]
    assert len({label for label, _, _ in found}) == len(found)


@dataclass
class Setting:
    """As much of a worker's setting as finalists need here."""

    traced: object = None


@pytest.mark.parametrize("parameters", [500, 501])
def test_a_preset_that_was_stopped_early_may_win_if_its_runs_keep_to_the_limit(
    session: Session, make_trial: MakeTrial, parameters: int
) -> None:
    def run_all(book: FinalistBook, *_: object, **__: object) -> None:
        while (proposal := book.propose()) is not None:
            outcome = TrialOutcome(state="complete", value=0.9, parameters=parameters)
            book.report(TrialReport(trial=proposal.number, outcome=outcome))

    search(session, 4, "default", make_trial("continuation"), 0.3, state="pruned")
    pick = session.config.export.model_copy(update={"pick": "parameters <= 500"})
    limited = replace(session, config=session.config.model_copy(update={"export": pick}))
    machine = SimpleNamespace(allocation=SimpleNamespace(parallel=1), search=run_all)
    assert run_finalists(limited, cast(Any, None), cast(Any, Setting()), cast(Any, machine))
    first, last = chosen_in(session)[0], chosen_in(session)[-1]
    assert 4 in first.trials
    assert 4 not in first.barred
    assert (4 in last.barred) is (parameters > 500)


def test_a_stop_that_came_with_the_last_results_leaves_the_test_split_closed(
    session: Session, digits: tuple[Task, HeldOut]
) -> None:
    teacher = cast(
        TeacherSpec,
        SimpleNamespace(record=teacher_record(), folder=Path("t"), weights=Path("t/w"), config=session.config.teacher),
    )
    (session.folder / STOP).touch()
    with pytest.raises(KeyboardInterrupt):
        evaluate_finals(session, *digits, teacher, cast(Any, None))
    assert not [event for event in events(session.folder / LEDGER) if isinstance(event, TestOpened)]


def test_the_test_split_stays_closed_while_a_student_is_not_where_it_was_kept(
    session: Session, digits: tuple[Task, HeldOut]
) -> None:
    """Once it is open, nobody may search for another."""
    weights = session.folder / "teacher" / "model.safetensors"
    students = [session.folder / f"trials/{trial:04d}/best.safetensors" for trial in (0, 1, 2)]
    for path in (weights, *students):
        path.parent.mkdir(parents=True)
        path.touch()
    teacher = TeacherSpec(session.config.teacher, weights, teacher_record())
    for path, whose in ((students[1], "trial 1"), (weights, "the teacher")):
        path.unlink()
        with pytest.raises(StudyError, match=f"^the weights of {whose} are gone: {path} is no file -> put it back$"):
            evaluate_finals(session, *digits, teacher, cast(Any, None))
        path.touch()
    assert not [event for event in events(session.folder / LEDGER) if isinstance(event, TestOpened)]


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
