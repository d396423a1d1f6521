"""A study's way into MLflow from its ledger alone: the same runs as the sink writes during the search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autockd.errors import EnvironmentProblem, StudyError
from autockd.tracking.ledger import in_use, read_events
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_runs import RunUpdate
from autockd.tracking.mlflow_sink import SinkSummary
from autockd.tracking.mlflow_store import MlflowStore
from autockd.tracking.redaction import redact


def sync(
    ledger: Path,
    uri: str,
    experiment: str,
    *,
    artifacts: Sequence[Path] = (),
) -> SinkSummary:
    """Replay a whole ledger into MLflow; doing it again changes nothing.

    What is still open ends as KILLED, unless a driver is writing the ledger now.

    Args:
        ledger: the study's ledger.
        uri: MLflow's tracking URI; credentials come from the environment.
        experiment: the experiment's name: the task.
        artifacts: files to copy to the study's run; those that do not exist are left out.

    Raises:
        StudyError: there is no such ledger, or it is damaged.
        EnvironmentProblem: MLflow cannot be reached or does not take it.
    """
    projection = Projection()
    delivered = sum(projection.apply(event) for event in read_events(ledger))
    study, study_id = projection.study, projection.study_id
    if study is None or study_id is None:
        raise StudyError(f"{ledger} does not say that a study started; there is nothing to replay")
    if not in_use(ledger):
        projection.interrupt()
    store = MlflowStore(uri, experiment, study)
    try:
        _write_all(store, study_id, projection.take(), artifacts)
    except Exception as error:
        raise EnvironmentProblem(
            f"MLflow at {redact(uri)} does not take the study: {redact(f'{type(error).__name__}: {error}')}; "
            "nothing is lost: mend it, then sync again"
        ) from None
    return SinkSummary(delivered=delivered, missed=0, experiment_id=store.experiment_id, run_id=store.run_id)


def _write_all(store: MlflowStore, study_id: str, updates: Iterable[RunUpdate], artifacts: Sequence[Path]) -> None:
    for update in updates:
        store.write(study_id, update)
    for path in artifacts:
        if path.exists():
            store.log_artifact(path)
