"""The nodes of a cluster: what each of them has, and whether a study can run there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from autockd import __version__
from autockd.errors import EnvironmentProblem, reason_of
from autockd.folders import cache_folder

T = TypeVar("T")

_PATIENCE = 120.0
"""Seconds in which a node must have started a worker and answered."""


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        id: Ray's name for it.
        host: its host name.
        address: its IP address.
        resources: what it has in all, by Ray's names: `CPU`, `GPU`, ...
    """

    id: str
    host: str
    address: str
    resources: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


@dataclass(frozen=True)
class View:
    """What a node sees.

    Attributes:
        version: of the autockd that is installed there.
        sees_study: whether the study's folder is the driver's.
        cache: where it keeps banks and teachers.
    """

    version: str
    sees_study: bool
    cache: Path


def living_nodes() -> list[Node]:
    """The nodes that are there now."""
    import ray

    return [
        Node(entry["NodeID"], entry["NodeManagerHostname"], entry["NodeManagerAddress"], entry["Resources"])
        for entry in ray.nodes()
        if entry["Alive"]
    ]


def check_nodes(nodes: Sequence[Node], study: Path) -> None:
    """Refuse a cluster on which a study would fail, or go wrong unseen.

    Args:
        nodes: those that will run trials.
        study: the study's folder.

    Raises:
        EnvironmentProblem: a node cannot run autockd, has another version of it, does not see the study's folder, or
            shares its cache with another machine, where two sides would write to one bank.
    """
    mark = study / f".{secrets.token_hex(8)}"
    mark.touch()
    try:
        views = _ask(nodes, look, mark)
        for node, view in zip(nodes, views, strict=True):
            check_view(node, view, study)
        if len({node.host for node in nodes}) > 1:
            _ask(nodes, leave_mark, mark.name)
            check_caches(nodes, views, _ask(nodes, take_mark, mark.name))
    finally:
        mark.unlink(missing_ok=True)


def look(node: Node, mark: Path) -> View:
    """On a node: what is there."""
    return View(__version__, mark.exists(), cache_folder())


def leave_mark(node: Node, mark: str) -> None:
    """On a node: put its name into its cache."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / f"{mark}.{node.host}").touch()


def take_mark(node: Node, mark: str) -> list[str]:
    """On a node: other machines whose names are in its cache; takes its own away.

    Whoever comes first still sees all of them.
    """
    own = f"{mark}.{node.host}"
    names = {path.name for path in cache_folder().glob(f"{mark}.*")}
    (cache_folder() / own).unlink(missing_ok=True)
    return sorted(name.removeprefix(f"{mark}.") for name in names - {own})


def check_view(node: Node, view: View, study: Path) -> None:
    """Refuse a node that is not set up for a study."""
    if view.version != __version__:
        raise EnvironmentProblem(
            f"node {node} has autockd {view.version}, and this is {__version__}; install the same there"
        )
    if not view.sees_study:
        raise EnvironmentProblem(unseen(str(node), study))


def unseen(node: str, study: Path) -> str:
    """What is wrong with a node that does not see a study's folder."""
    return (
        f"node {node} does not see {study}; a study on several machines needs a folder that all of them share "
        "under the same path: name one with --studies or AUTOCKD_STUDIES"
    )


def check_caches(nodes: Sequence[Node], views: Sequence[View], marks: Sequence[list[str]]) -> None:
    """Refuse machines that share a cache, given whose marks each of them found in its own."""
    for node, view, others in zip(nodes, views, marks, strict=True):
        if others:
            raise EnvironmentProblem(
                f"node {node} shares its cache {view.cache} with {', '.join(others)}; each machine needs one on a disk "
                "of its own: set AUTOCKD_CACHE there before `ray start`"
            )


def why_not(error: Exception) -> str:
    """What a node has against a question, with the remedy: Ray wraps what was raised there."""
    if isinstance(cause := getattr(error, "cause", None), OSError):
        return (
            f"{cause.filename}: {reason_of(cause)}; if its cache is meant, set AUTOCKD_CACHE there before `ray start`"
        )
    said = next(reversed(str(error).strip().splitlines()), type(error).__name__)
    return f"{said}; is autockd installed there?"


def _ask(nodes: Sequence[Node], question: Callable[..., T], *args: Any) -> list[T]:
    """Every node's answer, in order.

    Raises:
        EnvironmentProblem: a node does not answer, or cannot.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(question)
    answers = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(node, *args)
        for node in nodes
    ]
    found: list[T] = []
    for node, answer in zip(nodes, answers, strict=True):
        try:
            found.append(ray.get(answer, timeout=_PATIENCE))
        except (ray.exceptions.RayError, ImportError) as error:
            raise EnvironmentProblem(f"node {node} cannot run trials: {why_not(error)}") from error
    return found
