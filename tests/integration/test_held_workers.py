"""Workers that hold a GPU between the stages of a study; the GPUs are Ray's bookkeeping here, torch sees none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from autockd.errors import EnvironmentProblem, ModelError
from autockd.search.cluster import Cluster
from autockd.search.connection import connection
from autockd.search.nodes import living_nodes
from autockd.search.resources import Allocation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(torch.cuda.is_available(), reason="it tells Ray of GPUs that are not there"),
]


@pytest.fixture(scope="module", autouse=True)
def _two_gpus() -> Iterator[None]:
    """Ray with four cores and two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # or Ray would not believe it
        patch.setattr("autockd.search.connection._machine", lambda: {"num_cpus": 4, "num_gpus": 2})
        with connection("local"):
            yield


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A machine of which each trial gets a core and half a GPU; one of them runs, or so many at a time as is asked."""
    parallel = getattr(request, "param", 1)
    found = Cluster(Allocation(parallel, 1, 0.5, "the test says so"), living_nodes(), is_own=True)
    yield found
    found.forget()


def where(_: int = 0) -> tuple[int, str]:
    """The process, and the GPUs that it may use."""
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


where.__module__ = "__main__"  # workers cannot import this one, so the function travels whole


def everywhere(machine: Cluster) -> list[tuple[int, str]]:
    """`where` on all workers that there are for it."""
    return machine.on_every_node(where, lambda workers: [(place,) for place in range(workers)])


@pytest.mark.parametrize("machine", [4], indirect=True)
def test_one_process_for_each_gpu_does_all_that_comes_before_the_search(machine: Cluster) -> None:
    first = machine.call(where)
    both = everywhere(machine)
    assert both[0] == first == machine.call(where)
    assert both == everywhere(machine)
    assert sorted(gpu for _, gpu in both) == ["0", "1"]
    assert machine.worker_cpus == 2


def test_trials_get_the_gpus_and_whoever_comes_after_them_a_new_process(machine: Cluster) -> None:
    first = machine.call(where)
    machine.forget()
    trial = ray.remote(num_cpus=0, num_gpus=2)(where).remote()
    assert ray.get(trial, timeout=60)[1] in ("0,1", "1,0")
    assert machine.call(where) != first


def test_a_worker_that_is_lost_starts_again_with_what_it_was_doing(machine: Cluster, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")

    def die_once() -> int:
        if not os.path.exists(mark):  # noqa: PTH110 - nothing of this module is there
            os.close(os.open(mark, os.O_CREAT))
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    first, _ = machine.call(where)
    assert machine.call(die_once) != first


def test_a_worker_that_is_lost_too_often_is_the_machines_problem(
    machine: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.search.held._RESTARTS", 0)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(EnvironmentProblem, match="Ray lost a worker"):
        machine.call(die)
    machine.forget()
    assert machine.call(where)[0] != os.getpid(), "there is another one"


def test_whoever_stops_waiting_gets_the_gpu_back(machine: Cluster, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def work() -> None:
        os.close(os.open(begun, os.O_CREAT))
        time.sleep(60)

    def stop() -> None:
        if begun.exists():
            raise KeyboardInterrupt

    machine.meanwhile = stop
    with pytest.raises(KeyboardInterrupt):
        machine.call(work)
    machine.forget()
    trial = ray.remote(num_cpus=0, num_gpus=2)(where).remote()
    assert ray.get(trial, timeout=30)


def test_what_a_function_raises_is_told_and_the_process_stays(machine: Cluster) -> None:
    first = machine.call(where)

    def refuse() -> None:
        raise ModelError("weights: no such file")

    def run_out() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError, match="no such file"):
        machine.call(refuse)
    with pytest.raises(EnvironmentProblem, match="give a trial more of the GPU"):
        machine.call(run_out)
    assert machine.call(where) == first
