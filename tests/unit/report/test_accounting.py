"""Where a study's time went, and its share of the limit, from its events alone."""

from __future__ import annotations

from typing import Any

import pytest
from sample_records import PROVENANCE, epoch_record

from autockd.limits import Peaks, Work
from autockd.records import (
    BankReady,
    BankRecord,
    EpochFinished,
    Event,
    FinalistFinished,
    PrecisionChoice,
    PrecisionChosen,
    StudyResumed,
    TrialFinished,
)
from autockd.report.accounting import added, bound_of, time_split

CHOICE = PrecisionChoice(precision="bf16", channels_last=True, threads=1, device="cpu", reason="")
PEAKS = Peaks(fp32=1e9, bf16=4e9, copy_rate=1e12, threads=1, device="cpu")
SECONDS = {"start": 3.0, "probe": 1.0, "data": 2.0, "teacher": 1.0, "bank": 4.0, "search": 30.0}
SECONDS |= {"evaluate": 1.0, "export": 2.0, "tracking": 1.5, "total": 50.0}


def chosen(**values: Any) -> PrecisionChosen:
    return PrecisionChosen(time=10.0, choice=CHOICE, **{"peaks": PEAKS, "parallel": 2, **values})


def epoch(trial: int, time: float, train: float, evaluate: float) -> EpochFinished:
    record = epoch_record(train_seconds=train, evaluate_seconds=evaluate)
    return EpochFinished(time=time, trial=trial, record=record)


def ended(trial: int, time: float, flop: float | None = 8e9) -> TrialFinished:
    work = None if flop is None else Work(flop=flop, bytes=0)
    return TrialFinished(time=time, trial=trial, state="complete", value=0.5, work=work, epochs=1)


def history() -> list[Event]:
    bank = BankRecord(key="k", entries=9, filled=4, hits=0, misses=4, seconds=1, checked=0, max_difference=0)
    bank = bank.model_copy(update={"work": Work(flop=16e9, bytes=0)})
    return [
        chosen(),
        BankReady(time=12.0, bank=bank),
        epoch(0, 30.0, 8.0, 2.0),  # began at 20
        epoch(1, 36.0, 12.0, 2.0),
        ended(0, 31.0),
        ended(1, 44.0),
    ]


def test_the_split_adds_up_to_the_total() -> None:
    split = time_split(history(), SECONDS)
    assert split == {
        "start-up": 3 + 1 + (30 - 24),  # the search lasted 30 s, its trials 24
        "data": 2,
        "teacher": 5,
        "training": 10,
        "evaluation": 2 + 1,
        "finalists": 0,
        "tracking": 1.5,
        "export": 2,
        "waiting": pytest.approx(50 - 33.5),
    }
    assert sum(split.values()) == pytest.approx(SECONDS["total"])


def test_the_bound_is_that_of_all_workers() -> None:
    bound = bound_of(history(), 50.0)
    assert bound is not None
    assert bound.seconds == (16e9 + 2 * 8e9) / 4e9 / 2
    assert bound.share == bound.seconds / 50
    assert bound.training_share == 2 * 8e9 / 4e9 / 20
    assert bound.workers == 2


def test_trials_that_share_a_gpu_share_its_peaks() -> None:
    shared = bound_of([chosen(parallel=4, gpus=0.5), *history()[1:]], 50.0)  # two GPUs, as above two cores
    assert shared is not None
    assert shared.seconds == (16e9 + 2 * 8e9) / 4e9 / 2
    assert shared.training_share == 2 * 8e9 / (4e9 / 2) / 20
    alone = bound_of([chosen(parallel=2, gpus=0.1), *history()[1:]], 50.0)  # one GPU, which they do not fill
    assert alone is not None
    assert (alone.seconds, alone.training_share) == ((16e9 + 2 * 8e9) / 4e9, 2 * 8e9 / 4e9 * 2 / 20)
    whole = bound_of([chosen(parallel=2, gpus=2.0), *history()[1:]], 50.0)  # a second GPU for a trial is no faster
    assert whole == bound_of(history(), 50.0)


def test_tracking_beside_training_is_no_time_of_its_own() -> None:
    split = time_split(history(), {**SECONDS, "tracking": 30.0})
    assert (split["tracking"], split["waiting"]) == (50 - 32, 0)
    assert sum(split.values()) == pytest.approx(SECONDS["total"])


def test_an_assistant_counts_as_a_teacher() -> None:
    assert time_split(history(), {**SECONDS, "assistant": 3.0})["teacher"] == 5 + 3


def test_without_peaks_or_work_there_is_no_bound() -> None:
    assert bound_of([chosen(peaks=None), *history()[1:]], 50.0) is None
    assert bound_of([event for event in history() if not isinstance(event, TrialFinished)], 50.0) is None
    assert bound_of([], 50.0) is None


def test_trials_without_a_count_are_left_out_on_both_sides() -> None:
    bound = bound_of([*history()[:-1], ended(1, 44.0, flop=None)], 50.0)
    assert bound is not None
    assert bound.training_share == 8e9 / 4e9 / 8


def test_a_resumed_study_counts_its_last_session() -> None:
    later = [StudyResumed(time=50.0, config={}, provenance=PROVENANCE), epoch(2, 70.0, 6.0, 0.0), ended(2, 71.0)]
    split = time_split([*history(), *later], {"search": 10.0, "total": 12.0})
    assert (split["training"], split["start-up"]) == (3.0, 10 - 7)


def test_of_a_trial_that_goes_on_its_last_session_counts_what_it_did() -> None:
    resumed = StudyResumed(time=50.0, config={}, provenance=PROVENANCE)
    fourth = epoch(2, 70.0, 6.0, 0.0)
    fourth = fourth.model_copy(update={"record": fourth.record.model_copy(update={"epoch": 4})})
    whole = ended(2, 71.0).model_copy(update={"epochs": 4})
    bound = bound_of([*history(), resumed, fourth, whole], 12.0)
    assert bound is not None
    assert bound.seconds == 8e9 / 4 / 4e9 / 2, "one of four epochs"
    assert bound.training_share == 8e9 / 4 / 4e9 / 6
    repeated = bound_of([*history(), resumed, fourth, fourth, whole], 12.0)
    assert repeated is not None
    assert repeated.seconds == bound.seconds, "an epoch that a lost worker had to repeat is one"


def test_works_add_up() -> None:
    one = Work(flop=1.0, bytes=2.0)
    assert added([one, None, one]) == Work(flop=2.0, bytes=4.0)
    assert added([None]) is None


def test_runs_of_finalists_are_in_the_bound_and_not_in_the_share_of_training() -> None:
    again = FinalistFinished(time=60.0, trial=0, seed=7, state="complete", value=0.5, work=Work(flop=8e9, bytes=0))
    plain, more = bound_of(history(), 50.0), bound_of([*history(), again], 50.0)
    assert plain is not None
    assert more is not None
    assert more.seconds == plain.seconds + 8e9 / 4e9 / 2
    assert more.training_share == plain.training_share
