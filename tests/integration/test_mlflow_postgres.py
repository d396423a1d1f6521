"""Two drivers at once through an MLflow server on a real PostgreSQL, both started here."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_events import differences, drive, dump, whole_study
from mlflow_servers import MlflowServer, free_port

from autockd.tracking import sync

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

STUDIES = ("one", "other")


def program(name: str) -> str:
    """One of PostgreSQL's programs; Debian puts only some into the PATH. Skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    return path or pytest.skip(f"PostgreSQL is not installed ({name} is missing; Debian: apt-get install postgresql)")


def unprivileged() -> dict[str, Any]:
    """Arguments that make a process somebody's, for PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    with contextlib.suppress(KeyError):
        return {"user": pwd.getpwnam("postgres").pw_uid}
    return {"user": pwd.getpwnam("nobody").pw_uid}


class Postgres:
    """A database cluster in a folder of its own, on 127.0.0.1, with a password."""

    def __init__(self) -> None:
        self._initdb, self._postgres = program("initdb"), program("postgres")
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp())
        self._as_somebody = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Without the password, which its clients read from PGPASSWORD."""
        return f"postgresql+psycopg2://ada@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if "user" in self._as_somebody:
            for path in (self.folder, secret):
                os.chown(path, self._as_somebody["user"], -1)
        data = str(self.folder / "data")
        initdb = [self._initdb, "-D", data, "--username=ada", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync"]
        self._run([*initdb, "--locale=C", "--encoding=UTF8"]).wait(60)
        settings = {"port": self.port, "unix_socket_directories": self.folder, "listen_addresses": "127.0.0.1"}
        options = [word for name, value in {**settings, "fsync": "off"}.items() for word in ("-c", f"{name}={value}")]
        self._process = self._run([self._postgres, "-D", data, *options])
        deadline = time.monotonic() + 30
        while "ready to accept connections" not in self.log:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(self.folder)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._as_somebody)


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg2")
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture
def server(postgres: Postgres, tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path, postgres.uri, {"PGPASSWORD": postgres.password})
    server.start()
    yield server
    server.kill()


def test_two_drivers_at_once_and_a_sync_that_changes_nothing(
    postgres: Postgres, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    ledgers = {name: tmp_path / name / "ledger.jsonl" for name in STUDIES}
    spawn = multiprocessing.get_context("spawn")
    drivers = [spawn.Process(target=drive, args=(server.uri, ledger, name)) for name, ledger in ledgers.items()]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(90)
    content = dump(postgres.uri)
    assert len(content) == 10
    for name, ledger in ledgers.items():
        assert ledger.with_name("summary.txt").read_text().startswith("0 missed, 0 errors")
        assert differences(content, whole_study(name=name), name) == []
        sync(ledger, server.uri, "digits")
    assert dump(postgres.uri) == content
