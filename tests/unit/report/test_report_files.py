"""A report's files: the numbers come back as they were, and what others wrote stays text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from report_events import SEEDS, report_events
from search_events import SPACE

from autockd.errors import EnvironmentProblem, StudyError, UsageError
from autockd.folders import LITTER
from autockd.records import Event, StudyStarted, TrialFinished, TrialStarted
from autockd.report import gathering, writing
from autockd.report.content import ReportContent
from autockd.report.csv_files import finalists_csv, trials_csv
from autockd.report.figures_html import plotly_figure, safe
from autockd.report.gathering import content_of
from autockd.report.html import page_of
from autockd.report.sections import charts_of, sections_of
from autockd.report.writing import CONTENT, PAGE, _is_report, _replaced, files_of, write_report
from autockd.summary import StudySummary, summarise

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{7*7}}"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return content_of(report_events())


def test_json_comes_back(content: ReportContent) -> None:
    assert ReportContent.model_validate_json(content.model_dump_json(indent=1)) == content


def test_trials_come_back_from_csv(content: ReportContent) -> None:
    rows = rows_of(trials_csv(content))
    assert len(rows) == len(content.trials) == 30
    for row, trial in zip(rows, content.trials, strict=True):
        assert int(row["trial"]) == trial.trial
        assert (float(row["value"]) if row["value"] else None) == trial.value
        params = {name: row[f"param.{name}"] for name in SPACE if row[f"param.{name}"]}
        assert params == {name: str(value) for name, value in trial.params.items()}


def test_finalists_come_back_from_csv(content: ReportContent) -> None:
    summary = summarise(report_events())
    assert summary is not None
    rows = rows_of(finalists_csv(content, summary.finalists, summary.evaluated))
    found = {(int(row["trial"]), int(row["seed"])): float(row["test"]) for row in rows}
    students = [row for row in content.standings if row.trial is not None]
    assert found == {
        (row.trial, seed): test for row in students for seed, test in zip(row.seeds, row.test, strict=True)
    }
    assert len(found) == 6 * len(SEEDS)


def test_a_spreadsheet_runs_nothing(content: ReportContent) -> None:
    bad = content.trials[0].model_copy(update={"reason": "=cmd|' /C calc'!A0"})
    rows = rows_of(trials_csv(content.model_copy(update={"trials": (bad,)})))
    assert rows[0]["reason"] == "'=cmd|' /C calc'!A0"


def hostile(event: Event) -> Event:
    if isinstance(event, StudyStarted):
        config = event.config | {"note": HOSTILE}
        return event.model_copy(update={"config": config, "classes": (HOSTILE,) * 10})
    if isinstance(event, TrialStarted):
        return event.model_copy(
            update={"conventions": HOSTILE, "method": HOSTILE if event.trial == 2 else event.method}
        )
    if isinstance(event, TrialFinished) and event.state == "failed":
        return event.model_copy(update={"reason": HOSTILE})
    return event


@pytest.fixture(scope="module")
def evil() -> ReportContent:
    return content_of([hostile(event) for event in report_events()])


def test_hostile_texts_are_escaped(evil: ReportContent) -> None:
    page = page_of(evil)
    assert len(re.findall(r"<script\b", page)) == 3
    assert "<img" not in page[: page.index("plotly.js v")]
    assert "window.hacked=1</script>" not in page
    assert "{{7*7}}" in page
    assert "49<" not in page
    assert "&lt;/script&gt;&lt;script&gt;window.hacked=1" in page


def test_plotly_is_given_no_tags(evil: ReportContent) -> None:
    assert safe("<b>x</b> & <a href='javascript:alert(1)'>y</a>").count("<") == 0
    for chart in charts_of(sections_of(evil)):
        for panel in chart.panels:
            for trace in plotly_figure(panel)["data"]:
                texts = (trace["name"], *trace["hovertext"])
                assert not re.search(r"<(?!br>)", " ".join(texts))


def test_every_part_of_a_full_study_is_there(content: ReportContent) -> None:
    anchors = [section.anchor for section in sections_of(content)]
    assert anchors == [
        *("comparison", "search", "dimensions", "plan", "curves", "rungs", "calibration", "cost", "origin", "repeat"),
    ]
    names = [chart.name for chart in charts_of(sections_of(content))]
    assert len(set(names)) == len(names) == 11
    (warning, *_) = next(section.warnings for section in sections_of(content) if section.anchor == "dimensions")
    assert warning == "Only 17 complete trials: the order of importance may be chance."


def test_objectives_have_a_front() -> None:
    def with_costs(event: Event) -> Event:
        if isinstance(event, StudyStarted):
            search = event.config["search"] | {"objectives": ["latency_ms"], "space": {}}
            return event.model_copy(update={"config": event.config | {"search": search}})
        if isinstance(event, TrialFinished) and event.state == "complete":
            return event.model_copy(update={"costs": {"latency_ms": 1.0 + event.trial % 4}})
        return event

    content = content_of([with_costs(event) for event in report_events(seeds=())])
    assert content.front
    section = next(section for section in sections_of(content) if section.anchor == "front")
    dots = {series.name: len(series.x) for series in section.charts[0].panels[0].series}
    assert dots["Pareto front"] == len(content.front)
    assert "Pareto front" in page_of(content)


def test_a_score_has_no_calibration_and_no_percentages() -> None:
    def as_score(event: Event) -> Event:
        if isinstance(event, StudyStarted):
            search = event.config["search"] | {"space": {}}
            changes = {"metric": "pearson_spearman", "classes": (), "config": event.config | {"search": search}}
            return event.model_copy(update=changes)
        return event.model_copy(update={"diagnosis": None}) if event.event == "evaluated" else event

    content = content_of([as_score(event) for event in report_events()])
    assert content.diagnoses == ()
    assert "calibration" not in [section.anchor for section in sections_of(content)]
    assert not any("%" in sentence.replace("95 %", "") for sentence in content.summary)


def test_an_unstarted_study_has_a_page_and_none_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    for _ in range(2):  # the second takes the place of the first
        write_report(report_events()[:1], folder)
    assert [path.name for path in files_of(folder)] == ["report.html", "finalists.csv", "report.json", "trials.csv"]
    assert "There is no result yet" in (folder / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    with pytest.raises(StudyError, match="has not begun"):
        content_of([])


def test_a_report_summarises_its_events_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[StudySummary | None] = []

    def summarised(events: Iterable[Event]) -> StudySummary | None:
        made.append(summarise(events))
        return made[-1]

    for module in (gathering, writing):
        monkeypatch.setattr(module, "summarise", summarised)
    write_report(report_events()[:1], tmp_path / "report")
    assert len(made) == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a report"):
        write_report(report_events()[:1], tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_folder_with_a_file_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a whole report, pictures and all, is not."""
    monkeypatch.setattr(writing, "save_chart", lambda chart, stage: (stage / f"{chart.name}.png").touch())
    folder, begun = tmp_path / "report", report_events()[:1]
    write_report(report_events(seeds=()), folder)
    assert len(list(folder.glob("*.png"))) > 3
    for name in ("holiday.png", "other.csv", "notes.html", "data.json"):
        (folder / name).write_text("mine")
        assert not _is_report(folder), name
        (folder / name).unlink()
    (folder / ".DS_Store").symlink_to(folder / "report.html")
    assert not _is_report(folder), "no file manager leaves a link"
    (folder / ".DS_Store").unlink()
    (folder / "holiday.png").write_text("mine")
    with pytest.raises(UsageError, match=r"is not a report alone \(there is holiday.png\), so it is left alone"):
        write_report(begun, folder)
    assert (folder / "holiday.png").read_text() == "mine"
    (folder / "holiday.png").unlink()
    write_report(begun, folder)
    assert list(folder.glob("*.png")) == []


@pytest.mark.parametrize("name", sorted(LITTER))
def test_what_a_file_manager_leaves_keeps_no_report_from_being_replaced(tmp_path: Path, name: str) -> None:
    folder, begun = tmp_path / "report", report_events()[:1]
    folder.mkdir()
    for _ in range(2):  # an empty folder first, then a report
        (folder / name).write_text("icons")
        write_report(begun, folder)
        assert not (folder / name).exists()
    (folder / name).write_text("icons")
    (folder / "holiday.png").write_text("mine")
    with pytest.raises(UsageError, match=r"is not a report alone \(there is holiday.png\)"):
        write_report(begun, folder)


def test_a_place_that_cannot_be_written_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match="the report cannot be written: Not a directory -> "):
        write_report(report_events()[:1], tmp_path / "file" / "report")


def test_a_report_that_another_writer_replaces_just_now_is_still_one(tmp_path: Path) -> None:
    folder = tmp_path / "report"

    def replace() -> None:
        for _ in range(50):
            with _replaced(folder) as stage:
                for name in (PAGE, CONTENT):
                    (stage / name).write_text("")

    with ThreadPoolExecutor(2) as writers:
        for done in [writers.submit(replace) for _ in range(2)]:
            done.result()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert {path.name for path in files_of(folder)} == {PAGE, CONTENT}
