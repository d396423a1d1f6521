from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sample_records import epoch_record

from autockd import __version__
from autockd.config.loading import parse_study
from autockd.config.schema import StudyConfig
from autockd.errors import StudyError
from autockd.history import History, check_data, check_goes_on, moves, with_moves
from autockd.records import (
    EpochFinished,
    Event,
    FinalistsChosen,
    Noted,
    Provenance,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TestOpened,
    TrialFinished,
    TrialStarted,
)

STUDY = """
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
search: {trials: 10, space: {learning_rate: {type: float, low: 0.01, high: 0.3}}}
"""


def study(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "s.yaml", Path.cwd(), overrides)


def provenance(version: str = __version__) -> Provenance:
    return Provenance(
        autockd=version, python="3.11", platform="Linux", host="h", cpus=2, gpus=(), versions={}, git_commit=None
    )


def started(time: float = 1.0, config: StudyConfig | None = None, version: str = __version__) -> StudyStarted:
    return StudyStarted(
        time=time,
        study="s",
        config=(config or study()).model_dump(mode="json"),
        config_hash="c",
        metric="accuracy",
        direction="maximize",
        task_fingerprint="data",
        provenance=provenance(version),
    )


def resumed(time: float, *overrides: str) -> StudyResumed:
    return StudyResumed(time=time, config=study(*overrides).model_dump(mode="json"), provenance=provenance())


def trial_began(time: float, number: int = 0) -> TrialStarted:
    return TrialStarted(
        time=time, trial=number, role="sampled", method="kd", params={}, config={}, fingerprint="", conventions=""
    )


def ended(time: float, number: int = 0) -> TrialFinished:
    return TrialFinished(time=time, trial=number, state="complete", value=0.5)


def finished(time: float) -> StudyFinished:
    return StudyFinished(time=time, complete=1, pruned=0, failed=0, best_trial=0, best_value=0.5, seconds={})


def test_an_empty_history_is_false() -> None:
    assert not History()
    assert History([started()])


def test_nothing_changed() -> None:
    assert check_goes_on(History([started()]), study(), "data") == ()
    assert check_goes_on(History([started()]), study()) == (), "nothing is known of the data yet"


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=20",
        "search.trials=5",
        "search.time_budget=2h",
        "resources.parallel_trials=4",
        "resources.address=auto",
        "tracking.experiment=other",
        "note=more",
        "export.onnx=false",
    ],
)
def test_what_changes_no_trial_may_change(override: str) -> None:
    (change,) = check_goes_on(History([started()]), study(override), "data")
    assert change.startswith(override.split("=")[0] + ": ")
    assert " -> " in change


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.space.learning_rate.high=0.5", "search.space.learning_rate.high: 0.3 -> 0.5"),
        ("search.sampler=random", "search.sampler: tpe -> random"),
        ("search.stopping.rule=ladder", "search.stopping.rule: "),
        ("seed=1", "seed: 0 -> 1"),
        ("training.epochs=30", "training.epochs: 200 -> 30"),
        ("teacher.model.depth=32", "teacher.model.depth: 20 -> 32"),
        ("task.validation_fraction=0.3", "task.validation_fraction: "),
        ("search.space.momentum={type: float, low: 0.5, high: 0.9}", "search.space.momentum: None -> {"),
        ("resources.precision=bf16", "resources.precision: auto -> bf16"),
        ("resources.teacher_precision=fp32", "resources.teacher_precision: auto -> fp32"),
        ("method.name=kd", "method."),
    ],
)
def test_what_trials_depend_on_must_stay(override: str, said: str) -> None:
    with pytest.raises(StudyError, match="cannot go on") as error:
        check_goes_on(History([started()]), study(override, "note=x"), "data")
    assert said in str(error.value)
    assert "note" not in str(error.value), "what may change is no reason"


@pytest.mark.parametrize(
    ("before", "override"),
    [
        ("task={source: folder, path: /old/photos}", "task.path=/new/photos"),
        ("task={source: torchvision, dataset: MNIST, root: /old}", "task.root=/new"),
        ("teacher.model.weights=/old/teacher.safetensors", "teacher.model.weights=/new/teacher.safetensors"),
    ],
)
def test_data_and_weights_may_lie_elsewhere_and_are_compared_by_content(before: str, override: str) -> None:
    history, now = History([started(config=study(before))]), study(before, override)
    (change,) = check_goes_on(history, now, "data")
    assert moves(history, now) == (change,)
    assert moves(history, study(before, "note=x")) == ()
    with pytest.raises(StudyError, match="the data set: its fingerprint was data, now it is other"):
        check_goes_on(history, now, "other")


def test_the_weights_of_an_assistant_may_lie_elsewhere_too() -> None:
    model = "assistant={model: {family: cifar_resnet, depth: 14, weights: /old/assistant.safetensors}}"
    before = study("method={name: takd}", model)
    now = study("method={name: takd}", model, "assistant.model.weights=/new/assistant.safetensors")
    (change,) = check_goes_on(History([started(config=before)]), now, "data")
    assert moves(History([started(config=before)]), now) == (change,)


def test_moves_alone_are_taken_over() -> None:
    """Of a finished study: what else is changed of it changes nothing."""
    before = study("task={source: folder, path: /old/photos}")
    history = History([started(config=before)])
    now = study("task={source: folder, path: /new/photos}", "note=x", "export.onnx=false")
    taken = with_moves(history, now)
    assert (taken.task.path, taken.note, taken.export.onnx) == (Path("/new/photos"), before.note, before.export.onnx)
    assert with_moves(history, before) == before


def test_another_test_split_is_refused_before_it_is_opened() -> None:
    history = History([started().model_copy(update={"test_fingerprint": "tested"})])
    assert check_goes_on(history, study(), "data", "tested") == ()
    assert check_goes_on(History([started()]), study(), "data", "tested") == (), "older ledgers do not have it"
    with pytest.raises(StudyError, match="its test split: that had tested, now it has other"):
        check_goes_on(history, study(), "data", "other")


def test_another_data_set_is_refused() -> None:
    with pytest.raises(StudyError, match="the data set: its fingerprint was data, now it is other"):
        check_goes_on(History([started()]), study(), "other")


def test_another_version_is_refused() -> None:
    with pytest.raises(StudyError, match=r"begun with autockd 0\.0\.1"):
        check_goes_on(History([started(version="0.0.1")]), study(), "data")


def test_the_last_configuration_counts() -> None:
    history = History([started(), resumed(5.0, "search.trials=20")])
    assert history.config.search.trials == 20
    assert check_goes_on(history, study("search.trials=20"), "data") == ()


def test_what_was_told_last_counts() -> None:
    told = [TestOpened(time=time, subjects=("best",), test_fingerprint=str(time)) for time in (3.0, 9.0)]
    assert History([started(), *told]).test_opened == told[1]


def test_no_more_trials_once_the_test_split_was_opened() -> None:
    history = History([started(), TestOpened(time=3.0, subjects=("best",))])
    assert check_goes_on(history, study(), "data") == ()
    with pytest.raises(StudyError, match="opened its test split at"):
        check_goes_on(history, study("search.trials=11"), "data")
    assert check_goes_on(history, study("search.trials=5"), "data") == ("search.trials: 10 -> 5",), (
        "fewer chose nothing"
    )


def test_a_field_that_a_later_version_adds_is_no_change() -> None:
    old = started().config
    del old["search"]["stopping"], old["resources"]["hang_factor"]
    event = started().model_copy(update={"config": old})
    assert check_goes_on(History([event]), study(), "data") == ()


@pytest.mark.parametrize(
    ("events", "is_finished"),
    [
        ([started()], False),
        ([started(), finished(2.0)], True),
        ([started(), finished(2.0), resumed(3.0)], False),
        ([started(), resumed(2.0), finished(3.0)], True),
    ],
)
def test_a_study_is_finished_until_it_goes_on(events: list[Event], is_finished: bool) -> None:
    assert History(events).is_finished == is_finished


def test_the_time_of_the_search_leaves_out_what_was_before_and_between() -> None:
    parts: list[Any] = [
        started(0.0),
        *(trial_began(100.0), ended(160.0)),
        resumed(1000.0),
        *(trial_began(1040.0, 1), ended(1050.0, 1)),
        finished(2000.0),
    ]
    assert History(parts).arm_seconds("") == 70.0
    assert History().arm_seconds("") == 0.0


def test_the_time_of_a_part_counts_in_which_trials_only_went_on() -> None:
    """A machine that is taken away once an hour, with epochs of half an hour: no trial starts in its later parts."""
    record = epoch_record(1, train_seconds=1500.0, evaluate_seconds=300.0)
    told: list[Any] = [started(0.0), trial_began(0.0), EpochFinished(time=1800.0, trial=0, record=record)]
    for part in range(1, 6):
        began = 3300.0 * part
        told += [resumed(began), Noted(time=began + 20.0, kind="choice", text="2 trials at a time")]
        told.append(EpochFinished(time=began + 1820.0, trial=0, record=record.model_copy(update={"epoch": part + 1})))
    assert History(told).arm_seconds("") == 6 * 1800.0


def compared(*overrides: str) -> StudyConfig:
    return study("compare=[{name: none}, {name: kd}]", "search.time_budget=1h", *overrides)


@pytest.mark.parametrize(
    "override", ["search.trials=11", "search.trials=5", "search.time_budget=2h", "resources.trial_timeout=5m"]
)
def test_the_budget_of_a_comparison_stays(override: str) -> None:
    history = History([started(config=compared())])
    assert check_goes_on(history, compared(), "data") == ()
    with pytest.raises(StudyError, match="each compared method has its share already"):
        check_goes_on(history, compared(override), "data")


def test_what_is_compared_stays() -> None:
    with pytest.raises(StudyError, match=r"changed:\n  compare"):
        check_goes_on(History([started(config=compared())]), compared("compare=[{name: kd}]"), "data")


def test_the_time_of_each_compared_method() -> None:
    told: list[Any] = [
        started(0.0),
        *(trial_began(100.0), ended(160.0)),
        *(trial_began(170.0, 10).model_copy(update={"arm": "kd"}), ended(180.0, 10)),
        resumed(1000.0),
        *(trial_began(1040.0, 11).model_copy(update={"arm": "kd"}), ended(1050.0, 11)),
    ]
    history = History(told)
    assert history.arms == {"", "kd"}
    assert (history.arm_seconds(""), history.arm_seconds("kd"), history.arm_seconds("dist")) == (60.0, 20.0, 0.0)


@pytest.mark.parametrize("override", ["finalists.seeds=5", "finalists.seeds=0", "finalists.top=1"])
def test_finalists_may_change_until_the_test_split_is_open(override: str) -> None:
    before = started(config=study("finalists.seeds=3"))
    (change,) = check_goes_on(History([before]), study("finalists.seeds=3", override), "data")
    assert change.startswith("finalists.")
    history = History([before, TestOpened(time=3.0, subjects=("teacher",)), finished(4.0)])
    assert check_goes_on(history, study("finalists.seeds=3"), "data") == ()
    assert history.asked_for_more(study("finalists.seeds=3", override)) == override.partition("=")[0]
    with pytest.raises(StudyError, match="opened its test split at"):
        check_goes_on(history, study("finalists.seeds=3", override), "data")


def test_more_time_is_more_only_where_time_ended_the_search() -> None:
    before = started(config=study("search.time_budget=60"))
    cut = History([before, trial_began(1.0), ended(2.0), finished(3.0)])  # 1 of 10 trials
    assert cut.asked_for_more(study("search.time_budget=2h")) == "search.time_budget"
    assert cut.asked_for_more(study("search.time_budget=null")) == "search.time_budget"
    assert cut.asked_for_more(study("search.time_budget=30")) == ""
    whole = History([before, *(trial_began(1.0, number) for number in range(10)), finished(3.0)])
    assert whole.asked_for_more(study("search.time_budget=2h")) == ""


def test_a_machine_that_slept_searched_no_longer() -> None:
    """A laptop that is closed over night, or a clock that is set forward; a long epoch is neither."""
    slept: list[Event] = [started(0.0), trial_began(0.0), ended(1200.0), trial_began(30_000.0, 1), ended(30_060.0, 1)]
    assert History(slept).arm_seconds("") == 600.0 + 600.0 + 60.0
    record = epoch_record(1, train_seconds=3000.0, evaluate_seconds=500.0)
    long: list[Event] = [started(0.0), trial_began(0.0), EpochFinished(time=3600.0, trial=0, record=record)]
    assert History([*long, ended(7200.0)]).arm_seconds("") == 7200.0 - 100.0, "its worker began 100 s after it"


def test_workers_have_to_start_before_the_time_of_a_search_begins() -> None:
    """Of compared methods the first finds them there; the others would lose theirs of a short time."""
    record = epoch_record(1, train_seconds=3.0, evaluate_seconds=1.0)
    told: list[Event] = [started(0.0), trial_began(100.0), trial_began(105.0, 1)]
    told += [Noted(time=107.0, kind="choice", text="x"), EpochFinished(time=120.0, trial=1, record=record)]
    assert History([*told, ended(130.0), ended(131.0, 1)]).arm_seconds("") == 4.0 + 11.0


def test_once_finalists_are_chosen_nothing_more_is_proposed_unless_somebody_asks() -> None:
    config = study("search.time_budget=60", "finalists.seeds=2")
    chosen = FinalistsChosen(time=3.0, trials=(0,), seeds=(1, 2))
    told: list[Event] = [started(config=config), trial_began(1.0), ended(2.0)]
    assert not History(told).has_chosen_finalists(config)
    stopped = History([*told, chosen])
    assert stopped.has_chosen_finalists(config)
    assert not stopped.has_chosen_finalists(study("search.time_budget=2h", "finalists.seeds=2"))
    more = resumed(5.0).model_copy(update={"changes": ("search.trials: 10 -> 20",)})
    assert not History([*told, chosen, more]).has_chosen_finalists(config)
    assert not History([*told, chosen, trial_began(6.0, 1)]).has_chosen_finalists(config)


def test_a_trial_took_its_time_though_its_first_epoch_never_ended() -> None:
    lost = ended(5000.0).model_copy(update={"state": "failed", "value": None, "seconds": 4990.0})
    assert History([started(0.0), trial_began(0.0), lost]).arm_seconds("") == 4990.0


def test_a_compressed_run_took_its_time_though_it_tells_no_epoch() -> None:
    reached = RungReached(time=5000.0, trial=0, rung=0, epochs=9, value=0.5, stopped=False, peers=0, threshold=None)
    told: list[Event] = [started(0.0), trial_began(0.0), reached, ended(5010.0)]
    assert History(told).arm_seconds("") == 5010.0


@pytest.mark.parametrize("seeds", [0, 3])
def test_another_pick_is_refused_once_the_test_split_is_open(seeds: int) -> None:
    before = started(config=study(f"finalists.seeds={seeds}"))
    opened = History([before, TestOpened(time=3.0, subjects=("teacher",))])
    changed = study(f"finalists.seeds={seeds}", "export.pick=parameters <= 2000")
    assert check_goes_on(History([before]), changed, "data") == ("export.pick:  -> parameters <= 2000",)
    with pytest.raises(StudyError, match=r"export.pick: .*go on with that, and have `autockd export` write another"):
        check_goes_on(opened, changed, "data")


def test_a_clock_that_is_set_back_gives_no_time_back() -> None:
    events: list[Event] = [started(1000.0), trial_began(1000.0), ended(1020.0)]
    events += [resumed(500.0), trial_began(500.0, 1), ended(200.0, 1)]
    assert History(events).arm_seconds("") == 20.0


@pytest.mark.parametrize(
    ("data", "test", "said"), [("data", "t", ""), ("other", "t", "data set"), ("data", "u", "test")]
)
def test_students_are_exported_with_the_data_that_they_were_trained_on(data: str, test: str, said: str) -> None:
    opened = TestOpened(time=3.0, subjects=("best",), test_fingerprint="t")
    task: Any = SimpleNamespace(fingerprint=data)
    held_out: Any = SimpleNamespace(fingerprint=test)
    if not said:
        check_data(History([started(), opened]), task, held_out)
        return
    with pytest.raises(StudyError, match=f"s: its {said}.* has changed"):
        check_data(History([started(), opened]), task, held_out)


def test_students_of_an_older_ledger_are_exported_with_the_test_split_that_there_is() -> None:
    """It does not say which it was."""
    task: Any = SimpleNamespace(fingerprint="data")
    held_out: Any = SimpleNamespace(fingerprint="t")
    check_data(History([started()]), task, held_out)
    check_data(History([started(), TestOpened(time=3.0, subjects=("best",))]), task, held_out)
