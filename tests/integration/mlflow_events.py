"""A small study as its events, and what MLflow has of it: for the tests that write to a real MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sample_records import PROVENANCE, teacher_record

from autockd.hashing import content_hash
from autockd.records import (
    BankReady,
    BankRecord,
    EpochFinished,
    EpochRecord,
    Evaluated,
    Event,
    Exported,
    PrecisionChoice,
    PrecisionChosen,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking import Ledger, MlflowSink

CANARY = "c4nary-Hunter2"
NAME = "digits-demo"
START = 1_760_000_000.0
STATES = ("complete", "complete", "pruned", "failed")
EPOCHS = 3


def opening(name: str = NAME) -> list[Event]:
    config = {
        "name": name,
        "note": f"# Why\nsee http://ada:{CANARY}@wiki/page",
        "tracking": {"uri": f"http://ada:{CANARY}@mlflow:5000", "enabled": True},
        "search": {
            "trials": 4,
            "space": {
                "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
                "smoothing_start": {"type": "int", "low": 1, "high": 8, "log": True},
            },
        },
        "long": "x" * 10_000,
        **{f"extra_{k}": k for k in range(120)},
    }
    provenance = PROVENANCE.model_copy(update={"versions": {"torch": "2.11.0"}, "git_commit": "c0ffee"})
    teacher = teacher_record(metric=0.985)
    choice = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="1.1x faster")
    bank = BankRecord(key="k", entries=9, filled=9, hits=0, misses=9, seconds=1.5, checked=4, max_difference=0.0)
    return [
        StudyStarted(
            time=START,
            study=name,
            config=config,
            config_hash=content_hash(config),
            metric="accuracy",
            direction="maximize",
            task_fingerprint="01" * 32,
            provenance=provenance,
        ),
        TeacherReady(time=START + 1, teacher=teacher),
        BankReady(time=START + 2, bank=bank),
        PrecisionChosen(time=START + 3, choice=choice),
    ]


def epoch_of(trial: int, epoch: int, time: float) -> EpochFinished:
    metric = 0.5 + 0.1 * epoch + 0.01 * trial
    record = EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        metric=metric,
        best_metric=metric,
        best_epoch=epoch,
        loss=float("nan") if trial == 3 else 1 / (3 * epoch),
        hard_loss=0.5,
        soft_loss=None,
        coefficients={"hard_weight": 0.1 * epoch, "smoothing": 0.2, "margin": 0.0, "learning_rate": 0.1},
        train_seconds=0.3,
        evaluate_seconds=0.1,
        samples_per_second=3000.0,
    )
    return EpochFinished(time=time, trial=trial, record=record)


def trial_of(trial: int, epochs: int = EPOCHS) -> list[Event]:
    begin = START + 10 * (trial + 1)
    state = STATES[trial % 4]
    config = {
        "method": {"name": "continuation", "smoothing_start": 4},
        "training": {"learning_rate": 0.2, "batch_size": 32, "epochs": epochs, "weight_decay": 1e-4, "momentum": 0.9},
        "student": {"family": "cifar_resnet", "depth": 8, "width": 4},
        "seed": 0,
    }
    start = TrialStarted(
        time=begin,
        trial=trial,
        role="sampled",
        method="continuation",
        params={"learning_rate": 0.01 * (trial + 1), "smoothing_start": 4},
        config=config,
        fingerprint="ab" * 32,
        conventions="CE",
    )
    curve = [epoch_of(trial, epoch, begin + epoch / 2) for epoch in range(1, epochs + 1)]
    end = TrialFinished(
        time=begin + epochs / 2 + 0.1,
        trial=trial,
        state=state,  # type: ignore[arg-type]
        value=None if state == "failed" else curve[-1].record.metric,
        best_epoch=epochs,
        epochs=epochs,
        seconds=epochs / 2,
        parameters=4_800,
        reason={"failed": f"OSError: http://ada:{CANARY}@host", "pruned": "below its peers"}.get(state, ""),
    )
    return [start, *curve, end]


def closing(trials: int) -> list[Event]:
    end = START + 10 * (trials + 2)
    final = Evaluated(
        time=end + 1,
        subject="best",
        label="continuation",
        trial=1,
        validation=0.9,
        test=0.89,
        parameters=4_800,
        bytes=19_200,
    )
    seconds = {"teacher": 20.0, "search": 50.0}
    return [
        TestOpened(time=end, subjects=("best",)),
        final,
        Exported(time=end + 2, trial=1, bundle="bundle", manifest_hash="23" * 32),
        StudyFinished(time=end + 3, complete=2, pruned=1, failed=1, best_trial=1, best_value=0.81, seconds=seconds),
    ]


def whole_study(trials: int = 4, epochs: int = EPOCHS, name: str = NAME) -> list[Event]:
    middle = [event for trial in range(trials) for event in trial_of(trial, epochs)]
    return [*opening(name), *middle, *closing(trials)]


def until_end_of(trial: int, events: Sequence[Event]) -> int:
    """Position of a trial's last event: what comes before it is a study in the middle of that trial."""
    return next(n for n, event in enumerate(events) if isinstance(event, TrialFinished) and event.trial == trial)


def drive(uri: str, ledger: Path, name: str) -> None:
    """A driver that tells MLflow a whole study, and leaves a list of what went wrong beside its ledger."""
    sink = MlflowSink(uri, "digits", name, ledger=ledger, interval=0.05)
    sink.start()
    with Ledger(ledger) as book:
        for event in whole_study(name=name):
            book.append(event)
            sink.submit(event)
            time.sleep(0.05)
        summary = sink.close(timeout=60)
    ledger.with_name("summary.txt").write_text(
        f"{summary.missed} missed, {summary.errors} errors: {summary.last_error}"
    )


def client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def write(path: Path, events: Sequence[Event]) -> Path:
    with Ledger(path) as ledger:
        for event in events:
            ledger.append(event)
    return path


def runs_of(uri: str, experiment: str = "digits") -> Iterator[Any]:
    mlflow = client(uri)
    found = mlflow.get_experiment_by_name(experiment)
    if found is not None:
        yield from mlflow.search_runs([found.experiment_id], max_results=1000)


def dump(uri: str, *, ids: bool = True, experiment: str = "digits") -> dict[str, Any]:
    """Everything in the experiment, without run ids where two databases are compared; a NaN equals itself as text."""
    mlflow = client(uri)
    content: dict[str, Any] = {}
    for run in runs_of(uri, experiment):
        data, info = run.data, run.info
        tags = {key: value for key, value in data.tags.items() if ids or key != "mlflow.parentRunId"}
        history = {
            key: [(p.step, p.timestamp, repr(p.value)) for p in mlflow.get_metric_history(info.run_id, key)]
            for key in data.metrics
        }
        key = tags.get("autockd.trial_key", tags["autockd.study"])
        assert key not in content, "a run for every trial, and one for the study"
        facts = (info.run_name, info.status, info.start_time, info.end_time, info.run_id if ids else None)
        content[key] = (facts, data.params, tags, history)
    return content


def differences(content: Mapping[str, Any], events: Sequence[Event], name: str = NAME) -> list[str]:
    """What a dump says of a whole study that its events do not, or the other way round."""
    content = {key: value for key, value in content.items() if key.split("/")[0] == name}
    wanted = {name: _study_as_told(events)}
    for start in events:
        if isinstance(start, TrialStarted):
            wanted[f"{name}/{start.trial}"] = _trial_as_told(start, events)
    found = [f"{key} is there or missing" for key in content.keys() ^ wanted.keys()]
    for key in content.keys() & wanted.keys():
        (_, status, began, ended, _), params, tags, history = content[key]
        facts = {
            "status": status,
            "time": (began, ended),
            "params": {name: params.get(name) for name in wanted[key]["params"]},
            "state": tags["autockd.state"],
            "reason": tags.get("autockd.reason", ""),
            "curves": {name: history.get(name, []) for name in wanted[key]["curves"]},
        }
        found += [
            f"{key}: {fact} is {facts[fact]}, not {value}"
            for fact, value in wanted[key].items()
            if facts[fact] != value
        ]
    return found


def _trial_as_told(start: TrialStarted, events: Sequence[Event]) -> dict[str, Any]:
    curve = [event for event in events if isinstance(event, EpochFinished) and event.trial == start.trial]
    (end,) = [event for event in events if isinstance(event, TrialFinished) and event.trial == start.trial]
    points = [(event.record.epoch, round(event.time * 1000), event.record) for event in curve]
    return {
        "status": {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}[end.state],
        "time": (round(start.time * 1000), round(end.time * 1000)),
        "params": {name: str(value) for name, value in start.params.items()},
        "state": end.state,
        "reason": end.reason.replace(f"ada:{CANARY}", "***"),
        "curves": {
            "val_accuracy": [(epoch, time, repr(record.metric)) for epoch, time, record in points],
            "loss": [(epoch, time, repr(record.loss)) for epoch, time, record in points],
            "learning_rate": [
                (epoch, time, repr(record.coefficients["learning_rate"])) for epoch, time, record in points
            ],
        },
    }


def _study_as_told(events: Sequence[Event]) -> dict[str, Any]:
    (start,) = [event for event in events if isinstance(event, StudyStarted)]
    (end,) = [event for event in events if isinstance(event, StudyFinished)]
    best, steps = None, []
    for event in events:
        if isinstance(event, TrialFinished):
            if event.state == "complete" and event.value is not None:
                best = max(best or 0.0, event.value)
            steps.append((len(steps) + 1, round(event.time * 1000), repr(best)))
    return {
        "status": "FINISHED",
        "time": (round(start.time * 1000), round(end.time * 1000)),
        "params": {name: str(value) for name, value in start.config.items() if name.startswith("extra_")},
        "state": "complete",
        "reason": "",
        "curves": {"best_so_far": steps, "trials_complete": [(0, round(end.time * 1000), repr(float(end.complete)))]},
    }


def wait_for_an_error(sink: MlflowSink) -> None:
    """Until it has tried to reach MLflow, and could not."""
    deadline = time.monotonic() + 30
    while sink._errors < 1:
        assert time.monotonic() < deadline, "nothing went wrong"
        time.sleep(0.01)
