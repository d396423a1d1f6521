"""A study of several objectives with real Ray, Optuna, onnxruntime and MLflow: costs, front, a student by limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from encoders import SENTENCES, make_tiny_encoder

from autockd.config.loading import parse_study
from autockd.costs import FOLDER, CostMeter, Latency, known_architectures, measure_all
from autockd.data import load_task
from autockd.errors import StudyError
from autockd.export import load_bundle
from autockd.folders import CACHE_ENV
from autockd.records import Event, Noted, TrialFinished
from autockd.report.pareto import pareto_front
from autockd.study import Study
from autockd.summary import StudySummary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

STUDY = """
name: front
seed: 1
task: {source: digits, limit_train: 300, validation_fraction: 0.25, limit_test: 100}
teacher:
  model: {family: cifar_resnet, depth: 8, width: 4}
  training: {epochs: 1, batch_size: 32, learning_rate: 0.1}
student: {model: {family: cifar_resnet, depth: 8, width: 2}}
method: {name: kd}
training: {epochs: 1, batch_size: 32, learning_rate: 0.1}
search:
  trials: 4
  objectives: [latency_ms, parameters]
  space: {student_width: {type: choice, choices: [2, 4]}}
  enqueue: [{student_width: 4}]
resources: {parallel_trials: 1, precision: fp32}
export: {onnx: false, pick: parameters <= 2000}
"""

TEXTS = """
name: texts
task: {source: text, path: pairs.jsonl, validation_fraction: 0.25, max_length: 64}
teacher: {model: {family: encoder, path: base}}
student: {model: {family: encoder}}
method: {name: kd}
search:
  objectives: [latency_ms, latency_ms_batch32]
  enqueue_defaults: false
  space: {student_layers: {type: choice, choices: [1, 3]}}
"""


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory, with_database: Callable[[Path], Path]
) -> Iterator[tuple[Study, StudySummary, list[Event]]]:
    folder = tmp_path_factory.mktemp("front")
    seen: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_ENV, str(folder / "cache"))
        study = Study.create(parse_study(STUDY, "study.yaml", Path.cwd()), with_database(folder / "studies"))
        yield study, study.run(seen.append), seen


Ran = tuple[Study, StudySummary, list[Event]]


def test_every_trial_has_its_costs_and_students_of_a_shape_have_one_latency(ran: Ran) -> None:
    study, summary, seen = ran
    assert [row.state for row in summary.trials] == ["complete"] * 4
    kept = [Latency.model_validate_json(path.read_text()) for path in (study.folder / FOLDER).glob("*.json")]
    latencies = {row.parameters: row.costs["latency_ms"] for row in summary.trials}
    assert len(latencies) == len(kept) == 2
    for row in summary.trials:
        assert list(row.costs) == ["latency_ms", "parameters"]
        assert row.costs["parameters"] == row.parameters
        assert row.costs["latency_ms"] == latencies[row.parameters] > 0
    assert set(latencies.values()) == {latency.milliseconds["latency_ms"] for latency in kept}
    (note,) = [event.text for event in seen if isinstance(event, Noted) and "latency of 2 students" in event.text]
    assert "onnxruntime" in note
    assert "images of 1x8x8" in note


def test_optuna_has_every_objective(ran: Ran) -> None:
    study, summary, _ = ran
    backend = optuna.storages.journal.JournalFileBackend(str(study.folder / "optuna.journal"))
    stored = optuna.load_study(study_name="front", storage=optuna.storages.JournalStorage(backend))
    assert [trial.values for trial in stored.trials[1:]] == [
        [row.value, row.costs["latency_ms"], row.costs["parameters"]] for row in summary.trials[1:]
    ]


def test_the_front_is_drawn_and_kept_in_mlflow(ran: Ran) -> None:
    import mlflow

    study, summary, _ = ran
    data = json.loads((study.folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert data["front"] == [row.trial for row in pareto_front(summary)]
    client = mlflow.MlflowClient(study.mlflow_uri())
    experiment = client.get_experiment_by_name(study.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (whole,) = [run for run in runs if run.data.tags["autockd.kind"] == "study"]
    assert "pareto_front.png" in {file.path for file in client.list_artifacts(whole.info.run_id)}
    costs = {run.data.metrics["student_latency_ms"] for run in runs if run is not whole}
    assert costs == {row.costs["latency_ms"] for row in summary.trials}
    assert all(len(run.data.metrics) <= 15 for run in runs if run is not whole)


def test_the_study_exports_what_it_was_told_to_pick(ran: Ran) -> None:
    _, summary, _ = ran
    assert summary.bundle is not None
    small = [row for row in summary.trials if row.role != "baseline" and (row.parameters or 0) <= 2000]
    picked = max(small, key=lambda row: (row.value or 0.0, -row.trial))
    config = load_bundle(Path(summary.bundle)).config
    assert config.trial == picked.trial
    assert config.test is not None, "the test split was opened for it too"


def test_a_student_is_exported_by_its_limits(ran: Ran, tmp_path: Path) -> None:
    study, summary, _ = ran
    limit = max(row.costs["latency_ms"] for row in summary.trials)
    best = study.export(to=tmp_path / "any", pick=f"latency_ms <= {limit}", onnx=False)
    assert load_bundle(best).config.trial == summary.best_trial
    with pytest.raises(StudyError, match=r"none of 3 trials has latency_ms <= 1e-09; the nearest is trial \d"):
        study.export(to=tmp_path / "none", pick="latency_ms <= 1e-9", onnx=False)


def test_a_study_that_goes_on_measures_nothing_again(ran: Ran) -> None:
    study, summary, _ = ran
    files = {path: path.stat().st_mtime_ns for path in (study.folder / FOLDER).iterdir()}
    assert study.resume().trials == summary.trials
    assert {path: path.stat().st_mtime_ns for path in (study.folder / FOLDER).iterdir()} == files
    ends = [event for event in study.events() if isinstance(event, TrialFinished)]
    assert all(event.costs for event in ends)


def test_encoders_are_measured_on_real_texts_of_medium_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut from the teacher, whose folder alone says what they are made of; pairs, of which there are fewer than 32."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = make_tiny_encoder(tmp_path / "base")
    rows = [{"sentence1": text, "sentence2": SENTENCES[0], "label": place % 2} for place, text in enumerate(SENTENCES)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows * 6)), encoding="utf-8")
    study = parse_study(TEXTS, "study.yaml", tmp_path)
    task, _ = load_task(study.task)
    assert len(task.validation) < 32
    meter = CostMeter(study.search.objectives, tmp_path / FOLDER, base)
    one, three = measure_all(meter, known_architectures(study)[1:], task)
    assert set(one.milliseconds) == {"latency_ms", "latency_ms_batch32"}
    assert 0 < one.milliseconds["latency_ms"] < one.milliseconds["latency_ms_batch32"]
    assert one.samples == three.samples
    assert one.samples.startswith("texts of medium length: tokens are ")
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
