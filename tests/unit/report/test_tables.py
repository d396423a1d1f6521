"""A ledger read as tables: counts, the best trial, and a study at any moment."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from sample_records import PROVENANCE, teacher_record

from autockd.errors import StudyError
from autockd.folders import BUNDLE, CONFIG, LEDGER
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
from autockd.report.studies import list_studies
from autockd.summary import StudySummary, TrialRow, best_trial, summarise
from autockd.tracking import Ledger

TEACHER = teacher_record(origin="given", seconds=0.0)
BANK = BankRecord(key="k", entries=9, filled=4, hits=1, misses=4, seconds=0.1, checked=2, max_difference=0.0)
PRECISION = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="the faster one")


def started(direction: str = "maximize") -> StudyStarted:
    return StudyStarted(
        time=100.0,
        study="digits",
        config={"search": {"trials": 12}},
        config_hash="c",
        metric="accuracy",
        direction=direction,
        task_fingerprint="f",
        provenance=PROVENANCE,
    )


def trial(number: int, role: str = "sampled", time: float = 110.0) -> TrialStarted:
    return TrialStarted(
        time=time,
        trial=number,
        role=role,
        method="continuation",
        params={"learning_rate": 0.1},
        config={},
        fingerprint="t",
        conventions="L = CE",
    )


def epoch(number: int, epochs: int, best: float) -> EpochFinished:
    record = EpochRecord(
        epoch=epochs,
        step=10 * epochs,
        metric=best - 0.01,
        best_metric=best,
        best_epoch=1,
        loss=0.1,
        hard_loss=0.1,
        train_seconds=1.0,
        evaluate_seconds=0.1,
        samples_per_second=10.0,
    )
    return EpochFinished(time=120.0, trial=number, record=record)


def ended(number: int, value: float | None, state: str = "complete", **changes: Any) -> TrialFinished:
    fields: dict[str, Any] = {"best_epoch": 2, "epochs": 3, "seconds": 4.5}
    return TrialFinished(time=130.0, trial=number, state=state, value=value, **(fields | changes))


def evaluated(label: str, test: float, subject: str = "baseline") -> Evaluated:
    return Evaluated(
        time=140.0, subject=subject, label=label, trial=None, validation=0.9, test=test, parameters=9, bytes=36
    )


def summary(*events: Event, direction: str = "maximize") -> StudySummary:
    result = summarise([started(direction), *events])
    assert result is not None
    return result


def row(number: int, value: float | None, role: str = "sampled", state: str = "complete") -> TrialRow:
    return TrialRow(trial=number, role=role, method="kd", params={}, state=state, value=value, started=0.0)


def test_a_ledger_without_a_study_has_no_summary() -> None:
    assert summarise([]) is None
    assert summarise([TestOpened(time=1.0, subjects=())]) is None


def test_a_study_that_has_just_begun() -> None:
    begun = summary()
    assert (begun.study, begun.asked, begun.metric, begun.started) == ("digits", 12, "accuracy", 100.0)
    assert not begun.finished
    assert begun.trials == ()
    assert begun.best is None
    assert begun.teacher is begun.bank is begun.precision is begun.bundle is None


def test_the_latest_of_each_record_stands() -> None:
    later = BANK.model_copy(update={"hits": 99})
    prepared = summary(
        TeacherReady(time=101.0, teacher=TEACHER),
        PrecisionChosen(time=101.5, choice=PRECISION),
        BankReady(time=102.0, bank=BANK),
        BankReady(time=190.0, bank=later),
    )
    assert (prepared.teacher, prepared.precision, prepared.bank) == (TEACHER, PRECISION, later)


def test_a_trial_moves_from_running_to_complete() -> None:
    events = [trial(0), epoch(0, 1, 0.5), epoch(0, 2, 0.7), ended(0, 0.8, parameters=5, weights="trials/0/best")]
    rows = [summary(*events[:count]).trials[0] for count in range(1, 5)]
    assert [row.state for row in rows] == ["running", "running", "running", "complete"]
    assert [row.value for row in rows] == [None, 0.5, 0.7, 0.8]
    assert [row.epochs for row in rows] == [0, 1, 2, 3]
    last = rows[-1]
    assert (last.seconds, last.parameters, last.weights, last.started) == (4.5, 5, "trials/0/best", 110.0)
    assert last.params == {"learning_rate": 0.1}


def test_a_failed_trial_keeps_its_reason_and_no_value() -> None:
    failed = summary(trial(0), epoch(0, 1, 0.5), ended(0, None, "failed", reason="loss is nan")).trials[0]
    assert (failed.state, failed.value, failed.reason) == ("failed", None, "loss is nan")


def test_states_are_counted() -> None:
    counted = summary(
        *[trial(number) for number in range(6)],
        ended(0, 0.5),
        ended(1, 0.6),
        ended(2, 0.4, "pruned"),
        ended(3, None, "failed"),
        epoch(4, 1, 0.3),
    )
    counts = {state: counted.count(state) for state in ("complete", "pruned", "failed", "running")}
    assert counts == {"complete": 2, "pruned": 1, "failed": 1, "running": 2}


def test_trials_stand_in_the_order_of_their_numbers() -> None:
    assert [row.trial for row in summary(trial(2), trial(0), trial(1)).trials] == [0, 1, 2]


def test_a_trial_that_starts_again_is_one_row() -> None:
    again = summary(trial(0), epoch(0, 2, 0.7), trial(0, time=150.0), epoch(0, 1, 0.4))
    assert [(row.trial, row.value, row.epochs, row.started) for row in again.trials] == [(0, 0.4, 1, 150.0)]


def test_an_epoch_of_a_trial_that_never_began_is_our_own_fault() -> None:
    with pytest.raises(AssertionError, match="first event"):
        summary(epoch(0, 1, 0.5))


@pytest.mark.parametrize(("direction", "best"), [("maximize", 2), ("minimize", 1)])
def test_the_best_trial_follows_the_direction(direction: str, best: int) -> None:
    rows = [row(0, 0.5), row(1, 0.1), row(2, 0.9)]
    assert best_trial(rows, direction) == best
    events = itertools.chain.from_iterable((trial(r.trial), ended(r.trial, r.value)) for r in rows)
    found = summary(*events, direction=direction)
    assert found.best_trial == best
    assert found.best is not None
    assert found.best.trial == best


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_equal_trials_the_earlier_is_best(direction: str) -> None:
    for rows in itertools.permutations([row(3, 0.5), row(1, 0.5), row(2, 0.5)]):
        assert best_trial(rows, direction) == 1


@pytest.mark.parametrize(
    "better",
    [row(1, 0.9, role="baseline"), row(1, 0.9, state="pruned"), row(1, 0.9, state="running"), row(1, None)],
    ids=["baseline", "pruned", "running", "without a value"],
)
def test_only_complete_trials_of_the_search_can_be_best(better: TrialRow) -> None:
    assert best_trial([row(0, 0.5), better], "maximize") == 0
    assert best_trial([better], "maximize") is None


@pytest.mark.parametrize("role", ["default", "enqueued", "sampled"])
def test_every_other_role_can_be_best(role: str) -> None:
    assert best_trial([row(0, 0.5, role=role)], "maximize") == 0


def test_zero_and_negative_values_count() -> None:
    assert best_trial([row(0, -0.5), row(1, 0.0), row(2, -0.1)], "maximize") == 1
    assert best_trial([row(0, -0.5), row(1, 0.0)], "minimize") == 0


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_value_that_is_not_a_number_is_never_best(direction: str, order: tuple[int, int]) -> None:
    rows = [row(0, math.nan), row(1, 0.5)]
    assert best_trial([rows[index] for index in order], direction) == 1


def test_the_end_of_a_study() -> None:
    end = summary(
        trial(0),
        ended(0, 0.9),
        TestOpened(time=139.0, subjects=("teacher", "none", "best")),
        evaluated("teacher", 0.98, "teacher"),
        evaluated("none", 0.91),
        evaluated("none", 0.92),
        Exported(time=150.0, trial=0, bundle="bundle", manifest_hash="m"),
        StudyFinished(
            time=160.0,
            complete=1,
            pruned=0,
            failed=0,
            best_trial=0,
            best_value=0.9,
            seconds={"search": 40.0},
        ),
    )
    assert end.finished
    assert [(e.label, e.test) for e in end.evaluated] == [("teacher", 0.98), ("none", 0.92)], "the latest of each label"
    assert (end.bundle, end.seconds) == ("bundle", {"search": 40.0})


def test_a_summary_survives_json() -> None:
    whole = summary(TeacherReady(time=101.0, teacher=TEACHER), trial(0), ended(0, 0.9), evaluated("none", 0.9))
    assert StudySummary.model_validate_json(whole.model_dump_json()) == whole


def test_a_study_that_was_moved_and_renamed_is_known_by_its_folder(tmp_path: Path) -> None:
    there = tmp_path / "elsewhere" / "renamed"
    (there / BUNDLE).mkdir(parents=True)
    (there / CONFIG).touch()
    before = str(tmp_path / "digits" / BUNDLE)
    with Ledger(there / LEDGER) as ledger:
        ledger.append(started())
        ledger.append(Exported(time=102.0, trial=0, bundle=before, manifest_hash="m"))
    (found,) = list_studies(tmp_path / "elsewhere")
    assert (found.study, found.folder, found.bundle) == ("digits", "renamed", str(there / BUNDLE))


def test_a_study_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    for name in ("good", "bad", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG).touch()
    with Ledger(tmp_path / "good" / LEDGER) as ledger:
        ledger.append(started())
    (tmp_path / "bad" / LEDGER).write_text("no event\n" * 3)
    told: list[str] = []
    assert [summary.study for summary in list_studies(tmp_path, told.append)] == ["digits"]
    (text,) = told
    assert text.startswith("bad cannot be read: ")
    with pytest.raises(StudyError):
        list_studies(tmp_path)
