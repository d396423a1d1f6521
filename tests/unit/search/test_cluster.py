"""What workers are handed, and what is made of what they say; Ray itself is not started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

import autockd.search.runner as runner
from autockd.config.schema import ResourceConfig
from autockd.data import Task
from autockd.errors import EnvironmentProblem, ModelError
from autockd.search.cluster import Cluster
from autockd.search.nodes import Node
from autockd.search.resources import Allocation

NODE = Node("ab" * 28, "here", "127.0.0.1", {"CPU": 4.0, "GPU": 1.0})


class Store:
    """Stands for Ray: it computes at once, and keeps what was put and handed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.put: list[object] = []
        self.handed: list[tuple[Any, ...]] = []
        self.asked: list[dict[str, Any]] = []
        self.killed = 0
        patch.setattr(ray, "put", self._put)
        patch.setattr(ray, "remote", self._remote)
        patch.setattr(ray, "wait", lambda references, **_: (references, []))
        patch.setattr(ray, "get", lambda references: references)
        patch.setattr(ray, "kill", self._kill)
        patch.setattr("autockd.search.cluster.living_nodes", lambda: [NODE])

    def _put(self, thing: object) -> str:
        self.put.append(thing)
        return f"reference {len(self.put)}"

    def _kill(self, _: object) -> None:
        self.killed += 1

    def _remote(self, **options: Any) -> Callable[[Any], Any]:
        self.asked.append(options)

        def task(*args: Any) -> str:
            self.handed.append(args)
            return "done"

        def actor() -> Any:
            return SimpleNamespace(run=SimpleNamespace(remote=lambda _, *args: task(*args)))

        def make(thing: Any) -> Any:
            remote = SimpleNamespace(remote=actor if isinstance(thing, type) else task)
            remote.options = lambda **_: remote
            return remote

        return make


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


def cluster(gpus: float = 0.0, *, is_own: bool = True) -> Cluster:
    return Cluster(Allocation(2, 1, gpus, "the test says so"), [NODE], is_own=is_own)


def work(*_: Any) -> str:
    raise AssertionError("no worker is there")


def test_there_are_no_more_trials_at_a_time_than_there_is_memory_for() -> None:
    node = replace(NODE, resources={"CPU": 4.0, "memory": 5e9})
    machine = Cluster(Allocation(4, 1, 0.0, "the test says so"), [node])
    assert not machine.make_room(ResourceConfig(), None)
    assert not machine.make_room(ResourceConfig(), 10**9)
    assert machine.allocation.parallel == 4
    assert machine.make_room(ResourceConfig(), 2 * 10**9)
    assert machine.allocation.parallel == 2
    assert machine.whole_cpus == 4, "of what has no trial beside it"


def test_a_task_is_put_into_the_store_once(store: Store, task: Task) -> None:
    machine, other = cluster(0.5, is_own=False), replace(task, seed=9)
    machine.call(work, task, 1)
    machine.on_every_node(work, lambda workers: [(other, "a", task) for _ in range(workers)])
    machine.call(work, task, "b")
    assert [thing is task for thing in store.put] == [True, False]
    each = ("reference 2", "a", "reference 1")
    assert store.handed == [("reference 1", 1), each, each, ("reference 1", "b")]


def test_a_task_that_is_given_up_is_put_again(store: Store, task: Task) -> None:
    machine = cluster()
    machine.call(work, task)
    machine.forget()
    machine.call(work, task)
    assert len(store.put) == 2


def test_a_gpu_is_held_until_trials_need_it(store: Store, task: Task) -> None:
    machine = cluster(0.5)
    machine.call(work, task, 1)
    assert machine.on_every_node(work, lambda workers: [(n, task) for n in range(workers)]) == ["done"]
    assert store.handed == [("reference 1", 1), (0, "reference 1")]
    assert store.asked == [{"num_cpus": 2, "num_gpus": 0.5, "max_restarts": 3, "max_task_retries": 3}]
    machine.forget()
    assert store.killed == 1
    machine.forget()
    assert store.killed == 1
    machine.call(work, 2)
    assert len(store.asked) == 2


def test_a_held_gpu_is_given_up_before_the_first_trial(
    store: Store, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []
    monkeypatch.setattr(runner, "run_search", lambda *_, **__: killed.append(store.killed))
    machine: Any = cluster(0.5)
    machine.call(work, task)
    machine.search(None, None, task, None, trials=1, retries=0)
    assert killed == [1]


def failing(patch: pytest.MonkeyPatch, cause: Exception) -> None:
    def get(references: object) -> object:
        raise ray.exceptions.RayTaskError("work", "Traceback ...", cause)

    patch.setattr(ray, "get", get)


@pytest.mark.parametrize(
    ("gpus", "remedy"),
    [
        (0.5, "give a trial more of the GPU (resources.gpus_per_trial), or take a smaller teacher"),
        (0.0, "free some memory, or take a smaller teacher"),
    ],
)
@pytest.mark.usefixtures("store")
def test_memory_that_runs_out_outside_of_a_trial_is_the_machines_problem(
    gpus: float, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB"))
    with pytest.raises(EnvironmentProblem) as caught:
        cluster(gpus).call(work)
    said = "out of memory, outside of a trial (CUDA out of memory. Tried to allocate 8 GiB)"
    assert str(caught.value) == f"{said} -> {remedy}"


@pytest.mark.usefixtures("store")
def test_a_gpu_that_fails_outside_of_a_trial_is_the_machines_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, torch.AcceleratorError("CUDA error: unspecified launch failure"))
    with pytest.raises(EnvironmentProblem, match=r"GPU of a worker failed \(CUDA error: unspecified .*\) -> resume"):
        cluster(1.0).call(work)


@pytest.mark.usefixtures("store")
def test_other_errors_are_told_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ModelError("weights: no such file"))
    with pytest.raises(ModelError, match="no such file"):
        cluster().call(work)
    failing(monkeypatch, ValueError("a bug"))
    with pytest.raises(ray.exceptions.RayTaskError):
        cluster().call(work)
