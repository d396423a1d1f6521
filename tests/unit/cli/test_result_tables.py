"""The tables that a study ends with, and how numbers read in them."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console, RenderableType

from autockd.cli.output import console
from autockd.cli.shipping import figures_table
from autockd.cli.tables import (
    arms_table,
    comparison_table,
    finalist_lines,
    plain_table,
    studies_table,
    summary_data,
    time_line,
    trials_table,
)
from autockd.cli.text import printable
from autockd.export.figures import Figures, ModelFigures
from autockd.export.latency import CallTime
from autockd.records import Event, TrialStarted
from autockd.summary import StudySummary, best_of_arms, summarise
from autockd.text import duration, kilobytes, metric_text


@pytest.fixture
def summary(story: list[Event], ending: list[Event]) -> StudySummary:
    found = summarise([*story, *ending])
    assert found is not None
    return found


def lines_of(renderable: RenderableType) -> list[str]:
    stream = io.StringIO()
    console(stream).print(renderable)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines() if line.strip()]


def test_the_comparison_runs_from_teacher_to_best_student(summary: StudySummary) -> None:
    lines = lines_of(comparison_table(summary))
    assert lines[0] == "tiny: accuracy"
    assert lines[1] == "model validation in fp32 test parameters size"
    assert lines[3:] == [
        "teacher 98.5 % 98.1 % 269,722 1,090 kB",
        "student, no distillation 94.0 % 93.3 % 5,010 21 kB",
        "student, kd 95.0 % 94.4 % 5,010 21 kB",
        "best student (continuation, trial 1) 96.7 % 96.1 % 5,010 21 kB",
    ]


def test_trials_carry_their_point_and_the_reason_of_their_stop_or_failure(summary: StudySummary) -> None:
    lines = lines_of(trials_table(summary.trials, summary.metric, summary.best_trial))
    assert "* 1 continuation default complete 96.7 % 2 1.5 s learning_rate=0.2" in lines
    assert "2 continuation sampled stopped early 50.0 % 2 1.5 s stopped at rung 1; learning_rate=0.0123" in lines
    assert "3 continuation sampled failed - 2 1.5 s the loss is not finite" in lines


def test_on_a_narrow_terminal_numbers_and_points_stay_whole(summary: StudySummary) -> None:
    stream = io.StringIO()
    table = trials_table(summary.trials, summary.metric, summary.best_trial, width=80)
    Console(file=stream, width=80, markup=False).print(table)
    lines = [line for line in stream.getvalue().splitlines() if "continuation" in line]
    (best,) = (line for line in lines if line.startswith("* 1") or line.lstrip().startswith("* 1"))
    assert best.split() == ["*", "1", "continuation", "complete", "96.7", "%", "1.5", "s", "learning_rate=0.2"]


def test_a_trial_runs_only_where_its_study_does(story: list[Event]) -> None:
    summary = summarise(story)
    assert summary is not None
    for is_running, state in ((True, "running"), (False, "not ended")):
        lines = lines_of(trials_table(summary.trials, summary.metric, summary.best_trial, is_running=is_running))
        assert f"4 continuation sampled {state} 30.0 % 1 - learning_rate=0.1" in lines


def test_the_time_of_a_study_that_went_on_is_that_of_its_last_session(summary: StudySummary) -> None:
    once = summary.model_copy(update={"seconds": {"total": 40.0}, "split": {"training": 30.0, "waiting": 10.0}})
    assert time_line(once) == "time: 40 s: training 75%, waiting 25%"
    again = once.model_copy(update={"resumed": 110.0})
    assert time_line(again) == "time: the last session took 40 s: training 75%, waiting 25%"


def test_studies_are_listed_with_their_best(summary: StudySummary) -> None:
    assert lines_of(studies_table([summary], ["finished"]))[-1] == "tiny finished 5/6 accuracy 96.7 % bundle"


def test_a_long_reason_is_folded_and_not_cut() -> None:
    reason = "x" * 500
    text = "".join(lines_of(plain_table({"why": "left"}, [[reason]])))
    assert text.count("x") == 500


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (35.2, "35 s"),
        (125, "2 min"),
        (2460, "41 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_metrics_are_percent_where_they_are_accuracies() -> None:
    assert metric_text(0.97449) == "97.4 %"
    assert metric_text(None) == "-"
    assert metric_text(0.97449, "f1") == "0.9745"
    assert metric_text(float("nan")) == "nan %"


def test_sizes_are_in_thousands_of_bytes() -> None:
    assert kilobytes(9_400) == "9.40 kB"
    assert kilobytes(1_090_400) == "1,090 kB"


def test_figures_of_onnx_models_stand_beside_each_other() -> None:
    latency = {1: CallTime(median=0.5, p95=1.25), 32: CallTime(median=8, p95=16)}
    fp32 = ModelFigures(precision="fp32", file="model.onnx", bytes=31_000, latency=latency)
    judged = {"validation": 0.97, "test": None, "agreement": 0.995}
    int8 = ModelFigures(precision="int8", file="model.int8.onnx", bytes=12_000, latency=latency, **judged)
    form = {"runtime": "onnxruntime 1.22.0", "metric": "accuracy", "examples": 9, "shapes": {}}
    alone = cells(figures_table(Figures(**form, models=(fp32,))))
    assert "validation" not in alone
    assert "0.500 (1.250)" in alone
    both = cells(figures_table(Figures(**form, models=(fp32, int8))))
    for text in ("validation", "int8", "12 kB", "8.000 (16.000)", "97.0 %", "99.5%"):
        assert text in both


def cells(table: RenderableType) -> str:
    stream = io.StringIO()
    console(stream).print(table)
    return stream.getvalue()


def test_control_characters_do_not_pass() -> None:
    assert printable("a\x1b[31mb\nc\td\u202ee") == "a\N{REPLACEMENT CHARACTER}[31mb c d\N{REPLACEMENT CHARACTER}e"
    assert printable("a\nb", lines=True) == "a\nb"


def test_compared_methods_stand_side_by_side(story: list[Event], ending: list[Event]) -> None:
    arms = {0: "none", 1: "kd-std", 2: "kd-std", 3: "dkd", 4: "dkd"}
    told = [
        event.model_copy(update={"arm": arms[event.trial], "role": "sampled"})
        if isinstance(event, TrialStarted)
        else event
        for event in [*story, *ending[:1]]
    ]
    summary = summarise(told)
    assert summary is not None
    assert lines_of(arms_table(summary))[3:] == [
        "none 1 0 94.0 % 0",
        "kd-std 2 0 96.7 % 1 learning_rate=0.2",
        "dkd 2 1 95.0 % 4 learning_rate=0.1",
    ]
    assert lines_of(trials_table(summary.trials, summary.metric, summary.best_trial))[3].startswith("* 1 kd-std")
    assert list(best_of_arms(summary)) == ["none", "kd-std", "dkd"]


def test_finalists_are_shown_over_their_seeds(finals: list[Event]) -> None:
    summary = summarise(finals)
    assert summary is not None
    lines = lines_of(comparison_table(summary))
    assert lines[0] == "tiny: accuracy, mean ± standard deviation over fresh seeds"
    assert lines[1] == "model in the search validation test seeds parameters size"
    assert lines[3:] == [
        "teacher - 98.5 % 98.1 % - 269,722 1,090 kB",
        "no distillation 94.0 % 93.0 ± 1.4 % 92.0 ± 1.4 % 2 5,010 21 kB",
        "continuation, trial 4 95.0 % 90.0 % 89.0 % 1 5,010 21 kB",
        "* continuation preset, trial 1 96.7 % 95.0 ± 1.4 % 94.0 ± 1.4 % 2 5,010 21 kB",
    ]
    said = finalist_lines(summary)
    assert said[0] == (
        "best student (continuation preset, trial 1) against no distillation, 2 seeds: "
        "cannot be told apart: +2.0 points with each of them, which leaves no spread to judge by"
    )
    assert said[1].startswith("the search saw 96.7 % on the validation split (continuation preset, trial 1), ")
    assert said[2] == "1 of 6 runs with fresh seeds failed"
    assert said[3].startswith("the test split was opened once, at ")


def test_as_json_there_is_all_of_it(finals: list[Event]) -> None:
    summary = summarise(finals)
    assert summary is not None
    data = json.loads(json.dumps(summary_data(summary), allow_nan=False))
    assert data["winner"] == 1
    assert [one["trial"] for one in data["over_seeds"]] == [0, 1, 4]
    (judgement,) = data["judgements"]
    assert judgement["sentence"] == data["conclusions"][0]
    assert judgement["comparison"]["difference"] == pytest.approx(0.02)
    assert judgement["comparison"]["p_value"] == "NaN", "JSON has none, and the gaps have no spread"
    assert len(data["finalists"]) == 6
    assert summary_data(summary.model_copy(update={"finalists": ()}))["over_seeds"] == []
