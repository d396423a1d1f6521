"""The sink and sync while a real MLflow server is absent, dies, stalls, is slow, forbids, fails, and comes back."""

from __future__ import annotations

import contextlib
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from mlflow_events import (
    NAME,
    client,
    differences,
    dump,
    epoch_of,
    runs_of,
    trial_of,
    until_end_of,
    wait_for_an_error,
    whole_study,
    write,
)
from mlflow_servers import Gate, Manners, MlflowServer, Request

from autockd.errors import EnvironmentProblem
from autockd.records import Event
from autockd.tracking import Ledger, MlflowSink, SinkSummary, sync

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

EXPERIMENTS = (f"failures-{number}" for number in count())
USUAL_SUBMIT, LONGEST_SUBMIT = 100e-6, 0.1
"""Seconds; the longest is what other threads of this process may take before it is given its turn."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Iterator[MlflowServer]:
    server = MlflowServer(with_database(tmp_path_factory.mktemp("server")))
    server.launch()
    client(server.uri)  # takes seconds to import, like the server to start
    server.wait()
    yield server
    server.kill()


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` tries as often as always, for what does not go away while it waits."""
    monkeypatch.setattr("autockd.tracking.mlflow_sync._PAUSES", (0.01, 0.02))


@pytest.fixture
def gate(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    gate = Gate(server)
    gate.open()
    yield gate
    gate.close()


class Study:
    """A study that runs: its ledger, its sink, and how long each `submit` took."""

    def __init__(self, folder: Path, uri: str, events: Sequence[Event]) -> None:
        self.events = events
        self.path = folder / NAME / "ledger.jsonl"
        self.uri = uri
        self.experiment = next(EXPERIMENTS)
        self.seconds: list[float] = []
        self.sink = self.new_sink()

    def new_sink(self) -> MlflowSink:
        self.sink = MlflowSink(self.uri, self.experiment, NAME, ledger=self.path, interval=0.02)
        return self.sink

    def tell(self, events: Sequence[Event]) -> None:
        with Ledger(self.path) as ledger:
            for event in events:
                ledger.append(event)
                began = time.perf_counter()
                self.sink.submit(event)
                self.seconds.append(time.perf_counter() - began)

    def sync(self) -> SinkSummary:
        return sync(self.path, self.uri, self.experiment)

    def differences(self, server: MlflowServer) -> list[str]:
        """Read from the server's own database, past gate and server."""
        return differences(self.dump(server), self.events)

    def dump(self, server: MlflowServer) -> dict[str, object]:
        return dump(server.store, experiment=self.experiment)

    def wait_for_requests(self, gate: Gate, number: int) -> None:
        deadline = time.monotonic() + 20
        while len(gate.requests) < number:
            assert time.monotonic() < deadline, "the sink sends nothing"
            time.sleep(0.01)


def assert_submit_was_quick(study: Study) -> None:
    assert statistics.median(study.seconds) < USUAL_SUBMIT
    assert max(study.seconds) < LONGEST_SUBMIT


def assert_sync_changes_nothing(study: Study, server: MlflowServer) -> None:
    """Nor would another: it would find what this one found."""
    content = study.dump(server)
    assert study.sync().missed == 0
    assert study.dump(server) == content


def every(number: int) -> Callable[[Request], bool]:
    """True for every so many-th write."""
    turns = count(1)
    return lambda request: request.is_write and next(turns) % number == 0


def forbid_writes(request: Request) -> int | None:
    return 403 if request.is_write else None


def fail_all(request: Request) -> int | None:
    return 500


UNWELL: dict[str, Callable[[Gate], contextlib.AbstractContextManager[None]]] = {
    "absent": lambda gate: gate.absent(),
    "forbids writing": lambda gate: gate.behaving(Manners(refuse=forbid_writes)),
    "fails": lambda gate: gate.behaving(Manners(refuse=fail_all)),
}


@pytest.mark.parametrize("how", UNWELL)
def test_a_study_through_a_server_that_comes_back(how: str, gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    study.sink.start()
    with UNWELL[how](gate):
        study.tell(study.events[:12])
        wait_for_an_error(study.sink)
    study.tell(study.events[12:])
    summary = study.sink.close()
    assert (summary.delivered, summary.missed) == (len(study.events), 0)
    assert summary.errors >= 1
    assert_submit_was_quick(study)
    assert study.differences(server) == []
    assert_sync_changes_nothing(study, server)


@pytest.mark.usefixtures("soon_again")
@pytest.mark.parametrize("how", ["absent", "forbids writing"])
def test_a_study_without_a_server_ends_soon_and_is_synced(
    how: str, gate: Gate, server: MlflowServer, tmp_path: Path
) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    with UNWELL[how](gate):
        study.sink.start()
        study.tell(study.events)
        began = time.monotonic()
        summary = study.sink.close()
        assert time.monotonic() - began < 3
        assert (summary.delivered, summary.missed) == (0, len(study.events))
        assert summary.errors >= 1
        if how == "absent":
            with pytest.raises(EnvironmentProblem, match=r"does not take the study.*then sync again"):
                study.sync()
    assert_submit_was_quick(study)
    study.sync()
    assert study.differences(server) == []


def test_a_slow_server_is_waited_for(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    with gate.behaving(Manners(delay=0.05)):
        study.sink.start()
        study.tell(study.events)
        assert study.sink.close().missed == 0
    assert_submit_was_quick(study)
    assert study.differences(server) == []


def test_lost_answers_make_no_run_twice(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    """Every third write is carried out, and nobody hears of it."""
    study = Study(tmp_path, gate.uri, whole_study())
    with gate.behaving(Manners(lose=every(3))):
        study.sink.start()
        study.tell(study.events[:12])
        study.wait_for_requests(gate, 20)
        study.tell(study.events[12:])
        summary = study.sink.close()
        assert summary.errors > 1
    study.sync()
    assert study.differences(server) == []
    assert_sync_changes_nothing(study, server)


def test_a_stalled_server_does_not_hold_up_the_end(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    """It takes requests and does them long after they were given up: what it then makes is not there twice."""
    study = Study(tmp_path, gate.uri, whole_study())
    study.uri = server.uri
    study.new_sink().start()
    cut = until_end_of(1, study.events)
    study.tell(study.events[:cut])
    deadline = time.monotonic() + 20
    while not list(runs_of(server.store, study.experiment)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with server.stopped():
        study.tell(study.events[cut:])
        began = time.monotonic()
        summary = study.sink.close(timeout=3)
        assert time.monotonic() - began < 3.5
        assert summary.missed > 0
    study.sync()
    assert study.differences(server) == []
    assert_sync_changes_nothing(study, server)


def test_a_server_killed_in_the_middle_and_started_again(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    study.sink.start()
    cut = until_end_of(1, study.events)
    study.tell(study.events[:cut])
    study.wait_for_requests(gate, 6)
    server.kill()
    study.tell(study.events[cut:-2])
    server.start()
    study.tell(study.events[-2:])
    summary = study.sink.close()
    assert summary.missed == 0
    assert_submit_was_quick(study)
    assert study.differences(server) == []


def test_a_study_resumed_while_the_server_was_away(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    first, second = until_end_of(0, study.events), until_end_of(2, study.events)
    study.sink.start()
    study.tell(study.events[:first])
    assert study.sink.close().missed == 0
    with gate.absent():
        study.new_sink().start()
        study.tell(study.events[first:second])
        assert study.sink.close().delivered == 0
    study.new_sink().start()
    study.tell(study.events[second:])
    assert study.sink.close().missed == 0
    assert study.differences(server) == []


@pytest.mark.usefixtures("soon_again")
def test_a_run_that_is_refused_holds_up_no_other(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    def refuse_one(request: Request) -> int | None:
        return 400 if b"001 continuation" in request.body else None

    study = Study(tmp_path, gate.uri, whole_study())
    with gate.behaving(Manners(refuse=refuse_one)):
        study.sink.start()
        study.tell(study.events)
        assert study.sink.close().missed > 0
        states = {key: facts[1] for key, (facts, *_) in study.dump(server).items()}  # type: ignore[misc, has-type]
        with pytest.raises(EnvironmentProblem):
            study.sync()
    wanted = {NAME: "FINISHED", f"{NAME}/0": "FINISHED", f"{NAME}/2": "KILLED", f"{NAME}/3": "FAILED"}
    assert states == wanted
    study.sync()
    assert study.differences(server) == []


def test_files_that_are_refused_hold_up_nothing(gate: Gate, server: MlflowServer, tmp_path: Path) -> None:
    study = Study(tmp_path, gate.uri, whole_study())
    config, plot = tmp_path / "study.yaml", tmp_path / "plan.png"
    config.write_text("name: x\n")
    plot.write_bytes(b"\x89PNG")
    with gate.behaving(Manners(refuse=lambda request: 403 if request.method == "PUT" else None)):
        for path in (config, plot):
            study.sink.log_artifact(path)
        study.sink.start()
        study.tell(study.events)
        summary = study.sink.close()
    assert summary.missed == 0
    assert set(summary.artifacts_missed) == {config, plot}
    assert study.differences(server) == []
    sync(study.path, study.uri, study.experiment, artifacts=[config, plot])
    assert {file.path for file in client(server.uri).list_artifacts(summary.run_id)} == {"study.yaml", "plan.png"}


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        (
            {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "c4nary-Hunter2"},
            "Basic YWRhOmM0bmFyeS1IdW50ZXIy",
        ),
        ({"MLFLOW_TRACKING_TOKEN": "c4nary-Hunter2"}, "Bearer c4nary-Hunter2"),
    ],
)
def test_credentials_come_from_the_environment(
    variables: dict[str, str],
    header: str,
    gate: Gate,
    server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def demand(request: Request) -> int | None:
        return None if request.authorization == header else 401

    study = Study(tmp_path, gate.uri, whole_study())
    with gate.behaving(Manners(refuse=demand)):
        study.sink.start()
        study.tell(study.events)
        summary = study.sink.close()
        assert summary.delivered == 0
        assert "401" in str(summary.last_error)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        study.sync()
    assert study.differences(server) == []
    assert {request.authorization for request in gate.requests} == {None, header}
    assert "c4nary" not in repr(study.dump(server))


def test_nothing_piles_up_while_the_server_is_away(gate: Gate, tmp_path: Path) -> None:
    """A study of ten thousand events; the ledger has them, so memory need not."""
    start, *_ = trial_of(0)
    epochs = [epoch_of(0, epoch, start.time + epoch) for epoch in range(1, 10_001)]
    path = write(tmp_path / NAME / "ledger.jsonl", [*whole_study()[:4], start])
    with gate.absent():
        sink = MlflowSink(gate.uri, next(EXPERIMENTS), NAME, ledger=path, interval=0.02)
        sink.start()
        time.sleep(0.2)
        tracemalloc.start()
        try:
            for epoch in epochs:
                sink.submit(epoch)
            assert sink.close().missed == 10_000
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 5e6
