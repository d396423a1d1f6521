"""A comparison of three methods on real images, with Ray: stopped in its second method, and run on to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config.loading import parse_study
from autockd.errors import Interrupted, StudyError
from autockd.folders import CACHE_ENV
from autockd.records import (
    AssistantReady,
    BankReady,
    EpochFinished,
    Event,
    StudyResumed,
    TeacherReady,
    TrialFinished,
    TrialStarted,
)
from autockd.search.halt import STOP
from autockd.study import Study
from autockd.summary import best_of_arms
from autockd.tracking import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STUDY = """
name: rivals
seed: 5
task: {source: digits, limit_train: 200, validation_fraction: 0.25, limit_test: 60}
teacher:
  model: {family: cifar_resnet, depth: 8, width: 4}
  training: {epochs: 1, batch_size: 32, learning_rate: 0.1}
assistant:
  model: {family: cifar_resnet, depth: 8, width: 3}
  training: {epochs: 1, batch_size: 32, learning_rate: 0.1}
student:
  model: {family: cifar_resnet, depth: 8, width: 2}
compare: [{name: none}, {name: takd}, {name: continuation, granularity: step, smoothing_start: 2}]
training: {epochs: 2, batch_size: 32, learning_rate: 0.1}
search:
  trials: 2
  space: {learning_rate: {type: float, low: 0.01, high: 0.3, log: true}}
resources: {parallel_trials: 1, precision: fp32}
tracking: {enabled: false}
export: {onnx: false}
"""


def test_a_comparison_that_is_stopped_goes_on_with_the_method_it_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    config = parse_study(STUDY, "study.yaml", tmp_path)
    study = Study.create(config, tmp_path / "studies")

    def stop_in_the_second(event: Event) -> None:
        if isinstance(event, EpochFinished) and event.trial == 2:
            (study.folder / STOP).touch()

    with pytest.raises(Interrupted, match="goes on from its checkpoint"):
        study.run(stop_in_the_second)
    before = events(study.folder / "ledger.jsonl")
    assert {event.arm for event in before if isinstance(event, TrialStarted)} == {"none", "takd"}
    with pytest.raises(StudyError, match="each compared method has its share already"):
        Study.open("rivals", tmp_path / "studies", ["search.trials=3"]).resume()

    summary = Study.open("rivals", tmp_path / "studies").resume()
    told = events(study.folder / "ledger.jsonl")
    assert told[: len(before)] == before
    assert sum(isinstance(event, StudyResumed) for event in told) == 1
    started = {event.trial: event for event in told if isinstance(event, TrialStarted)}
    arms = ["none", "none", "takd", "takd", "continuation", "continuation"]
    assert [started[number].arm for number in range(6)] == arms
    assert [started[number].method for number in range(6)] == arms
    assert [started[number].role for number in range(6)] == ["default", "sampled"] * 3
    ends = [event for event in told if isinstance(event, TrialFinished)]
    assert {event.trial: event.state for event in ends} == dict.fromkeys(range(6), "complete")
    assert len(ends) == 6, "no trial ended twice"
    check_what_they_learned_from(told, started)
    assert (summary.asked, summary.finished, list(best_of_arms(summary))) == (6, True, ["none", "takd", "continuation"])
    assert sorted(path.name for path in study.folder.glob("optuna*")) == [
        f"optuna.{arm}.journal" for arm in ("continuation", "none", "takd")
    ]


def check_what_they_learned_from(told: list[Event], started: dict[int, TrialStarted]) -> None:
    """One teacher and one assistant, each with a bank of its own that is full before any trial asks it."""
    (teacher,) = [event.teacher for event in told if isinstance(event, TeacherReady)]
    (assistant,) = [event.assistant for event in told if isinstance(event, AssistantReady)]
    assert assistant.weights_hash != teacher.weights_hash
    assert assistant.parameters < teacher.parameters
    banks = {event.whose: event.bank for event in told if isinstance(event, BankReady)}
    assert set(banks) == {"teacher", "assistant"}
    assert banks["teacher"].key != banks["assistant"].key
    assert [bank.filled for bank in banks.values()] == [bank.entries for bank in banks.values()]
    for event in told:
        if isinstance(event, TrialFinished):
            asked = 0 if started[event.trial].arm == "none" else 2 * 150
            assert (event.bank_hits, event.bank_misses) == (asked, 0)
