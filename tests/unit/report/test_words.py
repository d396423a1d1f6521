"""What a report says in sentences: it must not claim more than was measured."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from report_events import SEEDS, report_events

from autockd.records import (
    Evaluated,
    Event,
    Exported,
    FinalistFinished,
    StudyFinished,
    StudyResumed,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from autockd.report.content import ReportContent
from autockd.report.gathering import content_of
from autockd.report.page_tables import cards_of, comparison_table, cost_table
from autockd.report.sections import sections_of
from autockd.report.words import gap_text
from autockd.verdicts import spread_text


def without_space(events: list[Event]) -> list[Event]:
    """The same study without dimensions, whose importance would take a second."""
    start = events[0]
    assert isinstance(start, StudyStarted)
    search = start.config["search"] | {"space": {}}
    return [start.model_copy(update={"config": start.config | {"search": search}}), *events[1:]]


def told(**changes: Any) -> tuple[str, str, ReportContent]:
    content = content_of(without_space(report_events(**changes)))
    return " ".join(content.summary), " ".join(content.caveats), content


def test_a_win_is_said_with_its_interval_and_the_luck_of_the_search() -> None:
    text, doubts, content = told()
    winner = content.of_kind("winner")
    assert winner is not None
    assert winner.against_none is not None
    assert winner.against_none.verdict == "better"
    assert f"The winner is continuation, trial {winner.trial}, with " in text
    assert "test accuracy (mean of 5 fresh seeds, standard deviation " in text
    gap = gap_text(winner.against_none.difference, "accuracy")
    assert f"It is better than the student without distillation ({gap} on test, 95 % interval " in text
    saw = f"The search saw 96.9 % on the validation split (continuation, trial {winner.trial})"
    assert f"{saw}, 5 fresh seeds give 96.6 %: 0.3 points of it were luck (standard error 0.1)." in text
    assert "54.6 times as many" in text
    assert "one seed" not in text + doubts
    assert "other test samples would change (by a standard error of " in doubts
    assert "comparisons is judged at 95 % by itself" in doubts
    assert "nothing was chosen by it" in doubts


def test_a_tie_is_not_called_a_win() -> None:
    text, _, _ = told(gain=0.0)
    assert "It cannot be told apart from the student without distillation" in text
    assert "better than the student" not in text


def test_a_loss_is_said_plainly() -> None:
    text, _, _ = told(gain=-0.02)
    assert "It is worse than the student without distillation (\N{MINUS SIGN}" in text


def test_pairs_are_counted_once_and_the_winner_was_none_of_the_baselines() -> None:
    _, doubts, content = told()
    tried = [row for row in content.standings if row.seeds]
    plain, preset = content.undistilled, content.preset
    assert plain is not None
    assert preset is not None
    against_plain = len(tried) - 1
    against_preset = len(tried) - 2  # the preset itself, and no distillation, which is among those of before
    assert f"Each of {against_plain + against_preset} comparisons" in doubts
    candidates = sum(row.kind != "baseline" for row in tried)
    assert 1 < candidates < len(tried)
    assert f"chosen among {candidates} models" in doubts


def test_comparisons_under_one_seed_judge_nothing() -> None:
    _, doubts, _ = told(seeds=SEEDS[:1])
    assert "comparisons is judged" not in doubts


def test_stopped_amid_the_evaluation_all_is_told_of_the_validation_split() -> None:
    events = without_space(report_events())
    winner = content_of(events).of_kind("winner")
    assert winner is not None
    missing = next(event for event in events if isinstance(event, Evaluated) and event.trial == winner.trial)
    ended = [event for event in events if not isinstance(event, Exported | StudyFinished) and event is not missing]
    content = content_of(ended)
    assert content.judged_on == "validation"
    found = content.of_kind("winner")
    assert found is not None
    assert (found.test, len(found.validation) > 1) == ((), True)
    assert "% validation accuracy (mean of" in content.summary[0]
    assert "(test)" not in content.summary[0]
    assert all("validation accuracy" in card.about for card in cards_of(content)[:3])


def test_few_seeds_are_a_caveat_and_one_seed_proves_nothing() -> None:
    _, doubts, _ = told(seeds=SEEDS[:3])
    assert "3 fresh seeds, so intervals are wide" in doubts
    text, _, content = told(seeds=SEEDS[:1])
    assert "under one seed: that cannot be told apart from chance" in text
    assert ReportContent.model_validate_json(content.model_dump_json()).standings[1].name == content.standings[1].name


def test_without_seeds_no_verdict_is_given() -> None:
    text, doubts, content = told(seeds=())
    assert content.judged_on == "test"
    assert "cannot be said: both were trained with one seed" in text
    assert "Every model was trained with one seed" in doubts
    assert not any(word in text for word in ("It is better", "It is worse", "told apart"))
    assert [row.against_none for row in content.standings] == [None] * len(content.standings)


def test_failures_and_what_was_not_measured_are_told() -> None:
    _, doubts, _ = told(seeds=())
    assert "2 trials failed: the loss is NaN (2)." in doubts
    assert "The search measured no latency." in doubts
    assert "Baselines had one configuration" in doubts


def test_the_luck_is_that_of_the_searchs_best_which_need_not_be_the_winner() -> None:
    events = without_space(report_events())
    before = content_of(events).of_kind("winner")
    assert before is not None
    lucky = [
        event.model_copy(update={"value": 0.999}) if isinstance(event, TrialFinished) and event.trial == 1 else event
        for event in events
    ]
    content = content_of(lucky)
    winner = content.of_kind("winner")
    assert winner is not None
    assert winner.trial == before.trial != 1
    assert "The search saw 99.9 % on the validation split (continuation preset, trial 1)" in " ".join(content.summary)


def test_a_preset_that_was_stopped_has_no_value_of_the_search() -> None:
    events = without_space(report_events())
    stopped = [
        event.model_copy(update={"state": "pruned"}) if isinstance(event, TrialFinished) and event.trial == 1 else event
        for event in events
    ]
    content = content_of(stopped)
    place = next(place for place, row in enumerate(content.standings) if row.kind == "preset")
    assert comparison_table(content).rows[place][2] == "stopped early"


def test_runs_with_fresh_seeds_that_failed_are_told() -> None:
    events = without_space(report_events())
    lost = next(event for event in events if isinstance(event, FinalistFinished))
    failed = lost.model_copy(update={"state": "failed", "value": None, "reason": "no memory"})
    content = content_of([failed if event is lost else event for event in events])
    runs = sum(isinstance(event, FinalistFinished) for event in events)
    assert f"1 of {runs} runs with fresh seeds failed." in content.caveats


def test_without_distillation_means_that_nobody_was_trained_so() -> None:
    def distilled(event: Event) -> Event:
        return event.model_copy(update={"method": "kd"}) if isinstance(event, TrialStarted) else event

    events = [distilled(event) for event in without_space(report_events())]
    said = "No student was trained without distillation, so what distillation is worth here is not known."
    assert said in content_of(events).summary
    searched = [
        event.model_copy(update={"method": "none"}) if isinstance(event, TrialStarted) and event.trial == 29 else event
        for event in events
    ]
    assert said.replace("trained", "trained again") in content_of(searched).summary


def test_a_study_in_the_middle_says_so() -> None:
    events = without_space(report_events(seeds=()))
    content = content_of(events[:150])
    assert not content.finished
    assert content.judged_on == "validation"
    assert "The study is not finished" in " ".join(content.caveats)
    assert "of 30 that were asked for" in content.summary[-1]
    assert "The test split has not been opened" in " ".join(content.caveats)


def test_a_study_without_any_trial_has_no_result() -> None:
    content = content_of(report_events()[:1])
    assert content.summary[0] == "There is no result yet: no trial has begun."
    assert content.summary[1] == "None of 30 trials has begun."


def test_without_a_space_the_winner_has_the_studys_own_values() -> None:
    def without_preset(event: Event) -> Event:
        is_preset = isinstance(event, TrialStarted) and event.role == "default"
        return event.model_copy(update={"role": "sampled"}) if is_preset else event

    searched = [without_preset(event) for event in report_events(seeds=())]
    for events, said in (
        (without_space(searched), "The winner has the study's own values: there was nothing to search."),
        (searched, "The study's own values were not among the trials, so there is no preset to compare with."),
    ):
        plan = next(section for section in sections_of(content_of(events)) if section.anchor == "plan")
        assert said in plan.sentences


def test_where_all_trials_fail_nobody_wins() -> None:
    events: list[Event] = []
    for event in without_space(report_events(seeds=())):
        if isinstance(event, StudyStarted | TrialStarted):
            events.append(event)
        if isinstance(event, TrialStarted):
            events.append(TrialFinished(time=event.time + 1, trial=event.trial, state="failed", reason="no memory"))
    content = content_of(events)
    assert "no trial has a usable student" in content.summary[0]
    assert "30 trials failed: no memory (30)." in content.caveats[-1]


def test_baselines_alone_have_no_winner_and_in_a_finished_study_never_will() -> None:
    start, *rest = without_space(report_events(seeds=()))
    baseline = [event for event in rest if isinstance(event, TrialStarted | TrialFinished) and event.trial == 0]
    assert content_of([start, *baseline]).summary[0] == "There is no winner yet: only baselines are complete."
    assert content_of([start, *baseline, rest[-1]]).summary[0] == "There is no winner: only baselines are complete."


def test_the_winner_is_chosen_by_validation_never_by_test() -> None:
    events = without_space(report_events())
    winner = content_of(events).of_kind("winner")
    assert winner is not None
    others_shine = [
        event.model_copy(update={"test": 0.999})
        if isinstance(event, Evaluated) and event.trial != winner.trial
        else event
        for event in events
    ]
    content = content_of(others_shine)
    assert content.of_kind("winner") is not None
    assert [row.trial for row in content.standings if row.kind == "winner"] == [winner.trial]
    assert "It is worse than the student without distillation" in " ".join(content.summary)
    rivals = [row for row in content.standings if row.kind in ("preset", "candidate")]
    assert all(sum(row.validation) < sum(winner.validation) for row in rivals)


def compared(seeds: tuple[int, ...], gain: float = 0.02) -> ReportContent:
    """A comparison: `none`, with usual values of its own, and `continuation`, which has the study's preset."""

    def in_arm(event: Event) -> Event:
        if not isinstance(event, TrialStarted):
            return event
        if event.trial in (0, 2):  # the usual values of `none`, and the best that was found for it
            role = "default" if event.trial == 0 else "sampled"
            return event.model_copy(update={"arm": "none", "method": "none", "role": role})
        return event.model_copy(update={"arm": "continuation"})

    return content_of([in_arm(event) for event in without_space(report_events(seeds, gain))])


def test_where_methods_are_compared_each_has_its_own_preset_and_no_distillation_is_the_tuned_one() -> None:
    content = compared(SEEDS)
    winner, presets = content.of_kind("winner"), [row for row in content.standings if row.kind == "preset"]
    assert winner is not None
    assert (winner.arm, {row.arm for row in presets}) == ("continuation", {"none", "continuation"})
    undistilled = content.undistilled
    assert undistilled is not None
    tuned, usual = (next(row for row in content.standings if row.trial == trial) for trial in (2, 0))
    assert undistilled == max((tuned, usual), key=lambda row: sum(row.validation))
    own = next(row for row in presets if row.arm == "continuation")
    assert winner.against_preset is not None
    gap = statistics.fmean(winner.test) - statistics.fmean(own.test)
    assert winner.against_preset.difference == pytest.approx(gap)
    assert winner.against_none is not None
    gap = statistics.fmean(winner.test) - statistics.fmean(undistilled.test)
    assert winner.against_none.difference == pytest.approx(gap)


def test_without_fresh_seeds_the_best_of_each_compared_method_is_shown() -> None:
    content = compared(())
    values = {row.trial: row.searched or 0.0 for row in content.standings if row.method == "none"}
    assert set(values) >= {0, 2}
    assert content.undistilled is not None
    assert content.undistilled.trial == max(values, key=lambda trial: values[trial])


def test_compared_methods_are_named_with_their_budget() -> None:
    events = [
        event.model_copy(update={"arm": ("kd", "dkd")[event.trial % 2]}) if isinstance(event, TrialStarted) else event
        for event in without_space(report_events(seeds=()))
    ]
    content = content_of(events)
    (text,) = [sentence for sentence in content.summary if sentence.startswith("Methods were searched")]
    assert "15 trials each" in text
    assert [arm.arm for arm in content.arms] == ["kd", "dkd"]
    assert sum(arm.complete for arm in content.arms) == 19


@pytest.mark.parametrize(("direction", "lucky"), [("maximize", 0.99), ("minimize", 0.01)])
@pytest.mark.parametrize("was_lucky", [True, False])
def test_a_metric_that_is_to_be_small_is_flattered_from_the_other_side(
    direction: str, lucky: float, was_lucky: bool
) -> None:
    start, *rest = without_space(report_events())
    searched = {"value": lucky if was_lucky else 1 - lucky}
    rest = [event.model_copy(update=searched) if isinstance(event, TrialFinished) else event for event in rest]
    content = content_of([start.model_copy(update={"direction": direction, "metric": "error"}), *rest])
    assert ("of it was luck" in content.luck) is was_lucky
    assert ("no luck is to be seen in it" in content.luck) is not was_lucky


@pytest.mark.parametrize(
    ("values", "metric", "text"),
    [
        ((0.97, 0.96, 0.98), "accuracy", "97.0 ± 1.0 %"),
        ((0.97,), "accuracy", "97.0 %"),
        ((), "accuracy", "-"),
        ((0.5, 0.6), "pearson_spearman", "0.5500 ± 0.0707"),
    ],
)
def test_means_have_their_spread(values: tuple[float, ...], metric: str, text: str) -> None:
    assert spread_text(values, metric) == text


def test_the_cost_tells_the_search_from_the_finalists() -> None:
    _, _, content = told()
    search, finalists = content.cost.spent
    assert (search.what, search.runs) == ("search", 30)
    assert (finalists.what, finalists.runs) == ("finalists, fresh seeds", 30)
    assert 30 * 9.0 <= finalists.seconds <= 30 * 10.0
    assert "the study took 10 min" in content.summary[-1]


def test_the_time_of_a_study_that_went_on_is_that_of_its_last_session() -> None:
    events = without_space(report_events())
    start = events[0]
    assert isinstance(start, StudyStarted)
    assert cost_table(content_of(events)).rows[-1][0] == "the study, start to end"
    resumed = StudyResumed(time=events[-1].time, config=start.config, provenance=start.provenance)
    assert cost_table(content_of([*events[:-1], resumed, events[-1]])).rows[-1][0] == "the study's last session"


def test_the_losses_of_a_method_are_all_that_its_trials_have_and_the_winners_stand_first() -> None:
    history = without_space(report_events())
    winner = content_of(history).of_kind("winner")
    assert winner is not None
    assert winner.trial is not None
    said = {winner.trial: "logits", winner.trial - 1: "standardised logits"}

    def as_kd(event: Event, arms: dict[str, str]) -> Event:
        if not isinstance(event, TrialStarted):
            return event
        text = said.get(event.trial, "other logits")
        return event.model_copy(update={"method": "kd", "conventions": text, "arm": arms.get(text, "")})

    alone = content_of([as_kd(event, {}) for event in history])
    assert alone.conventions == {"kd": "logits; or other logits; or standardised logits"}
    arms = {"logits": "kd", "standardised logits": "kd-std", "other logits": "kd"}
    compared = content_of([as_kd(event, arms) for event in history])
    assert compared.conventions == {"kd": "logits; or other logits", "kd-std": "standardised logits"}
