"""Every error autockd raises on purpose, and the exit code each one carries.

    AutockdError                     1    a bug of ours, unless a subclass says otherwise
    |-- UsageError                   2    the user can mend it: a command line, a file, a name
    |   |-- ConfigError                   a study file: every mistake at once, with line and remedy
    |   |-- DataError                     a data set is not what the study says it is
    |   |-- ModelError                    a model or its weights cannot be built or loaded
    |   `-- StudyError                    a study folder is missing, taken, or belongs to another config
    |-- EnvironmentProblem           3    this machine: a folder, a package, a device, a server
    |-- NoTrialSucceeded             4    the search ended without a single usable student
    |-- ExportError                  5    a bundle could not be written, verified or reproduced
    |-- TrialFailed                  -    one trial; recorded with its reason, never ends a study
    `-- Interrupted                130    stopped by the user; the study can be resumed

Data goes to stdout and these go to stderr, as a message that names the field, the rule, the value and the remedy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REASON_LENGTH = 200


class AutockdError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(AutockdError):
    """Something the user wrote cannot be carried out."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in a study file.

    Attributes:
        field: dotted path of the field, such as `search.space.learning_rate.low`.
        message: the rule that is broken, with the value that breaks it.
        remedy: what to write instead; empty where the rule says it already.
        source: where it stands, such as `study.yaml:12` or `command line`.
    """

    field: str
    message: str
    remedy: str = ""
    source: str = ""

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{where}{self.field}: {self.message}{remedy}"


class ConfigError(UsageError):
    """A study file breaks rules; carries all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__("\n".join([f"{count} in the configuration:", *(f"  {problem}" for problem in problems)]))

    @classmethod
    def of(cls, field: str, message: str, remedy: str = "", source: str = "") -> ConfigError:
        """A ConfigError with a single problem."""
        return cls([Problem(field, message, remedy, source)])

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class DataError(UsageError):
    """A data set cannot be read, or is not what the study says it is."""


class ModelError(UsageError):
    """A model cannot be built, or its weights do not fit or are not safe to load."""


class StudyError(UsageError):
    """A study folder is missing, in use, or belongs to another configuration."""


class EnvironmentProblem(AutockdError):
    """This machine lacks something: a writable folder, a package, a device, a reachable server."""

    exit_code = 3


class NoTrialSucceeded(AutockdError):
    """The search ended and no trial has a usable result."""

    exit_code = 4


class ExportError(AutockdError):
    """A bundle cannot be written, verified, or does not reproduce its record."""

    exit_code = 5


class TrialFailed(AutockdError):
    """One trial cannot go on; the message, with its remedy, is its recorded reason."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message, self.remedy = message, remedy
        super().__init__(f"{message}; {remedy}" if remedy else message)

    def as_problem(self, field: str, source: str = "") -> Problem:
        """The same as a mistake of a study file, for what is no trial of a search."""
        return Problem(field, self.message, self.remedy, source)


class Interrupted(AutockdError):
    """The user stopped the program; what is finished is kept."""

    exit_code = 130


def reason_of(error: BaseException, *, with_file: bool = False) -> str:
    """What an error of the system or of a library says, in one line of at most 200 characters.

    Args:
        error: the error.
        with_file: whether the file that the system has something against is named, for those who don't name it.
    """
    plain = None if with_file else getattr(error, "strerror", None)
    return (plain or " ".join(str(error).split()))[:_REASON_LENGTH] or type(error).__name__


def unexpected(error: Exception) -> str:
    """What an error says that nobody expected, with its kind; one of ours speaks for itself."""
    return str(error) if isinstance(error, AutockdError) else f"{type(error).__name__}: {error}"


def cannot_write(what: str, path: Path, error: Exception, *, instead: str = "") -> EnvironmentProblem:
    """The error for what cannot be written, with the remedy that the system's reason asks for.

    Args:
        what: is to be written, such as `weights`.
        path: its file or folder.
        error: what the library that wrote has against it, or the system, which may have told the library alone.
        instead: another remedy.
    """
    reason = reason_of(_of_system(error) or error)
    is_full = any(os.strerror(code) in reason for code in _NO_SPACE)
    remedy = "free space there" if is_full else "make it writable"
    return EnvironmentProblem(
        f"{what}: cannot write {path} ({reason}) -> {remedy}{f', or {instead}' if instead else ''}"
    )


def disk_problem(error: BaseException) -> EnvironmentProblem | None:
    """The error for what failed because of a disk that is full, or for want of a permission; None where it did not."""
    system = _of_system(error)
    if system is None or system.errno not in (*_NO_SPACE, errno.EROFS, errno.EACCES):
        return None
    remedy = "free space there" if system.errno in _NO_SPACE else "permit this user to do that"
    return EnvironmentProblem(f"{system.filename or 'the disk'}: {reason_of(system)} -> {remedy}")


def _of_system(error: BaseException | None) -> OSError | None:
    """The system's error that this one is, or came from."""
    while error is not None and not (isinstance(error, OSError) and error.errno is not None):
        told = getattr(error, "cause", None)  # where Ray has it
        outer = None if error.__suppress_context__ else error.__context__
        error = told if isinstance(told, BaseException) else error.__cause__ or outer
    return error
