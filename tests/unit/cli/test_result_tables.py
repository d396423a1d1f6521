"""The tables that a study ends with, and how numbers read in them."""

from __future__ import annotations

import io

import pytest
from rich.console import RenderableType

from autockd.cli.output import console
from autockd.cli.tables import comparison_table, plain_table, studies_table, trials_table
from autockd.cli.text import duration, kilobytes, metric_text, printable
from autockd.records import Event
from autockd.report.tables import StudySummary, summarise


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
    assert lines[1] == "model validation test parameters size"
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


def test_studies_are_listed_with_their_best(summary: StudySummary) -> None:
    assert lines_of(studies_table([summary]))[-1] == "tiny finished 5/6 accuracy 96.7 % bundle"


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


def test_control_characters_do_not_pass() -> None:
    assert printable("a\x1b[31mb\nc\td\u202ee") == "a\N{REPLACEMENT CHARACTER}[31mb c d\N{REPLACEMENT CHARACTER}e"
    assert printable("a\nb", lines=True) == "a\nb"
