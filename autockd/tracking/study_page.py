"""Where a study is to be looked at in MLflow's UI."""

from __future__ import annotations

from autockd.records import StudyStarted
from autockd.tracking.mlflow_fields import study_id
from autockd.tracking.mlflow_lookup import find_study_run
from autockd.tracking.mlflow_store import new_client, sqlite_path
from autockd.tracking.saved_views import VIEW_TAG, list_path, view_key, view_path


def study_page(uri: str, experiment: str, start: StudyStarted | None) -> str:
    """The study's page, from the slash after the host on: its saved view if that is there, else the list of its trials.

    Args:
        uri: MLflow's tracking URI.
        experiment: the experiment's name.
        start: the study's first event; None for one that has not begun.

    Returns:
        The page; empty if MLflow does not have the study.

    Raises what MLflow and the network raise.
    """
    database = sqlite_path(uri)
    if start is None or (database is not None and not database.exists()):  # to ask would make the database
        return ""
    client = new_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None or find_study_run(client, found.experiment_id, study_id(start)) is None:
        return ""
    page = view_path if VIEW_TAG + view_key(start) in found.tags else list_path
    return page(str(found.experiment_id), start)
