"""The search of `search_events` with all that a report can tell: a preset, another baseline, fresh seeds, diagnoses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from search_events import search_events

from autockd.records import (
    Diagnosis,
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    Noted,
    RungReached,
    StudyFinished,
    StudyStarted,
    TestOpened,
    TrialFinished,
    TrialStarted,
)

SEEDS = (1001, 1002, 1003, 1004, 1005)
CLASSES = tuple(f"digit {number}" for number in range(10))
BINS = 15


def report_events(seeds: tuple[int, ...] = SEEDS, gain: float = 0.02) -> list[Event]:
    """A finished study with finalists.

    Args:
        seeds: fresh seeds of each finalist; none leaves the search's own evaluations.
        gain: how much better distilled students are, on the test split, than the one without a teacher.
    """
    history = [_with_roles(event) for event in search_events()]
    if not seeds:
        return history
    last = max(event.time for event in history)
    kept = [event for event in history if not isinstance(event, Evaluated | StudyFinished)]
    end = next(event for event in history if isinstance(event, StudyFinished))
    stages = {**end.seconds, "finalists": 210.0, "evaluate": 4.0, "export": 3.0, "total": 610.0}
    added = list(_finalists(kept, seeds, gain, last))
    best = Exported(time=last + 300, trial=end.best_trial or 0, seed=seeds[0], bundle="bundle", manifest_hash="ef" * 32)
    return [*kept, *added, best, end.model_copy(update={"time": last + 301, "seconds": stages})]


def _with_roles(event: Event) -> Event:
    """The first point is the preset, the third trial another baseline; the study knows its classes."""
    if isinstance(event, StudyStarted):
        return event.model_copy(update={"classes": CLASSES})
    if isinstance(event, TrialStarted) and event.trial == 1:
        return event.model_copy(update={"role": "default"})
    if isinstance(event, TrialStarted) and event.trial == 2:
        return event.model_copy(update={"role": "baseline", "method": "kd", "params": {}})
    return event


def _finalists(history: list[Event], seeds: tuple[int, ...], gain: float, last: float) -> Iterator[Event]:
    chance = random.Random(1)
    starts = {event.trial: event for event in history if isinstance(event, TrialStarted)}
    ends = {event.trial: event for event in history if isinstance(event, TrialFinished) and event.state == "complete"}
    sampled = sorted((n for n in ends if starts[n].role == "sampled"), key=lambda n: -(ends[n].value or 0.0))
    chosen = sorted({0, 1, 2, *sampled[:3]})
    luck = {seed: chance.gauss(0, 0.004) for seed in seeds}
    tests: dict[tuple[int, int], tuple[float, float]] = {}
    for trial in chosen:
        for seed in seeds:
            validation = (ends[trial].value or 0.0) - 0.004 + luck[seed] + chance.gauss(0, 0.002)
            base = 0.94 + (gain if starts[trial].method == "continuation" else 0.3 * gain * (trial == 2))
            tests[trial, seed] = validation, base + luck[seed] + chance.gauss(0, 0.0025)
            yield FinalistFinished(
                time=last + 10,
                trial=trial,
                seed=seed,
                state="complete",
                value=validation,
                best_epoch=8,
                epochs=9,
                seconds=9.0 + chance.random(),
                cpu_seconds=9.0,
                parameters=4_934,
                costs={"latency_ms": 0.21, "parameters": 4934.0},
                weights=f"finalists/{trial}-{seed}/best.safetensors",
            )
    labels = tuple(f"trial {trial}, seed {seed}" for trial, seed in tests)
    yield TestOpened(time=last + 20, subjects=("teacher", *labels))
    yield evaluated(last + 21, "teacher", "teacher", None, None, 0.981, 0.974, chance)
    for (trial, seed), (validation, test) in tests.items():
        yield evaluated(
            last + 22,
            "finalist",
            f"trial {trial}, seed {seed}",
            trial,
            seed,
            validation,
            test,
            chance,
            parameters=4_934,
        )
    yield Noted(time=last + 23, kind="choice", text="the test split was opened for 6 finalists with 5 seeds each")


def evaluated(
    time: float,
    subject: str,
    label: str,
    trial: int | None,
    seed: int | None,
    validation: float,
    test: float,
    chance: random.Random,
    parameters: int = 269_434,
) -> Evaluated:
    return Evaluated.model_validate(
        {
            "time": time,
            "subject": subject,
            "label": label,
            "trial": trial,
            "seed": seed,
            "validation": validation,
            "test": test,
            "parameters": parameters,
            "bytes": 4 * parameters,
            "diagnosis": diagnosis(test, chance, is_teacher=subject == "teacher"),
        }
    )


def diagnosis(test: float, chance: random.Random, *, is_teacher: bool) -> Diagnosis:
    """Overconfident in the middle, with most samples in the last bin."""
    counts = [0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 22, 45, 420]
    confidence = [(place + 0.5) / BINS if count else 0.0 for place, count in enumerate(counts)]
    accuracy = [max(0.0, share - chance.uniform(0, 0.12)) if share else 0.0 for share in confidence]
    gap = sum(abs(a - b) * n for a, b, n in zip(accuracy, confidence, counts, strict=True)) / sum(counts)
    shares = [min(1.0, test + chance.gauss(0, 0.02)) for _ in CLASSES]
    same: list[Any] = (
        [1.0] * len(CLASSES) if is_teacher else [min(1.0, s + chance.uniform(-0.02, 0.02)) for s in shares]
    )
    return Diagnosis(
        ece=gap,
        confidence=tuple(confidence),
        accuracy=tuple(accuracy),
        counts=tuple(counts),
        class_accuracy=tuple(shares),
        class_agreement=tuple(same),
        agreement=sum(same) / len(same),
    )


def with_rungs(history: list[Event]) -> list[Event]:
    """Rungs of every trial, as a study has them whose stopping judges all."""
    found: list[Event] = []
    for event in history:
        found.append(event)
        if isinstance(event, TrialFinished) and event.state == "complete" and event.trial > 8:
            found.insert(
                -1,
                RungReached(
                    time=event.time - 1,
                    trial=event.trial,
                    rung=2,
                    epochs=3,
                    value=event.value or 0.0,
                    peers=event.trial - 1,
                    threshold=0.93,
                    stopped=False,
                ),
            )
    return found
