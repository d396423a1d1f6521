"""Ledger, book, history and projection under any interleaving of work and crashes: nothing lost or repeated."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_folders import memory_folder
from sample_records import epoch_record

from autockd.config.loading import parse_study
from autockd.config.schema import StudyConfig
from autockd.history import History, check_goes_on
from autockd.records import (
    EpochFinished,
    Event,
    Provenance,
    RungReached,
    RungResult,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TrialFinished,
    TrialOutcome,
    TrialReport,
    TrialStarted,
)
from autockd.search.book import StudyBook
from autockd.search.proposal import Proposal
from autockd.tracking import Ledger, events
from autockd.tracking.mlflow_projection import Projection

EPOCHS, TRIALS = 9, 11
STUDY = f"""
name: s
task: {{source: digits}}
teacher: {{model: {{family: cifar_resnet, depth: 8}}}}
student: {{model: {{family: cifar_resnet, depth: 8, width: 4}}}}
method: {{name: continuation, smoothing_start: 4, margin_mode: none}}
training: {{epochs: {EPOCHS}, learning_rate: 0.1}}
search:
  trials: {TRIALS}
  stopping: {{rule: fraction, reduction_factor: 2}}
  space:
    learning_rate: {{type: float, low: 0.01, high: 1.0, log: true}}
    smoothing_start: {{type: int, low: 1, high: 8}}
"""
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class Crash(BaseException):
    """The process is killed here."""


@functools.cache
def config_of(trials: int) -> StudyConfig:
    return parse_study(STUDY, "s.yaml", Path.cwd(), [f"search.trials={trials}"])


@functools.cache
def metric(trial: int, epoch: int) -> float:
    """What a trial has after so many epochs: any numbers will do, if they are the same when it starts over."""
    return round(random.Random(trial).uniform(0.1, 0.9) + 0.01 * epoch, 4)


@dataclass
class Worker:
    """One trial in the hands of a worker, with what its checkpoint holds: how far it is, and the last report."""

    proposal: Proposal
    epoch: int = 0
    kept: int = 0
    kept_report: TrialReport | None = None
    last: TrialReport | None = None

    @property
    def number(self) -> int:
        return self.proposal.number

    def advance(self, epochs: int) -> TrialReport:
        """Train for some epochs, but not beyond a rung or the end."""
        first = self.epoch
        stops = [*self.proposal.rungs, EPOCHS]
        self.epoch = min(first + epochs, next(stop for stop in stops if stop > first))
        records = tuple(epoch_record(epoch, metric(self.number, epoch)) for epoch in range(first + 1, self.epoch + 1))
        rung = outcome = None
        value = metric(self.number, self.epoch)
        if self.epoch in self.proposal.rungs:
            place = self.proposal.rungs.index(self.epoch) + 1
            rung = RungResult(rung=place, epochs=self.epoch, value=value)
        elif self.epoch == EPOCHS:
            outcome = TrialOutcome(state="complete", value=value, best_epoch=EPOCHS, epochs=EPOCHS)
        self.last = TrialReport(trial=self.number, records=records, rung=rung, outcome=outcome)
        return self.last


@dataclass
class Office:
    """A study's folder, and the process that drives it: it can die, and the folder cannot.

    Attributes:
        written: events that were acknowledged: `record` has returned.
        doomed: how many more events may be recorded before the process dies, and whether that last one is written.
    """

    folder: Path
    trials: int = TRIALS
    written: list[Event] = field(default_factory=list)
    doomed: tuple[int, bool] | None = None
    ledger: Ledger = field(init=False)
    book: StudyBook = field(init=False)
    live: Projection = field(init=False)

    @property
    def path(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def journal(self) -> Path:
        return self.folder / "optuna.journal"

    def open(self) -> None:
        """Begin, or go on with what is there."""
        self.ledger = Ledger(self.path)
        history = History(events(self.path))
        self.live = projected(history.events)
        if history:
            check_goes_on(history, config_of(self.trials), "data")
        self.record(self._opening(history))
        self.book = StudyBook(
            config_of(self.trials), self.journal, self.record, parallel=3, direction="maximize", history=history.events
        )

    def record(self, event: Event) -> None:
        """As the recorder: to the ledger first. A crash that is due comes before the ledger, or right after it."""
        is_due, is_written = False, True
        if self.doomed is not None:
            left, is_written_at_last = self.doomed
            self.doomed = (left - 1, is_written_at_last)
            is_due, is_written = left == 0, left > 0 or is_written_at_last
        if is_written:
            self.ledger.append(event)
            self.written.append(event)
        if is_due:
            raise Crash
        self.live.apply(event)

    def die(self) -> None:
        """The kernel closes what the process had open; nobody else gets to do anything."""
        self.doomed = None
        self.ledger.close()

    def _opening(self, history: History) -> Event:
        data, now = config_of(self.trials).model_dump(mode="json"), time.time()
        if history:
            return StudyResumed(time=now, config=data, provenance=provenance())
        return StudyStarted(
            time=now,
            study="s",
            config=data,
            config_hash="c",
            metric="accuracy",
            direction="maximize",
            task_fingerprint="data",
            provenance=provenance(),
        )


@functools.cache
def provenance() -> Provenance:
    from autockd import __version__

    return Provenance(
        autockd=__version__, python="3.11", platform="Linux", host="h", cpus=2, gpus=(), versions={}, git_commit=None
    )


def projected(told: Sequence[Event]) -> Projection:
    found = Projection()
    for event in told:
        assert found.apply(event), f"{event} has no place"
    return found


def of(kind: type, told: Sequence[Event]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


def stored(journal: Path) -> list[optuna.trial.FrozenTrial]:
    """What Optuna's journal says, opened anew."""
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend)).trials


class CrashingStudy(RuleBasedStateMachine):
    """A driver and its workers, who do their work in any order; the driver dies at any moment and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.place = memory_folder()
        self.office = Office(Path(self.place.name))
        self.workers: dict[int, Worker] = {}
        self.checkpoints: dict[int, Worker] = {}
        self.seen: dict[Path, tuple[bytes, int]] = {}

    @initialize()
    def begin(self) -> None:
        self.office.open()

    @rule()
    def ask(self) -> None:
        with self.mortal():
            self.hire()

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), epochs=st.integers(1, EPOCHS), keeps=st.booleans())
    def report(self, data: st.DataObject, epochs: int, keeps: bool) -> None:
        worker = self.choose(data)
        with self.mortal():
            self.tell(worker, worker.advance(epochs), keeps=keeps)

    @precondition(lambda self: any(worker.last for worker in self.workers.values()))
    @rule(data=st.data())
    def tell_again(self, data: st.DataObject) -> None:
        """The worker's report had arrived; it does not know."""
        told = [worker for worker in self.workers.values() if worker.last is not None]
        worker = data.draw(st.sampled_from(told))
        with self.mortal():
            self.tell(worker, worker.last, keeps=False)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        """Another goes on from its checkpoint, or from the start."""
        worker = self.choose(data)
        with self.mortal():
            self.take_over(worker)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), again=st.booleans())
    def fail(self, data: st.DataObject, again: bool) -> None:
        worker = self.choose(data)
        outcome = TrialOutcome(state="failed", epochs=worker.epoch, reason="the loss became nan")
        with self.mortal():
            for _ in range(1 + again):
                self.tell(worker, TrialReport(trial=worker.number, outcome=outcome), keeps=False)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        worker = self.choose(data)
        with self.mortal():
            self.office.book.give_up(worker.number, "no retry is left")
            self.office.book.give_up(worker.number, "it is told once")
            self.workers.pop(worker.number)

    @rule(left=st.integers(0, 4), is_written=st.booleans())
    def doom(self, left: int, is_written: bool) -> None:
        """The process will die in the middle of something."""
        self.office.doomed = (left, is_written)

    @rule(torn=st.binary(max_size=3), begins_well=st.booleans(), lost=st.integers(0, 200), locked=st.booleans())
    def crash(self, torn: bytes, begins_well: bool, lost: int, locked: bool) -> None:
        """The process dies between two things; the ledger's last line is torn, the journal's end is lost."""
        office = self.office
        office.die()
        line = office.path.read_bytes().splitlines(keepends=True)[-1]
        with office.path.open("ab") as stream:
            stream.write(line[: len(line) // 2] if begins_well else torn.replace(b"\n", b""))
        if office.journal.exists():
            office.journal.write_bytes(office.journal.read_bytes()[:-lost] if lost else office.journal.read_bytes())
        if locked:
            (office.folder / "optuna.journal.lock").symlink_to("nobody")
        self.go_on()

    @precondition(lambda self: self.office.trials < TRIALS + 3)
    @rule()
    def stop_and_ask_for_more(self) -> None:
        self.office.die()
        self.office.trials += 1
        self.go_on()

    @invariant()
    def the_ledger_holds_what_was_acknowledged(self) -> None:
        if not self.has_news(self.office.path):
            return
        told = events(self.office.path)
        assert told == self.office.written
        started = [event.trial for event in of(TrialStarted, told)]
        assert started == list(range(len(started))), "numbers are given once, in order"
        for kind, identity in (
            (TrialFinished, lambda event: event.trial),
            (EpochFinished, lambda event: (event.trial, event.record.epoch)),
            (RungReached, lambda event: (event.trial, event.rung)),
        ):
            counts = Counter(identity(event) for event in of(kind, told))
            assert all(count == 1 for count in counts.values()), f"{kind.__name__}: {counts}"

    @invariant()
    def optuna_knows_nothing_else(self) -> None:
        """It may hear of an outcome later than the ledger, never of another one."""
        if not self.has_news(self.office.journal):
            return
        told = self.office.written
        outcomes = {event.trial: event for event in of(TrialFinished, told)}
        for trial in stored(self.office.journal)[: len(of(TrialStarted, told))]:
            if trial.state.is_finished():
                check_trial(trial, outcomes[trial.number], told)

    def teardown(self) -> None:
        if hasattr(self.office, "book"):
            self.finish()
            check_end(self.office)
            self.office.die()
        self.place.cleanup()

    def finish(self) -> None:
        """Everybody does the rest of the work."""
        self.office.doomed = None
        while not self.office.book.is_over:
            while self.hire():
                pass
            if self.workers:
                worker = next(iter(self.workers.values()))
                self.tell(worker, worker.advance(EPOCHS), keeps=False)
        assert self.office.book.propose() is None
        assert not self.workers

    def has_news(self, path: Path) -> bool:
        """Whether a file, or what was acknowledged, is not what it was when this was asked last."""
        now = path.read_bytes(), len(self.office.written)
        before, self.seen[path] = self.seen.get(path), now
        return now != before

    def choose(self, data: st.DataObject) -> Worker:
        return self.workers[data.draw(st.sampled_from(sorted(self.workers)))]

    def hire(self) -> bool:
        """Have a trial proposed; whoever takes it over after a crash goes on from its checkpoint."""
        proposal = self.office.book.propose()
        if proposal is None:
            return False
        assert proposal.number not in self.workers, "one trial runs once"
        worker = self.checkpoints.setdefault(proposal.number, Worker(proposal))
        assert worker.proposal.config == proposal.config
        self.workers[proposal.number] = worker
        self.take_over(worker)
        return True

    def take_over(self, worker: Worker) -> None:
        """Go on from the checkpoint; the report in it is told again, for it may not have arrived."""
        worker.epoch = worker.kept
        if worker.kept_report is not None:
            self.tell(worker, worker.kept_report, keeps=False)

    def tell(self, worker: Worker, report: TrialReport, *, keeps: bool) -> None:
        if keeps:
            worker.kept, worker.kept_report = worker.epoch, report
        if self.office.book.report(report):
            self.workers.pop(worker.number, None)

    @contextmanager
    def mortal(self) -> Iterator[None]:
        """Whoever dies here goes on afterwards."""
        try:
            yield
        except Crash:
            self.office.die()
            self.go_on()

    def go_on(self) -> None:
        self.workers.clear()
        self.office.open()


def check_trial(trial: optuna.trial.FrozenTrial, outcome: TrialFinished, told: Sequence[Event]) -> None:
    started = next(event for event in of(TrialStarted, told) if event.trial == trial.number)
    is_baseline = started.role == "baseline"
    assert trial.state.name == ("FAIL" if is_baseline else STATES[outcome.state])
    assert trial.params == started.params
    if trial.state.name == "COMPLETE":
        assert trial.value == outcome.value
    rungs = {event.rung: event.value for event in of(RungReached, told) if event.trial == trial.number}
    assert trial.intermediate_values == rungs
    assert trial.user_attrs.get("reason", "") == outcome.reason


def check_end(office: Office) -> None:
    """The asked number of trials, each with an end that Optuna and MLflow have too; crashes changed no proposal."""
    told = events(office.path)
    outcomes = {event.trial: event for event in of(TrialFinished, told)}
    assert [event.trial for event in of(TrialStarted, told)] == sorted(outcomes) == list(range(office.trials))
    trials = stored(office.journal)
    assert [trial.number for trial in trials] == list(range(office.trials))
    for trial in trials:
        assert trial.state.is_finished()
        check_trial(trial, outcomes[trial.number], told)
        check_story([event for event in told if getattr(event, "trial", None) == trial.number])
    check_projection(office, told, outcomes)
    check_proposals(told, office.trials)


def check_story(story: Sequence[Event]) -> None:
    """A trial has its epochs in order, ends once, and ends as stopped if a verdict stopped it."""
    assert isinstance(story[0], TrialStarted)
    assert isinstance(story[-1], TrialFinished)
    epochs = [event.record.epoch for event in of(EpochFinished, story)]
    assert epochs == list(range(1, len(epochs) + 1))
    stopped = [event.stopped for event in of(RungReached, story)]
    assert True not in stopped[:-1]
    assert (story[-1].state == "pruned") == (stopped[-1:] == [True])


def check_projection(office: Office, told: list[Event], outcomes: dict[int, TrialFinished]) -> None:
    """What the last driver told, all at once, and twice: the same runs, none of them open."""
    finished = StudyFinished(time=time.time(), complete=1, pruned=0, failed=0, best_trial=0, best_value=0.5, seconds={})
    office.record(finished)
    looks = [office.live.take(), projected([*told, finished]).take(), projected([*told, finished] * 2).take()]
    assert looks[0] == looks[1] == looks[2]
    assert {update.trial: update.status for update in looks[0]} == {None: "FINISHED"} | {
        number: STATUSES[outcome.state] for number, outcome in outcomes.items()
    }


def check_proposals(told: Sequence[Event], count: int) -> None:
    """A book to which nothing happened proposes the same points and gives the same verdicts on the same results."""
    calm: list[Event] = []
    with memory_folder() as folder:
        book = StudyBook(
            config_of(count), Path(folder) / "optuna.journal", calm.append, parallel=3, direction="maximize"
        )
        while proposal := book.propose():
            own = [event for event in told if getattr(event, "trial", None) == proposal.number]
            for event in own:
                reply(book, event)
    assert [event.params for event in of(TrialStarted, calm)] == [event.params for event in of(TrialStarted, told)]
    verdict: Callable[[Any], Any] = lambda event: (event.trial, event.rung, event.peers, event.threshold, event.stopped)  # noqa: E731
    assert sorted(map(verdict, of(RungReached, calm))) == sorted(map(verdict, of(RungReached, told)))


def reply(book: StudyBook, event: Event) -> None:
    """A worker's part of an event."""
    match event:
        case RungReached(trial=trial, rung=rung, epochs=epochs, value=value):
            result = RungResult(rung=rung, epochs=epochs, value=value)
            book.report(TrialReport(trial=trial, rung=result))
        case TrialFinished(trial=trial):
            fields = event.model_dump(include=set(TrialOutcome.model_fields))
            book.report(TrialReport(trial=trial, outcome=TrialOutcome.model_validate(fields)))


TestCrashingStudy = CrashingStudy.TestCase
TestCrashingStudy.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
