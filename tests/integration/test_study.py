"""Whole studies with real images, Ray, Optuna and MLflow: one, and the same again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autockd.config.loading import parse_study
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig
from autockd.errors import StudyError
from autockd.export import load_bundle
from autockd.folders import CACHE_ENV
from autockd.models import read_state, weights_hash
from autockd.records import (
    BankReady,
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    Noted,
    PrecisionChosen,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.study import Study, evaluate, list_studies
from autockd.summary import StudySummary
from autockd.tracking import events
from autockd.tracking.saved_views import has_views, is_view

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

TRIALS, EPOCHS, PARALLEL = 12, 2, 2
DIVERGING = 2
"""The enqueued trial: its soft loss overflows."""

STUDY = f"""
name: first
seed: 5
task:
  {{source: digits, limit_train: 500, validation_fraction: 0.25, limit_test: 200, augmentation: {{crop_padding: 1}}}}
teacher:
  model: {{family: cifar_resnet, depth: 8, width: 8}}
  training: {{epochs: 2, batch_size: 32, learning_rate: 0.1}}
student:
  model: {{family: cifar_resnet, depth: 8, width: 2}}
method: {{name: continuation, smoothing_start: 4, granularity: step, margin_mode: none}}
training: {{epochs: {EPOCHS}, batch_size: 32, learning_rate: 0.1}}
search:
  trials: {TRIALS}
  space:
    learning_rate: {{type: float, low: 0.01, high: 0.3, log: true}}
    smoothing_start: {{type: int, low: 1, high: 8}}
    soft_loss_weight: {{type: choice, choices: [1.0, 0.5, 1.0e+38]}}
  enqueue: [{{soft_loss_weight: 1.0e+38}}]
resources: {{parallel_trials: {PARALLEL}, precision: fp32}}
"""

SomeEvent = TypeVar("SomeEvent")


@dataclass
class Ran:
    """A study that ran, with what was seen meanwhile."""

    study: Study
    seen: list[Event] = field(default_factory=list)
    listening: set[str] = field(default_factory=set)
    processes: dict[int, str] = field(default_factory=dict)
    summary: StudySummary | None = None

    def of(self, kind: type[SomeEvent]) -> list[SomeEvent]:
        return [event for event in self.seen if isinstance(event, kind)]

    def one(self, kind: type[SomeEvent]) -> SomeEvent:
        (event,) = self.of(kind)
        return event

    def watch(self, event: Event) -> None:
        self.seen.append(event)
        if isinstance(event, TrialFinished):
            self.listening |= listening_addresses()
            self.processes |= {process: command_of(process) for process in descendants()}


def descendants() -> set[int]:
    """This process and all that it started, or that they started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        parents[int(fields["Pid"])] = int(fields["PPid"])
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def command_of(process: int) -> str:
    """The words that a process was started with; empty where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def is_of_ray(command: str) -> bool:
    return "raylet" in command or "gcs_server" in command or command.startswith("ray::")


def listening_addresses() -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which this process or a descendant listens for TCP connections."""
    sockets = set()
    for process in descendants():
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(local.split(":")[0])
    return found


def config_of(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", Path.cwd(), overrides)


def run(studies: Path, *overrides: str) -> Ran:
    ran = Ran(Study.create(config_of(*overrides), studies))
    ran.summary = ran.study.run(ran.watch)
    return ran


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Iterator[Path]:
    folder = with_database(tmp_path_factory.mktemp("home") / "my studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_ENV, str(folder.parent / "cache"))
        patch.chdir(folder.parent)
        yield folder


@pytest.fixture(scope="module")
def first(studies: Path) -> Ran:
    import ray  # noqa: F401 - as in a notebook, before the study can tell it where to listen

    return run(studies)


@pytest.fixture(scope="module")
def second(studies: Path, first: Ran) -> Ran:
    """The same under another name."""
    return run(studies, "name=second")


def outcomes(ran: Ran) -> dict[int, TrialFinished]:
    return {event.trial: event for event in ran.of(TrialFinished)}


def test_the_ledger_tells_all_in_order(first: Ran) -> None:
    told = events(first.study.folder / "ledger.jsonl")
    seen = [event for event in first.seen if not (isinstance(event, Noted) and event.kind == "progress")]
    assert [event.model_dump_json() for event in told] == [event.model_dump_json() for event in seen]
    kinds = [type(event) for event in told]
    assert kinds[0] is StudyStarted
    assert kinds[-1] is StudyFinished
    stages = [PrecisionChosen, TeacherReady, BankReady, TrialStarted, TestOpened, Evaluated, Exported, StudyFinished]
    begins = [kinds.index(stage) for stage in stages]
    assert begins == sorted(begins)
    last_trial = max(index for index, kind in enumerate(kinds) if kind is TrialFinished)
    assert last_trial < kinds.index(TestOpened)
    once = (StudyStarted, PrecisionChosen, TeacherReady, BankReady, TestOpened, Exported, StudyFinished)
    assert [kinds.count(kind) for kind in once] == [1] * len(once)
    assert [event.time for event in told] == sorted(event.time for event in told)


def test_every_trial_is_told_from_its_start_to_its_end(first: Ran) -> None:
    for trial in range(TRIALS):
        story = [event for event in first.seen if getattr(event, "trial", None) == trial]
        story = [event for event in story if isinstance(event, TrialStarted | EpochFinished | TrialFinished)]
        start, *curve, end = story
        assert isinstance(start, TrialStarted)
        assert isinstance(end, TrialFinished)
        assert [event.record.epoch for event in curve] == list(range(1, 1 + len(curve)))  # type: ignore[union-attr]
        if end.state == "complete":
            metrics = [event.record.metric for event in curve]  # type: ignore[union-attr]
            assert (end.value, end.epochs, len(curve)) == (max(metrics), EPOCHS, EPOCHS)
    assert len(first.of(TrialStarted)) == len(first.of(TrialFinished)) == TRIALS
    roles = [event.role for event in sorted(first.of(TrialStarted), key=lambda event: event.trial)]
    assert roles == ["baseline", "default", "enqueued", *["sampled"] * (TRIALS - 3)]


def test_two_trials_ran_at_a_time(first: Ran) -> None:
    running, most = 0, 0
    for event in first.seen:
        running += isinstance(event, TrialStarted) - isinstance(event, TrialFinished)
        most = max(most, running)
    assert most == PARALLEL
    assert next(event.text for event in first.of(Noted) if event.kind == "choice").startswith("2 trials at a time")


def test_a_trial_that_fails_is_recorded_and_the_study_ends(first: Ran) -> None:
    failed = outcomes(first)[DIVERGING]
    assert (failed.state, failed.value, failed.weights) == ("failed", None, None)
    assert failed.reason.startswith(("the loss became inf", "the loss became nan"))
    finished = first.one(StudyFinished)
    states = [event.state for event in first.of(TrialFinished)]
    assert (finished.complete, finished.failed) == (states.count("complete"), states.count("failed"))
    assert finished.complete > TRIALS / 2


def test_the_summary_is_the_ledgers(first: Ran) -> None:
    summary = first.summary
    assert summary == first.study.status()
    assert summary is not None
    assert summary.finished
    best = max(
        (event.value or 0, -event.trial) for event in first.of(TrialFinished) if event.trial and event.value is not None
    )
    assert (summary.best_trial, first.one(StudyFinished).best_value) == (-best[1], best[0])
    stages = {"data", "start", "probe", "teacher", "bank", "search", "evaluate", "export", "total"}
    assert stages <= summary.seconds.keys()
    assert sum(summary.split.values()) == pytest.approx(summary.seconds["total"], rel=0.05)
    assert min(summary.split["training"], summary.split["tracking"], summary.split["start-up"]) > 0
    assert summary.bound is not None
    assert 0 < summary.bound.seconds < summary.seconds["total"]
    assert 0 < summary.bound.training_share < 1


def test_the_test_split_is_opened_for_teacher_baseline_and_best_alone(first: Ran) -> None:
    assert first.one(TestOpened).subjects == ("teacher", "none", "best")
    scores = {event.label: event for event in first.of(Evaluated)}
    assert list(scores) == ["teacher", "none", "best"]
    finished = outcomes(first)
    best = first.one(StudyFinished).best_trial
    assert best is not None
    assert scores["teacher"].validation == first.one(TeacherReady).teacher.metric
    assert (scores["none"].trial, scores["none"].validation) == (0, finished[0].value)
    assert (scores["best"].trial, scores["best"].validation) == (best, finished[best].value)
    assert all(0 <= score.test <= 1 for score in scores.values())
    assert scores["teacher"].parameters > scores["best"].parameters == finished[best].parameters


def test_its_folder_holds_what_it_promises(first: Ran) -> None:
    folder = first.study.folder
    assert parse_study((folder / "study.yaml").read_text(), "study.yaml", folder) == first.study.config
    assert {"study.yaml", "ledger.jsonl", "optuna.journal", "teacher", "trials", "bundle"} <= {
        path.name for path in folder.iterdir()
    }
    record = first.one(TeacherReady).teacher
    assert weights_hash(read_state(folder / "teacher" / "model.safetensors")) == record.weights_hash
    for event in first.of(TrialFinished):
        if event.state == "complete":
            assert event.weights is not None
            assert (folder / event.weights).is_file()
    assert list(folder.glob("**/checkpoint.pt")) == []


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_bundle_gives_the_recorded_metric_again(first: Ran, runtime: str) -> None:
    exported = first.one(Exported)
    best = next(event for event in first.of(Evaluated) if event.label == "best")
    bundle = Path(exported.bundle)
    assert exported.trial == best.trial
    found = evaluate(bundle, runtime=runtime)
    assert found.value == found.recorded == best.test
    assert found.samples == 200
    found = evaluate(bundle, split="validation", runtime=runtime)
    assert found.value == found.recorded == best.validation


def test_the_bundle_says_where_its_student_comes_from(first: Ran) -> None:
    config = load_bundle(Path(first.one(Exported).bundle)).config
    trial = TrialConfig.model_validate(first.of(TrialStarted)[0].config)
    teacher = next(event for event in first.of(Evaluated) if event.label == "teacher")
    assert config.teacher is not None
    assert (config.teacher.parameters, config.teacher.test) == (teacher.parameters, teacher.test)
    assert config.training is not None
    assert config.training.epochs == trial.training.epochs
    assert config.plan is not None
    assert config.plan.name == config.method
    assert config.budget is not None
    assert (config.budget.trials, config.licence) == (TRIALS, None)
    text = (Path(first.one(Exported).bundle) / "README.md").read_text()
    assert f"Chosen from {TRIALS} trials" in text
    assert "Licence: not stated" in text


def test_only_the_loopback_is_listened_on(first: Ran) -> None:
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert "0100007F" in first.listening, "Ray listens while it runs"
    assert first.listening <= loopback


def test_mlflow_has_a_run_for_the_study_and_one_for_every_trial(first: Ran) -> None:
    import mlflow
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=first.study.mlflow_uri())
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert not [run.info.run_name for run in runs if run.info.status == "RUNNING"]
    (parent,) = [run for run in runs if run.info.run_name == "first"]
    children = {
        run.data.tags["autockd.trial_key"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert parent.info.status == "FINISHED"
    assert set(children) == {f"first/{trial}" for trial in range(TRIALS)}
    points = {event.trial: event.params for event in first.of(TrialStarted)}
    for trial, event in outcomes(first).items():
        run = children[f"first/{trial}"]
        assert run.info.status == ("FINISHED" if event.state == "complete" else "FAILED")
        assert {name: run.data.params[name] for name in points[trial]} == {
            name: str(value) for name, value in points[trial].items()
        }
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        curve = [told.record.metric for told in first.of(EpochFinished) if told.trial == trial]
        assert [point.value for point in sorted(history, key=lambda point: point.step)] == curve
    best = next(event for event in first.of(Evaluated) if event.label == "best")
    assert parent.data.metrics["test_accuracy_best"] == best.test
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert artifacts >= {"study.yaml", "report.html", "plan.png", "search_history.png", "importance.png"}
    page = first.study.ui_url(1234)
    assert page.startswith(f"http://127.0.0.1:1234/#/experiments/{experiment.experiment_id}/runs?")
    assert is_view(page) == has_views(mlflow.__version__)


def registry(study: Study) -> dict[str, Any]:
    """Everything that is registered for the task: versions with their tags and aliases."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=study.mlflow_uri())
    versions = {str(found.version): found for found in client.search_model_versions("name = 'digits'")}
    aliases = dict(client.get_registered_model("digits").aliases)
    return {"aliases": aliases} | {
        number: (dict(found.tags), found.run_id, found.last_updated_timestamp) for number, found in versions.items()
    }


def test_the_first_student_is_the_champion_and_its_equal_a_challenger(first: Ran, second: Ran) -> None:
    found = registry(first.study)
    assert {name: str(version) for name, version in found["aliases"].items()} == {"champion": "1", "challenger": "2"}
    for ran, version, verdict in ((first, "1", "champion: there was none"), (second, "2", "challenger: test accuracy")):
        tags, run_id, _ = found[version]
        assert tags["autockd.manifest"] == ran.one(Exported).manifest_hash
        assert tags["autockd.test_fingerprint"] == ran.one(TestOpened).test_fingerprint
        assert tags["autockd.verdict"].startswith(verdict)
        assert run_id in {run.info.run_id for run in trial_runs(ran, ran.one(Exported).trial)}
        assert [event.text for event in ran.of(Noted) if "registered in MLflow as digits" in event.text]
    assert "does not beat" in found["2"][0]["autockd.verdict"]


def trial_runs(ran: Ran, trial: int) -> list[Any]:
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=ran.study.mlflow_uri())
    experiment = client.get_experiment_by_name("digits")
    key = f"tags.`autockd.trial_key` = '{ran.study.name}/{trial}'"
    return list(client.search_runs([experiment.experiment_id], key))


def test_syncing_registers_nothing_twice(first: Ran, second: Ran) -> None:
    before = registry(first.study)
    told = [first.study.sync().registered for _ in range(2)]
    assert told == ["registered in MLflow as digits version 1, champion: there was none before"] * 2
    assert registry(first.study) == before


def test_a_second_study_uses_the_teacher_and_the_bank_again(first: Ran, second: Ran) -> None:
    one, other = (ran.one(TeacherReady).teacher for ran in (first, second))
    assert (one.origin, other.origin) == ("trained", "cached")
    assert other.weights_hash == one.weights_hash
    one_bank, other_bank = (ran.one(BankReady).bank for ran in (first, second))
    assert one_bank.misses > 0
    assert (other_bank.key, other_bank.misses, other_bank.hits) == (one_bank.key, 0, one_bank.misses)
    assert other_bank.checked > 0
    for ran in (first, second):
        complete = [event for event in ran.of(TrialFinished) if event.state == "complete" and event.trial]
        assert {event.bank_misses for event in complete} == {0}
        assert all(event.bank_hits for event in complete)


def test_the_same_seed_gives_the_same_study(first: Ran, second: Ran) -> None:
    proposed = {"trial", "role", "params", "config", "fingerprint"}
    found = {"trial", "state", "value", "best_epoch", "epochs", "parameters", "reason", "weights"}
    for kind, fields in ((TrialStarted, proposed), (TrialFinished, found)):
        stories = [sorted(ran.of(kind), key=lambda event: event.trial) for ran in (first, second)]
        one, other = ([event.model_dump(include=fields) for event in story] for story in stories)
        assert len(one) == TRIALS
        assert one == other
    for event in first.of(TrialFinished):
        if event.weights is not None:
            mine, theirs = (weights_hash(read_state(ran.study.folder / event.weights)) for ran in (first, second))
            assert mine == theirs
    one, other = ([(e.label, e.validation, e.test) for e in ran.of(Evaluated)] for ran in (first, second))
    assert one == other
    assert len({event.value for event in first.of(TrialFinished)}) > 3, "trials that differ, or this shows little"


def test_a_study_is_not_run_again(first: Ran, studies: Path) -> None:
    before = (first.study.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(StudyError, match="a study of this name exists"):
        Study.create(config_of(), studies)
    with pytest.raises(StudyError, match="this study has begun already"):
        Study.open("first", studies).run()
    assert (first.study.folder / "ledger.jsonl").read_bytes() == before


def test_studies_are_listed_the_latest_first(first: Ran, second: Ran, studies: Path) -> None:
    assert [first.study.name, second.study.name] == ["first", "second"]
    listed = [summary.study for summary in list_studies(studies) if summary.study in ("first", "second")]
    assert listed == ["second", "first"]


def test_nothing_of_ray_stays(first: Ran) -> None:
    """Last, so that those which are slow to notice have had the time of all other tests."""
    import ray

    assert first.summary is not None
    assert not ray.is_initialized()
    assert any(map(is_of_ray, first.processes.values())), "its processes were seen while it ran"
    deadline = time.monotonic() + 60  # some look now and then whether the others are there
    while left := [command for process in first.processes if is_of_ray(command := command_of(process))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
