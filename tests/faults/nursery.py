"""Commands of autockd, each in a process of its own that costs little: forked off one that has imported most.

The nursery adopts orphans, so whatever a killed driver leaves behind is found among its descendants.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import crashes
from crashes import Crash

from autockd.garbage import look_seldom
from autockd.search.connection import RAY_ENVIRONMENT
from autockd.tracking.mlflow_store import MLFLOW_ENVIRONMENT

PATIENCE = float(os.environ.get("AUTOCKD_FAULT_PATIENCE", "1"))
"""How many times longer than on a quiet machine everything may take."""

_HEAVY = (
    *("torch", "sklearn.datasets", "matplotlib.figure", "optuna", "ray.tune"),
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store"),
)
_PR_SET_CHILD_SUBREAPER = 36
_POLL = 0.02


class Command:
    """An autockd command that runs, or has run."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self._output = output

    @property
    def status(self) -> int | None:
        """Its exit code, or minus the signal that killed it; None while it runs."""
        path = self._output.with_suffix(".status")
        return int(path.read_text()) if path.exists() else None

    @property
    def stdout(self) -> str:
        return self._output.with_suffix(".out").read_text()

    @property
    def stderr(self) -> str:
        return self._output.with_suffix(".err").read_text()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = 120.0) -> int:
        """Its status, once there is one, after so many seconds of a quiet machine at most."""
        if not wait_until(lambda: self.status is not None, timeout * PATIENCE):
            raise TimeoutError(f"still running after {timeout * PATIENCE:g} s; it said:\n{self.stderr}")
        assert self.status is not None
        return self.status

    def kill(self) -> bool:
        """SIGKILL; whether it came before the command's own end."""
        self.signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


class Nursery:
    """Starts commands.

    Args:
        folder: where commands run, and where their output goes.
        environment: variables that all of them have beside this process's own.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._answer() == "ready"

    def start(
        self,
        *arguments: str | Path,
        crash: Sequence[Crash] = (),
        worker_crashes: Sequence[Crash] = (),
        **environment: str,
    ) -> Command:
        """Start `autockd ARGUMENTS`.

        Args:
            arguments: the command line.
            crash: how the command's own process dies.
            worker_crashes: how processes that Ray starts for it die.
            environment: further variables.
        """
        self._count += 1
        output = self._folder / f"command-{self._count}"
        inject = str(Path(__file__).parent / "inject")
        if worker_crashes:
            environment |= {"PYTHONPATH": inject, crashes.WORKER_CRASHES: crashes.dump(worker_crashes)}
        request = {
            "arguments": [str(argument) for argument in arguments],
            "output": str(output),
            "crashes": crashes.dump(crash),
            "environment": environment,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Command(int(self._answer()), output)

    def processes(self) -> dict[int, str]:
        """Everything that commands started and that is still there, zombies left out: process id to command line."""
        parents: dict[int, int] = {}
        names: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                _, _, fields = (folder / "stat").read_text().rpartition(") ")
                state, parent = fields.split()[:2]
                name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state not in "ZX":
                    parents[int(folder.name)], names[int(folder.name)] = int(parent), name
        family: set[int] = {self._process.pid}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return {pid: names[pid] for pid in family - {self._process.pid}}

    def training(self) -> list[int]:
        """Ids of the workers that train a trial just now."""
        return [pid for pid, name in self.processes().items() if "Trainable" in name and ".train" in name]

    def is_quiet(self, timeout: float) -> bool:
        """Whether all processes end by themselves within so many seconds."""
        return wait_until(lambda: not self.processes(), timeout)

    def clear(self, patience: float = 0.0) -> list[str]:
        """End what is still there after some patience; returns the command lines."""
        if self.is_quiet(patience):
            return []
        found = []
        while left := self.processes():
            for pid, name in left.items():
                found.append(name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL)
        return found

    def close(self) -> None:
        self.clear()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _serve() -> int:
    """Fork a command for each request on stdin, until there are no more."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _import_heavy()
    print("ready", flush=True)
    running: dict[int, str] = {}
    while True:
        if select.select([sys.stdin], [], [], _POLL)[0]:
            line = sys.stdin.readline()
            if not line:
                return 0
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return _run(request)
            running[pid] = request["output"]
            print(pid, flush=True)
        _reap(running)


def _reap(running: dict[int, str]) -> None:
    """Write down how commands ended; orphans are let go."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            if pid in running:
                path = Path(running.pop(pid))
                draft = path.with_suffix(".draft")
                draft.write_text(str(os.waitstatus_to_exitcode(status)))
                draft.replace(path.with_suffix(".status"))


def _import_heavy() -> None:
    """What commands import of others, in the environment that they would do it in.

    Little of autockd itself: a crash replaces a function in its module, and whoever has it by name would keep it.
    """
    os.environ.update({**RAY_ENVIRONMENT, **MLFLOW_ENVIRONMENT, **os.environ})
    look_seldom()
    for module in _HEAVY:
        importlib.import_module(module)


def _run(request: dict[str, Any]) -> int:
    """In the child: be the command."""
    os.setsid()
    output = Path(request["output"])
    for path, descriptor in ((Path(os.devnull), 0), (output.with_suffix(".out"), 1), (output.with_suffix(".err"), 2)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.update(request["environment"])
    os.environ[crashes.DRIVER] = str(os.getpid())
    for crash in crashes.load(request["crashes"]):
        crash.install()
    from autockd.cli.app import main

    return main(request["arguments"])


if __name__ == "__main__":
    sys.exit(_serve())
