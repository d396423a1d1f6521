"""Which runs of a study MLflow has already: looked up before any is made, so that none is made twice.

A request whose answer was lost may have made a run that nobody knows of. The lookup finds it, keeps one run for each
trial and for the study, and deletes the others (MLflow keeps deleted runs, marked as such).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from autockd.tracking.mlflow_runs import RunUpdate

DIGEST = "autockd.digest"
TRIAL_KEY = "autockd.trial_key"
STUDY_ID = "autockd.study_id"
KIND = "autockd.kind"
PARENT = "mlflow.parentRunId"
_PAGE = 1000


@dataclass
class KnownRun:
    """A run that is in MLflow, as far as it matters for what it still has to be told."""

    run_id: str
    status: str = "RUNNING"
    ended: int | None = None
    digest: str | None = None
    params: set[str] = field(default_factory=set)

    def has(self, update: RunUpdate) -> bool:
        """Whether the run was told all of this before, and ended the same way."""
        is_same_end = (self.status, self.ended) == (update.status, update.ended)
        return update.digest is not None and self.digest == update.digest and is_same_end


def find_runs(client: Any, experiment_id: str, study: str, study_id: str) -> dict[int | None, KnownRun]:
    """A study's runs: trials by number, its own under None; empty where the study has none.

    Args:
        client: an MlflowClient.
        experiment_id: where to look.
        study: name of the study.
        study_id: tells it from others of that name.

    Raises what MLflow and the network raise.
    """
    families = {
        parent.info.run_id: (parent, _children(client, experiment_id, parent.info.run_id))
        for parent in _studies(client, experiment_id, study_id)
    }
    if not families:
        return {}
    # The one that others knew of has the trials.
    kept = min(families, key=lambda run_id: (-len(families[run_id][1]), run_id))
    for run_id, (parent, children) in families.items():
        if run_id != kept:
            _delete(client, [parent, *children])
    parent, children = families[kept]
    return {None: _known(parent)} | _by_number(client, study, children)


def find_study_run(client: Any, experiment_id: str, study_id: str) -> str | None:
    """Id of a study's own run; None where there is none. Deletes nothing, so a driver may be writing the study.

    Raises what MLflow and the network raise.
    """
    run = next(_studies(client, experiment_id, study_id), None)
    return run.info.run_id if run else None


def pages(fetch: Callable[[str | None], Any]) -> Iterator[Any]:
    """All that a search in MLflow finds; `fetch` gets a page of it by its token, the first by None."""
    page = fetch(None)
    yield from page
    while page.token:
        page = fetch(page.token)
        yield from page


def _studies(client: Any, experiment_id: str, study_id: str) -> Iterator[Any]:
    """The study's own run, and its doubles."""
    return _search(client, experiment_id, f"tags.`{STUDY_ID}` = '{study_id}' and tags.`{KIND}` = 'study'")


def _children(client: Any, experiment_id: str, parent: str) -> list[Any]:
    return list(_search(client, experiment_id, f"tags.`{PARENT}` = '{parent}'"))


def _by_number(client: Any, study: str, runs: Iterable[Any]) -> dict[int | None, KnownRun]:
    """One run for each trial, the most complete; the others are deleted."""
    found: dict[int, list[Any]] = {}
    for run in runs:
        name, _, number = run.data.tags.get(TRIAL_KEY, "").rpartition("/")
        if name == study and number.isdecimal():
            found.setdefault(int(number), []).append(run)
    for doubles in found.values():
        doubles.sort(key=lambda run: (DIGEST not in run.data.tags, run.info.run_id))
        _delete(client, doubles[1:])
    return {number: _known(doubles[0]) for number, doubles in found.items()}


def _delete(client: Any, runs: Iterable[Any]) -> None:
    for run in runs:
        client.delete_run(run.info.run_id)


def _search(client: Any, experiment_id: str, condition: str) -> Iterator[Any]:
    return pages(lambda token: client.search_runs([experiment_id], condition, max_results=_PAGE, page_token=token))


def _known(run: Any) -> KnownRun:
    return KnownRun(
        run_id=run.info.run_id,
        status=run.info.status,
        ended=run.info.end_time if run.info.status != "RUNNING" else None,
        digest=run.data.tags.get(DIGEST),
        params=set(run.data.params),
    )
