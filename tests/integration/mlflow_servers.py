"""A real MLflow server that can be killed and stopped, and a gate before it that makes it slow, deaf or forbidding."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START_SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


class MlflowServer:
    """`mlflow server` on 127.0.0.1, in a process group of its own."""

    def __init__(self, folder: Path, store: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        self._variables = variables or {}
        self.store = store or f"sqlite:///{folder / 'mlflow.db'}"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Returns at once, to `wait` later."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment |= self._variables
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None, "the server was launched"
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Like `kill -9`, of all its processes; harmless when repeated."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It takes connections, as the kernel does that for it, and says nothing; then it does what it was asked to."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server runs"
        os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass(frozen=True)
class Request:
    """What the gate sees of a request."""

    method: str
    path: str
    body: bytes
    authorization: str | None

    @property
    def is_write(self) -> bool:
        return self.method != "GET" and not self.path.endswith("/search")


def _let_through(request: Request) -> int | None:
    return None


@dataclass
class Manners:
    """How a gate treats requests.

    Attributes:
        refuse: the status to answer with in the server's place, None to ask the server.
        lose: whether to close the connection in place of the server's answer.
        delay: seconds before each answer.
    """

    refuse: Callable[[Request], int | None] = _let_through
    lose: Callable[[Request], bool] = field(default=lambda request: False)
    delay: float = 0.0


class Gate:
    """Stands before a server, on a port of its own that stays the same while it is closed."""

    def __init__(self, server: MlflowServer) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.manners = Manners()
        self.seen: Counter[str] = Counter()
        self.requests: list[Request] = []
        self._server = server
        self._open: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()

    def open(self) -> None:
        gate = self

        class Handler(_Handler):
            def setup(self) -> None:
                super().setup()
                gate._connections.add(self.connection)

            def finish(self) -> None:
                gate._connections.discard(self.connection)
                super().finish()

            def pass_on(self) -> None:
                gate._pass_on(self)

        self._open = _HttpServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._open.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Nothing listens any more, and connections break; harmless when repeated."""
        if self._open is None:
            return
        self._open.shutdown()
        self._open.server_close()
        self._open = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def behaving(self, manners: Manners) -> Iterator[None]:
        self.manners = manners
        try:
            yield
        finally:
            self.manners = Manners()

    @contextlib.contextmanager
    def absent(self) -> Iterator[None]:
        self.close()
        try:
            yield
        finally:
            self.open()

    def _pass_on(self, handler: _Handler) -> None:
        manners, request = self.manners, handler.read()
        self.requests.append(request)
        status = manners.refuse(request)
        if status is not None:
            handler.answer(status, b"no", "text/plain")
            return
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        headers = {"Content-Type": handler.headers.get("Content-Type", "application/json")}
        connection.request(request.method, handler.path, request.body or None, headers)
        found = connection.getresponse()
        body = found.read()
        connection.close()
        time.sleep(manners.delay)
        if manners.lose(request):
            handler.close_connection = True
            return
        handler.answer(found.status, body, found.headers.get("Content-Type", "application/json"))


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def read(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        path = self.path.partition("?")[0]
        return Request(self.command, path, self.rfile.read(length), self.headers.get("Authorization"))

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pass_on(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def do_PUT(self) -> None:
        self.pass_on()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""
