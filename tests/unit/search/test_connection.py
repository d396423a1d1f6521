"""Ways not to reach a cluster; the real ones, and real refusals, are in tests/integration/test_two_nodes.py."""

from __future__ import annotations

import os
import socket
import time

import pytest
import torch

from autockd.errors import ConfigError, EnvironmentProblem
from autockd.search.connection import _connect, connecting, connection


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting sets variables of Ray's, which are not to outlive a test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_rays_client_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"'ray://127.0.0.1:10001'.* run it on a node of the cluster"):
        connection("ray://127.0.0.1:10001").__enter__()


def test_a_closed_port_is_no_cluster() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(EnvironmentProblem, match=rf"'{address}': nothing answers there .* `ray start --head`"):
            connection(address).__enter__()
    assert time.monotonic() - began < 20  # Ray is imported in here


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:port", "nobody.invalid:6379", "127.0.0.1:99999"])
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(EnvironmentProblem, match=f"resources.address '{address}'"):
        connection(address).__enter__()


def test_a_machine_that_is_too_busy_for_ray_is_no_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Ray's own words and of its own kind, which is no other than Exception."""

    def start(address: str, preload: str | None) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("autockd.search.connection._connect", start)
    with pytest.raises(EnvironmentProblem, match=r"'local': Ray did not start in time; this machine is too busy"):
        connection("local").__enter__()


def test_what_is_done_while_ray_starts_may_fail_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told and not Ray's, which nobody waited for."""

    def start(address: str, preload: str | None) -> None:
        raise OSError("no Ray today")

    monkeypatch.setattr("autockd.search.connection._connect", start)
    with pytest.raises(ConfigError, match="no such column"), connecting("local"):
        raise ConfigError.of("task.columns", "no such column", "name another")


def test_ray_is_left_though_nobody_has_waited_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def start(address: str, preload: str | None) -> None:
        time.sleep(0.2)
        done.append("there")

    monkeypatch.setattr("autockd.search.connection._connect", start)
    monkeypatch.setattr("autockd.search.connection._disconnect", lambda: done.append("left"))
    with pytest.raises(KeyboardInterrupt), connecting("local"):
        raise KeyboardInterrupt
    assert done == ["there", "left"]


def test_ray_is_left_where_its_first_worker_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    def fail() -> None:
        raise OSError("no worker")

    monkeypatch.setattr("autockd.search.connection._connect", lambda address, preload: None)
    monkeypatch.setattr("autockd.search.connection._disconnect", lambda: left.append("left"))
    monkeypatch.setattr("autockd.search.connection.start_first", fail)
    with pytest.raises(EnvironmentProblem, match="no worker"), connecting("local", preload="image") as wait:
        wait()
    assert left == ["left"]


@pytest.mark.parametrize(("has_cuda", "expected"), [(False, 0), (True, 3)])
def test_a_machine_has_for_trials_what_torch_and_this_process_may_use(
    has_cuda: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray by itself counts an Apple GPU, cores of other jobs, or the memory that is free just then."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr("autockd.search.connection.usable_cores", lambda: 5)
    monkeypatch.setattr("autockd.search.connection.memory_for_trials", lambda: 7 << 30)
    asked: dict[str, object] = {}
    monkeypatch.setattr("ray.init", lambda **options: asked.update(options))
    _connect("local", None)
    assert (asked["num_cpus"], asked["num_gpus"], asked["_memory"]) == (5, expected, 7 << 30)
