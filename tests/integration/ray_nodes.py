"""Nodes of a Ray cluster on the loopback interface, with token authentication: each can be killed with all it runs.

Ray joins nodes by the address of their machine. Started as a program, this file is `ray` on a machine that has no other
address than 127.0.0.1, so that nothing of it can be reached from outside.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

START_SECONDS = 60.0
_OBJECT_STORE = 100_000_000
"""Bytes of shared memory: 80 MB is the least that Ray takes."""


def token_authentication() -> dict[str, str]:
    """The variables of a cluster that wants a token, and of whoever may join it."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}


class RayNode:
    """`ray start --block` with one core.

    Args:
        environment: its variables, all of them.
        head: address of the cluster to join; None starts one.
    """

    def __init__(self, environment: Mapping[str, str], head: str | None = None) -> None:
        # Ray makes sockets in there, and a socket's path has to be short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.address = head or f"127.0.0.1:{_free_port()}"
        own = [f"--address={head}"] if head else ["--head", f"--port={self.address.partition(':')[2]}"]
        command = [sys.executable, __file__, "start", "--block", *own, "--node-ip-address=127.0.0.1", "--num-cpus=1"]
        command += [f"--temp-dir={self._folder}", f"--object-store-memory={_OBJECT_STORE}"]
        command += ["--include-dashboard=false"] if head is None else []
        self._log = self._folder / "start.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=dict(environment), stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it has started."""
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in (said := self._log.read_text()):
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """All of its processes: process id to command line."""
        parents, commands = {}, {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        family = {self._process.pid}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return {process: commands.get(process, "") for process in family}

    def kill(self) -> dict[int, str]:
        """Like a power cut; returns what ran. Harmless when repeated."""
        if self._process.poll() is not None:
            return {}
        ran = self.processes()
        for process in ran:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        return ran

    def remove(self) -> None:
        """Kill it, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def main() -> None:
    from ray._private import services
    from ray.scripts.scripts import main as ray

    services.get_node_ip_address = lambda address=None: "127.0.0.1"
    ray()


if __name__ == "__main__":
    main()
