"""Ray, started and stopped: functions run on its workers, and the search itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from autockd.config.schema import ResourceConfig
from autockd.data.task import Task
from autockd.errors import AutockdError, EnvironmentProblem
from autockd.search.book import StudyBook
from autockd.search.halt import Halt
from autockd.search.resources import Allocation, allocate
from autockd.search.worker import WorkerSetting

P = ParamSpec("P")
T = TypeVar("T")

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000",
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}

_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Makes 127.0.0.1 the address of this node, on any system, so that none of Ray's servers can be reached from outside;
`ray.init` takes no such address. Ray reads it when it is imported."""

_RAY_LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108 - where Ray itself puts them


_GLANCE = 1.0
"""Seconds between two calls of `Cluster.meanwhile`."""


def _nothing() -> None:
    """What happens meanwhile unless somebody says otherwise."""


class Cluster:
    """A running Ray with the share that each trial has of it."""

    def __init__(self, allocation: Allocation, *, is_local: bool) -> None:
        self.allocation = allocation
        self.meanwhile: Callable[[], None] = _nothing
        """Called about once a second while a function runs on a worker; what it raises ends the wait."""
        self.whole_cpus = allocation.cpus * allocation.parallel if is_local else allocation.cpus
        """Cores of a worker that has no other beside it: all that trials would share on one machine."""

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a worker with `whole_cpus` cores and a trial's GPUs, and wait for it.

        Raises:
            AutockdError: as the function raised it.
        """
        return self._run(function, [(args, kwargs)], self.whole_cpus)[0]

    def map(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
        """Run a function on workers with a trial's resources, once for each tuple of arguments.

        Raises:
            AutockdError: as the function raised it.
        """
        return self._run(function, [(args, {}) for args in calls], self.allocation.cpus)

    def _run(self, function: Callable[..., T], calls: Sequence[tuple[Any, dict[str, Any]]], cpus: int) -> list[T]:
        import ray

        remote = ray.remote(num_cpus=cpus, num_gpus=self.allocation.gpus)(function)
        references = waiting = [remote.remote(*args, **kwargs) for args, kwargs in calls]
        try:
            while waiting:
                _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_GLANCE)
                self.meanwhile()
            results: list[T] = ray.get(references)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AutockdError):
                raise error.cause from None
            raise
        except _lost_worker_errors() as error:
            raise EnvironmentProblem(f"Ray lost a worker ({error}); is there enough memory? see {_RAY_LOGS}") from error
        return results

    def search(
        self, book: StudyBook, setting: WorkerSetting, task: Task, halt: Halt, *, trials: int, retries: int
    ) -> None:
        """Run the trials of a study; see `run_search`."""
        from autockd.search.runner import run_search

        run_search(book, setting, task, self.allocation, halt, trials=trials, retries=retries)


@contextmanager
def cluster(config: ResourceConfig) -> Iterator[Cluster]:
    """Start Ray on this machine, on the loopback interface alone, or join a cluster; leave it at the end.

    Raises:
        EnvironmentProblem: the cluster cannot be reached, or a trial does not fit it.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if config.address == "local":
        os.environ.setdefault(*_LOOPBACK)
    import ray
    from ray._private import ray_constants

    if config.address == "local":
        ray_constants.ENABLE_RAY_CLUSTER = False  # what _LOOPBACK does, where this process had imported Ray before
    # What Tune says of a lost worker, a page long, the study records in a sentence.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if config.address == "local":
            ray.init(address="local", include_dashboard=False, **options)
        else:
            ray.init(address=config.address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentProblem(f"resources.address {config.address!r}: Ray does not answer ({error})") from error
    try:
        yield Cluster(allocate(config, ray.cluster_resources()), is_local=config.address == "local")
    finally:
        ray.shutdown()


def _lost_worker_errors() -> tuple[type[Exception], ...]:
    from ray import exceptions

    return exceptions.RaySystemError, exceptions.WorkerCrashedError, exceptions.LocalRayletDiedError
