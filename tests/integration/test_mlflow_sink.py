"""The sink and sync against a real MLflow on a SQLite file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow_events import (
    CANARY,
    EPOCHS,
    NAME,
    START,
    client,
    differences,
    dump,
    opening,
    runs_of,
    trial_of,
    until_end_of,
    wait_for_an_error,
    whole_study,
    write,
)

from autockd.errors import EnvironmentProblem, StudyError
from autockd.records import Event, StudyStarted
from autockd.tracking import Ledger, MlflowSink, SinkSummary, default_uri, plan_figure, sync
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_store import MlflowStore

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]


@pytest.fixture
def studies(tmp_path: Path, with_database: Callable[[Path], Path]) -> Path:
    """A folder of studies whose MLflow database is there, as after an earlier study."""
    return with_database(tmp_path / "my studies")


def wait_for_run(uri: str, trial_key: str) -> str:
    """The id of a trial's run, as soon as its learning curve is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for run in runs_of(uri):
            if run.data.tags.get("autockd.trial_key") == trial_key and "val_accuracy" in run.data.metrics:
                return str(run.info.run_id)
        time.sleep(0.05)
    raise AssertionError(f"{trial_key} did not arrive")


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in the folder can be written by this process; root, who may write anything, is nobody meanwhile."""
    paths = [folder, *folder.iterdir()]
    before = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, before, strict=True):
        path.chmod(mode & 0o555 | 0o444)
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        for path, mode in zip(paths, before, strict=True):
            path.chmod(mode)


PAGE = "<script>while (token = next() && C.key === S) return</script>"
"""A script that a browser runs by its hash, in which things look like credentials."""


def run_live(sink: MlflowSink, events: Sequence[Event], path: Path) -> SinkSummary:
    sink.start()
    with Ledger(path) as ledger:
        for event in events:
            ledger.append(event)
            sink.submit(event)
        return sink.close(timeout=60)


def test_a_study_becomes_a_run_with_a_run_for_every_trial(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studies.parent)
    uri = default_uri(studies)
    config_file, plot, page = (studies / name for name in ("study.yaml", "plan.png", "report.html"))
    page.write_text(PAGE)
    config_file.write_text(f"tracking:\n  uri: http://ada:{CANARY}@mlflow\n")
    plan_figure({"smoothing": [0.0, 0.5, 1.0]}, 1, "a plan").savefig(plot)
    ledger = studies / "digits-demo" / "ledger.jsonl"
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=ledger, interval=0.1)
    for path in (config_file, plot, page, studies / "missing.png"):
        sink.log_artifact(path)
    summary = run_live(sink, whole_study(), ledger)
    assert (summary.missed, summary.delivered, summary.artifacts_missed) == (0, len(whole_study()), ())
    assert summary.errors == 1
    assert "missing.png is no file" in str(summary.last_error)

    content = dump(uri)
    assert set(content) == {NAME, *(f"digits-demo/{trial}" for trial in range(4))}
    facts, params, tags, history = content[NAME]
    assert facts[:4] == ("digits-demo", "FINISHED", START * 1000, (START + 63) * 1000)
    assert facts[4] == summary.run_id
    assert params["extra_119"] == "119"
    assert len(params["long"]) == 6000
    assert tags["autockd.kind"] == "study"
    assert "# Why\nsee http://***@wiki/page" in tags["mlflow.note.content"]
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
    assert artifacts == {"study.yaml", "plan.png", "report.html"}
    stored = studies / "mlartifacts" / str(summary.run_id) / "artifacts"
    assert (stored / "study.yaml").read_text() == "tracking:\n  uri: http://***@mlflow\n"
    assert (stored / "plan.png").read_bytes() == plot.read_bytes()
    assert (stored / "report.html").read_text() == PAGE
    assert not (studies.parent / "mlruns").exists()
    assert CANARY.encode() not in (studies / "mlflow.db").read_bytes()


def test_sync_twice_changes_nothing_and_equals_the_live_sink(
    studies: Path, with_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    uri = default_uri(studies)
    ledger = studies / "digits-demo" / "ledger.jsonl"
    run_live(MlflowSink(uri, "digits", "digits-demo", ledger=ledger, interval=0.02), whole_study(), ledger)
    live = dump(uri)
    assert sync(ledger, uri, "digits").missed == 0
    assert dump(uri) == live

    other = default_uri(with_database(tmp_path / "other"))
    sync(ledger, other, "digits")
    first = dump(other)
    sync(ledger, other, "digits")
    assert dump(other) == first
    assert dump(other, ids=False) == dump(uri, ids=False)


def test_sync_completes_what_was_written_in_part(studies: Path) -> None:
    """The driver died between its writes: a trial's run has no params, another lacks points and is still RUNNING."""
    uri = default_uri(studies)
    events = whole_study()
    cut = until_end_of(2, events)
    ledger = write(studies / "digits-demo" / "ledger.jsonl", events[:cut])
    sync(ledger, uri, "digits")
    mlflow = client(uri)
    by_key = {run.data.tags.get("autockd.trial_key", NAME): run.info.run_id for run in runs_of(uri)}
    assert {run.info.status for run in runs_of(uri)} == {"FINISHED", "KILLED"}
    mlflow.update_run(by_key["digits-demo/1"], status="RUNNING")
    mlflow.delete_run(by_key["digits-demo/0"])

    write(ledger, events[cut:])
    sync(ledger, uri, "digits")
    content = dump(uri)
    assert [content[f"digits-demo/{trial}"][0][1] for trial in range(4)] == ["FINISHED", "FINISHED", "KILLED", "FAILED"]
    assert content[NAME][0][1] == "FINISHED"
    assert content["digits-demo/1"][0][4] == by_key["digits-demo/1"]
    assert len(content["digits-demo/0"][3]["val_accuracy"]) == EPOCHS


def test_an_interrupted_and_resumed_study_is_one_study(studies: Path) -> None:
    uri = default_uri(studies)
    ledger = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    cut = until_end_of(1, events)
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


def test_the_runs_of_a_live_driver_are_its_own(studies: Path) -> None:
    """It tells MLflow more while a ledger is read and MLflow is reached: its runs would be set back, or made twice."""
    uri, plot = default_uri(studies), studies / "plan.png"
    plot.write_bytes(b"\x89PNG")
    told = [*opening(), *trial_of(0), *trial_of(1)[:-1]]
    with Ledger(studies / "digits-demo" / "ledger.jsonl") as ledger:
        for event in told:
            ledger.append(event)
        early = sync(ledger.path, uri, "digits", artifacts=[plot])
        assert (early.is_live, early.delivered, early.missed, early.run_id) == (True, 0, len(told), None)
        assert dump(uri) == {}
        sink = MlflowSink(uri, "digits", NAME, ledger=ledger.path, interval=0.02)
        sink.start()
        sink.close(timeout=60)
        content = dump(uri)
        late = sync(ledger.path, uri, "digits", artifacts=[plot])
        assert dump(uri) == content
        assert late.run_id == content[NAME][0][4]
        assert [file.path for file in client(uri).list_artifacts(late.run_id)] == ["plan.png"]
    over = sync(ledger.path, uri, "digits")
    assert (over.is_live, over.delivered, over.missed) == (False, len(told), 0)
    assert {facts[1] for facts, *_ in dump(uri).values()} == {"KILLED", "FINISHED"}


def test_where_the_studies_have_moved_it_says_where_files_go(studies: Path) -> None:
    uri = default_uri(studies)
    assert sync(write(studies / NAME / "ledger.jsonl", opening()), uri, "digits").warning == ""
    moved = studies.rename(studies.with_name("moved"))
    ledger, uri, old = moved / NAME / "ledger.jsonl", default_uri(moved), studies / "mlartifacts"
    told = sync(ledger, uri, "digits").warning
    assert f"'digits' in {old}, beside" in told
    assert f"not in {moved / 'mlartifacts'};" in told
    assert run_live(MlflowSink(uri, "digits", NAME, ledger=ledger, interval=0.02), (), ledger).warning == told
    studies.mkdir()
    old.symlink_to(moved / "mlartifacts")
    assert sync(ledger, uri, "digits").warning == ""


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


def test_what_was_missed_arrives_when_mlflow_comes_back(studies: Path, with_database: Callable[[Path], Path]) -> None:
    folder = studies / "elsewhere"
    folder.write_text("a file, where the database's folder should be")
    uri = default_uri(folder)
    path = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=path, interval=0.05)
    sink.start()
    with Ledger(path) as ledger:
        for event in events[:12]:
            ledger.append(event)
            sink.submit(event)
        wait_for_an_error(sink)
        folder.unlink()
        with_database(folder)
        for event in events[12:]:
            ledger.append(event)
            sink.submit(event)
        summary = sink.close(timeout=60)
    assert (summary.delivered, summary.missed) == (len(events), 0)
    assert summary.errors >= 1
    assert len(dump(uri)) == 5


def test_more_events_than_may_wait_are_read_from_the_ledger(studies: Path) -> None:
    uri = default_uri(studies)
    path = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    sink = MlflowSink(uri, "digits", "digits-demo", ledger=path, interval=0.02, capacity=3)
    with Ledger(path) as ledger:
        for event in events[:6]:
            ledger.append(event)
            sink.submit(event)
        sink.start()
        wait_for_run(uri, "digits-demo/0")
        for event in events[6:]:
            ledger.append(event)
            sink.submit(event)
        assert sink.close(timeout=60).missed == 0
    assert differences(dump(uri), events) == []
    content = dump(uri)
    sync(path, uri, "digits")
    assert dump(uri) == content


def test_a_run_deleted_during_the_search_is_told_again(studies: Path) -> None:
    uri = default_uri(studies)
    path = studies / "digits-demo" / "ledger.jsonl"
    events = whole_study()
    cut = until_end_of(1, events)
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


def test_runs_that_were_made_twice_become_one(studies: Path) -> None:
    """As when the answer to a request is lost, or two programs write the same study."""
    uri = default_uri(studies)
    events = whole_study()
    ledger = write(studies / "digits-demo" / "ledger.jsonl", events)
    sync(ledger, uri, "digits")
    content = dump(uri)
    mlflow = client(uri)
    for run in list(runs_of(uri)):
        tags = {key: value for key, value in run.data.tags.items() if key != "autockd.digest"}
        copy = mlflow.create_run(run.info.experiment_id, tags=tags, run_name=run.info.run_name)
        if "autockd.trial_key" not in run.data.tags:
            child = {"autockd.trial_key": "digits-demo/0", "mlflow.parentRunId": copy.info.run_id}
            mlflow.create_run(run.info.experiment_id, tags=child)
    assert len(list(runs_of(uri))) == 11
    for _ in range(2):
        sync(ledger, uri, "digits")
        assert dump(uri) == content


def test_a_database_that_may_not_be_written(with_database: Callable[[Path], Path]) -> None:
    """Nothing of it reaches the search; what it missed is there after it may be written again."""
    folder = with_database(Path(tempfile.mkdtemp()))
    uri, events = default_uri(folder), whole_study()
    path = write(folder / NAME / "ledger.jsonl", events)
    sink = MlflowSink(uri, "digits", NAME, ledger=path, interval=0.05)
    try:
        with read_only(folder):
            sink.start()
            for event in events:
                sink.submit(event)
            summary = sink.close()
            assert (summary.delivered, summary.missed) == (0, len(events))
            assert "Permission denied" in str(summary.last_error)
            with pytest.raises(EnvironmentProblem, match="does not take the study"):
                sync(path, uri, "digits")
        sync(path, uri, "digits")
        assert differences(dump(uri), events) == []
    finally:
        shutil.rmtree(folder)


def test_a_locked_database_is_waited_for(studies: Path) -> None:
    """As by a backup, or another program that writes for long."""
    uri, events = default_uri(studies), whole_study()
    path = write(studies / NAME / "ledger.jsonl", events)
    sink = MlflowSink(uri, "digits", NAME, ledger=path, interval=0.05)
    with contextlib.closing(sqlite3.connect(studies / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        sink.start()
        for event in events:
            sink.submit(event)
        time.sleep(0.5)
        other.rollback()
        assert sink.close(timeout=60).missed == 0
    assert differences(dump(uri), events) == []


def test_a_deleted_experiment_is_named(studies: Path) -> None:
    uri = default_uri(studies)
    path = write(studies / "digits-demo" / "ledger.jsonl", whole_study())
    found = sync(path, uri, "digits")
    client(uri).delete_experiment(found.experiment_id)
    with pytest.raises(EnvironmentProblem, match=r"experiment 'digits' was deleted in MLflow.*tracking\.experiment"):
        sync(path, uri, "digits")


def test_a_ledger_without_a_study_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x" / "ledger.jsonl", trial_of(0)[:1])
    with pytest.raises(StudyError, match="does not say that a study started"):
        sync(path, default_uri(tmp_path), "digits")


def test_a_first_study_makes_the_database(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "digits-demo" / "ledger.jsonl"
    summary = run_live(MlflowSink(default_uri(tmp_path), "digits", NAME, ledger=path), whole_study(), path)
    assert (summary.missed, summary.errors) == (0, 0)
    assert (tmp_path / "mlflow.db").exists()
    assert capfd.readouterr() == ("", "")
