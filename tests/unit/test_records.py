"""Records: every event goes through a line of JSON and comes back the same."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from autockd.records import (
    EVENTS,
    AssistantReady,
    BankReady,
    BankRecord,
    EpochFinished,
    EpochRecord,
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    FinalistsChosen,
    Noted,
    PrecisionChoice,
    PrecisionChosen,
    Provenance,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TeacherRecord,
    TestOpened,
    TrialFinished,
    TrialStarted,
)


def epoch(**changes: Any) -> EpochRecord:
    fields: dict[str, Any] = {
        "epoch": 2,
        "step": 20,
        "metric": 0.9,
        "best_metric": 0.95,
        "best_epoch": 1,
        "loss": 0.5,
        "hard_loss": 0.4,
        "train_seconds": 1.5,
        "evaluate_seconds": 0.1,
        "samples_per_second": 1000.0,
    }
    return EpochRecord(**(fields | changes))


PROVENANCE = Provenance(
    autockd="0.1.0",
    python="3.11.2",
    platform="Linux",
    host="node-1",
    cpus=2,
    gpus=(),
    versions={"torch": "2.11"},
    git_commit=None,
)

TRIAL = TrialStarted(
    time=5.0,
    trial=0,
    role="sampled",
    method="continuation",
    params={"learning_rate": 1.0, "epochs": 1, "nesterov": True, "hinge": "batch"},
    config={"seed": 0},
    fingerprint="t0",
    conventions="L = CE",
)

TEACHER = TeacherRecord(
    weights_hash="w0",
    weights_path="teacher/w.safetensors",
    parameters=10,
    bytes=40,
    metric=0.98,
    second_moment=7.5,
    origin="trained",
    seconds=3.0,
)

EXAMPLES: list[Event] = [
    StudyStarted(
        time=1.0,
        study="digits",
        config={"search": {"trials": 3}, "note": "a\nb"},
        config_hash="c0",
        metric="accuracy",
        direction="maximize",
        task_fingerprint="f0",
        provenance=PROVENANCE,
    ),
    StudyResumed(time=1.2, config={}, changes=("search.trials: 3 -> 4",), provenance=PROVENANCE),
    Noted(time=1.5, kind="warning", text="dead zone: the margin is 0.1"),
    TeacherReady(time=2.0, teacher=TEACHER),
    AssistantReady(time=2.5, assistant=TEACHER),
    BankReady(
        time=3.0,
        bank=BankRecord(key="k", entries=9, filled=9, hits=1, misses=2, seconds=0.5, checked=4, max_difference=0.0),
    ),
    PrecisionChosen(
        time=4.0,
        choice=PrecisionChoice(precision="bf16", channels_last=True, threads=1, device="cpu", reason="1.8x faster"),
    ),
    TRIAL,
    EpochFinished(time=6.0, trial=0, record=epoch(coefficients={"smoothing": 0.05}, soft_loss=0.1, active_fraction=1)),
    RungReached(time=6.5, trial=0, rung=1, epochs=2, value=0.9, peers=3, threshold=0.95, stopped=True, reason="low"),
    TrialFinished(time=7.0, trial=0, state="complete", value=0.95, best_epoch=1, epochs=2, seconds=3.2),
    FinalistsChosen(time=7.5, trials=(0, 4), seeds=(101, 102)),
    FinalistFinished(time=9.5, trial=0, seed=101, state="complete", value=0.9, weights="finalists/0000-101/best"),
    TestOpened(time=8.0, subjects=("teacher", "best")),
    Evaluated(
        time=9.0, subject="best", label="continuation", trial=0, validation=0.95, test=0.94, parameters=5, bytes=20
    ),
    Exported(time=10.0, trial=0, bundle="bundle", manifest_hash="m0"),
    StudyFinished(
        time=11.0,
        complete=1,
        pruned=0,
        failed=0,
        best_trial=0,
        best_value=0.95,
        seconds={"search": 5.0},
    ),
]

each_event = pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)


def test_there_is_an_example_of_every_event() -> None:
    union = get_args(Event)[0]
    assert {type(event) for event in EXAMPLES} == set(get_args(union))


@each_event
def test_an_event_survives_a_line_of_json(event: Event) -> None:
    line = event.model_dump_json()
    assert "\n" not in line
    back = EVENTS.validate_json(line)
    assert type(back) is type(event)
    assert back == event


@each_event
def test_an_event_names_itself_and_its_moment(event: Event) -> None:
    data = json.loads(event.model_dump_json())
    assert data["event"] == event.event
    assert data["time"] == event.time


@each_event
def test_an_unknown_key_is_refused(event: Event) -> None:
    data = json.loads(event.model_dump_json()) | {"surprise": 1}
    with pytest.raises(ValidationError, match="Extra inputs"):
        EVENTS.validate_python(data)


@each_event
def test_a_record_cannot_change(event: Event) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        event.time = 0.0


def test_parameters_keep_their_types() -> None:
    """Optuna tells 1 from 1.0 and from True."""
    back = EVENTS.validate_json(TRIAL.model_dump_json())
    assert isinstance(back, TrialStarted)
    assert {name: type(value) for name, value in back.params.items()} == {
        "learning_rate": float,
        "epochs": int,
        "nesterov": bool,
        "hinge": str,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_survives(value: float) -> None:
    event = EpochFinished(time=1.0, trial=0, record=epoch(loss=value, soft_loss=value, coefficients={"margin": value}))
    back = EVENTS.validate_json(event.model_dump_json())
    assert isinstance(back, EpochFinished)
    for number in (back.record.loss, back.record.soft_loss, back.record.coefficients["margin"]):
        assert number == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("line", ['{"event": "surprise", "time": 1}', '{"time": 1}', "[]", '{"event": "trial_st'])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        EVENTS.validate_json(line)


def test_a_ledger_from_before_the_store_was_noted_can_be_read() -> None:
    for event in EXAMPLES[:2]:
        data = json.loads(event.model_dump_json())
        del data["tracking_uri"]
        back = EVENTS.validate_python(data)
        assert isinstance(back, StudyStarted | StudyResumed)
        assert back.tracking_uri == ""


def test_a_missing_loss_is_none_and_not_zero() -> None:
    assert epoch().soft_loss is None
    assert epoch().active_fraction is None
