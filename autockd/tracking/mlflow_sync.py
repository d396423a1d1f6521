"""A study's way into MLflow from its ledger alone: the same runs as the sink writes during the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from autockd.errors import EnvironmentProblem, StudyError, unexpected
from autockd.surroundings import restoring
from autockd.tracking.ledger import events, in_use
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_runs import RunUpdate
from autockd.tracking.mlflow_sink import SinkSummary
from autockd.tracking.mlflow_store import MLFLOW_ENVIRONMENT, MlflowStore
from autockd.tracking.redaction import redact
from autockd.tracking.whereabouts import former_store, store_name

_PAUSES = (0.3, 1.0)
"""Seconds between one try and the next, where a request fails."""


@restoring(MLFLOW_ENVIRONMENT)
def sync(
    ledger: Path,
    uri: str,
    experiment: str,
    *,
    artifacts: Sequence[Path] = (),
) -> SinkSummary:
    """Replay a whole ledger into MLflow; doing it again changes nothing.

    What is still open ends as KILLED. Where a driver is writing the ledger, it alone writes the runs, for it has told
    MLflow more by now than was read here; only artifacts are copied then, if the study's run is there.

    Args:
        ledger: the study's ledger.
        uri: MLflow's tracking URI; credentials come from the environment.
        experiment: the experiment's name: the task.
        artifacts: files to copy to the study's run; those that do not exist are left out.

    Raises:
        StudyError: there is no such ledger, or it is damaged.
        EnvironmentProblem: MLflow cannot be reached or does not take it.
    """
    is_live = in_use(ledger)  # asked before it is read: what was written by then is all there is, or the driver ends it
    projection = Projection()
    known = events(ledger)
    told = sum(map(projection.apply, known))
    study, study_id = projection.study, projection.study_id
    if study is None or study_id is None:
        raise StudyError(f"{ledger} does not say that a study started; there is nothing to replay")
    store = MlflowStore(uri, experiment, study)
    former, warnings = former_store(known, uri), []
    try:
        if is_live or former:
            _patiently(store, partial(store.find_study, study_id))
        if former and not is_live and store.run_id is None:
            warnings = [f"this study was written to MLflow at {former}; {store_name(uri)} had nothing of it until now"]
        if not is_live:
            projection.interrupt()
            _write_all(store, study_id, projection.take())
        for path in artifacts:
            if store.run_id is not None and path.exists():
                _patiently(store, partial(store.log_artifact, path))
    except Exception as error:
        raise EnvironmentProblem(
            f"MLflow at {redact(uri)} does not take the study: {redact(unexpected(error))}; "
            "nothing is lost: mend it, then sync again"
        ) from None
    return SinkSummary(
        delivered=0 if is_live else told,
        missed=told if is_live else 0,
        experiment_id=store.experiment_id,
        run_id=store.run_id,
        is_live=is_live,
        warning="; ".join([*warnings, *([store.warning] if store.warning else [])]),
    )


def _write_all(store: MlflowStore, study_id: str, updates: Iterable[RunUpdate]) -> None:
    """Write runs; one that MLflow does not take holds up no other, but two in a row are a sign that it takes none."""
    refused: Exception | None = None
    is_in_a_row = False
    for update in updates:
        try:
            _patiently(store, partial(store.write, study_id, update))
        except Exception as error:
            if is_in_a_row or store.run_id is None:
                raise
            refused, is_in_a_row = error, True
        else:
            is_in_a_row = False
    if refused is not None:
        raise refused


def _patiently(store: MlflowStore, request: Callable[[], None]) -> None:
    for pause in _PAUSES:
        try:
            request()
        except Exception:  # whatever it was, it may be over
            store.forget()
            time.sleep(pause)
        else:
            return
    request()
