"""Several objectives with a real Optuna journal: what is told, and that a study goes on as if it had not stopped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from memory_folders import memory_folder

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.schema import SearchConfig, StudentConfig, StudyConfig, TeacherConfig
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.history import may_change
from autockd.records import Event, TrialFinished, TrialOutcome, TrialReport, TrialStarted
from autockd.search.book import StudyBook
from autockd.search.proposal import Proposal
from autockd.search.proposals import make_sampler

TRIALS, PARALLEL = 27, 2
SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "student_width": {"type": "choice", "choices": [2, 4, 8]},
    "student_depth": {"type": "choice", "choices": [8, 14], "when": {"student_width": 8}},
}


def study_of(sampler: str, seed: int = 0) -> StudyConfig:
    search = {"space": SPACE, "trials": TRIALS, "sampler": sampler, "objectives": ["latency_ms", "bytes"]}
    search["enqueue"] = [{"student_width": 8}, {"learning_rate": 0.3, "student_width": 4}]  # of one the rest is sampled
    return StudyConfig(
        name="s",
        seed=seed,
        task=Digits(),
        teacher=TeacherConfig(model=CifarResNet()),
        student=StudentConfig(model=CifarResNet(width=4)),
        method=HintonKD(),
        training=TrainingConfig(epochs=2, learning_rate=0.1),
        search=SearchConfig.model_validate(search),
    )


def outcome(proposal: Proposal) -> TrialOutcome:
    if proposal.number % 7 == 5:
        return TrialOutcome(state="failed", reason="the loss became nan in epoch 1")
    student = proposal.config.student
    assert isinstance(student, CifarResNet)
    value = 0.5 + 0.05 * student.width - abs(proposal.config.training.learning_rate - 0.2) / 3
    costs = {"latency_ms": 0.1 * student.width, "bytes": 100.0 * student.width * student.depth}
    return TrialOutcome(state="complete", value=value, costs=costs)


def work(book: StudyBook, stop_after: int = TRIALS) -> None:
    """Run trials, the youngest of two finishing first, until so many have finished."""
    open_trials: list[Proposal] = []
    done = 0
    while done < stop_after:
        while proposal := book.propose():
            open_trials.append(proposal)
        if not open_trials:
            return
        finished = open_trials.pop()
        book.report(TrialReport(trial=finished.number, records=(), outcome=outcome(finished)))
        done += 1


def book_of(study: StudyConfig, folder: Path, events: list[Event]) -> StudyBook:
    history = list(events)
    journal = folder / "optuna.journal"
    return StudyBook(study, journal, events.append, parallel=PARALLEL, direction="maximize", history=history)


def points(events: list[Event]) -> list[dict[str, Any]]:
    starts = [event for event in events if isinstance(event, TrialStarted)]
    return [start.params for start in sorted(starts, key=lambda start: start.trial)]


def stored(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    return optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))


@dataclass(frozen=True)
class Whole:
    """A search that nobody stopped, for tests that only look at it."""

    events: list[Event]
    study: optuna.Study


@pytest.fixture(scope="module")
def whole() -> Iterator[Callable[[str], Whole]]:
    """The search with a sampler; it runs once."""
    with memory_folder() as home:

        @functools.cache
        def search(sampler: str) -> Whole:
            events: list[Event] = []
            folder = Path(home, sampler)
            folder.mkdir()
            work(book_of(study_of(sampler), folder, events))
            return Whole(events, stored(folder))

        yield search


def test_optuna_is_told_the_metric_and_each_cost(whole: Callable[[str], Whole]) -> None:
    events, study = whole("tpe").events, whole("tpe").study
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["metric", "latency_ms", "bytes"]
    ends = {event.trial: event for event in events if isinstance(event, TrialFinished)}
    for trial in study.trials:
        end = ends[trial.number]
        if trial.number == 0 or end.state == "failed":  # the baseline stands outside of the space
            assert (trial.state.name, trial.values) == ("FAIL", None)
        else:
            assert trial.values == [end.value, end.costs["latency_ms"], end.costs["bytes"]]


@pytest.mark.parametrize(("sampler", "stop_after"), [("tpe", 3), ("tpe", 14), ("nsga2", 3), ("nsga2", 20)])
def test_a_study_that_goes_on_proposes_what_it_would_have(
    tmp_path: Path, whole: Callable[[str], Whole], sampler: str, stop_after: int
) -> None:
    events: list[Event] = []
    study = study_of(sampler)
    work(book_of(study, tmp_path, events), stop_after)
    work(book_of(study, tmp_path, events))
    assert points(events) == points(whole(sampler).events)
    told = [[trial.values for trial in search.trials] for search in (whole(sampler).study, stored(tmp_path))]
    assert told[0] == told[1]


def test_nsga2_breeds_within_a_short_study(whole: Callable[[str], Whole]) -> None:
    """A generation is no longer than the random start of TPE, so that 30 trials have more than one."""
    trials = whole("nsga2").study.trials
    assert {trial.system_attrs.get("NSGAIISampler:generation") for trial in trials} >= {0, 1, 2}
    assert type(make_sampler(study_of("nsga2"), 0, PARALLEL)).__name__ == "NSGAIISampler"


def test_objectives_and_sampler_cannot_change_on_the_way() -> None:
    assert not may_change("search.objectives")
    assert not may_change("search.sampler")
    assert may_change("export.pick")
