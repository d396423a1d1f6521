"""Progress: a cheap fold that agrees with the whole ledger, and the sentences made of it."""

from __future__ import annotations

import pytest

from autockd.cli.progress import Progress, budget_line, event_line, seconds_left, standing_line
from autockd.records import (
    AssistantReady,
    BankReady,
    Event,
    FinalistsChosen,
    RungReached,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TeacherReady,
    TrialFinished,
    TrialStarted,
)
from autockd.summary import StudySummary, ranked, summarise


def folded(events: list[Event]) -> StudySummary:
    progress = Progress()
    for event in events:
        progress.add(event)
    assert progress.summary is not None
    return progress.summary


def test_the_incremental_fold_equals_the_fold_of_the_whole_ledger_at_every_moment(
    story: list[Event], ending: list[Event], finals: list[Event]
) -> None:
    start, end, place = (
        story[0],
        ending[-1],
        next(n for n, event in enumerate(story) if isinstance(event, TrialFinished)),
    )
    assert isinstance(start, StudyStarted)
    assert isinstance(end, StudyFinished)
    rung = RungReached(time=110.5, trial=0, rung=1, epochs=1, value=0.5, peers=3, threshold=0.6, stopped=True)
    resumed = StudyResumed(time=200.0, config={"search": {"trials": 8}}, provenance=start.provenance)
    twice = [*story[:place], rung, *story[place:], *ending, resumed, end.model_copy(update={"time": 210.0})]
    for events in ([*story, *ending], finals, twice):
        progress = Progress()
        for index, event in enumerate(events, start=1):
            progress.add(event)
            assert progress.summary == summarise(events[:index])


def test_before_a_study_starts_there_is_no_summary() -> None:
    assert Progress().summary is None


def test_many_epochs_of_a_trial_take_the_room_of_one(story: list[Event]) -> None:
    progress = Progress()
    for event in story:
        progress.add(event)
    size = len(progress._newest)
    for _ in range(100):
        progress.add(story[-1])
    assert len(progress._newest) == size


def test_budget_line(story: list[Event], ending: list[Event]) -> None:
    # 4 of 6 trials ended in the 6 s since the first began: 3 s for the other 2.
    assert budget_line(folded(story), 116.0) == "4/6 trials, 1 running, 1 stopped early, 1 failed, 3.0 s left"
    assert budget_line(folded([*story, *ending]), 130.0) == "5/6 trials, 1 stopped early, 1 failed"


def test_in_a_study_that_does_not_run_no_trial_does_and_no_time_is_left(
    story: list[Event], finals: list[Event]
) -> None:
    assert budget_line(folded(story), None) == "4/6 trials, 1 not ended, 1 stopped early, 1 failed"
    place = next(place for place, event in enumerate(finals) if isinstance(event, FinalistsChosen))
    line = budget_line(folded(finals[: place + 4]), None)
    assert line == "5/6 trials, 1 stopped early, 1 failed, 3/6 runs of finalists"


@pytest.mark.parametrize(("events", "expected"), [(6, None), (9, None), (13, 4.0)])
def test_no_guess_of_the_time_left_before_two_trials_have_ended(
    story: list[Event], events: int, expected: float | None
) -> None:
    assert seconds_left(folded(story[:events]), 112.0) == expected


def test_a_night_between_two_parts_is_not_the_pace_of_a_trial(story: list[Event]) -> None:
    """Five trials have begun; the study goes on a day later, with two of its 8 trials done in 4 s each since."""
    start = story[0]
    assert isinstance(start, StudyStarted)
    day = 86_400.0
    config = {"search": {"trials": 8}}
    resumed = StudyResumed(time=day, config=config, provenance=start.provenance)
    begun, end = story[-2], story[-3]
    later = [event.model_copy(update={"trial": n, "time": day + 1}) for n in (5, 6, 7) for event in [begun]]
    progress = [*story, resumed, *later]
    assert seconds_left(folded(progress), day + 5) is None, "nothing has ended since"
    progress += [end.model_copy(update={"trial": n, "time": day + 9}) for n in (5, 6)]
    assert seconds_left(folded(progress), day + 9) == 8.0, "two in 8 s; trials 4 and 7 are left"


def test_standing_is_the_best_beside_teacher_and_baseline(story: list[Event]) -> None:
    assert standing_line(folded(story)) == (
        "best so far 96.7 % (continuation, trial 1), teacher 98.5 %, no distillation 94.0 %"
    )


def test_a_running_trial_leads_until_one_has_finished(story: list[Event]) -> None:
    assert "best so far 70.0 % (continuation, trial 1)" in standing_line(folded(story[:11]))


def test_a_better_baseline_does_not_hide_the_best_student(story: list[Event]) -> None:
    assert standing_line(folded(story[:13])).startswith("best so far 96.7 %")


def test_ranking_follows_the_direction_and_leaves_out_what_was_cut_short(story: list[Event]) -> None:
    rows = folded(story).trials
    assert [row.trial for row in ranked(rows, "maximize")] == [1, 0]
    assert [row.trial for row in ranked(rows, "minimize")] == [0, 1]


@pytest.mark.parametrize(
    ("answers", "difference", "expected"),
    [
        ("fp32", 0.0, "answers in fp32, "),
        ("bf16", 0.012, "answers in bf16 (1.2 % off fp32), "),
        ("fp32", 0.3, "answers in fp32 (bf16 is 30.0 % off), "),
    ],
)
def test_the_teachers_line_says_how_it_answers_and_why(
    story: list[Event], answers: str, difference: float, expected: str
) -> None:
    ready = next(event for event in story if isinstance(event, TeacherReady))
    teacher = ready.teacher.model_copy(update={"answers": answers, "answers_difference": difference})
    assert expected in (event_line(ready.model_copy(update={"teacher": teacher}), folded(story), 130.0) or "")


def test_every_stage_and_trial_has_a_line_and_epochs_have_none(story: list[Event], ending: list[Event]) -> None:
    events = [*story, *ending]
    summary = folded(events)
    lines = {type(event).__name__: event_line(event, summary, 130.0) for event in events}
    silent = {name for name, line in lines.items() if line is None}
    assert silent == {"TrialStarted", "EpochFinished"}
    assert lines["TeacherReady"] == "teacher (trained): accuracy 98.5 %, 269,722 parameters, answers in fp32, 12 s"
    assert lines["PrecisionChosen"] == "precision on cpu: bf16: 2.6x faster"
    assert lines["Noted"] == "warning: dead zone: the margin is wide"
    assert lines["TestOpened"] == "test split opened for teacher, none, best"
    assert lines["StudyFinished"] == "finished in 29 s: 5/6 trials, 1 stopped early, 1 failed"


def test_what_lies_between_two_sessions_is_no_time_of_a_study(story: list[Event], ending: list[Event]) -> None:
    start, end = story[0], ending[-1]
    assert isinstance(start, StudyStarted)
    day = 86_400.0
    resumed = StudyResumed(time=day, config=start.config, provenance=start.provenance)
    end = end.model_copy(update={"time": day + 35})
    line = event_line(end, folded([*story, resumed, *ending[:-1], end]), day + 35)
    assert line == "finished; the last session took 29 s: 5/6 trials, 1 stopped early, 1 failed"


def test_a_failed_trial_tells_why(story: list[Event]) -> None:
    failed = next(event for event in story if isinstance(event, TrialFinished) and event.state == "failed")
    line = event_line(failed, folded(story), 114.0)
    assert line is not None
    assert line.startswith("trial 3 (continuation): failed: the loss is not finite; best so far 96.7 %")


def test_a_comparison_counts_the_trials_of_all_its_methods(story: list[Event]) -> None:
    start = story[0]
    assert isinstance(start, StudyStarted)
    config = start.config | {"compare": [{"name": "none"}, {"name": "kd"}, {"name": "dkd"}]}
    told: list[Event] = [start.model_copy(update={"config": config})]
    for event in story[1:]:
        update = {"arm": event.method, "role": "sampled"} if isinstance(event, TrialStarted) else {}
        told.append(event.model_copy(update=update))
    summary = folded(told)
    assert budget_line(summary, 116.0).startswith("4/18 trials, 1 running")
    assert standing_line(summary).endswith("no distillation 94.0 %"), "the best without a teacher"


def test_the_banks_of_teacher_and_assistant_are_told_apart(story: list[Event]) -> None:
    bank = next(event for event in story if isinstance(event, BankReady))
    teacher = next(event for event in story if isinstance(event, TeacherReady)).teacher
    assistant = AssistantReady(time=106.2, assistant=teacher.model_copy(update={"metric": 0.9}))
    other = BankReady(time=106.5, bank=bank.bank.model_copy(update={"hits": 7}), whose="assistant")
    summary = folded([*story, assistant, other])
    assert summary == summarise([*story, assistant, other])
    assert summary.bank == bank.bank
    lines = [event_line(event, summary, 110.0) or "" for event in (assistant, other)]
    assert lines[0].startswith("assistant (trained): accuracy 90.0 %")
    assert lines[1].startswith("assistant bank: 8,478 of 8,478 entries, 7 hits")


def test_finalists_are_counted_and_each_has_a_line(finals: list[Event]) -> None:
    place = next(place for place, event in enumerate(finals) if isinstance(event, FinalistsChosen))
    lines = [
        event_line(event, folded(finals[: place + 1 + after]), 126.0)
        for after, event in enumerate(finals[place : place + 8])
    ]
    assert lines[0] == "finalists: trials 0, 1, 4 again, with fresh seeds 7, 8: 6 runs"
    assert lines[3] is not None
    assert lines[3].startswith("finalist, trial 4 with seed 7: done, 90.0 % at epoch 2 of 2, 1.5 s; ")
    assert lines[3].endswith("5/6 trials, 1 stopped early, 1 failed, 3/6 runs of finalists, 6.0 s left")
    assert lines[6] is not None
    assert lines[6].startswith("finalist, trial 4 with seed 8: failed: its worker died; ")
    assert lines[6].endswith("6/6 runs of finalists, 1 of them failed")
    assert lines[7] == "test split opened for teacher and 5 runs of finalists"


def test_a_choice_of_nobody_says_what_follows(finals: list[Event]) -> None:
    nobody = FinalistsChosen(time=121.0, trials=(), seeds=())
    assert event_line(nobody, folded(finals), 130.0) == "no finalists: the search's own students are tested"
    assert "runs of finalists" not in budget_line(folded([*finals, nobody]), 130.0)
