"""`autockd ui`: this process becomes MLflow's server, on this machine alone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.cli.browser import open_later
from autockd.cli.output import say, write
from autockd.errors import AutockdError, EnvironmentProblem, StudyError, UsageError, reason_of, unexpected
from autockd.folders import studies_folder, study_argument

if TYPE_CHECKING:
    from autockd.study import Study

_HOST = "127.0.0.1"
STORE = "MLFLOW_BACKEND_STORE_URI"
"""MLflow's own environment variable for what its server shows; see `server_command`."""
SERVER = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Settings of the server where the environment has none: nothing is reported, and no workers wait for jobs."""


def serve(name: str | None, studies: Path | None, port: int, *, browser: bool) -> None:
    """Print the study's page and serve it until interrupted.

    Raises:
        StudyError: no such study, or none at all.
        UsageError: the study is not recorded in MLflow.
        EnvironmentProblem: the port is taken, or MLflow cannot open the store.
    """
    study = _study(name, studies)
    uri = study.mlflow_uri()
    if uri is None:
        remedy = f"use `autockd status {study_argument(study.folder)}`"
        raise UsageError(f"tracking.enabled: study {study.name} is not recorded in MLflow -> {remedy}")
    if uri.startswith(("http://", "https://")):
        _show_elsewhere(study, uri, browser=browser)
        return
    _require_free(port)
    _show(study, uri, _page_here(study, uri, port), browser=browser)
    for variable, value in SERVER.items():
        os.environ.setdefault(variable, value)
    os.environ[STORE] = uri
    command = server_command(port)
    os.execvp(command[0], command)  # noqa: S606 - its words come from us, without a shell


def server_command(port: int) -> list[str]:
    """Command line of an MLflow server on the store that `STORE` names, listening on this machine alone.

    The store is no part of it, for its address may hold a password, and commands are there for everybody to see.
    """
    return [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--workers", "1", "--port", str(port)]


def _page_here(study: Study, uri: str, port: int) -> str:
    """The study's page on the server that is about to start.

    Raises:
        EnvironmentProblem: MLflow cannot open the store.
    """
    from autockd.tracking.redaction import redact

    try:
        return study.ui_url(port)
    except AutockdError:
        raise
    except Exception as error:  # whatever MLflow, a driver or the network raises
        raise EnvironmentProblem(
            f"MLflow cannot open {redact(uri)}: {redact(unexpected(error))} -> mend that, or name "
            f"another store (tracking.uri, or MLFLOW_TRACKING_URI) and bring the study there with "
            f"`autockd sync {study_argument(study.folder)}`"
        ) from None


def _show_elsewhere(study: Study, uri: str, *, browser: bool) -> None:
    """Show the study's page on a server that runs already, or say that the server does not answer."""
    from autockd.tracking.redaction import redact

    say(f"study {study.name} is recorded on a server that runs already:")
    try:
        page = study.ui_url()
    except Exception as error:  # whatever MLflow and the network raise, the address is known
        say(f"it does not answer now: {redact(str(error))}")
        write(redact(uri))
    else:
        _show(study, uri, page, browser=browser)


def _show(study: Study, uri: str, url: str, *, browser: bool) -> None:
    from autockd.tracking.saved_views import VERSIONS, is_page, is_view

    if not is_page(url):
        say(_absence(study, uri))
    elif not is_view(url):
        version = ".".join(map(str, VERSIONS[0]))
        say(f"MLflow has no saved view of it: `autockd sync` installs one where MLflow is of version {version}")
    write(url)
    if browser:
        open_later(url)


def _absence(study: Study, uri: str) -> str:
    """Why the study has no page in MLflow, and what to do about it."""
    from autockd.tracking.whereabouts import last_store, store_name

    told = study.events()
    if not told:
        return f"study {study.name} has not begun: MLflow has nothing of it yet"
    here, last = store_name(uri), last_store(told)
    absent, sync = f"study {study.name} is not in MLflow at {here}", f"`autockd sync {study_argument(study.folder)}`"
    if last == here:
        return f"{absent} yet, and its driver runs" if study.is_running else f"{absent} -> {sync} writes it there"
    where, that = (f"to {last}", "that") if last else ("elsewhere, or nowhere", "where it is")
    setting = "tracking.uri" if study.config.tracking.uri else "MLFLOW_TRACKING_URI or tracking.uri"
    more = "" if study.is_running else f", or {sync} writes it here"
    return f"{absent}: it was written {where} -> set {setting} to {that}{more}"


def _study(name: str | None, studies: Path | None) -> Study:
    from autockd.cli.looking import open_study
    from autockd.study import list_studies

    if name is not None:
        return open_study(name, studies)
    folder = studies or studies_folder()
    latest = next(iter(list_studies(folder, complain=say)), None)
    if latest is None:
        raise StudyError(f"STUDY: there is no study in {folder} -> start one with `autockd run`, or give --studies")
    say(f"latest study: {latest.folder}")
    return open_study(latest.folder, folder)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise EnvironmentProblem(
                f"--port: {_HOST}:{port} cannot be used: {reason_of(error).lower()} -> name another port"
            ) from error
