"""What Tune's reports do to a search, beyond what a study's book makes of them."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.errors import EnvironmentProblem
from autockd.records import TrialOutcome, TrialReport
from autockd.search.finalists import FinalistBook
from autockd.search.proposal import Proposal
from autockd.search.searcher import AGAIN_AT_MOST, StudyScheduler, StudySearcher
from autockd.search.trainable import REPORT


def explain(number: int) -> str:
    return f"trial {number} is lost"


def test_a_machine_on_which_no_trial_can_go_on_ends_the_search() -> None:
    book = FinalistBook([], (), lambda event: None, parallel=1)
    scheduler = StudyScheduler(book, StudySearcher(book, explain))
    report = TrialReport(trial=0, problem="cannot write best.safetensors (No space left on device)")
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        scheduler.on_trial_result(None, None, {REPORT: report.model_dump_json()})


class SomeTrial:
    """What the scheduler asks one of Tune's trials for."""

    def __init__(self, trial_id: str, status: str = "PENDING") -> None:
        self.trial_id = trial_id
        self.status = status


class OneTrial:
    """A book that has one trial."""

    closed: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.all_proposed = False
        self.lost: list[int] = []

    def folder(self, study: Path, number: int) -> Path:
        return study / str(number)

    def propose(self) -> Proposal | None:
        if self.all_proposed:
            return None
        self.all_proposed = True
        return Proposal(0, TrialConfig(method=HintonKD(), training=TrainingConfig(), student=CifarResNet(), seed=0))

    def report(self, report: TrialReport) -> bool:
        raise AssertionError("its worker never says anything")

    def give_up(self, number: int, reason: str) -> None:
        self.lost.append(number)


def test_a_trial_that_only_ever_finds_dead_workers_is_given_up() -> None:
    book = OneTrial()
    searcher = StudySearcher(book, explain)
    scheduler = StudyScheduler(book, searcher)
    for attempt in range(1 + AGAIN_AT_MOST):
        assert book.lost == []
        assert searcher.suggest(f"{attempt}")["number"] == 0
        assert searcher.suggest("another") is None, "the search is not finished while it runs"
        trial = SomeTrial(f"{attempt}", status="ERROR")
        controller = SimpleNamespace(_resetting_trials={trial})
        scheduler.on_trial_error(controller, trial)  # Tune puts it back
        assert searcher.suggest("another") is None, "it would run twice"
        trial.status = "PENDING"
        scheduler.on_trial_error(controller, trial)  # and gives it up
        searcher.on_trial_complete(f"{attempt}", error=True)
    assert book.lost == [0]
    assert searcher.suggest("another") == searcher.FINISHED


class FullDisk(OneTrial):
    """A book that cannot write a trial's end down."""

    def report(self, report: TrialReport) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_end_that_cannot_be_taken_ends_the_search_and_is_no_mishap_of_the_trial() -> None:
    """Tune would start the trial again, and give it up in the end, though it may be on disk as complete."""
    book = FullDisk()
    searcher = StudySearcher(book, explain)
    searcher.suggest("0")
    report = TrialReport(
        trial=0, outcome=TrialOutcome(state="complete", value=0.97, best_epoch=2, epochs=2, weights="w")
    )
    searcher.on_trial_complete("0", {REPORT: report.model_dump_json()})
    searcher.on_trial_complete("0", error=True)
    assert book.lost == []
    with pytest.raises(OSError, match="No space left"):
        searcher.suggest("another")


def test_a_trial_that_lost_its_workers_as_often_as_it_may_is_given_up() -> None:
    book = OneTrial()
    searcher = StudySearcher(book, explain)
    searcher.suggest("0")
    StudyScheduler(book, searcher).on_trial_error(SimpleNamespace(_resetting_trials=set()), SomeTrial("0"))
    searcher.on_trial_complete("0", error=True)
    assert book.lost == [0]


def test_tunes_snapshots_of_both_are_without_the_book() -> None:
    """Its files are open, so that no copy of it could be made; and none may propose trials."""
    book = FinalistBook([], (), lambda event: None, parallel=1)
    searcher = StudySearcher(book, lambda number: "lost")
    for kept in (searcher, StudyScheduler(book, searcher)):
        copy = pickle.loads(pickle.dumps(kept))
        assert copy._book is None
