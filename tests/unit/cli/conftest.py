"""A study of four trials, told by its events: one baseline, one good, one stopped early, one failed."""

from __future__ import annotations

import pytest
from sample_records import PROVENANCE, teacher_record

from autockd.records import (
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
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)

TEACHER = teacher_record(parameters=269_722, bytes=1_090_000, metric=0.985, seconds=12.0)
BANK = BankRecord(key="bb", entries=8478, filled=8478, hits=0, misses=8478, seconds=0.5, checked=16, max_difference=0.0)


def started(trial: int, role: str, method: str, time: float, **params: float) -> TrialStarted:
    return TrialStarted.model_validate(
        {
            "time": time,
            "trial": trial,
            "role": role,
            "method": method,
            "params": params,
            "config": {},
            "fingerprint": f"f{trial}",
            "conventions": "",
        }
    )


def epoch(trial: int, number: int, metric: float, time: float) -> EpochFinished:
    record = EpochRecord(
        epoch=number,
        step=8 * number,
        metric=metric,
        best_metric=metric,
        best_epoch=number,
        loss=1.0,
        hard_loss=1.0,
        train_seconds=0.1,
        evaluate_seconds=0.1,
        samples_per_second=1000.0,
    )
    return EpochFinished(time=time, trial=trial, record=record)


def ended(trial: int, state: str, value: float | None, time: float, reason: str = "") -> TrialFinished:
    return TrialFinished.model_validate(
        {
            "time": time,
            "trial": trial,
            "state": state,
            "value": value,
            "best_epoch": None if value is None else 2,
            "epochs": 2,
            "seconds": 1.5,
            "parameters": 5010,
            "reason": reason,
        }
    )


def evaluated(subject: str, label: str, trial: int | None, validation: float, test: float) -> Evaluated:
    return Evaluated.model_validate(
        {
            "time": 125.0,
            "subject": subject,
            "label": label,
            "trial": trial,
            "validation": validation,
            "test": test,
            "parameters": 269_722 if subject == "teacher" else 5010,
            "bytes": 1_090_000 if subject == "teacher" else 21_340,
        }
    )


@pytest.fixture
def story() -> list[Event]:
    """Begins at 100 s; the four trials end at 111, 112, 113 and 114 s, a fifth of six still runs at the end."""
    return [
        StudyStarted(
            time=100.0,
            study="tiny",
            config={"search": {"trials": 6}},
            config_hash="cc",
            metric="accuracy",
            direction="maximize",
            task_fingerprint="dd",
            provenance=PROVENANCE,
        ),
        Noted(time=101.0, kind="choice", text="2 trials at a time: 2 cores"),
        Noted(time=102.0, kind="warning", text="dead zone: the margin is wide"),
        TeacherReady(time=105.0, teacher=TEACHER),
        BankReady(time=106.0, bank=BANK),
        PrecisionChosen(
            time=107.0,
            choice=PrecisionChoice(
                precision="bf16", channels_last=True, threads=1, device="cpu", reason="bf16: 2.6x faster"
            ),
        ),
        started(0, "baseline", "none", 110.0),
        epoch(0, 1, 0.80, 110.5),
        ended(0, "complete", 0.940, 111.0),
        started(1, "default", "continuation", 110.0, learning_rate=0.2),
        epoch(1, 1, 0.70, 110.5),
        epoch(1, 2, 0.967, 111.5),
        ended(1, "complete", 0.967, 112.0),
        started(2, "sampled", "continuation", 111.0, learning_rate=0.0123456),
        ended(2, "pruned", 0.5, 113.0, "stopped at rung 1"),
        started(3, "sampled", "continuation", 112.0, learning_rate=0.3),
        ended(3, "failed", None, 114.0, "the loss is not finite"),
        started(4, "sampled", "continuation", 113.0, learning_rate=0.1),
        epoch(4, 1, 0.30, 113.5),
    ]


@pytest.fixture
def ending() -> list[Event]:
    """What follows when the search is over."""
    return [
        ended(4, "complete", 0.95, 116.0),
        TestOpened(time=120.0, subjects=("teacher", "none", "best")),
        evaluated("best", "best", 1, 0.967, 0.961),
        evaluated("baseline", "kd", 5, 0.95, 0.944),
        evaluated("baseline", "none", 0, 0.94, 0.9333),
        evaluated("teacher", "teacher", None, 0.985, 0.981),
        Exported(time=126.0, trial=1, bundle="bundle", manifest_hash="ee"),
        StudyFinished(
            time=127.0,
            complete=3,
            pruned=1,
            failed=1,
            best_trial=1,
            best_value=0.967,
            seconds={"teacher": 12.0, "search": 13.0, "total": 29.0},
        ),
    ]


def ran_again(trial: int, seed: int, value: float | None, time: float) -> FinalistFinished:
    return FinalistFinished.model_validate(
        {
            "time": time,
            "trial": trial,
            "seed": seed,
            "state": "failed" if value is None else "complete",
            "value": value,
            "best_epoch": 2,
            "epochs": 2,
            "seconds": 1.5,
            "parameters": 5010,
            "reason": "its worker died" if value is None else "",
        }
    )


@pytest.fixture
def finals(story: list[Event]) -> list[Event]:
    """The story to its end with finalists: trials 0, 1 and 4 with two fresh seeds, one of them failed with one."""
    values = {(0, 7): 0.92, (1, 7): 0.94, (4, 7): 0.90, (0, 8): 0.94, (1, 8): 0.96, (4, 8): None}
    runs = [ran_again(*run, value, 121.0 + place) for place, (run, value) in enumerate(values.items())]
    tested = [
        evaluated("finalist", f"trial {trial}, seed {seed}", trial, value, value - 0.01).model_copy(
            update={"seed": seed}
        )
        for (trial, seed), value in values.items()
        if value is not None
    ]
    return [
        *story,
        ended(4, "complete", 0.95, 116.0),
        FinalistsChosen(time=120.0, trials=(0, 1, 4), seeds=(7, 8)),
        *runs,
        TestOpened(time=130.0, subjects=("teacher", *(event.label for event in tested))),
        evaluated("teacher", "teacher", None, 0.985, 0.981),
        *tested,
    ]
