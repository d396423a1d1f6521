"""This process's connection with Ray: one of its own on the loopback interface, or a cluster that runs already."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from autockd.errors import AutockdError, ConfigError, EnvironmentProblem
from autockd.processor import usable_cores
from autockd.search.preload import preloading, start_first
from autockd.search.resources import memory_for_trials
from autockd.surroundings import environment, restoring

LOCAL = "local"

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000",
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_task_oom_retries": "2",
}
"""Ray reads these when it is imported.

TUNE_MAX_PENDING_TRIALS_PG: workers start side by side, as many as the book has trials for. One by one, as they would by
themselves, takes minutes on a cluster, and trials shorter than a worker's start take each other's workers: one runs.

RAY_task_oom_retries: a task that Ray ends because memory is short is tried as often, and not for ever.

RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER makes 127.0.0.1 the address of this machine, on any system: so none of Ray's servers
can be reached from outside, and a cluster on the loopback interface can be joined.

RAY_ENABLE_UV_RUN_RUNTIME_ENV: under `uv run` Ray would copy the current folder, with its data and studies, to where
workers run, and make each an environment. They run in this one.
"""

_ONE_ATTEMPT = {"RAY_gcs_server_port_wait_time_s": "1"}
"""One attempt of Ray's to reach a cluster takes 40 s at most; by itself it makes 20."""

_ONE = threading.Lock()
_TWICE = (
    "Ray runs in this process already, for somebody else, and a process has one -> call ray.shutdown() first, or run "
    "the study in a process of its own"
)

_PATIENCE = 5.0
"""Seconds until something must listen at an address."""


@contextmanager
def connecting(address: str, *, preload: str | None = None) -> Iterator[Callable[[], None]]:
    """Start Ray on this machine, on the loopback interface alone, or join a cluster, while something else is done.

    A thread does it, and lives as long as the connection: Linux ends what a thread has started for Ray with the thread.

    Args:
        address: `local`, `auto`, or host:port of a cluster of which this machine is a node.
        preload: kind of the workers (see `kind_of_workers`) that Ray starts and lets import ahead, one for each core of
            this machine; None has each import what it needs once it needs it.

    Yields:
        A function that waits for the connection, and raises what stands in its way; at the end Ray is stopped, or left.

    Raises:
        ConfigError: the address is of a kind that cannot work.
        EnvironmentProblem: there is no cluster, or it does not let this process in.
    """
    if not _ONE.acquire(blocking=False):
        raise EnvironmentProblem(_TWICE)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    try:
        with restoring(RAY_ENVIRONMENT):
            _import_ray(address)  # not beside the imports of others: threads can stand in each other's way there
            logger.setLevel(logging.CRITICAL)  # what Tune says of a lost worker, a page long, is recorded in a sentence
            with _connected(address, preload) as wait:
                yield wait
    finally:
        logger.setLevel(level)
        _ONE.release()
    wait()  # for what went wrong at the end


@contextmanager
def _connected(address: str, preload: str | None) -> Iterator[Callable[[], None]]:
    import ray

    if ray.is_initialized():
        raise EnvironmentProblem(_TWICE)
    is_there, is_over = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def hold() -> None:
        try:
            _connect(address, preload)
            try:
                if preload:
                    start_first()
                is_there.set()
                is_over.wait()
            finally:
                _disconnect()
        except BaseException as error:  # whoever waits raises it
            problems.append(error)
        finally:
            is_there.set()

    def wait() -> None:
        is_there.wait()
        if problems:
            raise _explained(problems[0], address)

    thread = threading.Thread(target=hold, name="ray")
    thread.start()
    try:
        yield wait
    finally:
        is_over.set()
        thread.join()


@contextmanager
def connection(address: str) -> Iterator[None]:
    """Within this Ray answers; see `connecting`."""
    with connecting(address) as wait:
        wait()
        yield


def _import_ray(address: str) -> None:
    if "://" in address:
        raise ConfigError.of(
            "resources.address",
            f"is {address!r}, and a search cannot run through Ray's client",
            "run it on a node of the cluster, with the cluster's host:port or with auto",
        )
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray._private import ray_constants

    # As in RAY_ENVIRONMENT, where this process had imported Ray before.
    ray_constants.ENABLE_RAY_CLUSTER = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False


def _explained(error: BaseException, address: str) -> BaseException:
    """What Ray raises itself, where a machine is too busy to start it, say, as an error of ours."""
    if isinstance(error, AutockdError) or not isinstance(error, Exception):
        return error
    explained = EnvironmentProblem(f"resources.address {address!r}: {_explain(error)}")
    explained.__cause__ = error
    return explained


def _disconnect() -> None:
    """Stop Ray, or leave the cluster, with no garbage of Ray's left and while no more is collected.

    What Ray hands out calls it back when it is freed. In reference cycles that is done by whichever thread happens to
    collect them, and where it happens while Ray is being taken down, Ray ends the process.
    """
    import ray

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if was_enabled:
            gc.enable()


def _connect(address: str, preload: str | None) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        with environment(_workers_kept() | preloading(preload)), _no_more_than_needed():
            ray.init(address=address, **_machine(), include_dashboard=False, **options)
        return
    _check_somebody_listens(address)
    with environment(_ONE_ATTEMPT):
        ray.init(address=address, **options)


@contextmanager
def _no_more_than_needed() -> Iterator[None]:
    """Within this Ray starts without its autoscaler, its API server, and what copies logs of workers to this process.

    Nobody asks them for anything here, and each is a Python process that imports Ray while workers want the cores. Ray
    even waits for the API server, which without a dashboard only tells its makers of its use, before it goes on. What
    `ray start` has options for, `ray.init` has not; a Ray that knows them by other names starts them.
    """
    from ray._private import parameter, services

    plain, api_server = parameter.RayParams, getattr(services, "start_api_server", None)
    unneeded = {"no_monitor": True, "include_log_monitor": False}
    if unneeded.keys() <= inspect.signature(plain).parameters.keys():
        parameter.RayParams = partial(plain, **unneeded)
    if api_server is not None:
        services.start_api_server = lambda *_, **__: (None, None)  # neither an address nor a process
    try:
        yield
    finally:
        parameter.RayParams = plain
        if api_server is not None:
            services.start_api_server = api_server


def _machine() -> dict[str, int | None]:
    """What this machine has for trials: cores that it may use, GPUs that torch can use, and memory.

    By itself Ray counts all cores, GPUs of kinds that this torch does not know, and what memory is free just then.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"num_cpus": usable_cores(), "num_gpus": gpus, "_memory": memory_for_trials() or None}


def own_resources() -> dict[str, float]:
    """What trials have of this machine, by Ray's names."""
    told = _machine()
    return {"CPU": told["num_cpus"] or 0, "GPU": told["num_gpus"] or 0}


def _workers_kept() -> dict[str, str]:
    """One more worker than trials can run, so that Ray keeps the one that made the teacher ready for the final scores.

    By itself it stops whoever is idle beside its trials, and the next worker imports everything again. On a GPU an idle
    worker would keep memory that trials need.
    """
    import torch

    return {} if torch.cuda.is_available() else {"RAY_num_workers_soft_limit": str(usable_cores() + 1)}


def _check_somebody_listens(address: str) -> None:
    from ray._private import services

    try:
        where = urlsplit(f"//{services.canonicalize_bootstrap_address(address)}")
        socket.create_connection((where.hostname or "", where.port or 0), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        what = "no cluster runs on this machine" if address == "auto" else "nothing answers there"
        raise EnvironmentProblem(
            f"resources.address {address!r}: {what} ({error}); start one with `ray start --head`, or name another "
            "by its host:port"
        ) from error


def _explain(error: Exception) -> str:
    """What stands in the way, with its remedy where it is known; Ray hides reasons in the causes of its errors."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if type(error).__name__ == "AuthenticationError" or "InvalidAuthToken" in text:
        return (
            "the cluster asks for its token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, or "
            "~/.ray/auth_token to what its nodes were started with"
        )
    if "No node info found" in text:
        return (
            "this machine is no node of that cluster; make it one with `ray start --address=HOST:PORT` (and "
            "--num-cpus=0 if it should run no trials)"
        )
    if "timed out during startup" in text:
        return "Ray did not start in time; this machine is too busy, or short of memory: go on when it is less so"
    if isinstance(error, OSError):
        return f"Ray could not start ({text}); set HOME to a folder that can be written, or RAY_AUTH_TOKEN"
    if "Version mismatch" in text:
        return f"{text}; install the same versions here and there"
    return f"Ray does not answer ({text})"
