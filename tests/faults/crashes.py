"""Crashes at chosen moments: a process is killed with SIGKILL when it calls a named function for the n-th time.

Nothing of autockd is imported here, so that every process of a study can afford to import it.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

WORKER_CRASHES = "AUTOCKD_TEST_CRASHES"
DRIVER = "AUTOCKD_TEST_DRIVER"
"""Environment variables that a study's workers inherit from its driver: their crashes, and the driver's process id."""


@dataclass(frozen=True)
class Crash:
    """One process dies at one moment.

    Attributes:
        target: `package.module:Class.method` or `package.module:function`.
        when: whether the function has done its work by then.
        nth: at which call of a process, counting those that match.
        match: texts that all stand in the call's arguments, as `repr` shows them.
        victim: who dies: the process that calls, its driver and then itself (as when a machine loses power), or
            nobody, but the call never returns.
        token: a file that is made at that moment; where it exists the crash has happened, and does not happen again.
            Empty for a crash that happens every time.
    """

    target: str
    when: Literal["before", "after"] = "before"
    nth: int = 1
    match: tuple[str, ...] = ()
    victim: Literal["self", "all", "time"] = "self"
    token: str = ""

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    def install(self) -> None:
        """Take the place of the function in this process."""
        *path, name = self.target.partition(":")[2].split(".")
        owner = functools.reduce(getattr, path, importlib.import_module(self.module))
        setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        calls = itertools.count(1)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            said = repr((args, kwargs)) if self.match else ""
            is_due = all(text in said for text in self.match) and next(calls) == self.nth
            if is_due and self.when == "before":
                self._happen()
            result = original(*args, **kwargs)
            if is_due and self.when == "after":
                self._happen()
            return result

        return call

    def _happen(self) -> None:
        if self.token:
            try:
                os.close(os.open(self.token, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        if self.victim == "time":
            while True:
                time.sleep(60)
        if self.victim == "all":
            os.kill(int(os.environ[DRIVER]), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def dump(crashes: Sequence[Crash]) -> str:
    return json.dumps([asdict(crash) for crash in crashes])


def load(text: str) -> list[Crash]:
    return [Crash(**{**entry, "match": tuple(entry["match"])}) for entry in json.loads(text)]


def install_on_import(crashes: Sequence[Crash]) -> None:
    """Install crashes as soon as their modules are imported, whenever that is."""
    for crash in crashes:
        if crash.module in sys.modules:
            crash.install()
    sys.meta_path.insert(0, _Finder([crash for crash in crashes if crash.module not in sys.modules]))


class _Finder(MetaPathFinder):
    """Finds nothing itself: lets the others find, and sees to it that a module gets its crashes."""

    def __init__(self, crashes: Sequence[Crash]) -> None:
        self._waiting = {crash.module: [c for c in crashes if c.module == crash.module] for crash in crashes}

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        crashes = self._waiting.pop(name, None)
        if crashes is None:
            return None
        spec = next((s for f in sys.meta_path if f is not self and (s := f.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            _add_to(spec.loader, crashes)
        return spec


def _add_to(loader: Loader, crashes: Sequence[Crash]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for crash in crashes:
            crash.install()

    loader.exec_module = exec_module  # type: ignore[method-assign]
