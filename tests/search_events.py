"""A search of thirty trials as its events, with the course of a real one: most complete, some stopped, some failed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

from sample_records import PROVENANCE, teacher_record

from autockd.config import StudyConfig
from autockd.hashing import content_hash
from autockd.records import (
    EpochFinished,
    EpochRecord,
    Evaluated,
    Event,
    RungReached,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TrialFinished,
    TrialStarted,
)

START = 1_760_000_000.0
NAME = "digits-search"
TRIALS, EPOCHS = 30, 9
SPACE: dict[str, dict[str, Any]] = {
    "smoothing_start": {"type": "int", "low": 1, "high": 40, "log": True},
    "schedule_fraction": {"type": "float", "low": 0.25, "high": 1.0},
    "smoothing_shape": {"type": "choice", "choices": ["linear", "cosine", "exponential"]},
    "hard_loss_ramp": {"type": "float", "low": 0.3, "high": 1.0},
    "soft_loss_weight": {"type": "float", "low": 0.3, "high": 3.0, "log": True},
    "margin_mode": {"type": "choice", "choices": ["none", "dead_zone"]},
    "margin": {"type": "float", "low": 0.01, "high": 0.99, "log": True, "when": {"margin_mode": "dead_zone"}},
    "learning_rate": {"type": "float", "low": 0.05, "high": 0.3, "log": True},
}
STUDY = StudyConfig.model_validate(
    {
        "name": NAME,
        "note": "Does a **slow schedule** help a student of 4,934 parameters?",
        "task": {"source": "digits"},
        "teacher": {"model": {"family": "cifar_resnet", "depth": 20}},
        "student": {"model": {"family": "cifar_resnet", "depth": 8, "width": 4}},
        "search": {"trials": TRIALS, "space": SPACE, "stopping": {"rule": "fraction"}},
    }
)
TRAINING = {"learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 32, "momentum": 0.9, "epochs": EPOCHS}


def search_events(seed: int = 0) -> list[Event]:
    """A finished study: one baseline, 29 points of the space."""
    chance = random.Random(seed)
    events: list[Event] = [_study(), _teacher()]
    for trial in range(TRIALS):
        events += _trial(trial, chance)
    return [*events, *_end(events)]


def _study() -> StudyStarted:
    config = json.loads(STUDY.model_dump_json())
    return StudyStarted(
        time=START,
        study=NAME,
        config=config,
        config_hash=content_hash(config),
        metric="accuracy",
        direction="maximize",
        task_fingerprint="01" * 32,
        provenance=PROVENANCE,
    )


def _teacher() -> TeacherReady:
    return TeacherReady(time=START + 20, teacher=teacher_record(metric=0.981))


def _point(chance: random.Random) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for name, dimension in SPACE.items():
        if any(point.get(other) != value for other, value in dimension.get("when", {}).items()):
            continue
        if dimension["type"] == "choice":
            point[name] = chance.choice(dimension["choices"])
        elif dimension.get("log"):
            point[name] = math.exp(chance.uniform(math.log(dimension["low"]), math.log(dimension["high"])))
        else:
            point[name] = chance.uniform(dimension["low"], dimension["high"])
        if dimension["type"] == "int":
            point[name] = round(point[name])
    return point


def _goodness(point: dict[str, Any]) -> float:
    if not point:
        return 0.949
    start, length = math.log(point["smoothing_start"] / 8), point["schedule_fraction"] - 0.6
    rate, ramp = math.log(point["learning_rate"] / 0.12), point["hard_loss_ramp"] - 0.7
    return 0.972 - 0.006 * start**2 - 0.08 * length**2 - 0.012 * rate**2 - 0.02 * ramp**2


def _trial(trial: int, chance: random.Random) -> Iterator[Event]:
    began = START + 30 + 12.0 * trial
    point = _point(chance) if trial else {}
    method = "continuation" if point else "none"
    yield TrialStarted(
        time=began,
        trial=trial,
        role="sampled" if point else "baseline",
        method=method,
        params=point,
        config={
            "method": {"name": method},
            "training": TRAINING | {name: value for name, value in point.items() if name in TRAINING},
            "student": {"family": "cifar_resnet", "depth": 8, "width": 4},
            "seed": 0,
        },
        fingerprint=f"{trial:064x}",
        conventions="CE",
    )
    if trial % 14 == 6:
        yield TrialFinished(time=began + 3, trial=trial, state="failed", reason="the loss is NaN", seconds=3.0)
        return
    final = _goodness(point) + chance.gauss(0, 0.002)
    is_stopped = trial > 8 and final < 0.955
    epochs = 3 if is_stopped else EPOCHS
    curve = [final - 0.25 * math.exp(-0.6 * epoch) + chance.gauss(0, 0.002) for epoch in range(1, epochs + 1)]
    for epoch in range(1, epochs + 1):
        yield EpochFinished(time=began + epoch, trial=trial, record=_epoch(epoch, curve[:epoch], point))
    if is_stopped:
        yield _rung(trial, began, curve)
    yield TrialFinished(
        time=began + epochs + 0.5,
        trial=trial,
        state="pruned" if is_stopped else "complete",
        value=max(curve),
        best_epoch=curve.index(max(curve)) + 1,
        epochs=epochs,
        seconds=epochs + 0.5,
        cpu_seconds=epochs + 0.25,
        parameters=4_934,
        reason="rung 2, at epoch 3: below its peers" if is_stopped else "",
        rung=2 if is_stopped else None,
    )


def _epoch(epoch: int, curve: list[float], point: dict[str, Any]) -> EpochRecord:
    phi = min(1.0, epoch / (EPOCHS * point.get("schedule_fraction", 1.0)))
    return EpochRecord(
        epoch=epoch,
        step=25 * epoch,
        metric=curve[-1],
        best_metric=max(curve),
        best_epoch=curve.index(max(curve)) + 1,
        loss=2.3 * math.exp(-0.4 * epoch),
        hard_loss=2.0 * math.exp(-0.4 * epoch),
        soft_loss=0.3 * math.exp(-0.2 * epoch) if point else None,
        active_fraction=0.9 if point else None,
        coefficients={"hard_weight": epoch / EPOCHS, "smoothing": phi, "margin": 0.1, "learning_rate": 0.1 / epoch},
        train_seconds=0.8,
        evaluate_seconds=0.1,
        samples_per_second=1_100.0,
    )


def _rung(trial: int, began: float, curve: list[float]) -> RungReached:
    return RungReached(
        time=began + 3.2,
        trial=trial,
        rung=2,
        epochs=3,
        value=max(curve),
        peers=6,
        threshold=0.93,
        stopped=True,
        reason="rung 2, at epoch 3: below its peers",
    )


def _end(events: list[Event]) -> Iterator[Event]:
    ends = [event for event in events if isinstance(event, TrialFinished)]
    best = max((end for end in ends if end.state == "complete" and end.trial), key=lambda end: end.value or 0.0)
    assert best.value is not None, "a complete trial has a value"
    last = max(event.time for event in events)
    for moment, (subject, label, trial, value, parameters) in enumerate(
        [
            ("teacher", "teacher", None, 0.981, 269_434),
            ("baseline", "none", 0, 0.949, 4_934),
            ("best", "best", best.trial, best.value, 4_934),
        ]
    ):
        yield Evaluated.model_validate(
            {
                "time": last + 1 + moment,
                "subject": subject,
                "label": label,
                "trial": trial,
                "validation": value,
                "test": value - 0.012,
                "parameters": parameters,
                "bytes": 4 * parameters,
            }
        )
    states = [end.state for end in ends]
    yield StudyFinished(
        time=last + 5,
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        best_trial=best.trial,
        best_value=best.value,
        seconds={"teacher": 20.0, "search": 360.0, "total": 395.0},
    )
