"""From how a command ended to a message on stderr and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from autockd.cli.output import say
from autockd.errors import AutockdError, UsageError, disk_problem, reason_of, unexpected

DEBUG_ENV = "AUTOCKD_DEBUG"
"""Set to anything but 0 for tracebacks, as with --verbose."""

INTERRUPTED = 130

GIVEN_UP = frozenset({"mlflow-sink", "mlflow-registry"})
"""Names of the threads that may be left behind: they hang in MLflow, and what they had to tell is in the ledger."""


@dataclass
class Settings:
    """What is said before the command and holds for all of them."""

    verbose: bool = False

    @property
    def tracebacks(self) -> bool:
        """Whether errors come with a traceback."""
        return self.verbose or os.environ.get(DEBUG_ENV, "0") not in ("", "0")


def exit_code_of(command: Callable[[], object], settings: Settings) -> int:
    """Run a command; report how it failed, if it did.

    Returns:
        0 when done, an AutockdError's own code, 2 for a wrong command line, 130 when interrupted, 1 for our bugs.
    """
    try:
        command()
    except SystemExit as error:
        return _code_of_exit(error)
    except KeyboardInterrupt:
        return _interrupted()
    except AutockdError as error:
        _report(f"error: {error}", settings)
        return error.exit_code
    except Exception as error:  # the last line of defence: a short message instead of a traceback
        if (problem := disk_problem(error) or _name_problem(error)) is not None:
            _report(f"error: {problem}", settings)
            return problem.exit_code
        _report(_our_bug(error), settings)
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End this process with an exit code, also where a thread was given up that is inside of MLflow still.

    Python would end such a thread in the middle of whatever C++ it is in, and abort over it.
    """
    if any(thread.name in GIVEN_UP for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    gc.freeze()  # or Python looks for garbage among all that torch and its like have loaded: seconds, for nothing
    sys.exit(code)


def _code_of_exit(error: SystemExit) -> int:
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    return _interrupted() if code == INTERRUPTED else code


def _interrupted() -> int:
    say("interrupted: what is finished is kept")
    return INTERRUPTED


def _name_problem(error: Exception) -> UsageError | None:
    """The error for a file or folder whose name no disk has room for; None where it is another one."""
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    return UsageError(f"{error.filename}: {reason_of(error)} -> give it a shorter name")


def _our_bug(error: Exception) -> str:
    return (
        f"unexpected error: {unexpected(error)}\n"
        f"This is a bug in autockd. Please report it, with the traceback that {DEBUG_ENV}=1 or "
        "`autockd --verbose COMMAND ...` prints."
    )


def _report(message: str, settings: Settings) -> None:
    from autockd.tracking.redaction import redact

    if settings.tracebacks:
        say(redact(traceback.format_exc().rstrip()))
    say(redact(message))
