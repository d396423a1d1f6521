"""Where a study is to be looked at in MLflow's UI."""

from __future__ import annotations

from autockd.records import StudyStarted
from autockd.tracking.mlflow_store import find_experiment, new_client
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
    found = find_experiment(uri, experiment) if start is not None else None
    if found is None or start is None:
        return ""
    tags = new_client(uri).get_experiment(found).tags
    return view_path(found, start) if VIEW_TAG + view_key(start) in tags else list_path(found, start)
