from __future__ import annotations

from autockd.config import StudyConfig
from autockd.records import Event, StudyFinished, StudyResumed, StudyStarted, TrialFinished, TrialStarted
from autockd.tracking.study_note import StudyNote

HOSTILE = "<img src=x onerror=alert(1)> | `code` [link](http://ada:hunter2-c4nary@host) **bold**\n# head " + "x" * 200


def note_after(events: list[Event]) -> str:
    assert isinstance(events[0], StudyStarted)
    note = StudyNote(events[0])
    for event in events:
        note.hear(event)
    return note.text.replace("\N{NO-BREAK SPACE}", "")


def changed(study: list[Event], **config: object) -> list[Event]:
    assert isinstance(study[0], StudyStarted)
    return [study[0].model_copy(update={"config": study[0].config | config}), *study[1:]]


def test_a_study_that_runs_says_what_it_searches(study: list[Event]) -> None:
    text = note_after(study[:1])
    assert "### Result" not in text
    assert "| learning\\_rate | 0.001 to 1 | log |" in text
    assert "| temperature | 1 to 8 | linear |" in text
    assert text.endswith("### Note\n\n# why")


def test_a_finished_study_says_what_came_of_it(study: list[Event]) -> None:
    text = note_after(study)
    assert text.startswith("### Result\n\nThe best student is **trial 1 (continuation)**, validation accuracy 95.0 %;")
    assert "2 trials complete, 1 stopped early, 1 failed" in text
    assert "| student, no distillation | 90.0 % | 89.0 % | 4,800 | 19,200 |" in text
    assert "| learning\\_rate | 0.001 to 1 | log |  | 0.1 |" in text
    assert "| temperature | 1 to 8 | linear |  |  |" in text


def test_without_a_student_it_says_so(study: list[Event]) -> None:
    end = StudyFinished(time=1.0, complete=0, pruned=0, failed=4, best_trial=None, best_value=None, seconds={})
    starts = [event for event in study if isinstance(event, TrialStarted)]
    lost = [TrialFinished(time=1.0, trial=start.trial, state="failed", reason="no memory") for start in starts]
    assert "No student: 0 trials complete, 0 stopped early, 4 failed." in note_after([study[0], *starts, *lost, end])


def test_a_study_that_goes_on_has_no_result_yet_and_its_new_note(study: list[Event]) -> None:
    assert isinstance(study[0], StudyStarted)
    ran = [event for event in study if event.event != "evaluated"]
    config = study[0].config | {"note": "longer now"}
    again = StudyResumed(time=300.0, config=config, provenance=study[0].provenance)
    text = note_after([*ran, again])
    assert "### Result" not in text
    assert text.endswith("longer now")


def test_only_some_events_change_the_text(study: list[Event]) -> None:
    assert isinstance(study[0], StudyStarted)
    note = StudyNote(study[0])
    heard = {event.event for event in study if note.hear(event)}
    assert heard == {"study_started", "evaluated", "study_finished"}
    assert not any(note.hear(event) for event in study if isinstance(event, TrialFinished))


def test_names_that_are_not_ours_stay_plain_text(study: list[Event]) -> None:
    space = {HOSTILE: {"type": "choice", "choices": [HOSTILE], "when": {HOSTILE: [HOSTILE]}}}
    search = {
        "trials": 4,
        "space": space,
        "sampler": HOSTILE,
        "baselines": [{"name": HOSTILE}],
        "stopping": {"rule": HOSTILE},
    }
    text = note_after(changed(study, search=search, note=""))
    assert "<img" not in text
    assert "c4nary" not in text
    assert "`code`" not in text.replace("\\`", "")
    assert "**bold**" not in text.replace("\\*", "")
    row = next(line for line in text.splitlines() if line.startswith("| &lt;img"))
    assert row.replace("\\|", "").count("|") == 6, "a cell for each of the five columns"
    assert not [line for line in text.splitlines() if line.startswith("# head")]


def test_a_comparison_shows_its_methods_side_by_side(study: list[Event]) -> None:
    compared = changed(study, compare=[{"name": "none"}, {"name": "kd"}])
    arms = {0: "none", 1: "none", 2: "kd", 3: "kd"}
    told = [
        event.model_copy(update={"arm": arms[event.trial]}) if isinstance(event, TrialStarted) else event
        for event in compared
    ]
    text = note_after(told)
    assert "4 trials of each of 2 methods" in text
    assert "| none | 2 | 1 | 95.0 % |" in text
    assert "| kd | 2 |  |  |" in text, "one was stopped and one failed"
    assert "**trial 1 (none)**" in text


def test_a_comparison_says_what_any_of_its_methods_searches(study: list[Event]) -> None:
    model = {"family": "cifar_resnet", "depth": 8}
    config = StudyConfig.model_validate(
        {
            "name": "rivals",
            "task": {"source": "digits"},
            "teacher": {"model": model},
            "student": {"model": model},
            "compare": [{"name": "none"}, {"name": "kd"}, {"name": "dkd"}],
            "search": {"space": {"learning_rate": {"type": "float", "low": 0.05, "high": 0.3, "log": True}}},
        }
    )
    text = note_after(changed(study, **config.model_dump(mode="json")))
    assert "| learning\\_rate | 0.05 to 0.3 | log |  |" in text
    assert "| alpha | 0.1 to 1 | linear | arm is kd |" in text
    assert "| temperature | 1 to 10 | log | arm is kd or dkd |" in text
    assert "| arm |" not in text, "the methods have a table of their own"


def test_finalists_stand_there_over_their_seeds_with_what_may_be_said(finals: list[Event]) -> None:
    text = note_after(finals)
    assert "The best of the search is trial 1 (continuation), validation accuracy 95.0 %;" in text
    assert "| no distillation | 90.0 % | 81.0 ± 1.4 % | 79.0 ± 1.4 % | 2 | 4,800 |" in text
    assert "| best student, continuation, trial 1 | 95.0 % | 92.0 ± 2.8 % | 90.0 ± 2.8 % | 2 | 4,800 |" in text
    assert "- best student (continuation, trial 1) against no distillation, 2 seeds: " in text
    assert "2 fresh seeds give 92.0 %: 3.0 points of it were luck" in text
    assert "| dimension | values | scale | exists where | trial 1 |" in text
    assert "The test split was opened once, at 1970-01-01 00:03:10 UTC" in text
    assert "| learning\\_rate | 0.001 to 1 | log |  | 0.1 |" in text, (
        "of the winner, which the dimensions are headed by"
    )
    assert "seed 7" not in text, "its runs are not listed one by one"
