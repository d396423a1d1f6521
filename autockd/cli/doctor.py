"""Whether this machine can run a study: one line a check, each with what to do about it."""

from __future__ import annotations

import itertools
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from autockd.cli import machine
from autockd.cli.output import write, write_json
from autockd.cli.text import gigabytes, printable
from autockd.errors import EnvironmentProblem, reason_of
from autockd.folders import CACHE_ENV, STUDIES_ENV, cache_folder, studies_folder
from autockd.processor import cpu_has_bf16, cpu_model, memory, usable_cores
from autockd.text import plural

Status = Literal["ok", "warn", "fail"]

_LITTLE_SPACE = 2e9
_LITTLE_MEMORY = 1e9
_PING_SECONDS = 3.0
_ANSWERS = "answers; studies that name no tracking.uri are recorded there"
_DATABASES = ("postgresql", "mysql", "mssql")
"""How the tracking URIs begin of the databases on a server that MLflow takes."""
_PATIENT = ("postgresql:", "postgresql+psycopg", "mysql+pymysql")
"""Those whose drivers can be told how long to wait."""
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_MIN_PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Attributes:
        name: what was looked at.
        status: ok; warn, for what only some studies need; fail, for what every study needs.
        found: what is there.
        remedy: what to do; empty where nothing needs doing.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The check as a line of text."""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.status:<4}  {self.name}: {self.found}{remedy}"


def examine() -> Iterator[Check]:
    """All checks, in the order in which they are shown; each is made when it is asked for."""
    yield _python()
    yield from _packages()
    yield from _processor()
    yield _memory()
    yield from _devices()
    yield _folder("studies", studies_folder(), STUDIES_ENV)
    yield _folder("cache", cache_folder(), CACHE_ENV)
    yield from _mlflow()
    yield _offline()


def report(*, as_json: bool, peak: bool = False) -> None:
    """Print all checks.

    Args:
        as_json: whether as one document.
        peak: whether to measure as well what the machine can do at most; that takes some seconds.

    Raises:
        EnvironmentProblem: one of them failed.
    """
    checks = []
    for check in itertools.chain(examine(), peaks() if peak else ()):
        checks.append(check)
        if not as_json:
            write(printable(check.line))
    if as_json:
        write_json([asdict(check) for check in checks])
    if failed := [check.name for check in checks if check.status == "fail"]:
        raise EnvironmentProblem(f"{', '.join(failed)}: failed -> see the lines marked fail")


def _python() -> Check:
    version = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info < _MIN_PYTHON:
        return Check("python", "fail", version, "install Python 3.11 or later")
    return Check("python", "ok", version)


def _packages() -> Iterator[Check]:
    for needed in (Requirement("autockd"), *required_packages()):
        remedy = f"pip install '{needed}'"
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield Check(needed.name, "fail", "not installed", remedy)
        else:
            fits = needed.specifier.contains(version, prereleases=True)
            yield Check(needed.name, "ok" if fits else "fail", version, "" if fits else remedy)


def required_packages() -> list[Requirement]:
    """The packages that autockd depends on, with their versions, as its own metadata lists them."""
    try:
        lines = metadata.requires("autockd") or []
    except metadata.PackageNotFoundError:
        return []
    return [needed for needed in map(Requirement, lines) if needed.marker is None or needed.marker.evaluate()]


def _processor() -> Iterator[Check]:
    has_bf16 = cpu_has_bf16()
    bf16 = "bf16 in hardware" if has_bf16 else "no bf16 in hardware"
    yield Check("cpu", "ok", f"{cpu_model()}, {plural(usable_cores(), 'usable core')}, {bf16}")
    first = "bf16, which the hardware has" if has_bf16 else "fp32, for bf16 is not in hardware"
    yield Check("precision", "ok", f"on the CPU {first}; every study times its own student before it decides")


def _memory() -> Check:
    found = memory()
    if found is None:
        return Check("memory", "warn", "unknown", "check by hand that a few GB are free")
    total, available = found
    text = f"{gigabytes(available)} available of {gigabytes(total)}"
    if available < _LITTLE_MEMORY:
        return Check("memory", "warn", text, "close other programs, or lower resources.parallel_trials")
    return Check("memory", "ok", text)


def _devices() -> Iterator[Check]:
    try:
        found = machine.gpus()
    except (ImportError, OSError, RuntimeError) as error:
        yield Check("torch", "fail", f"cannot be used: {error}", "reinstall torch and torchvision together")
        return
    for device in found:
        text = f"{device.name}, {gigabytes(device.memory)}, {'bf16' if device.bf16 else 'no bf16'}"
        if device.computes:
            yield Check("gpu", "ok", text)
        else:
            remedy = "install a torch for it, or set resources.gpus_per_trial to 0"
            yield Check("gpu", "fail", f"{text}: this torch has no code for it", remedy)
    if not found:
        yield Check("gpu", "ok", "none: trials run on the CPU")


def peaks() -> Iterator[Check]:
    """The most that one core, all cores and a GPU can do: large matrix products, and a large copy."""
    from autockd.training.peaks import LARGE, measure_peaks

    cores = usable_cores()
    places = [("one core", 1, "cpu"), *([("all cores", cores, "cpu")] if cores > 1 else [])]
    places += [("gpu", 1, "cuda")] if any(gpu.computes for gpu in machine.gpus()) else []
    for name, threads, device in places:
        found = measure_peaks(threads, device, LARGE)
        products = f"{found.fp32 / 1e9:,.0f} GFLOP/s in fp32, {found.bf16 / 1e9:,.0f} in bf16"
        yield Check(f"peak, {name}", "ok", f"{products}; copies at {found.copy_rate / 1e9:,.1f} GB/s")


def _folder(name: str, path: Path, variable: str) -> Check:
    there = machine.nearest_folder(path)
    if reason := machine.why_not_writable(there):
        return Check(name, "fail", f"{path}: {there} cannot be written: {reason}", f"set {variable} to another folder")
    free = machine.free_space(there)
    text = f"{path}{'' if there == path else ' (to be made)'}, {gigabytes(free)} free"
    if free < _LITTLE_SPACE:
        return Check(name, "warn", text, f"free some space, or set {variable} to a folder on a larger disk")
    return Check(name, "ok", text)


def _mlflow() -> Iterator[Check]:
    """The store of studies that name none, and the server that the environment names, if it does."""
    from autockd.tracking.mlflow_store import URI_ENV, default_uri, sqlite_path
    from autockd.tracking.redaction import redact

    own = default_uri(studies_folder())
    if path := sqlite_path(own):
        yield _database("mlflow", own, path)
    uri = os.environ.get(URI_ENV, "")
    if uri.startswith(("http://", "https://")):
        yield _server(uri)
    elif path := sqlite_path(uri):
        yield _database(URI_ENV, uri, path)
    elif uri.startswith(_DATABASES):
        yield _database_server(uri)
    elif uri and uri != "databricks" and urlsplit(uri).scheme in ("", "file"):
        yield _file_store(uri)
    elif uri:
        yield Check(URI_ENV, "ok", f"{redact(uri)}: neither a server nor a database, and not tried")


def _database(name: str, uri: str, path: Path) -> Check:
    reason = machine.why_not_writable(machine.nearest_folder(path.parent))
    if reason is None and path.exists() and not os.access(path, os.W_OK):
        reason = "the database is read-only"
    if reason:
        return Check(name, "fail", f"{uri}: {reason}", "name a tracking.uri, or set tracking.enabled: false")
    return Check(name, "ok", uri)


def _file_store(uri: str) -> Check:
    """A folder of files, which MLflow refuses unless it is told otherwise."""
    from autockd.tracking.mlflow_store import FILE_STORE_ENV, URI_ENV, why_refused
    from autockd.tracking.redaction import redact

    found = f"{redact(uri)}: a folder of files"
    if not why_refused(uri):
        return Check(URI_ENV, "ok", f"{found}, and not tried")
    remedy = f"name a database, as sqlite:////DIR/mlflow.db, unset {URI_ENV}, or set {FILE_STORE_ENV}=true"
    return Check(URI_ENV, "warn", f"{found}, which MLflow refuses", remedy)


def _database_server(uri: str) -> Check:
    """Whether a database answers as MLflow would ask it. One that is away is no failure, as with `_server`."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    from autockd.tracking.mlflow_store import URI_ENV
    from autockd.tracking.redaction import redact

    patience = {"connect_timeout": int(_PING_SECONDS)} if uri.startswith(_PATIENT) else {}
    try:
        create_engine(uri, connect_args=patience).connect().close()
    except DBAPIError as error:
        found = f"no answer ({reason_of(error.orig or error)})"
    except Exception as error:  # it has no driver, or is no address; that may hold a password where none is looked for
        found = f"cannot be asked ({type(error).__name__})"
    else:
        return Check(URI_ENV, "ok", f"{redact(uri)} {_ANSWERS}")
    remedy = f"install its driver, start it, or unset {URI_ENV}"
    return Check(URI_ENV, "warn", f"{redact(uri)}: {redact(found)}", remedy)


def _server(uri: str) -> Check:
    """A ping. A server that is away is no failure: the ledger keeps all, and a search goes on without it."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    from autockd.tracking.mlflow_store import URI_ENV
    from autockd.tracking.redaction import redact

    shown = redact(uri)
    try:
        with urlopen(_health_url(uri), timeout=_PING_SECONDS):  # noqa: S310 - http or https, see _mlflow
            return Check("mlflow server", "ok", f"{shown} {_ANSWERS}")
    except HTTPError as error:
        found, remedy = f"answers with status {error.code}", "check the address and the credentials"
    except (OSError, ValueError, HTTPException) as error:
        found, remedy = f"no answer ({getattr(error, 'reason', error)})", f"start it, or unset {URI_ENV}"
    return Check("mlflow server", "warn", f"{shown}: {redact(found)}", remedy)


def _health_url(uri: str) -> str:
    """Where an MLflow server says that it is well; it asks for no credentials there."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/health").geturl()


def _offline() -> Check:
    found = [f"{name}={os.environ[name]}" for name in _OFFLINE if os.environ.get(name)]
    text = ", ".join(found) if found else "none set: data sets may be fetched where a study allows it"
    return Check("offline variables", "ok", text)
