"""The book with a real Optuna journal; workers are played by the tests, which finish trials in any order."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_folders import memory_folder
from sample_records import epoch_record

from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.limits import Work
from autockd.records import (
    EpochFinished,
    Event,
    RungReached,
    RungResult,
    TrialFinished,
    TrialOutcome,
    TrialReport,
    TrialStarted,
)
from autockd.search.book import Proposal, StudyBook
from autockd.search.proposals import informed_trials

TRIALS = 16
SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "smoothing_start": {"type": "int", "low": 1, "high": 8},
    "margin_mode": {"type": "choice", "choices": ["relative", "dead_zone"]},
    "margin": {"type": "float", "low": 0.0, "high": 0.5, "when": {"margin_mode": "dead_zone"}},
}

Outcome = Callable[[Proposal], TrialOutcome]


def study_of(seed: int = 0, **search: Any) -> StudyConfig:
    return StudyConfig(
        name="s",
        seed=seed,
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet(width=4)),
        method=ContinuationKD(smoothing_start=4, granularity="step"),
        training=TrainingConfig(epochs=2, learning_rate=0.1),
        search=SearchConfig.model_validate({"space": SPACE, "trials": TRIALS} | search),
    )


def study_with_broken_points(**search: Any) -> StudyConfig:
    """smoothing_start may lie above the two epochs of the schedule, and the space does not say so."""
    return study_of(**search).model_copy(update={"method": ContinuationKD(smoothing_start=2, granularity="epoch")})


def complete(value: float) -> TrialOutcome:
    return TrialOutcome(state="complete", value=value, best_epoch=2, epochs=2)


def usual_outcome(proposal: Proposal) -> TrialOutcome:
    """A function of the trial alone: some fail, one is stopped early, the others are scored."""
    if proposal.number % 7 == 5:
        return TrialOutcome(state="failed", reason="the loss became nan in epoch 1")
    if proposal.number == 6:
        return TrialOutcome(state="pruned", value=0.5, reason="stopped early")
    return complete(1 - abs(proposal.config.training.learning_rate - 0.2))


class Desk:
    """A book with the events that it wrote, and trials in the hands of workers."""

    def __init__(
        self,
        folder: Path,
        study: StudyConfig,
        parallel: int = 2,
        direction: str = "maximize",
        history: Sequence[Event] = (),
    ) -> None:
        self.events: list[Event] = []
        self.journal = folder / "optuna.journal"
        self.study = study
        self.book = StudyBook(study, self.journal, self.record, parallel=parallel, direction=direction, history=history)
        self.parallel = parallel
        self.open: list[Proposal] = []

    def work(self, pick: Callable[[int], int] = lambda count: 0, outcome: Outcome = usual_outcome) -> None:
        """Run the search; `pick` says which of the running trials finishes next."""
        while True:
            while proposal := self.book.propose():
                self.open.append(proposal)
                assert len(self.open) == self.book.running <= self.parallel
            if not self.open:
                break
            proposal = self.open.pop(pick(len(self.open)))
            record = epoch_record(1, metric=proposal.number / 100)
            self.book.report(TrialReport(trial=proposal.number, records=(record,), outcome=outcome(proposal)))
        assert self.book.all_proposed
        assert self.book.running == 0

    def end_the_oldest(self, times: int) -> None:
        """As many run as may, and the one that began first ends, so often."""
        for _ in range(times):
            while proposal := self.book.propose():
                self.open.append(proposal)
            proposal = self.open.pop(0)
            self.book.report(TrialReport(trial=proposal.number, outcome=usual_outcome(proposal)))

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def record(self, event: Event) -> None:
        self.events.append(event)

    @property
    def points(self) -> list[dict[str, Any]]:
        """What was proposed, by trial number."""
        return [event.params for event in sorted(self.of(TrialStarted), key=lambda event: event.trial)]

    @property
    def stored(self) -> list[optuna.trial.FrozenTrial]:
        """What Optuna's storage says, opened anew."""
        backend = optuna.storages.journal.JournalFileBackend(str(self.journal))
        storage = optuna.storages.JournalStorage(backend)
        return optuna.load_study(study_name=self.study.name, storage=storage).trials


@functools.cache
def in_order(seed: int, parallel: int) -> list[dict[str, Any]]:
    """The proposals where trials finish in the order in which they began."""
    with memory_folder() as folder:
        desk = Desk(Path(folder), study_of(seed), parallel)
        desk.work()
        return desk.points


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1), parallel=st.integers(2, 4), picks=st.randoms(use_true_random=False))
def test_proposals_do_not_depend_on_the_order_in_which_trials_finish(
    seed: int, parallel: int, picks: random.Random
) -> None:
    with memory_folder() as folder:
        desk = Desk(Path(folder), study_of(seed), parallel)
        desk.work(picks.randrange)
        assert desk.points == in_order(seed, parallel)


def test_proposals_depend_on_what_trials_found(tmp_path: Path) -> None:
    """Without this the test above could be passed by a sampler that never looks."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    up, down = Desk(tmp_path / "a", study_of()), Desk(tmp_path / "b", study_of())
    up.work(outcome=lambda proposal: complete(proposal.config.training.learning_rate))
    down.work(outcome=lambda proposal: complete(-proposal.config.training.learning_rate))
    assert up.points[:9] == down.points[:9]
    assert up.points != down.points


def test_two_seeds_propose_differently() -> None:
    one, other = in_order(0, 2), in_order(1, 2)
    assert one[:2] == other[:2], "the baseline and the study's own values"
    assert all(mine != theirs for mine, theirs in zip(one[2:], other[2:], strict=True))


def test_the_first_trials_come_in_order(tmp_path: Path) -> None:
    point = {"learning_rate": 0.5, "margin_mode": "dead_zone", "margin": 0.25, "smoothing_start": 8}
    desk = Desk(tmp_path, study_of(enqueue=[point], trials=6))
    desk.work()
    started = desk.of(TrialStarted)
    assert [event.trial for event in started] == list(range(6))
    assert [event.role for event in started] == ["baseline", "default", "enqueued", "sampled", "sampled", "sampled"]
    assert [event.method for event in started] == ["none", *["continuation"] * 5]
    own = {"learning_rate": 0.1, "smoothing_start": 4, "margin_mode": "relative"}
    assert [event.params for event in started[:3]] == [{}, own, point]
    assert started[2].config["training"]["learning_rate"] == 0.5
    assert started[2].config["method"]["margin"] == 0.25
    assert started[0].config["training"] == started[1].config["training"], "the baseline differs in its method alone"
    assert len({event.fingerprint for event in started}) == 6
    assert all(event.conventions for event in started)


def test_a_proposal_is_what_was_written_down(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=3)
    proposals = [desk.book.propose() for _ in range(3)]
    for proposal, event in zip(proposals, desk.of(TrialStarted), strict=True):
        assert proposal is not None
        assert event.trial == proposal.number
        assert event.fingerprint == proposal.config.fingerprint
        assert type(proposal.config).model_validate(event.config) == proposal.config


def test_dimensions_that_do_not_exist_at_a_point_are_absent(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of())
    desk.work()
    sampled = [event for event in desk.of(TrialStarted) if event.role != "baseline"]
    modes = {event.params["margin_mode"] for event in sampled}
    assert modes == {"relative", "dead_zone"}
    for event in sampled:
        assert ("margin" in event.params) == (event.params["margin_mode"] == "dead_zone")
        margin = event.params.get("margin", study_of().method.margin)  # type: ignore[union-attr]
        assert event.config["method"]["margin"] == margin
    assert [trial.params for trial in desk.stored] == desk.points


def test_never_more_run_than_were_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=3)
    first = [desk.book.propose() for _ in range(5)]
    assert [proposal is not None for proposal in first] == [True, True, True, False, False]
    desk.book.close(1, complete(0.5))
    assert desk.book.propose() is not None
    assert desk.book.propose() is None


def test_a_slow_trial_holds_back_only_those_that_must_know_its_result(tmp_path: Path) -> None:
    """Trial n is proposed from results up to n - (2 * parallel - 1): with two at a time trial 3 needs trial 0."""
    desk = Desk(tmp_path, study_of(), parallel=2)
    assert desk.book.propose() is not None
    for number in (1, 2):
        assert desk.book.propose() is not None
        desk.book.close(number, complete(0.5))
    assert desk.book.propose() is None
    desk.book.close(0, complete(0.5))
    assert desk.book.propose() is not None


def test_there_are_exactly_as_many_trials_as_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(trials=5), parallel=4)
    desk.work()
    assert desk.book.propose() is None
    assert len(desk.of(TrialStarted)) == len(desk.of(TrialFinished)) == len(desk.stored) == 5


def test_in_the_end_optuna_knows_every_outcome(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=4)
    desk.work(random.Random(1).randrange)
    outcomes = sorted(desk.of(TrialFinished), key=lambda event: event.trial)
    states = {"complete": "COMPLETE", "pruned": "FAIL", "failed": "FAIL"}  # nobody has passed a rung here
    assert {event.state for event in outcomes} == set(states)
    baseline, *stored = desk.stored
    assert (baseline.state.name, outcomes[0].state) == ("FAIL", "complete"), "see the next test"
    assert baseline.user_attrs["baseline_value"] == outcomes[0].value
    assert [trial.state.name for trial in stored] == [states[event.state] for event in outcomes[1:]]
    for trial, event in zip(stored, outcomes[1:], strict=True):
        assert trial.user_attrs.get("reason", "") == event.reason
        if event.state == "complete":
            assert trial.value == event.value
    assert [trial.user_attrs["method"] for trial in stored] == ["continuation"] * (TRIALS - 1)


def test_a_baseline_is_outside_of_the_space(tmp_path: Path) -> None:
    """Its result, good or bad, does not move a proposal: TPE would count it among its best or its other points."""
    points = []
    for name, value in (("good", 1e3), ("bad", -1e3)):

        def outcome(proposal: Proposal, value: float = value) -> TrialOutcome:
            return complete(value) if proposal.number == 0 else usual_outcome(proposal)

        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name, study_of())
        desk.work(outcome=outcome)
        points.append(desk.points)
        assert desk.stored[0].params == {}
        assert desk.stored[0].distributions == {}
    assert points[0] == points[1]


def test_epochs_that_are_told_again_are_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of())
    assert desk.book.propose() is not None
    desk.book.report(TrialReport(trial=0, records=(epoch_record(1), epoch_record(2))))
    desk.book.report(TrialReport(trial=0, records=(epoch_record(2), epoch_record(3))))
    desk.book.report(TrialReport(trial=0, records=(epoch_record(1),), outcome=complete(0.5)))
    assert [event.record.epoch for event in desk.of(EpochFinished)] == [1, 2, 3]


class TestStopping:
    RULE = {"rule": "fraction", "rungs": 1}

    def judged(self, folder: Path, values: list[float], **rule: Any) -> Desk:
        """One trial after the other reaches its rung with a value, and is complete with it if it goes on."""
        desk = Desk(folder, study_of(stopping=self.RULE | rule, baselines=[], trials=len(values)), parallel=1)
        for value in values:
            proposal = desk.book.propose()
            assert proposal is not None
            rung = RungResult(rung=1, epochs=1, value=value)
            done = Work(flop=8.0, bytes=4.0)
            if not desk.book.report(TrialReport(trial=proposal.number, rung=rung, seconds=2.0, work=done)):
                desk.book.close(proposal.number, complete(value))
        return desk

    def test_nobody_is_stopped_by_fewer_than_three(self, tmp_path: Path) -> None:
        desk = self.judged(tmp_path, [0.9, 0.8, 0.7, 0.6])
        assert [event.peers for event in desk.of(RungReached)] == [0, 1, 2, 3]
        assert [event.stopped for event in desk.of(RungReached)] == [False, False, False, True]

    def test_who_is_among_the_best_goes_on(self, tmp_path: Path) -> None:
        desk = self.judged(tmp_path, [0.5, 0.6, 0.7, 0.62, 0.9, 0.1])
        states = {event.trial: event.state for event in desk.of(TrialFinished)}
        assert states == {0: "complete", 1: "complete", 2: "complete", 3: "pruned", 4: "complete", 5: "pruned"}

    def test_a_stopped_trial_says_why_and_what_it_cost(self, tmp_path: Path) -> None:
        desk = self.judged(tmp_path, [0.9, 0.8, 0.7, 0.6])
        reached, finished = desk.of(RungReached)[-1], desk.of(TrialFinished)[-1]
        assert reached.threshold == pytest.approx(0.8 + 0.1 / 3)
        assert (finished.value, finished.rung, finished.epochs, finished.seconds) == (0.6, 1, 1, 2.0)
        assert finished.work == Work(flop=8.0, bytes=4.0)
        assert (
            finished.reason == reached.reason == ("rung 1, at epoch 1: 0.6, where the best 1/3 of 3 trials have 0.8333")
        )

    def test_optuna_hears_of_rungs_not_of_epochs(self, tmp_path: Path) -> None:
        """TPE ranks stopped trials by their last step first, so the step is the rung."""
        desk = self.judged(tmp_path, [0.9, 0.8, 0.7, 0.6])
        assert [trial.state.name for trial in desk.stored] == ["COMPLETE"] * 3 + ["PRUNED"]
        assert [trial.intermediate_values for trial in desk.stored] == [{1: 0.9}, {1: 0.8}, {1: 0.7}, {1: 0.6}]

    def test_a_rung_that_is_told_again_is_not_judged_again(self, tmp_path: Path) -> None:
        desk = self.judged(tmp_path, [0.5, 0.6, 0.7])
        desk.book.report(TrialReport(trial=0, rung=RungResult(rung=1, epochs=1, value=0.5)))
        assert len(desk.of(RungReached)) == 3

    def test_baselines_have_no_rungs(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path, study_of(stopping=self.RULE))
        first, second = desk.book.propose(), desk.book.propose()
        assert first is not None
        assert second is not None
        assert (first.rungs, second.rungs) == ((), (1,))

    @pytest.mark.parametrize(("epochs", "rungs", "first"), [(9, (1, 3), 1), (18, (2, 6), 1), (2, (1,), 2), (1, (), 3)])
    def test_rungs_stand_in_the_trials_own_run_and_are_numbered_by_their_share_of_it(
        self, tmp_path: Path, epochs: int, rungs: tuple[int, ...], first: int
    ) -> None:
        """A rung of one number is at the same share of every run; of a short one the largest shares are left."""
        space = {"epochs": {"type": "choice", "choices": [1, 2, 9, 18]}}
        point = {"epochs": epochs}
        search = {"space": space, "baselines": [], "enqueue": [point], "stopping": {"rule": "fraction"}}
        desk = Desk(tmp_path, study_of(**search, enqueue_defaults=False), parallel=1)
        proposal = desk.book.propose()
        assert proposal is not None
        assert (proposal.config.training.epochs, proposal.rungs, proposal.first_rung) == (epochs, rungs, first)

    def test_verdicts_rest_on_trials_before_the_lag(self, tmp_path: Path) -> None:
        """So they do not depend on who was faster."""
        desk = Desk(tmp_path, study_of(stopping=self.RULE, baselines=[]), parallel=4)
        for _ in range(4):
            assert desk.book.propose() is not None
        for number, value in ((0, 0.9), (1, 0.8), (2, 0.7), (3, 0.1)):
            desk.book.report(TrialReport(trial=number, rung=RungResult(rung=1, epochs=1, value=value)))
        assert [event.peers for event in desk.of(RungReached)] == [0, 0, 0, 0]


@pytest.mark.parametrize("parallel", [1, 2, 3])
@pytest.mark.parametrize("early_failures", [0, 2])
def test_trials_are_drawn_at_random_until_results_are_known(
    tmp_path_factory: pytest.TempPathFactory, parallel: int, early_failures: int
) -> None:
    """One seed draws the same at random, whoever asks; points that failed by themselves are no results."""

    def outcome(proposal: Proposal) -> TrialOutcome:
        if 1 <= proposal.number <= early_failures:
            return TrialOutcome(state="failed", reason="the loss became nan", of_its_point=True)
        return complete(proposal.config.training.learning_rate)

    points = []
    for sampler in ("tpe", "random"):
        desk = Desk(tmp_path_factory.mktemp(sampler), study_of(sampler=sampler), parallel)
        desk.work(outcome=outcome)
        points.append(desk.points)
    apart = [number for number, (one, other) in enumerate(zip(*points, strict=True)) if one != other]
    count = informed_trials(study_of(), parallel) - early_failures
    assert count > 0
    assert apart == list(range(TRIALS - count, TRIALS))


class TestGoingOn:
    def restored(self, desk: Desk) -> Desk:
        """The same study in a new process, from its record alone."""
        other = Desk(desk.journal.parent, desk.study, desk.parallel, history=desk.events)
        other.events = [*desk.events, *other.events]
        return other

    @pytest.mark.parametrize("stop_after", [13, 14, 15, 16])
    def test_it_knows_no_more_than_it_would_have(self, tmp_path: Path, stop_after: int) -> None:
        """Of four at a time: when a trial began, more had ended than the next ones may rest on."""
        study, whole = study_of(trials=22), tmp_path / "whole"
        whole.mkdir()
        undisturbed, desk = Desk(whole, study, parallel=4), Desk(tmp_path, study, parallel=4)
        undisturbed.end_the_oldest(22)
        desk.end_the_oldest(stop_after)
        other = self.restored(desk)
        other.end_the_oldest(22 - stop_after)
        assert other.points == undisturbed.points

    @pytest.mark.parametrize("stop_after", [0, 1, 5, 11, 16])
    def test_it_proposes_what_it_would_have(self, tmp_path: Path, stop_after: int) -> None:
        desk = Desk(tmp_path, study_of(), parallel=2)
        for _ in range(stop_after):
            while proposal := desk.book.propose():
                desk.open.append(proposal)
            proposal = desk.open.pop(0)
            desk.book.report(TrialReport(trial=proposal.number, outcome=usual_outcome(proposal)))
        other = self.restored(desk)
        other.work()
        assert other.points == in_order(0, 2)
        assert len(other.of(TrialStarted)) == len(other.of(TrialFinished)) == len(other.stored) == TRIALS
        assert all(trial.state.is_finished() for trial in other.stored)
        assert [trial.params for trial in other.stored] == other.points

    def test_the_journal_of_a_stopped_study_has_every_outcome(self, tmp_path: Path) -> None:
        """Those that later proposals would not have rested on yet, too; and the study goes on as if it had not."""
        desk = Desk(tmp_path, study_of(), parallel=2)
        open_trials = [desk.book.propose(), desk.book.propose()]
        desk.book.report(TrialReport(trial=1, outcome=complete(0.5)))
        assert [trial.state.name for trial in desk.stored] == ["RUNNING", "RUNNING"]
        desk.book.settle()
        assert [trial.state.name for trial in desk.stored] == ["RUNNING", "COMPLETE"]
        other = self.restored(desk)
        assert other.book.propose() == open_trials[0]

    def test_the_sampler_keeps_away_from_a_point_that_failed_by_itself(self, tmp_path: Path) -> None:
        """TPE passes over failures; one that was pruned at its start is worse than all others."""
        desk = Desk(tmp_path, study_of(baselines=()), parallel=1)
        for of_its_point in (True, False):
            proposal = desk.book.propose()
            assert proposal is not None
            outcome = TrialOutcome(state="failed", reason="the loss became nan", of_its_point=of_its_point)
            desk.book.report(TrialReport(trial=proposal.number, outcome=outcome))
        desk.book.settle()
        states = [trial.state.name for trial in desk.stored]
        assert states == ["PRUNED", "FAIL"]
        other = self.restored(desk)
        other.book.settle()
        assert [trial.state.name for trial in other.stored] == states

    def test_one_that_had_passed_a_rung_is_a_failure(self, tmp_path: Path) -> None:
        """Optuna would take the value of the rung for its own."""
        desk = Desk(tmp_path, study_of(baselines=(), stopping={"rule": "fraction"}), parallel=1)
        proposal = desk.book.propose()
        assert proposal is not None
        desk.book.report(TrialReport(trial=0, rung=RungResult(rung=1, epochs=1, value=0.9)))
        desk.book.report(TrialReport(trial=0, outcome=TrialOutcome(state="failed", reason="nan", of_its_point=True)))
        desk.book.settle()
        assert [trial.state.name for trial in desk.stored] == ["FAIL"]

    def test_what_ran_is_closed_too_where_the_search_is_cut_at_once(self, tmp_path: Path) -> None:
        """As where a study goes on after its time is over."""
        desk = Desk(tmp_path, study_of(), parallel=2)
        assert desk.book.propose() is not None
        assert desk.book.propose() is not None
        other = self.restored(desk)
        other.book.cut("the search's time is over (60 s)")
        assert [(event.trial, event.state) for event in other.of(TrialFinished)] == [(0, "pruned"), (1, "pruned")]
        assert other.book.propose() is None
        assert other.book.is_over

    def test_a_study_may_go_on_with_fewer_trials_than_have_begun(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path, study_of(trials=8), parallel=2)
        assert desk.book.propose() is not None
        desk.book.close(0, complete(0.5))
        running = [desk.book.propose(), desk.book.propose()]
        desk.study = study_of(trials=1)
        other = self.restored(desk)
        assert (other.book.left, other.book.is_over) == (2, False)
        assert [other.book.propose(), other.book.propose(), other.book.propose()] == [*running, None]
        for number in (1, 2):
            other.book.close(number, complete(0.5))
        assert (other.book.left, other.book.is_over) == (0, True)

    def test_what_ran_comes_first(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path, study_of(), parallel=2)
        running = [desk.book.propose(), desk.book.propose()]
        other = self.restored(desk)
        assert [other.book.propose(), other.book.propose()] == running
        assert other.book.propose() is None
        assert len(other.of(TrialStarted)) == 2, "they are not started again"

    def test_a_verdict_stands(self, tmp_path: Path) -> None:
        """The process ended between the verdict and the trial's last event."""
        desk = TestStopping().judged(tmp_path, [0.9, 0.8, 0.7, 0.6])
        assert isinstance(desk.events.pop(), TrialFinished)
        other = self.restored(desk)
        assert [event.state for event in other.of(TrialFinished)] == ["complete"] * 3 + ["pruned"]
        assert other.of(TrialFinished)[-1].reason == other.of(RungReached)[-1].reason
        assert other.book.is_over

    def test_a_killed_writers_lock_is_removed(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path, study_of())
        desk.book.propose()
        lock = tmp_path / "optuna.journal.lock"
        lock.symlink_to("gone")
        began = time.monotonic()
        self.restored(desk)
        assert time.monotonic() - began < 5

    def test_more_trials_may_be_asked_for(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path, study_of(trials=4), parallel=2)
        desk.work()
        desk.study = study_of(trials=7)
        other = self.restored(desk)
        assert not other.book.is_over
        other.work()
        assert len(other.of(TrialFinished)) == len(other.stored) == 7

    @pytest.mark.parametrize("which", [0, -1], ids=["the first", "the last"])
    def test_a_point_that_breaks_a_rule_is_closed_where_the_process_ended_before(
        self, tmp_path: Path, which: int
    ) -> None:
        """It is recorded without a configuration, so nobody can run it; all others are what they would have been."""
        starts = {"type": "int", "low": 1, "high": 4}
        desk = Desk(tmp_path, study_with_broken_points(trials=30, space=SPACE | {"smoothing_start": starts}))
        desk.work()
        points = desk.points
        broken = [event for event in desk.of(TrialStarted) if not event.config][which]
        del desk.events[desk.events.index(broken) + 1 :]
        other = self.restored(desk)
        (closed,) = [event for event in other.of(TrialFinished) if event.trial == broken.trial]
        assert (closed.state, closed.reason) == ("failed", "its point of the space breaks a rule")
        other.work()
        assert other.points == points
        assert sorted(event.trial for event in other.of(TrialFinished)) == list(range(30))
        assert all(trial.state.is_finished() for trial in other.stored)


def test_a_search_may_be_cut(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=2)
    assert desk.book.propose() is not None
    assert desk.book.propose() is not None
    desk.book.report(TrialReport(trial=1, records=(epoch_record(1, 0.25),), seconds=3.0))
    desk.book.close(0, complete(0.5))
    desk.book.cut("the search's time is over (60 s)")
    assert desk.book.is_over
    last = desk.of(TrialFinished)[-1]
    assert (last.trial, last.state, last.value, last.epochs, last.seconds) == (1, "pruned", 0.25, 1, 3.0)
    assert last.reason == "the search's time is over (60 s)"
    assert desk.book.propose() is None
    assert all(trial.state.is_finished() for trial in desk.stored)


def test_a_search_that_is_cut_between_two_trials_tells_optuna_all(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=2)
    for number in range(2):
        assert desk.book.propose() is not None
        desk.book.close(number, complete(0.5))
    desk.book.cut("the search's time is over (60 s)")
    assert desk.book.is_over
    assert [trial.state.name for trial in desk.stored] == ["FAIL", "COMPLETE"], "the baseline, and the other"


def test_a_trial_whose_worker_is_lost_has_failed_whatever_it_had_reached(tmp_path: Path) -> None:
    """Its weights may be lost too, so it is no student to be chosen."""
    desk = Desk(tmp_path, study_of(), parallel=2)
    assert desk.book.propose() is not None
    desk.book.report(TrialReport(trial=0, records=(epoch_record(1, 0.75),), seconds=3.0))
    desk.book.give_up(0, "its worker died")
    (end,) = desk.of(TrialFinished)
    assert (end.state, end.value, end.best_epoch, end.reason) == ("failed", None, None, "its worker died")
    assert (end.epochs, end.seconds) == (1, 3.0)


def test_no_credential_of_a_reason_is_written_into_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "correcthorse")
    desk = Desk(tmp_path, study_of(trials=1, baselines=[]))
    assert desk.book.propose() is not None
    desk.book.give_up(0, "cannot fetch with correcthorse")
    assert desk.stored[0].user_attrs["reason"] == "cannot fetch with ***"
    assert "correcthorse" not in desk.journal.read_text()


@pytest.mark.parametrize("climbs", [False, True])
def test_what_is_cut_before_anything_is_known_of_it_is_no_point_to_keep_away_from(tmp_path: Path, climbs: bool) -> None:
    desk = Desk(tmp_path, study_of(baselines=[], stopping={"rule": "fraction"}), parallel=2)
    assert desk.book.propose() is not None
    if climbs:
        desk.book.report(TrialReport(trial=0, rung=RungResult(rung=0, epochs=1, value=0.5)))
    desk.book.cut("the search's time is over (60 s)")
    (trial,) = desk.stored
    assert trial.state == (optuna.trial.TrialState.PRUNED if climbs else optuna.trial.TrialState.FAIL)


def test_the_first_outcome_counts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(trials=1, baselines=[]))
    assert desk.book.propose() is not None
    desk.book.close(0, complete(0.5))
    desk.book.close(0, TrialOutcome(state="failed", reason="its worker ended without a result"))
    (event,) = desk.of(TrialFinished)
    assert (event.state, event.value) == ("complete", 0.5)
    assert desk.stored[0].value == 0.5


def test_a_point_that_breaks_a_rule_is_a_failed_trial(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_with_broken_points(trials=10))
    desk.work(outcome=lambda proposal: complete(0.5))
    finished = {event.trial: event for event in desk.of(TrialFinished)}
    broken = [event for event in desk.of(TrialStarted) if event.params.get("smoothing_start", 0) > 2]
    assert broken, "the space must propose one"
    assert len(finished) == 10
    for event in broken:
        assert finished[event.trial].state == "failed"
        assert f"smoothing_start is {event.params['smoothing_start']}, beyond the schedule" in (
            finished[event.trial].reason
        )
        assert (event.config, event.fingerprint) == ({}, "")
    assert sum(event.state == "failed" for event in finished.values()) == len(broken)
    assert all(trial.state.is_finished() for trial in desk.stored)


def test_the_record_comes_first(tmp_path: Path) -> None:
    """When an outcome is written down, Optuna's storage does not know it yet: the record is the truth."""
    states = []

    class Looking(Desk):
        def record(self, event: Event) -> None:
            if isinstance(event, TrialFinished):
                states.append(self.stored[event.trial].state.name)

    desk = Looking(tmp_path, study_of(trials=1, baselines=[]))
    assert desk.book.propose() is not None
    desk.book.close(0, complete(0.5))
    assert states == ["RUNNING"]
    assert desk.stored[0].state.name == "COMPLETE"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_optuna_seeks_the_tasks_direction(tmp_path: Path, direction: str) -> None:
    desk = Desk(tmp_path, study_of(trials=2), direction=direction)
    desk.work()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(desk.journal)))
    assert optuna.load_study(study_name="s", storage=storage).direction.name == direction.upper()


def test_a_study_that_goes_on_with_fewer_workers_runs_no_more_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = Desk(tmp_path / "a", study_of(), parallel=4)
    started = [before.book.propose() for _ in range(4)]
    after = Desk(tmp_path, study_of(), parallel=2, history=before.events)
    first = [after.book.propose() for _ in range(3)]
    assert first == [*started[:2], None]
    after.book.close(0, complete(0.5))
    assert [after.book.propose() for _ in range(2)] == [started[2], None]


def test_a_trial_is_given_the_longest_epoch_of_its_own_student(tmp_path: Path) -> None:
    desk = Desk(tmp_path, study_of(), parallel=2)
    first = desk.book.propose()
    assert first is not None
    assert first.slowest_epoch is None
    desk.book.report(TrialReport(trial=0, records=(epoch_record(1),)))
    second = desk.book.propose()
    assert second is not None
    assert second.slowest_epoch == 2.0
