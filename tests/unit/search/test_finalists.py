"""The book of finalists; workers are played by the tests."""

from __future__ import annotations

from pathlib import Path

from sample_records import epoch_record

from autockd.config.methods import ContinuationKD, NoDistillation
from autockd.config.models import CifarResNet
from autockd.config.schema import StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig, baseline_config, trial_config
from autockd.records import (
    EpochFinished,
    EpochRecord,
    Event,
    FinalistFinished,
    Provenance,
    StudyResumed,
    TrialOutcome,
    TrialReport,
    TrialStarted,
)
from autockd.search.finalists import FinalistBook, fresh_seeds
from autockd.search.proposal import Proposal

STUDY = StudyConfig(
    name="s",
    seed=5,
    task=Digits(),
    teacher=TeacherConfig(model=CifarResNet()),
    student=StudentConfig(model=CifarResNet(width=4)),
    method=ContinuationKD(smoothing_start=4, granularity="step"),
    training=TrainingConfig(epochs=2, learning_rate=0.1),
)
SEEDS = fresh_seeds(STUDY.seed, 2)
PROVENANCE = Provenance(
    autockd="0", python="3.11", platform="Linux", host="h", cpus=2, gpus=(), versions={}, git_commit=None
)


def start(trial: int, config: TrialConfig) -> TrialStarted:
    return TrialStarted(
        time=0.0,
        trial=trial,
        role="sampled",
        method=config.method.name,
        params={},
        config=config.model_dump(mode="json"),
        fingerprint=config.fingerprint,
        conventions="",
    )


STARTS = [start(0, baseline_config(STUDY, NoDistillation())), start(7, trial_config(STUDY, {}))]


def epoch(number: int, seconds: float) -> EpochRecord:
    return epoch_record(number, train_seconds=seconds, evaluate_seconds=0.0)


def done(proposal: Proposal, value: float = 0.9) -> TrialReport:
    outcome = TrialOutcome(state="complete", value=value, best_epoch=2, epochs=2, weights="w")
    return TrialReport(trial=proposal.number, outcome=outcome)


class Desk:
    """A book of both finalists, with what it wrote down."""

    def __init__(self, seeds: tuple[int, ...] = SEEDS, parallel: int = 9, history: tuple[Event, ...] = ()) -> None:
        self.events: list[Event] = []
        self.book = FinalistBook(STARTS, seeds, self.events.append, parallel=parallel, history=history)

    def propose(self) -> Proposal:
        proposal = self.book.propose()
        assert proposal is not None
        return proposal

    def all(self) -> list[Proposal]:
        return list(iter(self.book.propose, None))

    @property
    def ends(self) -> list[FinalistFinished]:
        return [event for event in self.events if isinstance(event, FinalistFinished)]


def test_fresh_seeds_are_never_the_studys_own_and_more_of_them_begin_alike() -> None:
    for seed in (0, 1, 5, 2**31):
        assert seed not in fresh_seeds(seed, 100)
        assert len(set(fresh_seeds(seed, 100))) == 100
        assert fresh_seeds(seed, 5)[:3] == fresh_seeds(seed, 3)
    assert fresh_seeds(5, 0) == ()


def test_every_finalist_runs_with_every_seed_seed_by_seed() -> None:
    proposals = Desk().all()
    assert [(proposal.trial, proposal.seed) for proposal in proposals] == [(0, 6), (7, 6), (0, 7), (7, 7)]
    assert [proposal.config.seed for proposal in proposals] == [6, 6, 7, 7]


def test_only_the_seed_differs_from_the_trial_and_nothing_stops_it() -> None:
    for proposal in Desk().all():
        trial = TrialConfig.model_validate(next(s.config for s in STARTS if s.trial == proposal.trial))
        assert proposal.config == trial.model_copy(update={"seed": proposal.seed})
        assert proposal.config.fingerprint != trial.fingerprint, "or it would go on from the trial's checkpoint"
        assert (proposal.rungs, proposal.ladder) == ((), False)


def test_its_folder_is_named_by_trial_and_seed(tmp_path: Path) -> None:
    desk = Desk()
    for proposal in desk.all():
        folder = tmp_path / "finalists" / f"{proposal.trial:04d}-{proposal.seed}"
        assert proposal.folder(tmp_path) == desk.book.folder(tmp_path, proposal.number) == folder


def test_no_more_run_at_a_time_than_may() -> None:
    desk = Desk(parallel=1)
    first = desk.propose()
    assert desk.book.propose() is None
    assert not desk.book.all_proposed
    assert desk.book.report(done(first))
    assert desk.propose().number == 1


def test_an_end_is_written_down_once() -> None:
    desk = Desk()
    first, *_ = desk.all()
    desk.book.report(done(first, 0.75))
    desk.book.report(done(first, 0.25))
    desk.book.give_up(first.number, "lost")
    (end,) = desk.ends
    assert (end.trial, end.seed, end.state, end.value, end.weights) == (0, 6, "complete", 0.75, "w")
    assert (desk.book.closed, desk.book.left, desk.book.is_over, desk.book.all_proposed) == ((0,), 3, False, True)


def test_a_run_that_is_lost_fails_with_its_cost_and_the_others_go_on() -> None:
    desk = Desk()
    first, second, *rest = desk.all()
    assert not desk.book.report(TrialReport(trial=0, records=(epoch(1, 2.0),), seconds=3.0, cpu_seconds=2.5))
    desk.book.give_up(first.number, "its worker died")
    (end,) = desk.ends
    assert (end.state, end.value, end.reason, end.epochs, end.seconds) == ("failed", None, "its worker died", 1, 3.0)
    for proposal in (second, *rest):
        desk.book.report(done(proposal))
    assert desk.book.is_over
    assert [end.state for end in desk.ends] == ["failed", "complete", "complete", "complete"]


def test_epochs_before_its_worker_knew_of_them_count() -> None:
    """A run that goes on from its checkpoint tells of the epochs after it alone."""
    desk = Desk()
    first = desk.propose()
    desk.book.report(TrialReport(trial=first.number, records=(epoch(3, 2.0),)))
    desk.book.report(TrialReport(trial=first.number, records=(epoch(3, 2.0), epoch(4, 2.0))))
    desk.book.give_up(first.number, "its worker died")
    assert desk.ends[0].epochs == 4


def test_the_pace_of_a_machine_that_it_goes_on_without_is_forgotten() -> None:
    told: list[Event] = [EpochFinished(time=1.0, trial=7, record=epoch(1, 1.6))]
    assert Desk(history=tuple(told)).all()[1].slowest_epoch == 1.6
    told.append(StudyResumed(time=2.0, config={}, provenance=PROVENANCE))
    assert Desk(history=tuple(told)).all()[1].slowest_epoch is None
    told.append(EpochFinished(time=3.0, trial=7, record=epoch(2, 90.0)))
    assert Desk(history=tuple(told)).all()[1].slowest_epoch == 90.0


def test_what_is_over_is_not_run_again_whatever_came_of_it() -> None:
    before = Desk()
    first, second, *_ = before.all()
    before.book.report(done(first))
    before.book.give_up(second.number, "lost")
    after = Desk(history=tuple(before.events))
    assert [(proposal.trial, proposal.seed) for proposal in after.all()] == [(0, 7), (7, 7)]
    assert after.book.closed == (0, 1)


def test_more_seeds_add_runs_and_fewer_take_some_away() -> None:
    before = Desk()
    for proposal in before.all():
        before.book.report(done(proposal))
    more = Desk(fresh_seeds(STUDY.seed, 3), history=tuple(before.events))
    assert [(proposal.trial, proposal.seed) for proposal in more.all()] == [(0, 8), (7, 8)]
    fewer = Desk(fresh_seeds(STUDY.seed, 1), history=tuple(before.events))
    assert fewer.book.is_over
    assert fewer.book.all_proposed


def test_the_longest_epoch_so_far_is_passed_on() -> None:
    assert Desk().propose().slowest_epoch is None
    strangers = EpochFinished(time=0.0, trial=3, record=epoch(1, 9.0))
    desk = Desk(history=(strangers, EpochFinished(time=0.0, trial=7, record=epoch(1, 4.0))))
    first = desk.propose()
    assert first.slowest_epoch == 4.0
    desk.book.report(TrialReport(trial=first.number, records=(epoch(1, 6.0),)))
    assert desk.propose().slowest_epoch == 6.0
