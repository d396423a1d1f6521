"""`autockd ui`: this process becomes MLflow's server, on this machine alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from autockd.cli.browser import open_later
from autockd.cli.output import say, write
from autockd.errors import EnvironmentProblem, StudyError, UsageError

if TYPE_CHECKING:
    from autockd.study import Study

_HOST = "127.0.0.1"


def serve(name: str | None, studies: Path | None, port: int, *, browser: bool) -> None:
    """Print the study's page and serve it until interrupted.

    Raises:
        StudyError: no such study, or none at all.
        UsageError: the study is not recorded in MLflow.
        EnvironmentProblem: the port is taken.
    """
    study = _study(name, studies)
    from autockd.tracking.redaction import redact

    uri = study.mlflow_uri()
    if uri is None:
        raise UsageError(f"tracking.enabled: study {study.name} is not recorded in MLflow -> use `autockd status`")
    if uri.startswith(("http://", "https://")):
        say(f"study {study.name} is recorded on a server that runs already:")
        write(redact(uri))
        return
    _require_free(port)
    url = study.ui_url(port)
    write(url)
    if browser:
        open_later(url)
    command = study.ui_command(port)
    os.execvp(command[0], command)  # noqa: S606 - its words come from us, without a shell


def _study(name: str | None, studies: Path | None) -> Study:
    from autockd.cli.looking import open_study
    from autockd.folders import studies_folder
    from autockd.study import list_studies

    if name is not None:
        return open_study(name, studies)
    folder = studies or studies_folder()
    latest = max(list_studies(folder), key=lambda summary: summary.started, default=None)
    if latest is None:
        raise StudyError(f"STUDY: there is no study in {folder} -> start one with `autockd run`, or give --studies")
    say(f"latest study: {latest.study}")
    return open_study(latest.study, folder)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise EnvironmentProblem(
                f"--port: {_HOST}:{port} cannot be used: {(error.strerror or str(error)).lower()} -> name another port"
            ) from error
