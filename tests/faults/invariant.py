"""What must hold of a study, however often it was killed: nothing lost, nothing repeated, nothing left open."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from tiny import Story

from autockd.export import load_bundle
from autockd.hashing import file_hash
from autockd.models import read_state, weights_hash
from autockd.records import (
    EpochFinished,
    Evaluated,
    Event,
    Exported,
    RungReached,
    StudyFinished,
    StudyStarted,
    TeacherReady,
    TestOpened,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking import events

SomeEvent = TypeVar("SomeEvent")

_MLFLOW = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_OPTUNA = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def of(kind: type[SomeEvent], told: Sequence[Event]) -> list[SomeEvent]:
    return [event for event in told if isinstance(event, kind)]


def acknowledged(ledger: bytes) -> list[str]:
    """The whole lines of a ledger that end trials."""
    lines = ledger.decode().split("\n")[:-1]
    return [line for line in lines if '"event":"trial_finished"' in line]


def check_ledger(folder: Path, seen: Sequence[bytes]) -> None:
    """Whatever the ledger said at any time, it says still: in the same order, once.

    Args:
        folder: the study's.
        seen: the ledger's bytes at some moments before.
    """
    final = (folder / "ledger.jsonl").read_bytes()
    for moment, before in enumerate(seen):
        whole = before[: before.rfind(b"\n") + 1]
        assert final.startswith(whole), f"the ledger no longer begins as it did at look {moment}"
        missing = set(acknowledged(before)) - set(acknowledged(final))
        assert not missing, f"results were lost that were there at look {moment}: {missing}"


def check_trials(told: Sequence[Event], trials: int) -> None:
    """Every trial is told once from its start to its end."""
    started = [event.trial for event in of(TrialStarted, told)]
    assert started == list(range(trials)), f"trials that were started: {started}"
    finished = sorted(event.trial for event in of(TrialFinished, told))
    assert finished == list(range(trials)), f"trials that ended: {finished}"
    for number in range(trials):
        story = [event for event in told if getattr(event, "trial", None) == number]
        story = [e for e in story if isinstance(e, TrialStarted | EpochFinished | RungReached | TrialFinished)]
        kinds = [type(event) for event in story]
        assert kinds[0] is TrialStarted, f"trial {number} begins with {kinds[0].__name__}"
        assert kinds[-1] is TrialFinished, f"trial {number} went on after its end: {kinds}"
        epochs = [event.record.epoch for event in of(EpochFinished, story)]
        assert epochs == list(range(1, len(epochs) + 1)), f"trial {number} has epochs {epochs}"
        rungs = [event.rung for event in of(RungReached, story)]
        assert rungs == sorted(set(rungs)), f"trial {number} was judged at rungs {rungs}"
        stopped = [event.stopped for event in of(RungReached, story)]
        is_pruned = of(TrialFinished, story)[0].state == "pruned"
        assert True not in stopped[:-1], f"trial {number} went on after it was stopped"
        assert is_pruned == (stopped[-1:] == [True]), f"trial {number}: stopped {stopped}, but pruned is {is_pruned}"


def check_stages(told: Sequence[Event]) -> None:
    """What happens once in a study has happened once, the test split's opening above all, and in this order."""
    once = (StudyStarted, TeacherReady, TestOpened, Exported, StudyFinished)
    counts = Counter(type(event) for event in told)
    assert [counts[kind] for kind in once] == [1] * len(once), f"told how often: {counts}"
    places = [next(place for place, event in enumerate(told) if type(event) is kind) for kind in once]
    assert places == sorted(places)
    assert max(place for place, event in enumerate(told) if isinstance(event, TrialFinished)) < places[2]
    (opened,) = of(TestOpened, told)
    labels = [event.label for event in of(Evaluated, told)]
    assert sorted(labels) == sorted(opened.subjects), f"evaluated: {labels}"


def check_bundle(folder: Path, told: Sequence[Event]) -> None:
    """The bundle is whole, is the best trial's, and is the one that the ledger names."""
    complete = [e for e in of(TrialFinished, told) if e.state == "complete"]
    baselines = {event.trial for event in of(TrialStarted, told) if event.role == "baseline"}
    best = max((e for e in complete if e.trial not in baselines), key=lambda e: (e.value or 0.0, -e.trial))
    (exported,) = of(Exported, told)
    (finished,) = of(StudyFinished, told)
    assert exported.trial == finished.best_trial == best.trial
    bundle = load_bundle(folder / "bundle")  # verifies its manifest
    assert file_hash(folder / "bundle" / "manifest.json") == exported.manifest_hash == bundle.manifest_hash
    assert bundle.config.trial == best.trial
    (score,) = [event for event in of(Evaluated, told) if event.trial == best.trial]
    assert (bundle.config.validation, bundle.config.test) == (score.validation, score.test)
    assert best.weights is not None
    theirs = weights_hash(read_state(folder / best.weights))
    assert weights_hash(bundle.model.state_dict()) == theirs, "the bundle's weights are not the best trial's"


def check_optuna(folder: Path, told: Sequence[Event]) -> None:
    """Optuna's journal says of every trial what the ledger says."""
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    (name,) = [event.study for event in of(StudyStarted, told)]
    study = optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))
    story = Story.of(told)
    assert [trial.number for trial in study.trials] == list(range(len(story.params)))
    for trial in study.trials:
        outcome = story.outcomes[trial.number]
        is_baseline = trial.user_attrs.get("role") == "baseline"
        is_avoided = outcome["of_its_point"] and trial.number not in story.rungs
        state = "FAIL" if is_baseline else "PRUNED" if is_avoided else _OPTUNA[outcome["state"]]
        assert trial.state.name == state, f"trial {trial.number}: {trial.state.name}, should be {state}"
        assert trial.params == story.params[trial.number], f"trial {trial.number}: {trial.params}"
        if trial.state.name == "COMPLETE":
            assert trial.value == outcome["value"], f"trial {trial.number}: {trial.value}"
        rungs = {rung: value for rung, _, value, *_ in story.rungs.get(trial.number, [])}
        assert trial.intermediate_values == rungs, f"trial {trial.number}: {trial.intermediate_values}"
        assert trial.user_attrs.get("reason", "") == outcome["reason"], f"trial {trial.number}: {trial.user_attrs}"


def mlflow_runs(uri: str, experiment: str) -> dict[str, dict[str, Any]]:
    """Everything that MLflow has of an experiment's runs, by run id, metrics with their whole history."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    return {
        run.info.run_id: {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "tags": dict(run.data.tags),
            "params": dict(run.data.params),
            "metrics": {
                key: sorted((p.step, p.timestamp, p.value) for p in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
        }
        for run in client.search_runs([found.experiment_id], max_results=5000)
    }


def check_mlflow(runs: dict[str, dict[str, Any]], told: Sequence[Event]) -> None:
    """MLflow has one run for the study and one for each trial, ended as the ledger says, with the same numbers."""
    (study,) = [event.study for event in of(StudyStarted, told)]
    (parent,) = [run for run in runs.values() if run["tags"].get("autockd.study") == study and _is_study(run)]
    assert parent["status"] == "FINISHED"
    children = [run for run in runs.values() if run["tags"].get("autockd.trial_key", "").startswith(f"{study}/")]
    keys = sorted(run["tags"]["autockd.trial_key"] for run in children)
    story = Story.of(told)
    assert keys == sorted(f"{study}/{number}" for number in story.params), f"MLflow has the runs {keys}"
    for run in children:
        number = int(run["tags"]["autockd.trial_key"].rpartition("/")[2])
        outcome = story.outcomes[number]
        assert run["status"] == _MLFLOW[outcome["state"]], f"trial {number} is {run['status']}"
        assert run["tags"]["autockd.state"] == outcome["state"], f"trial {number}: {run['tags']}"
        for name, value in story.params[number].items():
            assert run["params"][name] == str(value), f"trial {number}: {name}"
        best = [value for _, _, value in run["metrics"].get("best_val_accuracy", [])]
        assert best == ([] if outcome["value"] is None else [outcome["value"]]), f"trial {number}: {best}"
        curve = [(step, value) for step, _, value in run["metrics"].get("val_accuracy", [])]
        epochs = [(e.record.epoch, e.record.metric) for e in of(EpochFinished, told) if e.trial == number]
        assert curve == epochs, f"trial {number}: MLflow has the curve {curve}, the ledger {epochs}"


def check_report(folder: Path) -> None:
    """It is there, and says that the study is finished."""
    content = json.loads((folder / "report" / "report.json").read_text())
    assert content["finished"], "the report is that of a study in the middle"
    assert (folder / "report" / "report.html").is_file()


def check_nothing_stays(folder: Path) -> None:
    """No checkpoints, no drafts of killed writers."""
    left = [path for path in folder.rglob("*") if path.name.startswith((".", "checkpoint", "hang"))]
    left = [path for path in left if "ray" not in path.relative_to(folder).parts]
    assert not left, f"left behind: {sorted(str(path.relative_to(folder)) for path in left)}"


def check_undisturbed(told: Sequence[Event], expected: Story) -> None:
    """The trials are those of a study to which nothing happened: same points, same verdicts, same results."""
    found = Story.of(told)
    for number in expected.params:  # the first that differs is the cause of all later differences
        assert found.params[number] == expected.params[number], f"trial {number} has another point"
        assert found.rungs.get(number) == expected.rungs.get(number), f"trial {number} was judged otherwise"
        assert found.outcomes[number] == expected.outcomes[number], f"trial {number} ended otherwise"


def check_invariant(folder: Path, seen: Sequence[bytes], expected: Story) -> None:
    """All of the above but MLflow, for a study that is finished."""
    told = events(folder / "ledger.jsonl")
    check_ledger(folder, seen)
    check_trials(told, len(expected.params))
    check_stages(told)
    check_optuna(folder, told)
    check_bundle(folder, told)
    check_undisturbed(told, expected)
    check_report(folder)
    check_nothing_stays(folder)


def running(told: Sequence[Event], runs: dict[str, dict[str, Any]]) -> int:
    """Trials without an end in the ledger, and runs that MLflow still calls running."""
    story = Story.of(told)
    return len(story.params) - len(story.outcomes) + sum(run["status"] == "RUNNING" for run in runs.values())


def _is_study(run: dict[str, Any]) -> bool:
    return bool(run["tags"].get("autockd.kind") == "study")


def same(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two looks at MLflow differ."""
    return [
        f"{run}: {json.dumps(one.get(run), default=str)} -> {json.dumps(other.get(run), default=str)}"
        for run in {*one, *other}
        if one.get(run) != other.get(run)
    ]
