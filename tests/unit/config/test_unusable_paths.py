"""Paths that no system can follow are mistakes of the file, with their field and line, and so is text that is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autockd.config import parse_study
from autockd.config.loading import parse_task
from autockd.errors import ConfigError, Problem

STUDY = """\
name: tiny
task: TASK
teacher: {model: {family: encoder, path: ./bert}}
student: {model: {family: encoder, layers: 2}}
"""


def problem(task: str, folder: Path, *overrides: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        parse_study(STUDY.replace("TASK", task), "study.yaml", folder, overrides)
    (found,) = caught.value.problems
    return found


@pytest.mark.skipif(os.name != "posix", reason="links and names of POSIX")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ('"a\\0b.csv"', "null"),
        ("./loop", "loop"),
        ("package:nowhere_at_all/x.csv", "is not installed"),
        ("package:__main__/x.csv", "the package __main__ is not installed"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_with_its_line(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    if path == "./loop" and _follows_circles(tmp_path / "loop"):
        pytest.skip("this Python leaves a circle of links as it is")
    found = problem(f"{{source: text, path: {path}}}", tmp_path)
    assert (found.field, found.source) == ("task.path", "study.yaml:2")
    assert reason in found.message


def _follows_circles(path: Path) -> bool:
    try:
        path.resolve()
    except RuntimeError:
        return False
    return True


def test_so_it_is_of_files_and_databases(tmp_path: Path) -> None:
    task = "{source: text, path: ./x.csv}"
    found = problem(task, tmp_path, 'student.model.weights="a\\0b"')
    assert (found.field, found.source) == ("student.model.weights", "command line")
    assert problem(task, tmp_path, 'tracking.uri="sqlite:///a\\0b.db"').field == "tracking.uri"


def test_data_alone_are_looked_at_too(tmp_path: Path) -> None:
    """A file of data has no other rules that would find a package missing."""
    with pytest.raises(ConfigError, match=r"new\.yaml:1: task\.path: is 'package:nowhere_at_all/x\.csv'.* not inst"):
        parse_task("task: {source: text, path: 'package:nowhere_at_all/x.csv'}\n", "new.yaml", tmp_path)


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    """A study that says it could not be saved."""
    for text in ('note: "\\ud800"\n', '"\\udfff": 1\n'):
        with pytest.raises(ConfigError, match=r"study\.yaml:\d: YAML: .* halves of a character"):
            parse_study(STUDY.replace("TASK", "{source: digits}") + text, "study.yaml", tmp_path)
    found = problem("{source: text, path: ./x.csv}", tmp_path, 'note="\\ud83d\\ude00"')
    assert (found.field, found.source) == ("note", "command line")


def test_a_value_too_deep_for_a_reader_is_refused_on_the_command_line_too(tmp_path: Path) -> None:
    found = problem("{source: text, path: ./x.csv}", tmp_path, f"note={'[' * 5000}")
    assert (found.field, found.source) == ("note", "command line")
