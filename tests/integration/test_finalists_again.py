"""A whole study with finalists: stopped in the middle of them, gone on with, and looked at from every side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autockd.config.loading import parse_study
from autockd.errors import Interrupted, StudyError
from autockd.export import load_bundle
from autockd.folders import CACHE_ENV
from autockd.models import read_state, weights_hash
from autockd.records import (
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    FinalistsChosen,
    StudyFinished,
    TestOpened,
    TrialFinished,
)
from autockd.search.halt import STOP
from autockd.study import Study, evaluate
from autockd.verdicts import finalists_of, winner_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

STUDY = """
name: finals
seed: 5
task: {source: digits, limit_train: 300, validation_fraction: 0.4, limit_test: 100}
teacher:
  model: {family: cifar_resnet, depth: 8, width: 8}
  training: {epochs: 2, batch_size: 16, learning_rate: 0.1}
student:
  model: {family: cifar_resnet, depth: 8, width: 2}
method: {name: continuation, smoothing_start: 4, granularity: step, margin_mode: none}
training: {epochs: 1, batch_size: 16, learning_rate: 0.1}
search:
  trials: 3
  space:
    learning_rate: {type: float, low: 0.01, high: 0.3, log: true}
finalists: {seeds: 2, top: 1}
resources: {parallel_trials: 1, precision: fp32}
export: {onnx: false}
"""
SEEDS = (6, 7)

SomeEvent = TypeVar("SomeEvent")


@dataclass
class Ran:
    """The study, with its ledger's events when it was stopped, and at its end."""

    study: Study
    stopped: list[Event] = field(default_factory=list)
    ended: list[Event] = field(default_factory=list)

    def of(self, kind: type[SomeEvent]) -> list[SomeEvent]:
        return [event for event in self.ended if isinstance(event, kind)]

    def one(self, kind: type[SomeEvent]) -> SomeEvent:
        (event,) = self.of(kind)
        return event


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("finals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_ENV, str(folder / "cache"))
        patch.chdir(folder)
        study = Study.create(parse_study(STUDY, "study.yaml", folder), with_database(folder / "studies"))

        def stop_at_a_finalist(event: Event) -> None:
            if isinstance(event, FinalistFinished):
                (study.folder / STOP).touch()

        with pytest.raises(Interrupted):
            study.run(stop_at_a_finalist)
        found = Ran(study, stopped=study.events())
        study.resume()
        found.ended = study.events()
        yield found


def test_it_was_stopped_in_the_middle_of_its_finalists(ran: Ran) -> None:
    ends = [event for event in ran.stopped if isinstance(event, FinalistFinished)]
    assert 1 <= len(ends) < len(ran.of(FinalistFinished))
    assert not [event for event in ran.stopped if isinstance(event, TestOpened | Evaluated | Exported)]


def test_every_finalist_ran_once_with_every_seed(ran: Ran) -> None:
    chosen = ran.one(FinalistsChosen)
    best = max(ran.of(TrialFinished), key=lambda event: (event.trial > 0, event.value or 0.0, -event.trial)).trial
    assert chosen.seeds == SEEDS
    assert set(chosen.trials) == {0, 1, best}
    runs = [(event.trial, event.seed) for event in ran.of(FinalistFinished)]
    assert sorted(runs) == sorted((trial, seed) for trial in chosen.trials for seed in SEEDS)
    assert {event.state for event in ran.of(FinalistFinished)} == {"complete"}
    weights = [event.weights for event in ran.of(FinalistFinished)]
    hashes = {weights_hash(read_state(ran.study.folder / str(path))) for path in weights}
    assert len(hashes) == len(runs), "each seed gives another student"
    assert list(ran.study.folder.glob("**/checkpoint.pt")) == []


def test_the_test_split_was_opened_once_after_all_of_them(ran: Ran) -> None:
    opened = ran.ended.index(ran.one(TestOpened))
    last = max(place for place, event in enumerate(ran.ended) if isinstance(event, TrialFinished | FinalistFinished))
    first = min(place for place, event in enumerate(ran.ended) if isinstance(event, Evaluated))
    assert last < opened < first
    labels = tuple(event.label for event in ran.of(Evaluated))
    assert labels == ran.one(TestOpened).subjects
    runs = [f"trial {trial}, seed {seed}" for trial in ran.one(FinalistsChosen).trials for seed in SEEDS]
    assert labels == ("teacher", *runs)


def test_every_model_that_was_tested_has_a_diagnosis(ran: Ran) -> None:
    values = {(event.trial, event.seed): event.value for event in ran.of(FinalistFinished)}
    for event in ran.of(Evaluated):
        assert event.diagnosis is not None
        assert sum(event.diagnosis.counts) == 100
        right = sum(n * share for n, share in zip(event.diagnosis.counts, event.diagnosis.accuracy, strict=True))
        assert right == pytest.approx(100 * event.test)
        if event.subject == "teacher":
            assert event.diagnosis.agreement == 1.0
        else:
            assert event.trial is not None
            assert event.seed is not None
            assert event.validation == values[event.trial, event.seed]


def test_the_winners_best_run_is_exported(ran: Ran) -> None:
    summary = ran.study.status()
    winner = winner_of(finalists_of(summary), summary.direction)
    assert winner is not None
    exported = ran.one(Exported)
    assert exported.trial == winner.trial
    assert exported.seed == winner.seeds[winner.validation.index(max(winner.validation))]
    bundle = load_bundle(ran.study.folder / "bundle")
    weights = ran.study.folder / f"finalists/{exported.trial:04d}-{exported.seed}/best.safetensors"
    assert weights_hash(bundle.model.state_dict()) == weights_hash(read_state(weights))
    assert (bundle.config.trial, bundle.config.seed) == (exported.trial, exported.seed)
    assert bundle.config.seeds is not None
    assert bundle.config.seeds.seeds == SEEDS
    assert bundle.config.seeds.test_mean == pytest.approx(sum(winner.test) / 2)
    found = evaluate(ran.study.folder / "bundle")
    assert found.value == found.recorded == winner.test[winner.seeds.index(exported.seed)]


def test_a_trial_by_its_number_is_the_searchs_own_student(ran: Ran, tmp_path: Path) -> None:
    trial = ran.one(Exported).trial
    bundle = load_bundle(ran.study.export(trial, tmp_path / "own", onnx=False))
    own = ran.study.folder / f"trials/{trial:04d}/best.safetensors"
    assert weights_hash(bundle.model.state_dict()) == weights_hash(read_state(own))
    assert (bundle.config.seed, bundle.config.test) == (None, None), "that student never saw the test split"
    best = load_bundle(ran.study.export(None, tmp_path / "best", onnx=False))
    assert best.config.seed == ran.one(Exported).seed


@pytest.mark.parametrize("override", ["finalists.seeds=3", "finalists.seeds=0", "finalists.top=2", "search.trials=4"])
def test_nothing_more_runs_once_the_test_split_is_open(ran: Ran, override: str) -> None:
    with pytest.raises(StudyError, match="opened its test split at"):
        Study.open("finals", ran.study.folder.parent, [override]).resume()


def test_mlflow_has_it_all_and_a_second_sync_changes_nothing(ran: Ran) -> None:
    looks = []
    for _ in range(2):
        ran.study.sync()
        looks.append(mlflow_runs(str(ran.study.mlflow_uri())))
    assert looks[0] == looks[1]
    (parent,) = [run for run in looks[0].values() if run["tags"].get("autockd.kind") == "study"]
    assert len(looks[0]) == 1 + 3, "finalists' runs have no runs of their own"
    summary = ran.study.status()
    finalists = {finalist.trial: finalist for finalist in finalists_of(summary)}
    none, preset = finalists[0], finalists[1]
    for name, finalist in (("none", none), ("preset", preset)):
        ((_, _, value),) = parent["metrics"][f"test_accuracy_{name}"]
        assert value == pytest.approx(sum(finalist.test) / 2)
    assert "against no distillation, 2 seeds: " in parent["tags"]["mlflow.note.content"]
    assert ran.one(StudyFinished).seconds.keys() >= {"finalists", "evaluate"}


def mlflow_runs(uri: str) -> dict[str, Any]:
    """Everything that MLflow has of the study, as plain data."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("digits")
    found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        found[run.info.run_id] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "tags": dict(run.data.tags),
            "params": dict(run.data.params),
            "metrics": {key: [(p.step, p.timestamp, p.value) for p in points] for key, points in histories.items()},
        }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
