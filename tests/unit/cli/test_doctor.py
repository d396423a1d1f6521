"""The doctor on this machine, and on broken ones."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from autockd.cli import doctor, machine
from autockd.cli.doctor import Check, examine, report, required_packages
from autockd.errors import EnvironmentProblem
from autockd.folders import CACHE_ENV, STUDIES_ENV


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STUDIES_ENV, str(tmp_path / "studies"))
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def found(name: str) -> Check:
    return next(check for check in examine() if check.name == name)


def test_a_good_machine_passes_and_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "warn ")) for line in lines)
    assert any(line.startswith("ok    torch: ") for line in lines)
    assert any(f"{tmp_path / 'studies'} (to be made)" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    report(as_json=True)
    checks = json.loads(capsys.readouterr().out)
    assert {"python", "torch", "cpu", "memory", "studies", "cache", "mlflow"} <= {check["name"] for check in checks}
    assert {check["status"] for check in checks} <= {"ok", "warn"}


def test_a_folder_below_a_file_fails_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(STUDIES_ENV, str(tmp_path / "file" / "studies"))
    with pytest.raises(EnvironmentProblem, match="studies, mlflow: failed"):
        report(as_json=False)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fail  studies"))
    assert "is not a folder" in line
    assert f"-> set {STUDIES_ENV} to another folder" in line


def test_writability_is_tried_and_not_read_from_permission_bits(tmp_path: Path) -> None:
    assert machine.why_not_writable(tmp_path) is None
    assert machine.why_not_writable(Path("/proc")) is not None


def test_required_packages_are_our_own_without_the_extras() -> None:
    names = [needed.name for needed in required_packages()]
    assert {"torch", "ray", "optuna", "mlflow", "rich"} <= set(names)
    assert "pytest" not in names
    assert all(metadata.version(name) for name in names)


def test_a_package_that_is_too_old_is_no_better_than_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "mlflow" else real(name))
    assert (found("mlflow").status, found("optuna").status) == ("fail", "ok")
    assert found("mlflow").remedy == "pip install 'mlflow<4,>=3.17'"


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@pytest.mark.parametrize("login", ["", "me:hunter2pass@"])
@pytest.mark.parametrize(("status", "expected"), [(200, "ok"), (500, "warn")])
def test_a_server_is_pinged(status: int, expected: str, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Health, "status", status)
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{login}127.0.0.1:{server.server_port}")
        check = found("mlflow server")
        server.shutdown()
        thread.join()
    assert check.status == expected


def test_a_silent_server_costs_its_patience_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._PING_SECONDS == 3
    monkeypatch.setattr(doctor, "_PING_SECONDS", 0.3)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2pass@127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        check = found("mlflow server")
    assert 0.25 < time.monotonic() - began < 10
    assert check.status == "warn"
    assert "hunter2pass" not in check.line


def test_which_arithmetic_comes_first_and_who_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bf16, first in ((True, "bf16, which the hardware has"), (False, "fp32, for bf16 is not in hardware")):
        monkeypatch.setattr(doctor, "cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
        assert first in found("precision").found


def test_a_database_of_the_environment_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert found("MLFLOW_TRACKING_URI").status == "ok"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/mlflow.db")
    assert found("MLFLOW_TRACKING_URI").status == "fail"


def test_a_database_server_that_is_away_is_a_warning_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg2://me:hunter2pass@127.0.0.1:{port}/mlflow")
    check = found("MLFLOW_TRACKING_URI")
    assert check.status == "warn"
    assert "refused" in check.found
    assert "hunter2pass" not in check.line


@pytest.mark.parametrize("uri", ["./mlruns", "file:///srv/mlruns"])
@pytest.mark.parametrize(("allowed", "expected"), [(None, "warn"), ("false", "warn"), ("True", "ok"), ("1", "ok")])
def test_a_folder_of_files_is_nothing_that_mlflow_opens_by_itself(
    uri: str, allowed: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    if allowed is not None:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", allowed)
    check = found("MLFLOW_TRACKING_URI")
    assert check.status == expected
    assert ("MLFLOW_ALLOW_FILE_STORE=true" in check.remedy) == (expected == "warn")


def test_offline_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE=1" in found("offline variables").found


def test_peaks_are_measured_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autockd.training.peaks.LARGE", 64)
    report(as_json=False, peak=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if "peak, one core" in line)
    assert re.search(r"[\d,]+ GFLOP/s in fp32, [\d,]+ in bf16; copies at [\d,.]+ GB/s", line)


def test_a_folder_that_may_not_be_looked_into_counts_from_what_is_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /root is for another user; root itself may look everywhere, so the system's answer is played."""
    closed = tmp_path / "closed"
    closed.mkdir()
    access, stat = os.access, os.stat

    def no_entry(path: Any, *args: Any, **named: Any) -> Any:
        if str(path).startswith(f"{closed}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **named)

    monkeypatch.setattr(os, "stat", no_entry)
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(f"{closed}{os.sep}") and access(path, mode)
    )
    assert machine.nearest_folder(closed / "cache" / "autockd") == closed
