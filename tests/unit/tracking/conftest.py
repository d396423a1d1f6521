"""A small study as its events: a baseline, a complete, a pruned and a failed trial."""

from __future__ import annotations

import pytest
from sample_records import PROVENANCE, teacher_record

from autockd.records import (
    EpochFinished,
    EpochRecord,
    Evaluated,
    Event,
    FinalistFinished,
    FinalistsChosen,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    "smoothing_start": {"type": "int", "low": 1, "high": 8, "log": True},
    "temperature": {"type": "float", "low": 1.0, "high": 8.0, "log": False},
}


def started_trial(trial: int, method: str, params: dict[str, float], **changes: object) -> TrialStarted:
    values: dict[str, object] = {
        "time": 100.0 + 10 * trial,
        "trial": trial,
        "role": "sampled",
        "method": method,
        "params": params,
        "config": {
            "method": {"name": method, "temperature": 4.0},
            "training": {"learning_rate": 0.2, "batch_size": 32, "epochs": 2, "weight_decay": 1e-4, "momentum": 0.9},
            "student": {"family": "cifar_resnet", "depth": 8, "width": 4},
            "seed": 3,
        },
        "fingerprint": "ab" * 32,
        "conventions": "CE",
    }
    return TrialStarted.model_validate(values | changes)


def finished_epoch(trial: int, epoch: int, metric: float) -> EpochFinished:
    record = EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        metric=metric,
        best_metric=metric,
        best_epoch=epoch,
        loss=1.0 / epoch,
        hard_loss=0.5,
        soft_loss=0.25,
        active_fraction=0.75,
        coefficients={"hard_weight": 0.1, "smoothing": 0.2, "margin": 0.3, "learning_rate": 0.4, "soft_weight": 1.0},
        train_seconds=1.5,
        evaluate_seconds=0.25,
        samples_per_second=900.0,
    )
    return EpochFinished(time=100.0 + 10 * trial + epoch, trial=trial, record=record)


def finished_trial(trial: int, state: str, value: float | None, reason: str = "") -> TrialFinished:
    return TrialFinished.model_validate(
        {
            "time": 105.0 + 10 * trial,
            "trial": trial,
            "state": state,
            "value": value,
            "best_epoch": 2 if value else None,
            "epochs": 2,
            "seconds": 4.5,
            "cpu_seconds": 4.0,
            "gpu_seconds": 1.5,
            "micro_batches": 2,
            "parameters": 4_800,
            "reason": reason,
        }
    )


@pytest.fixture
def study() -> list[Event]:
    return [
        StudyStarted(
            time=90.0,
            study="digits",
            config={"note": "# why", "search": {"space": SPACE, "trials": 4}, "smoke": {"search.trials": 1}},
            config_hash="ef" * 32,
            metric="accuracy",
            direction="maximize",
            task_fingerprint="01" * 32,
            provenance=PROVENANCE.model_copy(update={"versions": {"torch": "2.11"}}),
        ),
        TeacherReady(time=95.0, teacher=teacher_record()),
        started_trial(0, "none", {}, role="baseline"),
        finished_epoch(0, 1, 0.80),
        finished_epoch(0, 2, 0.90),
        finished_trial(0, "complete", 0.90),
        started_trial(1, "continuation", {"learning_rate": 0.1, "smoothing_start": 4}),
        finished_epoch(1, 1, 0.85),
        finished_epoch(1, 2, 0.95),
        finished_trial(1, "complete", 0.95),
        started_trial(2, "continuation", {"learning_rate": 0.01, "smoothing_start": 1}),
        finished_epoch(2, 1, 0.30),
        finished_trial(2, "pruned", 0.30, "below its peers"),
        started_trial(3, "kd", {"learning_rate": 1.0, "temperature": 2.0}),
        finished_trial(3, "failed", None, "the loss is NaN"),
        Evaluated(
            time=200.0,
            subject="baseline",
            label="none",
            trial=0,
            validation=0.90,
            test=0.89,
            parameters=4_800,
            bytes=19_200,
        ),
        StudyFinished(
            time=210.0,
            complete=2,
            pruned=1,
            failed=1,
            best_trial=1,
            best_value=0.95,
            seconds={"search": 100.0, "export": 2.0},
        ),
    ]


@pytest.fixture
def finals(study: list[Event]) -> list[Event]:
    """The same study with finalists: trials 0 and 1, with two fresh seeds each, all at the same moments."""
    values = {(0, 7): 0.80, (1, 7): 0.90, (0, 8): 0.82, (1, 8): 0.94}
    runs = [
        FinalistFinished(
            time=180.0, trial=trial, seed=seed, state="complete", value=value, epochs=2, seconds=4.0, parameters=4_800
        )
        for (trial, seed), value in values.items()
    ]
    tested = [
        Evaluated(
            time=200.0,
            subject="finalist",
            label=f"trial {trial}, seed {seed}",
            trial=trial,
            seed=seed,
            validation=value,
            test=value - 0.02,
            parameters=4_800,
            bytes=19_200,
        )
        for (trial, seed), value in values.items()
    ]
    opened = TestOpened(time=190.0, subjects=tuple(event.label for event in tested))
    chosen = FinalistsChosen(time=170.0, trials=(0, 1), seeds=(7, 8))
    *before, _, end = study
    return [*before, chosen, *runs, opened, *tested, end]
