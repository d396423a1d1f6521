"""The sink and sync against a real MLflow on a SQLite file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autockd.errors import EnvironmentProblem, StudyError
from autockd.records import (
    BankReady,
    BankRecord,
    EpochFinished,
    EpochRecord,
    Evaluated,
    Event,
    Exported,
    PrecisionChoice,
    PrecisionChosen,
    Provenance,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking import Ledger, MlflowSink, SinkSummary, default_uri, search_history_figure, sync
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_store import MlflowStore

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

CANARY = "c4nary-Hunter2"
START = 1_760_000_000.0
STATES = ("complete", "complete", "pruned", "failed")
EPOCHS = 3


def opening() -> list[Event]:
    config = {
        "name": "digits-demo",
        "note": f"# Why\nsee http://ada:{CANARY}@wiki/page",
        "tracking": {"uri": f"http://ada:{CANARY}@mlflow:5000", "enabled": True},
        "search": {
            "trials": 4,
            "space": {
                "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
                "smoothing_start": {"type": "int", "low": 1, "high": 8, "log": True},
            },
        },
        "long": "x" * 10_000,
        **{f"extra_{k}": k for k in range(120)},
    }
    provenance = Provenance(
        autockd="0.1.0",
        python="3.11.9",
        platform="Linux",
        host="ada",
        cpus=2,
        gpus=(),
        versions={"torch": "2.11.0"},
        git_commit="c0ffee",
    )
    teacher = TeacherRecord(
        weights_hash="cd" * 32,
        weights_path="t.safetensors",
        parameters=270_000,
        bytes=1_080_000,
        metric=0.985,
        second_moment=12.5,
        origin="trained",
        seconds=20.0,
    )
    choice = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="1.1x faster")
    bank = BankRecord(key="k", entries=9, filled=9, hits=0, misses=9, seconds=1.5, checked=4, max_difference=0.0)
    return [
        StudyStarted(
            time=START,
            study="digits-demo",
            config=config,
            config_hash="ef" * 32,
            metric="accuracy",
            direction="maximize",
            task_fingerprint="01" * 32,
            provenance=provenance,
        ),
        TeacherReady(time=START + 1, teacher=teacher),
        BankReady(time=START + 2, bank=bank),
        PrecisionChosen(time=START + 3, choice=choice),
    ]


def epoch_of(trial: int, epoch: int, time: float) -> EpochFinished:
    metric = 0.5 + 0.1 * epoch + 0.01 * trial
    record = EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        metric=metric,
        best_metric=metric,
        best_epoch=epoch,
        loss=float("nan") if trial == 3 else 1 / (3 * epoch),
        hard_loss=0.5,
        soft_loss=None,
        coefficients={"hard_weight": 0.1 * epoch, "smoothing": 0.2, "margin": 0.0, "learning_rate": 0.1},
        train_seconds=0.3,
        evaluate_seconds=0.1,
        images_per_second=3000.0,
    )
    return EpochFinished(time=time, trial=trial, record=record)


def trial_of(trial: int, epochs: int = EPOCHS) -> list[Event]:
    begin = START + 10 * (trial + 1)
    state = STATES[trial % 4]
    config = {
        "method": {"name": "continuation", "smoothing_start": 4},
        "training": {"learning_rate": 0.2, "batch_size": 32, "epochs": epochs, "weight_decay": 1e-4, "momentum": 0.9},
        "student": {"family": "cifar_resnet", "depth": 8, "width": 4},
        "seed": 0,
    }
    start = TrialStarted(
        time=begin,
        trial=trial,
        role="sampled",
        method="continuation",
        params={"learning_rate": 0.01 * (trial + 1), "smoothing_start": 4},
        config=config,
        fingerprint="ab" * 32,
        conventions="CE",
    )
    curve = [epoch_of(trial, epoch, begin + epoch / 2) for epoch in range(1, epochs + 1)]
    end = TrialFinished(
        time=begin + epochs / 2 + 0.1,
        trial=trial,
        state=state,  # type: ignore[arg-type]
        value=None if state == "failed" else curve[-1].record.metric,
        best_epoch=epochs,
        epochs=epochs,
        seconds=epochs / 2,
        parameters=4_800,
        reason=f"OSError: http://ada:{CANARY}@host" if state == "failed" else "",
    )
    return [start, *curve, end]


def closing(trials: int) -> list[Event]:
    end = START + 10 * (trials + 2)
    final = Evaluated(
        time=end + 1,
        subject="best",
        label="continuation",
        trial=1,
        validation=0.9,
        test=0.89,
        parameters=4_800,
        bytes=19_200,
    )
    seconds = {"teacher": 20.0, "search": 50.0}
    return [
        TestOpened(time=end, subjects=("best",)),
        final,
        Exported(time=end + 2, trial=1, bundle="bundle", manifest_hash="23" * 32),
        StudyFinished(time=end + 3, complete=2, pruned=1, failed=1, best_trial=1, best_value=0.81, seconds=seconds),
    ]


def whole_study(trials: int = 4, epochs: int = EPOCHS) -> list[Event]:
    middle = [event for trial in range(trials) for event in trial_of(trial, epochs)]
    return [*opening(), *middle, *closing(trials)]


@pytest.fixture
def studies(tmp_path: Path, template: Path) -> Path:
    """A folder of studies whose MLflow database is there, as after an earlier study."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(template.read_bytes())
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database that MLflow has migrated; doing so takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    client(default_uri(folder)).search_experiments()
    return folder / "mlflow.db"


def client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def write(path: Path, events: list[Event]) -> Path:
    with Ledger(path) as ledger:
        for event in events:
            ledger.append(event)
    return path


def runs_of(uri: str, experiment: str = "digits") -> Iterator[Any]:
    mlflow = client(uri)
    found = mlflow.get_experiment_by_name(experiment)
    if found is not None:
        yield from mlflow.search_runs([found.experiment_id], max_results=1000)


def dump(uri: str, *, ids: bool = True) -> dict[str, Any]:
    """Everything in the experiment, without run ids where two databases are compared; a NaN equals itself as text."""
    mlflow = client(uri)
    content: dict[str, Any] = {}
    for run in runs_of(uri):
        data, info = run.data, run.info
        tags = {key: value for key, value in data.tags.items() if ids or key != "mlflow.parentRunId"}
        history = {
            key: [(p.step, p.timestamp, repr(p.value)) for p in mlflow.get_metric_history(info.run_id, key)]
            for key in data.metrics
        }
        key = tags.get("autockd.trial_key", "study")
        assert key not in content, "a run for every trial, and one for the study"
        facts = (info.run_name, info.status, info.start_time, info.end_time, info.run_id if ids else None)
        content[key] = (facts, data.params, tags, history)
    return content


def wait_for_run(uri: str, trial_key: str) -> str:
    """The id of a trial's run, as soon as its learning curve is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for run in runs_of(uri):
            if run.data.tags.get("autockd.trial_key") == trial_key and "val_accuracy" in run.data.metrics:
                return str(run.info.run_id)
        time.sleep(0.05)
    raise AssertionError(f"{trial_key} did not arrive")


def run_live(sink: MlflowSink, events: list[Event], ledger: Path | None = None) -> SinkSummary:
    sink.start()
    book = Ledger(ledger) if ledger else None
    for event in events:
        if book:
            book.append(event)
        sink.submit(event)
    summary = sink.close(timeout=60)
    if book:
        book.close()
    return summary


def test_a_study_becomes_a_run_with_a_run_for_every_trial(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studies.parent)
    uri = default_uri(studies)
    config_file, plot = studies / "study.yaml", studies / "search_history.png"
    config_file.write_text(f"tracking:\n  uri: http://ada:{CANARY}@mlflow\n")
    search_history_figure(whole_study()).savefig(plot)
    sink = MlflowSink(uri, "digits", "digits-demo", interval=0.1)
    for path in (config_file, plot, studies / "missing.png"):
        sink.log_artifact(path)
    summary = run_live(sink, whole_study())
    assert (summary.missed, summary.delivered, summary.artifacts_missed) == (0, len(whole_study()), ())
    assert summary.errors == 1
    assert "missing.png is no file" in str(summary.last_error)

    content = dump(uri)
    assert set(content) == {"study", *(f"digits-demo/{trial}" for trial in range(4))}
    facts, params, tags, history = content["study"]
    assert facts[:4] == ("digits-demo", "FINISHED", START * 1000, (START + 63) * 1000)
    assert facts[4] == summary.run_id
    assert params["extra_119"] == "119"
    assert len(params["long"]) == 6000
    assert tags["autockd.kind"] == "study"
    assert tags["mlflow.note.content"] == "# Why\nsee http://***@wiki/page"
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert [(step, value) for step, _, value in history["best_so_far"]] == [
        (1, repr(0.8)),
        (2, repr(0.81)),
        (3, repr(0.81)),
        (4, repr(0.81)),
    ]
    assert history["test_accuracy_best"][0][2] == "0.89"

    states = [content[f"digits-demo/{trial}"][0][1] for trial in range(4)]
    assert states == ["FINISHED", "FINISHED", "KILLED", "FAILED"]
    facts, params, tags, history = content["digits-demo/3"]
    assert facts[0] == "003 continuation"
    assert tags["mlflow.parentRunId"] == summary.run_id
    assert tags["autockd.reason"] == "OSError: http://***@host"
    assert params["log10_learning_rate"] == "-1.39794"
    assert [step for step, _, _ in history["val_accuracy"]] == [1, 2, 3]
    assert {value for _, _, value in history["loss"]} == {"nan"}
    assert len(history) <= 15

    mlflow = client(uri)
    artifacts = {file.path for file in mlflow.list_artifacts(summary.run_id)}
    assert artifacts == {"study.yaml", "search_history.png"}
    stored = studies / "mlartifacts" / str(summary.run_id) / "artifacts"
    assert (stored / "study.yaml").read_text() == "tracking:\n  uri: http://***@mlflow\n"
    assert (stored / "search_history.png").read_bytes() == plot.read_bytes()
    assert not (studies.parent / "mlruns").exists()
    assert CANARY.encode() not in (studies / "mlflow.db").read_bytes()


def test_sync_twice_changes_nothing_and_equals_the_live_sink(studies: Path, template: Path, tmp_path: Path) -> None:
    uri = default_uri(studies)
    ledger = studies / "digits-demo" / "ledger.jsonl"
    run_live(MlflowSink(uri, "digits", "digits-demo", interval=0.02), whole_study(), ledger)
    live = dump(uri)
    assert sync(ledger, uri, "digits").missed == 0
    assert dump(uri) == live

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mlflow.db").write_bytes(template.read_bytes())
    other = default_uri(tmp_path / "other")
    sync(ledger, other, "digits")
    first = dump(other)
    sync(ledger, other, "digits")
    assert dump(other) == first
    assert dump(other, ids=False) == dump(uri, ids=False)


def test_sync_completes_what_was_written_in_part(studies: Path) -> None:
    """The driver died between its writes: a trial's run has no params, another lacks points and is still RUNNING."""
    uri = default_uri(studies)
    events = whole_study()
    cut = next(n for n, e in enumerate(events) if isinstance(e, TrialFinished) and e.trial == 2)
    ledger = write(studies / "digits-demo" / "ledger.jsonl", events[:cut])
    sync(ledger, uri, "digits")
    mlflow = client(uri)
    by_key = {run.data.tags.get("autockd.trial_key", "study"): run.info.run_id for run in runs_of(uri)}
    assert {run.info.status for run in runs_of(uri)} == {"FINISHED", "KILLED"}
    mlflow.update_run(by_key["digits-demo/1"], status="RUNNING")
    mlflow.delete_run(by_key["digits-demo/0"])

    write(ledger, events[cut:])
    sync(ledger, uri, "digits")
    content = dump(uri)
    assert [content[f"digits-demo/{trial}"][0][1] for trial in range(4)] == ["FINISHED", "FINISHED", "KILLED", "FAILED"]
    assert content["study"][0][1] == "FINISHED"
    assert content["digits-demo/1"][0][4] == by_key["digits-demo/1"]
    assert len(content["digits-demo/0"][3]["val_accuracy"]) == EPOCHS


def test_an_interrupted_and_resumed_study_is_one_study(studies: Path) -> None:
    uri = default_uri(studies)
    ledger = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    cut = next(n for n, e in enumerate(events) if isinstance(e, TrialFinished) and e.trial == 1)
    first = run_live(MlflowSink(uri, "digits", "digits-demo", ledger=ledger, interval=0.02), events[:cut], ledger)
    assert {run.info.status for run in runs_of(uri)} == {"FINISHED", "KILLED"}
    assert isinstance(events[0], StudyStarted)
    longer = events[0].config | {"search": events[0].config["search"] | {"trials": 8}}
    again = events[0].model_copy(update={"time": START + 25, "config": longer})
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=ledger, interval=0.02)
    second = run_live(sink, [again, *events[cut:]], ledger)
    assert (second.run_id, second.missed, second.errors) == (first.run_id, 0, 0)
    content = dump(uri)
    assert content["digits-demo/1"][0][1] == "FINISHED"
    assert content["digits-demo/1"][2]["autockd.state"] == "complete"
    assert len(content) == 5
    sync(ledger, uri, "digits")
    assert dump(uri) == content


def test_a_live_driver_keeps_its_runs_open(studies: Path) -> None:
    uri = default_uri(studies)
    with Ledger(studies / "digits-demo" / "ledger.jsonl") as ledger:
        for event in [*opening(), *trial_of(0), *trial_of(1)[:-1]]:
            ledger.append(event)
        sync(ledger.path, uri, "digits")
        assert {key: facts[1] for key, (facts, *_) in dump(uri).items()} == {
            "study": "RUNNING",
            "digits-demo/0": "FINISHED",
            "digits-demo/1": "RUNNING",
        }
    sync(ledger.path, uri, "digits")
    assert {facts[1] for facts, *_ in dump(uri).values()} == {"KILLED", "FINISHED"}


def test_a_name_used_again_is_another_study(studies: Path) -> None:
    uri = default_uri(studies)
    events = [*opening(), *trial_of(0)]
    sync(write(studies / "a" / "ledger.jsonl", events), uri, "digits")
    again = [event.model_copy(update={"time": event.time + 1000}) for event in events]
    sync(write(studies / "b" / "ledger.jsonl", again), uri, "digits")
    assert len(list(runs_of(uri))) == 4
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs_of(uri)}
    assert len(parents) == 3  # None and two studies


def test_params_of_an_earlier_version_stay_as_they_are(studies: Path) -> None:
    """MLflow refuses to change a param, and would refuse the whole update with it."""
    uri = default_uri(studies)
    projection = Projection()
    for event in opening():
        projection.apply(event)
    (update,) = projection.take()
    assert projection.study_id is not None
    earlier = replace(update, params={"long": "short"}, tags={}, points=())
    MlflowStore(uri, "digits", "digits-demo").write(projection.study_id, earlier)
    MlflowStore(uri, "digits", "digits-demo").write(projection.study_id, update)
    ((_, params, tags, _),) = dump(uri).values()
    assert (params["long"], params["extra_7"]) == ("short", "7")
    assert tags["autockd.host"] == "ada"


@pytest.mark.parametrize("has_ledger", [True, False])
def test_what_was_missed_arrives_when_mlflow_comes_back(studies: Path, template: Path, has_ledger: bool) -> None:
    folder = studies / "elsewhere"
    folder.write_text("a file, where the database's folder should be")
    uri = default_uri(folder)
    path = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=path if has_ledger else None, interval=0.05, capacity=100)
    sink.start()
    with Ledger(path) as ledger:
        for event in events[:12]:
            ledger.append(event)
            sink.submit(event)
        time.sleep(0.5)
        folder.unlink()
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(template.read_bytes())
        for event in events[12:]:
            ledger.append(event)
            sink.submit(event)
        summary = sink.close(timeout=60)
    assert (summary.delivered, summary.missed) == (len(events), 0)
    assert summary.errors >= 1
    assert len(dump(uri)) == 5


def test_a_full_queue_drops_and_the_ledger_makes_it_good(studies: Path) -> None:
    uri = default_uri(studies)
    path = studies / "digits-demo" / "ledger.jsonl"
    with_ledger = MlflowSink(uri, "digits", "digits-demo", ledger=path, capacity=5)
    without = MlflowSink(uri, "digits", "digits-demo", capacity=5)
    write(path, whole_study())
    for sink, expected in ((without, len(whole_study()) - 5), (with_ledger, 0)):
        began = time.monotonic()
        for event in whole_study():
            sink.submit(event)
        assert time.monotonic() - began < 0.5
        sink.start()
        assert sink.close(timeout=60).missed == expected
    content = dump(uri)
    sync(path, uri, "digits")
    assert dump(uri) == content
    assert [len(content[f"digits-demo/{trial}"][3]["val_accuracy"]) for trial in range(4)] == [EPOCHS] * 4


def test_a_run_deleted_during_the_search_is_told_again(studies: Path) -> None:
    uri = default_uri(studies)
    path = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    cut = next(n for n, e in enumerate(events) if isinstance(e, TrialFinished) and e.trial == 1)
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=path, interval=0.02)
    sink.start()
    with Ledger(path) as ledger:
        for event in events[:cut]:
            ledger.append(event)
            sink.submit(event)
        deleted = wait_for_run(uri, "digits-demo/1")
        client(uri).delete_run(deleted)
        for event in events[cut:]:
            ledger.append(event)
            sink.submit(event)
        summary = sink.close(timeout=60)
    assert summary.missed == 0
    assert summary.errors >= 1
    facts, params, _, history = dump(uri)["digits-demo/1"]
    assert (facts[1], facts[4] == deleted) == ("FINISHED", False)
    assert params["method"] == "continuation"
    assert len(history["val_accuracy"]) == EPOCHS


def test_a_dead_server_costs_the_search_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    uri = f"http://ada:{CANARY}@127.0.0.1:{port}"
    path = tmp_path / "digits-demo" / "ledger.jsonl"
    sink = MlflowSink(uri, "digits", "digits-demo", interval=0.05)
    began = time.monotonic()
    sink.start()
    for event in whole_study():
        sink.submit(event)
    assert time.monotonic() - began < 0.5
    summary = sink.close(timeout=20)
    assert (summary.delivered, summary.missed) == (0, len(whole_study()))
    assert summary.errors > 0
    assert summary.last_error is not None
    assert CANARY not in summary.last_error

    write(path, whole_study())
    with pytest.raises(EnvironmentProblem, match="does not take the study") as caught:
        sync(path, uri, "digits")
    assert CANARY not in str(caught.value)


def test_a_silent_server_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sink = MlflowSink(f"http://127.0.0.1:{silent.getsockname()[1]}", "digits", "digits-demo", interval=0.05)
        sink.start()
        sink.submit(whole_study()[0])
        began = time.monotonic()
        summary = sink.close(timeout=1.0)
        assert time.monotonic() - began < 2.0
    assert (summary.delivered, summary.missed) == (0, 1)


def test_a_ledger_without_a_study_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x" / "ledger.jsonl", trial_of(0)[:1])
    with pytest.raises(StudyError, match="does not say that a study started"):
        sync(path, default_uri(tmp_path), "digits")


def test_a_first_study_makes_the_database(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    summary = run_live(MlflowSink(default_uri(tmp_path), "digits", "digits-demo"), whole_study())
    assert (summary.missed, summary.errors) == (0, 0)
    assert (tmp_path / "mlflow.db").exists()
    assert capfd.readouterr() == ("", "")
