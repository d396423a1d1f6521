"""Books of compared methods: each counts on where the last one ends, and none hears of another."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_folders import memory_folder
from test_book import complete, epoch_record, study_of

from autockd.config.arms import Arm, arms_of
from autockd.config.methods import METHOD_CONFIGS
from autockd.config.schema import StudyConfig
from autockd.records import Event, RungReached, TrialFinished, TrialOutcome, TrialReport, TrialStarted
from autockd.search.book import StudyBook
from autockd.search.proposal import Proposal

TRIALS, PARALLEL = 12, 2
RATE: dict[str, Any] = {"learning_rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True}}


def comparison_of(*names: str, **search: Any) -> StudyConfig:
    settings = {"annealing": {"granularity": "step"}, "continuation": {"granularity": "step", "smoothing_start": 4}}
    study = study_of(**{"space": RATE, "trials": TRIALS} | search)
    return study.model_copy(update={"compare": tuple(METHOD_CONFIGS[name](**settings.get(name, {})) for name in names)})


class Search:
    """The arms of a comparison, one after the other, as a driver goes through them."""

    def __init__(self, folder: Path, study: StudyConfig, history: Sequence[Event] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.history = list(history)
        self.events: list[Event] = list(history)
        self.arms = arms_of(study, samples=1_000)

    def book(self, arm: Arm) -> StudyBook:
        return StudyBook(
            arm.study,
            self.folder / f"optuna.{arm.label}.journal",
            self.events.append,
            parallel=PARALLEL,
            direction="maximize",
            history=self.history,
            arm=arm.label,
            first=arm.first,
        )

    def work(self, worth: float = 1.0, stop_after: int | None = None) -> None:
        """Run everything, or so many trials to their end."""
        ended = 0
        for arm in self.arms:
            book, running = self.book(arm), list[Proposal]()
            while not book.is_over:
                while proposal := book.propose():
                    running.append(proposal)
                if ended == stop_after:
                    return
                proposal = running.pop(0)
                outcome = complete(worth - abs(proposal.config.training.learning_rate - 0.2))
                book.report(TrialReport(trial=proposal.number, records=(epoch_record(1),), outcome=outcome))
                ended += 1

    def started(self, label: str) -> list[TrialStarted]:
        found = [event for event in self.events if isinstance(event, TrialStarted) and event.arm == label]
        return sorted(found, key=lambda event: event.trial)

    def points(self, label: str) -> list[dict[str, Any]]:
        return [event.params for event in self.started(label)]


@functools.cache
def searched(*names: str) -> Search:
    """A comparison after its search, for tests that only look at it."""
    with memory_folder() as folder:
        search = Search(Path(folder), comparison_of(*names))
        search.work()
    return search


def test_numbers_go_on_from_arm_to_arm() -> None:
    search = searched("none", "kd", "dkd")
    numbers = [event.trial for event in search.events if isinstance(event, TrialStarted)]
    assert sorted(numbers) == list(range(3 * TRIALS))
    for place, label in enumerate(("none", "kd", "dkd")):
        own = search.started(label)
        assert [event.trial for event in own] == list(range(place * TRIALS, (place + 1) * TRIALS))
        assert {event.method for event in own} == {label}
        assert [event.role for event in own] == ["default", *["sampled"] * (TRIALS - 1)]
        assert {event.config["method"]["name"] for event in own} == {label}
    ends = [event.trial for event in search.events if isinstance(event, TrialFinished)]
    assert sorted(ends) == sorted(numbers)


def test_each_arm_begins_with_the_methods_own_values() -> None:
    search = searched("none", "kd", "continuation")
    assert search.points("none")[0] == {"learning_rate": 0.1}
    assert search.points("kd")[0] == {"learning_rate": 0.1, "alpha": 0.9, "temperature": 4.0}
    first = search.points("continuation")[0]
    assert (first["smoothing_start"], first["margin_mode"]) == (4, "none")


def test_a_proposal_does_not_depend_on_other_arms(tmp_path: Path) -> None:
    """Another rival before it, with other results, changes its numbers and nothing else."""
    one, other = searched("none", "kd", "dkd"), Search(tmp_path, comparison_of("dist", "continuation", "kd"))
    other.work(worth=50.0)
    assert one.points("kd") == other.points("kd")
    assert one.started("kd")[0].trial != other.started("kd")[0].trial


def test_arms_of_the_same_space_propose_differently() -> None:
    search = searched("kd", "takd")
    assert search.points("kd")[0] == search.points("takd")[0], "both begin with their own values, which are the same"
    pairs = zip(search.points("kd")[1:], search.points("takd")[1:], strict=True)
    assert all(mine != theirs for mine, theirs in pairs)


@pytest.mark.parametrize("stop_after", [0, 5, TRIALS - 1, TRIALS, TRIALS + 7, 2 * TRIALS + 1])
def test_a_comparison_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, stop_after: int) -> None:
    study = comparison_of("none", "kd", "continuation")
    whole = searched("none", "kd", "continuation")
    stopped = Search(tmp_path, study)
    stopped.work(stop_after=stop_after)
    again = Search(tmp_path, study, stopped.events)
    again.work()
    assert again.events[: len(stopped.events)] == stopped.events
    for label in ("none", "kd", "continuation"):
        assert again.points(label) == whole.points(label)
        assert [event.trial for event in again.started(label)] == [event.trial for event in whole.started(label)]
    ends = [event.trial for event in again.events if isinstance(event, TrialFinished)]
    assert sorted(ends) == list(range(3 * TRIALS)), "each trial ends once"


def test_trials_are_judged_against_those_of_their_own_arm(tmp_path: Path) -> None:
    stopping = {"rule": "fraction", "reduction_factor": 2, "rungs": 1}
    study = comparison_of("none", "kd", stopping=stopping)
    study = study.model_copy(update={"training": study.training.model_copy(update={"epochs": 4})})
    search = Search(tmp_path, study)
    for arm, value in zip(search.arms, (0.9, 0.1), strict=True):
        search.history = list(search.events)  # as the driver hands it to the next arm
        book = search.book(arm)
        while proposal := book.propose():
            record = epoch_record(2, metric=value)
            rung = {"rung": 1, "epochs": 2, "value": value}
            book.report(TrialReport.model_validate({"trial": proposal.number, "records": (record,), "rung": rung}))
            book.close(proposal.number, complete(value))
    outcomes: list[TrialOutcome] = [event for event in search.events if isinstance(event, TrialFinished)]
    assert len(outcomes) == 2 * TRIALS
    assert {outcome.state for outcome in outcomes} == {"complete"}, "a tenth is no worse than a tenth"
    reached = [event for event in search.events if isinstance(event, RungReached) and event.trial >= TRIALS]
    assert {event.threshold for event in reached if event.peers >= 3} == {0.1}
