"""The only place that talks to MLflow: finds or makes the study's runs, and writes updates to them.

Everything it writes may be written again without a change: runs are looked up before they are made, params that stand
are left alone, and MLflow itself merges equal points. It opens databases, which MLflow would migrate in every process
at once; so it is used by the driver alone, and by one driver at a time.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from autockd.errors import EnvironmentProblem
from autockd.surroundings import environment
from autockd.tracking.locks import FileLock
from autockd.tracking.mlflow_lookup import (
    DIGEST,
    KIND,
    PARENT,
    STUDY_ID,
    TRIAL_KEY,
    KnownRun,
    find_runs,
    find_study_run,
)
from autockd.tracking.mlflow_runs import RunUpdate
from autockd.tracking.redaction import redact, redact_value
from autockd.tracking.saved_views import has_views, server_version

URI_ENV = "MLFLOW_TRACKING_URI"
"""MLflow's own variable with the tracking URI of those who name none."""

MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Whoever writes tries again, and looks first whether a request without an answer was carried out. MLflow's own
    # retries would make a run twice, and take seconds where nothing listens.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_NOISY_LOGGERS = ("mlflow.store.db.utils", "alembic", "urllib3.connectionpool")
_POINTS_PER_BATCH = 1000
_MAX_KEY = 250
_MAX_PARAM = 6000
_MAX_TAG = 8000
_MIGRATION_SECONDS = 60.0
_ARTIFACTS = "mlartifacts"
"""Folder of the runs' files, beside the database."""
_UPLOAD_SECONDS = "600"
_TEXT_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".jsonl", ".txt", ".md", ".csv", ".log"})
"""A report's page is none of them: a browser runs its scripts only as they are, and it is made of the ledger, where no
credentials are."""

_SQLITE = re.compile(r"^sqlite(?:\+\w+)?:///(?P<path>[^?]+)")


FILE_STORE_ENV = "MLFLOW_ALLOW_FILE_STORE"
"""MLflow's own variable; with `true` it takes a folder of files for a store."""
_STORES = frozenset({"http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc"})


def why_refused(uri: str) -> str:
    """Why MLflow takes a tracking URI in no case, as far as it is known without asking anybody; empty if it may."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if uri in _STORES or scheme in _STORES:  # "databricks" alone is one
        return ""
    if scheme in ("", "file"):
        allowed = os.environ.get(FILE_STORE_ENV, "").lower() in ("true", "1")
        return "" if allowed else f"is a folder of files, which MLflow refuses without {FILE_STORE_ENV}=true"
    known = any(found.name == scheme for found in entry_points(group="mlflow.tracking_store"))
    return "" if known else f"is of a kind that MLflow has no store for ({scheme}:)"


def default_uri(studies: Path) -> str:
    """MLflow's tracking URI where the user names none: a SQLite database in the folder of the studies."""
    return f"sqlite:///{studies.resolve() / 'mlflow.db'}"


class MlflowStore:
    """One study's runs in one experiment.

    Args:
        uri: MLflow's tracking URI.
        experiment: name of the experiment, made where it is missing.
        study: name of the study.

    Attributes:
        experiment_id: id of the experiment, once it is known.
        run_id: id of the study's own run, once it is known.
        warning: what the user should know about the store, once it is reached; empty where there is nothing.

    Every method raises what MLflow and the network raise.
    """

    def __init__(self, uri: str, experiment: str, study: str) -> None:
        self.experiment_id: str | None = None
        self.run_id: str | None = None
        self.warning = ""
        self._uri = uri
        self._experiment = experiment
        self._study = study
        self._client: Any = None
        self._is_connected = False
        self._runs: dict[int | None, KnownRun] | None = None

    def connect(self) -> None:
        """Reach the server or open the database, and find or make the experiment; at once when that is done."""
        if self._is_connected:
            return
        with alone(self._uri):
            self._client = new_client(self._uri)
            self.experiment_id = self._find_experiment() or self._new_experiment()
        self._is_connected = True

    def forget(self) -> None:
        """Look everything up again before the next write: after an error, what is there is not known."""
        self._is_connected = False
        self._runs = None

    def find_study(self, study_id: str) -> None:
        """Look up the study's own run, which a driver writes: `run_id` is None where it has not done so yet."""
        self.connect()
        assert self.experiment_id is not None, "the store is connected"
        self.run_id = find_study_run(self._client, self.experiment_id, study_id)

    def write(self, study_id: str, update: RunUpdate) -> None:
        """Bring a run up to date; the study's own run must be written before its trials."""
        self.connect()
        self._tag_experiment(update.experiment_tags)
        if self._runs is None:
            self._runs = self._find_runs(study_id)
        run = self._runs.get(update.trial)
        if run is None:
            run = self._runs[update.trial] = self._new_run(study_id, update)
            self._log(run, update, {})
        elif run.has(update):
            return
        else:
            self._log(run, update, update.tags)
        self._set_status(run, update)

    def log_artifact(self, path: Path) -> None:
        """Copy a file to the study's own run, which must have been written; text files lose their credentials."""
        assert self.run_id is not None, "the study's run comes before its artifacts"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file")
        if path.suffix in _TEXT_SUFFIXES:
            self._client.log_text(self.run_id, redact(path.read_text(encoding="utf-8", errors="replace")), path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Install saved views, where MLflow is of a version that shows them; without, the page is a plainer one."""
        if not tags or not has_views(server_version(self._uri)):
            return
        with contextlib.suppress(Exception):  # it may be refused; what the study needs comes after
            for key, value in tags.items():
                self._client.set_experiment_tag(self.experiment_id, key, value)

    def _find_experiment(self) -> str | None:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            raise EnvironmentProblem(
                f"the experiment {self._experiment!r} was deleted in MLflow and takes no runs; "
                "restore it there, or name another as tracking.experiment"
            )
        if found is None:
            return None
        self.warning = _left_behind(self._uri, self._experiment, found.artifact_location)
        return str(found.experiment_id)

    def _new_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        database = sqlite_path(self._uri)
        # MLflow's own default is ./mlruns, wherever the program happens to be started.
        location = (database.parent / _ARTIFACTS).as_uri() if database else None
        try:
            return str(self._client.create_experiment(self._experiment, artifact_location=location))
        except MlflowException:
            # Another driver may have been quicker.
            if (made := self._find_experiment()) is None:
                raise
            return made

    def _find_runs(self, study_id: str) -> dict[int | None, KnownRun]:
        assert self.experiment_id is not None, "the store is connected"
        runs = find_runs(self._client, self.experiment_id, self._study, study_id)
        self.run_id = runs[None].run_id if None in runs else None
        return runs

    def _new_run(self, study_id: str, update: RunUpdate) -> KnownRun:
        identity = {"autockd.study": self._study}
        if update.trial is None:
            identity |= {KIND: "study", STUDY_ID: study_id}
        else:
            assert self.run_id is not None, "the study's run comes before its trials"
            identity |= {KIND: "trial", TRIAL_KEY: f"{self._study}/{update.trial}", PARENT: self.run_id}
        tags = _origin() | _clean(update.tags, _MAX_TAG) | identity
        run_id: str = self._client.create_run(self.experiment_id, update.started, tags, update.name).info.run_id
        if update.trial is None:
            self.run_id = run_id
        return KnownRun(run_id)

    def _log(self, run: KnownRun, update: RunUpdate, tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        new = {key: value for key, value in _clean(update.params, _MAX_PARAM).items() if key not in run.params}
        params = [Param(key, value) for key, value in new.items()]
        digest = {DIGEST: update.digest} if update.digest else {}
        labels = [RunTag(key, value) for key, value in (_clean(tags, _MAX_TAG) | digest).items()]
        metrics = [Metric(_clean_key(p.key), p.value, p.timestamp, p.step) for p in update.points]
        while len(metrics) > _POINTS_PER_BATCH:
            self._client.log_batch(run.run_id, metrics=metrics[:_POINTS_PER_BATCH], synchronous=True)
            metrics = metrics[_POINTS_PER_BATCH:]
        self._client.log_batch(run.run_id, metrics=metrics, params=params, tags=labels, synchronous=True)
        run.params |= new.keys()
        run.digest = update.digest

    def _set_status(self, run: KnownRun, update: RunUpdate) -> None:
        """Comes last, so that a run with its final status is complete."""
        if (run.status, run.ended) == (update.status, update.ended):
            return
        if update.ended is None:
            self._client.update_run(run.run_id, status=update.status)
        else:
            self._client.set_terminated(run.run_id, update.status, update.ended)
        run.status, run.ended = update.status, update.ended


def _left_behind(uri: str, experiment: str, location: str) -> str:
    """What to say where the studies have moved, for MLflow goes on to put files where they were; empty elsewhere."""
    database = sqlite_path(uri)
    if database is None or uri != default_uri(database.parent):  # whose files go elsewhere because somebody said so
        return ""
    old, new = Path(unquote(urlsplit(location).path)), database.parent / _ARTIFACTS
    if old.name != _ARTIFACTS or old.resolve() == new.resolve():
        return ""
    return (
        f"MLflow keeps the files of experiment {experiment!r} in {old}, beside which the studies were when it was "
        f"made, and not in {new}; make the first a link to the second, or name another as tracking.experiment"
    )


def _origin() -> dict[str, str]:
    """Whose runs these are, and what wrote them, as MLflow's own tags say it."""
    tags = {"mlflow.source.name": "autockd", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(KeyError, OSError):  # a user that the system has no name for
        tags["mlflow.user"] = getpass.getuser()
    return tags


def new_client(uri: str) -> Any:
    """An MlflowClient that asks once, waits 10 s at most for an answer, and keeps quiet."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Within this a server may take minutes for an answer, as it does for a large file that it hands on."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    if os.environ.get(name) not in (None, MLFLOW_ENVIRONMENT[name]):  # the user's own
        yield
        return
    with environment({name: _UPLOAD_SECONDS}):
        yield


@contextlib.contextmanager
def alone(uri: str) -> Iterator[None]:
    """Hold off other drivers while a SQLite database may be made: two that do so together break it for good."""
    database = sqlite_path(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(database.name + ".lock"), patience=_MIGRATION_SECONDS):
        yield


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite database, from its tracking URI; None for another."""
    match = _SQLITE.match(uri)
    return Path(match["path"]).resolve() if match else None


def _clean(values: dict[str, str], limit: int) -> dict[str, str]:
    """Without credentials, within MLflow's limits on keys and values, and without what PostgreSQL does not store."""
    return {_clean_key(key): _clean_text(str(redact_value(key, value)))[:limit] for key, value in values.items()}


def _clean_text(text: str) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()


def _clean_key(key: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", key)[:_MAX_KEY]
