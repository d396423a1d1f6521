from __future__ import annotations

import pytest

from autockd.records import (
    AssistantReady,
    BankReady,
    BankRecord,
    EpochFinished,
    Event,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TrialFinished,
    TrialStarted,
)
from autockd.tracking.mlflow_fields import curve_keys, outcome_keys
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_runs import RunUpdate


def project(events: list[Event], *, each: bool = False) -> dict[int | None, list[RunUpdate]]:
    projection = Projection()
    taken: list[RunUpdate] = []
    for event in events:
        assert projection.apply(event)
        if each:
            taken += projection.take()
    taken += projection.take()
    runs: dict[int | None, list[RunUpdate]] = {}
    for update in taken:
        runs.setdefault(update.trial, []).append(update)
    return runs


def latest(update: RunUpdate) -> dict[str, float]:
    return {point.key: point.value for point in update.points}


def test_a_trials_params_hold_its_point_and_its_training(study: list[Event]) -> None:
    (update,) = project(study)[1]
    assert update.name == "001 continuation"
    assert update.params == {
        "method": "continuation",
        "seed": "3",
        "learning_rate": "0.1",
        "log10_learning_rate": "-1",
        "weight_decay": "0.0001",
        "batch_size": "32",
        "momentum": "0.9",
        "epochs": "2",
        "student_depth": "8",
        "student_width": "4",
        "smoothing_start": "4",
        "log10_smoothing_start": "0.60206",
        "temperature": "na",
    }


def test_every_trial_has_the_same_params_and_a_baseline_shows_its_own(study: list[Event]) -> None:
    runs = project(study)
    assert len({frozenset(runs[trial][0].params) for trial in range(4)}) == 1
    assert runs[0][0].params["smoothing_start"] == runs[0][0].params["log10_smoothing_start"] == "na"
    assert runs[0][0].params["temperature"] == "4.0"
    assert runs[0][0].params["learning_rate"] == "0.2"


def test_a_trial_has_at_most_15_metric_keys_each_epoch_at_its_step_and_time(study: list[Event]) -> None:
    """This trial has all that there is: every coefficient, loss and cost."""
    (update,) = project(study)[1]
    keys = {point.key for point in update.points}
    assert keys == {*curve_keys("accuracy"), *outcome_keys("accuracy")}
    assert len(keys) == 15
    curve = [point for point in update.points if point.key == "val_accuracy"]
    assert [(p.value, p.step, p.timestamp) for p in curve] == [(0.85, 1, 111_000), (0.95, 2, 112_000)]
    values = latest(update)
    assert (values["hard_weight"], values["smoothing"], values["margin"], values["learning_rate"]) == (
        0.1,
        0.2,
        0.3,
        0.4,
    )
    assert (values["best_val_accuracy"], values["trial_seconds"]) == (0.95, 4.5)
    assert (values["cpu_seconds"], values["gpu_seconds"]) == (4.0, 1.5)
    assert update.tags["autockd.best_epoch"] == "2"
    assert update.tags["autockd.micro_batches"] == "2"


def test_states_and_reasons(study: list[Event]) -> None:
    runs = project(study)
    assert [runs[trial][-1].status for trial in (None, 0, 1, 2, 3)] == [
        "FINISHED",
        "FINISHED",
        "FINISHED",
        "KILLED",
        "FAILED",
    ]
    assert runs[3][0].tags["autockd.reason"] == "the loss is NaN"
    assert runs[2][0].tags["autockd.state"] == "pruned"
    assert runs[2][0].ended == 125_000


def test_the_study_shows_the_best_so_far_by_trial_count(study: list[Event]) -> None:
    (update,) = project(study)[None]
    best = [(point.step, point.value) for point in update.points if point.key == "best_so_far"]
    assert best == [(2, 0.95), (3, 0.95), (4, 0.95)], "the first is a baseline"
    values = latest(update)
    assert values["teacher_val_accuracy"] == 0.98
    assert values["test_accuracy_none"] == 0.89
    assert values["seconds_search"] == 100.0
    seconds = [(point.step, point.value) for point in update.points if point.key == "best_so_far_by_second"]
    assert seconds == [(25, 0.95), (35, 0.95), (45, 0.95)]
    assert update.tags["mlflow.note.content"].endswith("# why")
    assert "trial 1 (continuation)" in update.tags["mlflow.note.content"]
    assert update.params["search.space.learning_rate.log"] == "true"
    assert not [key for key in update.params if key.startswith(("note", "smoke"))]


def test_less_can_be_better(study: list[Event]) -> None:
    study[0] = study[0].model_copy(update={"direction": "minimize"})
    better = next(event for event in study if isinstance(event, TrialFinished) and event.state == "pruned")
    study[study.index(better)] = better.model_copy(update={"state": "complete", "value": 0.30})
    (update,) = project(study)[None]
    assert [point.value for point in update.points if point.key == "best_so_far"] == [0.95, 0.30, 0.30]


def test_one_by_one_and_all_at_once_tell_the_same(study: list[Event]) -> None:
    at_once, one_by_one = project(study), project(study, each=True)
    assert len(one_by_one[1]) == 4
    for trial, (whole,) in at_once.items():
        parts = one_by_one[trial]
        assert tuple(point for part in parts for point in part.points) == whole.points
        assert {key: value for part in parts for key, value in part.tags.items()} == whole.tags
        assert {key: value for part in parts for key, value in part.params.items()} == whole.params
        assert (parts[-1].status, parts[-1].ended, parts[-1].digest) == (whole.status, whole.ended, whole.digest)
        assert [part.digest for part in parts[:-1]] == [None] * (len(parts) - 1)


def test_events_that_come_twice_change_nothing(study: list[Event]) -> None:
    projection = Projection()
    for event in study:
        projection.apply(event)
    projection.take()
    for event in study:
        assert projection.apply(event)
    assert projection.take() == []


def test_an_epoch_trained_again_after_a_crash_is_told_once(study: list[Event]) -> None:
    (again,) = [event for event in study if isinstance(event, EpochFinished) and event.trial == 2]
    position = study.index(again) + 1
    study.insert(position, again.model_copy(update={"time": again.time + 0.5}))
    (update,) = project(study)[2]
    assert [point.step for point in update.points if point.key == "val_accuracy"] == [1]


def test_events_without_a_place_are_refused(study: list[Event]) -> None:
    projection = Projection()
    trial = next(event for event in study if isinstance(event, TrialStarted))
    end = next(event for event in study if isinstance(event, TrialFinished))
    assert not projection.apply(trial)
    assert projection.apply(study[0])
    assert not projection.apply(end)
    assert projection.apply(trial)
    assert projection.apply(end)


def test_an_interrupted_study_leaves_nothing_open_and_can_go_on(study: list[Event]) -> None:
    cut = study.index(next(e for e in study if isinstance(e, TrialFinished) and e.trial == 2))
    projection = Projection()
    for event in study[:cut]:
        projection.apply(event)
    projection.interrupt()
    updates = {update.trial: update for update in projection.take()}
    assert (updates[2].status, updates[2].ended, updates[2].tags["autockd.state"]) == ("KILLED", 121_000, "interrupted")
    assert updates[None].status == "KILLED"
    assert updates[1].status == "FINISHED"

    assert isinstance(study[0], StudyStarted)
    projection.apply(study[0].model_copy(update={"time": 300.0}))
    (update,) = projection.take()
    assert (update.trial, update.status, update.ended) == (None, "RUNNING", None)
    for event in study[cut:]:
        projection.apply(event)
    updates = {update.trial: update for update in projection.take()}
    assert updates[2].tags["autockd.state"] == "pruned"
    assert updates[None].status == "FINISHED"


def test_a_study_begun_anew_under_its_name_is_another_one(study: list[Event]) -> None:
    first, second = Projection(), Projection()
    first.apply(study[0])
    second.apply(study[0].model_copy(update={"time": 91.0}))
    assert first.study == second.study
    assert first.study_id != second.study_id


def reached(trial: int, rung: int, **changes: object) -> RungReached:
    values = {"time": 120.5 + rung, "trial": trial, "rung": rung, "epochs": rung, "value": 0.3, "peers": 4}
    return RungReached.model_validate(values | {"threshold": 0.25, "stopped": False} | changes)


def test_a_stopped_trial_says_where_and_why(study: list[Event]) -> None:
    end = next(event for event in study if isinstance(event, TrialFinished) and event.trial == 2)
    place = study.index(end)
    study[place] = end.model_copy(update={"rung": 2})
    study[place:place] = [
        reached(2, 1, threshold=None, peers=1),
        reached(2, 2, stopped=True, threshold=0.5, reason="below"),
    ]
    (update,) = project(study)[2]
    assert update.status == "KILLED"
    assert update.tags["autockd.state"] == "pruned"
    assert update.tags["autockd.reason"] == "below its peers"
    assert update.tags["autockd.rung"] == "2"
    assert update.tags["autockd.rung_1"] == "0.3 at epoch 1, too few peers to judge, 1 peers: went on"
    assert update.tags["autockd.rung_2"] == "0.3 at epoch 2, 0.5 needed, 4 peers: stopped"


def test_a_study_that_goes_on_is_open_again(study: list[Event]) -> None:
    cut = study.index(next(e for e in study if isinstance(e, TrialFinished) and e.trial == 2))
    assert isinstance(study[0], StudyStarted)
    origin = study[0].provenance.model_copy(update={"host": "grace"})
    again = StudyResumed(time=300.0, config=study[0].config, changes=("search.trials: 4 -> 8",), provenance=origin)
    projection = Projection()
    for event in study[:cut]:
        projection.apply(event)
    projection.interrupt()
    projection.take()
    assert projection.apply(again)
    (update,) = projection.take()
    assert (update.trial, update.status, update.ended) == (None, "RUNNING", None)
    assert update.tags["autockd.state"] == "running"
    assert update.tags["autockd.resumed"] == "1"
    assert update.tags["autockd.changes"] == "search.trials: 4 -> 8"
    assert update.tags["autockd.host"] == "grace"
    for event in study[cut:]:
        projection.apply(event)
    updates = {update.trial: update for update in projection.take()}
    assert updates[None].status == "FINISHED"
    assert updates[None].tags["autockd.state"] == "complete"


def test_a_finished_study_that_goes_on_is_not_finished(study: list[Event]) -> None:
    assert isinstance(study[0], StudyStarted)
    again = StudyResumed(time=300.0, config=study[0].config, provenance=study[0].provenance)
    (update,) = project([*study, again, again.model_copy(update={"time": 400.0})])[None]
    assert (update.status, update.ended, update.tags["autockd.state"]) == ("RUNNING", None, "running")
    assert update.tags["autockd.resumed"] == "2"
    assert "Result" in update.tags["mlflow.note.content"], "what was evaluated stays known"


def test_a_study_of_which_only_baselines_came_through_has_failed(study: list[Event]) -> None:
    end = study[-1]
    assert isinstance(end, StudyFinished)
    study[-1] = end.model_copy(update={"complete": 1, "best_trial": None, "best_value": None})
    (update,) = project(study)[None]
    assert (update.status, update.tags["autockd.state"]) == ("FAILED", "failed")


def test_a_compared_method_and_its_assistant_are_told(study: list[Event]) -> None:
    start, teacher = study[0], study[1]
    assert isinstance(start, StudyStarted)
    assert isinstance(teacher, TeacherReady)
    assistant = teacher.teacher.model_copy(update={"metric": 0.9, "weights_hash": "aa"})
    bank = BankRecord(key="k", entries=9, filled=9, hits=1, misses=2, seconds=0.5, checked=4, max_difference=0.0)
    trial = next(event for event in study if isinstance(event, TrialStarted))
    told: list[Event] = [
        start,
        teacher,
        BankReady(time=95.5, bank=bank),
        AssistantReady(time=96.0, assistant=assistant),
        BankReady(time=96.5, bank=bank.model_copy(update={"filled": 7}), whose="assistant"),
        trial.model_copy(update={"arm": "kd-std"}),
    ]
    runs = project(told)
    (of_study,), (of_trial,) = runs[None], runs[trial.trial]
    metrics = latest(of_study)
    assert (metrics["teacher_val_accuracy"], metrics["assistant_val_accuracy"]) == (0.98, 0.9)
    assert (metrics["bank_filled"], metrics["assistant_bank_filled"]) == (9, 7)
    assert (of_study.tags["autockd.teacher"], of_study.tags["autockd.assistant"]) == ("cd" * 32, "aa")
    assert of_trial.tags["autockd.arm"] == of_trial.params["arm"] == "kd-std"
    assert of_trial.name.endswith(" kd-std")


def test_finalists_are_told_over_their_seeds_in_the_studys_own_run(finals: list[Event]) -> None:
    runs = project(finals)
    assert runs.keys() == {None, 0, 1, 2, 3}, "no runs of their own"
    (update,) = runs[None]
    told = latest(update)
    assert told["val_accuracy_none"] == pytest.approx(0.81)
    assert told["test_accuracy_none"] == pytest.approx(0.79)
    assert told["test_accuracy_best"] == pytest.approx(0.90)
    assert told["test_accuracy_best_sd"] == pytest.approx(0.04 / 2**0.5)
    assert told["finalist_seeds"] == 2
    assert sum(key.startswith(("val_", "test_")) for key in told) == 8
    assert update.tags["autockd.test_opened"].count("; ") == 3


def test_where_methods_are_compared_the_preset_is_that_of_the_winners_method(finals: list[Event]) -> None:
    roles = {0: ("none", "default"), 1: ("continuation", "default")}
    compared = [
        event.model_copy(update=dict(zip(("arm", "role"), roles[event.trial], strict=True)))
        if isinstance(event, TrialStarted) and event.trial in roles
        else event
        for event in finals
    ]
    (update,) = project(compared)[None]
    assert latest(update)["test_accuracy_preset"] == latest(update)["test_accuracy_best"] == pytest.approx(0.90)


def test_the_runs_of_finalists_say_what_fresh_seeds_gave(finals: list[Event]) -> None:
    """The best value of a search is partly luck, and these can be sorted by."""
    runs = project(finals)
    told = {trial: latest(runs[trial][-1]) for trial in (0, 1)}
    assert told[0]["fresh_val_accuracy"] == pytest.approx(0.81)
    assert told[1]["fresh_val_accuracy"] == pytest.approx(0.92)
    assert told[1]["fresh_test_accuracy"] == pytest.approx(0.90)
    assert [runs[trial][-1].tags["autockd.finalist"] for trial in (0, 1)] == ["baseline", "winner"]
    assert runs[1][-1].tags["autockd.fresh_seeds"] == "7, 8"
    assert not any(key.startswith("fresh_") for key in latest(runs[2][-1]))
    assert runs[1][-1].status == "FINISHED"


def test_runs_of_finalists_at_one_moment_are_told_apart(finals: list[Event]) -> None:
    once, each = project(finals)[None][-1], project(finals, each=True)[None]
    assert each[-1].digest == once.digest
    twice = project([*finals, *finals])
    assert twice[None][-1].digest == once.digest
    assert "2 seeds: cannot be told apart: +11.0 points" in twice[None][-1].tags["mlflow.note.content"]
