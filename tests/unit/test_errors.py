"""The tree of errors: exit codes, texts, and the way through a process boundary."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import pytest

from autockd import errors
from autockd.errors import AutockdError, ConfigError, Problem


def descendants(root: type[AutockdError]) -> list[type[AutockdError]]:
    return [kind for child in root.__subclasses__() for kind in (child, *descendants(child))]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.AutockdError, 1),
        (errors.UsageError, 2),
        (errors.ConfigError, 2),
        (errors.DataError, 2),
        (errors.ModelError, 2),
        (errors.StudyError, 2),
        (errors.EnvironmentProblem, 3),
        (errors.NoTrialSucceeded, 4),
        (errors.ExportError, 5),
        (errors.Interrupted, 130),
    ],
)
def test_each_error_has_its_exit_code(kind: type[AutockdError], code: int) -> None:
    assert kind.exit_code == code


def test_the_tree_drawn_at_the_top_of_the_module_is_the_tree() -> None:
    drawing = (errors.__doc__ or "").split("\n\n")[1]
    drawn = re.findall(r"^[\s|`-]*([A-Z]\w+)", drawing, flags=re.MULTILINE)
    ours = [kind for kind in descendants(AutockdError) if kind.__module__ == errors.__name__]
    assert drawn == [AutockdError.__name__, *(kind.__name__ for kind in ours)]


def test_every_error_is_caught_as_one_of_ours() -> None:
    with pytest.raises(AutockdError, match="no such column"):
        raise errors.DataError("no such column")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("training.epochs", "must be at least 1, not 0"), "training.epochs: must be at least 1, not 0"),
        (Problem("a", "is odd", "use 2"), "a: is odd -> use 2"),
        (Problem("a", "is odd", "use 2", "x.yaml:3"), "x.yaml:3: a: is odd -> use 2"),
        (Problem("a", "is odd", source="command line"), "command line: a: is odd"),
    ],
)
def test_a_problem_reads_where_what_why_and_what_to_do(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_lists_all_of_its_problems() -> None:
    problems = [Problem("a", "is odd", source="x.yaml:1"), Problem("b", "is even", "use 3")]
    error = ConfigError(problems)
    assert error.problems == tuple(problems)
    assert str(error).splitlines() == [
        "2 problems in the configuration:",
        "  x.yaml:1: a: is odd",
        "  b: is even -> use 3",
    ]


def test_a_single_problem_is_counted_in_the_singular() -> None:
    assert str(ConfigError.of("a", "is odd")).startswith("1 problem in")


def test_a_config_error_comes_whole_out_of_a_worker_process() -> None:
    error = ConfigError.of("a", "is odd", "use 2", "x.yaml:3")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ConfigError)
    assert copy.problems == error.problems
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a.pt"), "Permission denied"),
        (OSError("no number"), "no number"),
        (RuntimeError("one line\n  and another"), "one line and another"),
        (ValueError("x" * 300), "x" * 200),
        (KeyError(), "KeyError"),
    ],
)
def test_a_reason_is_one_line(error: Exception, text: str) -> None:
    assert errors.reason_of(error) == text


def test_a_reason_names_the_file_where_nobody_else_does() -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "a.parquet")
    assert errors.reason_of(error, with_file=True) == "[Errno 2] No such file or directory: 'a.parquet'"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "free space there"),
        (RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"), "free space there"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "make it writable"),
    ],
)
def test_the_remedy_is_that_of_the_reason(error: Exception, remedy: str) -> None:
    found = errors.cannot_write("weights", Path("a.pt"), error)
    assert str(found).startswith("weights: cannot write a.pt (")
    assert str(found).endswith(f") -> {remedy}")
    assert str(errors.cannot_write("bank", Path("b"), error, instead="go")).endswith(f") -> {remedy}, or go")


def test_what_was_raised_from_nothing_is_no_matter_of_the_disk() -> None:
    error = KeyError("weights")
    error.__context__ = PermissionError(errno.EACCES, "Permission denied", "a.pt")
    assert errors.disk_problem(error) is not None
    error.__suppress_context__ = True
    assert errors.disk_problem(error) is None
    error.cause = "a text of a library's own"  # type: ignore[attr-defined]
    assert errors.disk_problem(error) is None
