"""Ray, started and stopped: functions run on its workers, and the search itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import torch

from autockd.config.schema import ResourceConfig, StudyConfig
from autockd.data.task import Task
from autockd.errors import AutockdError, EnvironmentProblem, reason_of
from autockd.processor import usable_cores
from autockd.search.connection import LOCAL, connecting, own_resources
from autockd.search.halt import Halt
from autockd.search.held import HeldWorkers
from autockd.search.nodes import Node, check_nodes, living_nodes
from autockd.search.preload import FIRST, kind_of_workers
from autockd.search.proposal import Book
from autockd.search.resources import Allocation, allocate, memory_for_trials
from autockd.search.worker import WorkerSetting
from autockd.training.memory import is_out_of_memory, trim_memory

P = ParamSpec("P")
T = TypeVar("T")

_RAY_LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108 - where Ray itself puts them

_SMALL_WORKER = 1 << 30
"""Bytes of a worker whose student is small."""

_GLANCE = 1.0
"""Seconds between two calls of `Cluster.meanwhile`."""


def _nothing() -> None:
    """What happens meanwhile unless somebody says otherwise."""


class Cluster:
    """A running Ray with the share that each trial has of it.

    Args:
        allocation: what each trial gets.
        nodes: those that a trial fits on.
        is_preloaded: whether workers of this machine import ahead what trials need.
        is_own: whether nobody else uses this Ray, which is then of this machine alone.
    """

    def __init__(
        self, allocation: Allocation, nodes: Sequence[Node], *, is_preloaded: bool = False, is_own: bool = False
    ) -> None:
        self.allocation = allocation
        self._nodes = nodes
        self._environment = {"runtime_env": FIRST} if is_preloaded else {}
        self.meanwhile: Callable[[], None] = _nothing
        """Called about once a second while a function runs on a worker; what it raises ends the wait."""
        self.whole_cpus = allocation.cpus * min(allocation.slots(node.resources) for node in nodes)
        """Cores of a worker that has no other beside it: all that trials would share on any of the nodes."""
        self._held = HeldWorkers(allocation, nodes[0]) if allocation.gpus and is_own else None
        self.worker_cpus = self._held.cpus if self._held else allocation.cpus if allocation.gpus else self.whole_cpus
        """Cores of a worker of `on_every_node`."""
        self._tasks: dict[int, tuple[Task, Any]] = {}

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a worker with `whole_cpus` cores, or with a GPU and its share of them, and wait for it.

        It starts again, on another node if need be, where its worker or node is lost.

        Raises:
            AutockdError: as the function raised it.
        """
        if self._held is not None:
            reference = self._held.run(0, function, *self._handed(args), **kwargs)
        else:
            reference = self._remote(function, self.whole_cpus).remote(*self._handed(args), **kwargs)
        (result,) = self._wait([reference])
        return cast(T, result)

    def on_every_node(self, function: Callable[..., T], calls: Callable[[int], Sequence[tuple[Any, ...]]]) -> list[T]:
        """Run a function on each node that a trial fits on: on one worker with its cores, or on several with its GPUs.

        Those are one for each GPU in a Ray of our own, otherwise one for each trial that has room.

        Args:
            function: what to run; on another node in the place of one that is lost.
            calls: the calls on a node, as tuples of arguments, given how many workers it has for them.

        Returns:
            The results, those of a node together.

        Raises:
            AutockdError: as the function raised it.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if (held := self._held) is not None:
            wanted = calls(held.count)
            return self._wait([held.run(place, function, *self._handed(args)) for place, args in enumerate(wanted)])
        remote = self._remote(function, self.worker_cpus)
        references = []
        for node in living_nodes():
            if slots := self.allocation.slots(node.resources):
                there = remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=True))
                workers = slots if self.allocation.gpus else 1
                references += [there.remote(*self._handed(args)) for args in calls(workers)]
        return self._wait(references)

    def _remote(self, function: Callable[..., Any], cpus: int) -> Any:
        """A function as Ray runs it; its worker, which may stay idle for the whole search, keeps no memory of it."""
        import ray

        @wraps(function)
        def trimmed(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            finally:
                trim_memory()

        return ray.remote(num_cpus=cpus, num_gpus=self.allocation.gpus, **self._environment)(trimmed)

    def _wait(self, references: list[Any]) -> list[Any]:
        import ray

        waiting = references
        try:
            while waiting:
                _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_GLANCE)
                self.meanwhile()
            return list(ray.get(references))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AutockdError):
                raise error.cause from None
            if is_out_of_memory(error.cause):
                raise self._out_of_memory(error.cause) from error
            if isinstance(error.cause, torch.AcceleratorError):
                why = reason_of(error.cause)
                raise EnvironmentProblem(f"the GPU of a worker failed ({why}) -> resume once it works") from error
            raise
        except ray.exceptions.RayError as error:
            raise EnvironmentProblem(f"Ray lost a worker ({error}); is there enough memory? see {_RAY_LOGS}") from error

    def make_room(self, config: ResourceConfig, trial_memory: int | None) -> bool:
        """Run no more trials at a time than there is memory for; whether those are fewer than before.

        Args:
            config: what the study asks for.
            trial_memory: bytes that training takes on a CPU, where that is known.
        """
        if trial_memory is None:
            return False
        before = self.allocation.parallel
        self.allocation = allocate(config, [node.resources for node in self._nodes], trial_memory)
        return self.allocation.parallel < before

    def forget(self) -> None:
        """Give up the tasks that were put into Ray's store, and the workers that hold a GPU."""
        self._tasks.clear()
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()

    def _handed(self, arguments: Sequence[Any]) -> list[Any]:
        """Arguments as workers are to get them: Ray would put a whole task into its store with every call."""
        return [self._kept(argument) if isinstance(argument, Task) else argument for argument in arguments]

    def _kept(self, task: Task) -> Any:
        """Where a task is in Ray's store."""
        import ray

        if id(task) not in self._tasks:
            self._tasks[id(task)] = (task, ray.put(task))  # with the task itself, or another might get its id
        return self._tasks[id(task)][1]

    def _out_of_memory(self, cause: BaseException) -> EnvironmentProblem:
        more = "give a trial more of the GPU (resources.gpus_per_trial)" if self.allocation.gpus else "free some memory"
        return EnvironmentProblem(
            f"out of memory, outside of a trial ({reason_of(cause)}) -> {more}, or take a smaller teacher"
        )

    def search(self, book: Book, setting: WorkerSetting, task: Task, halt: Halt, *, trials: int, retries: int) -> None:
        """Run the trials of a study; see `run_search`."""
        from autockd.search.runner import run_search

        self._release()
        run_search(book, setting, self._kept(task), self.allocation, halt, trials=trials, retries=retries)


@contextmanager
def cluster(study: StudyConfig, folder: Path) -> Iterator[Callable[[], Cluster]]:
    """Start Ray on this machine, on the loopback interface alone, or join a cluster; at the end stop or leave it.

    Args:
        study: says which Ray, and what a trial needs.
        folder: the study's, which every node of a cluster must see.

    Yields:
        A function that waits until Ray is there and says what it has; so that something else can be done meanwhile. It
        raises ConfigError, where the address is of a kind that cannot work, and EnvironmentProblem, where the cluster
        cannot be reached, a node of it cannot run the study, or a trial does not fit.
    """
    config = study.resources
    ahead = _keeps_every_core_busy(study)
    with (
        connecting(config.address, preload=kind_of_workers(study) if ahead else None) as wait,
        ExitStack() as before_the_end,
    ):

        def join() -> Cluster:
            wait()
            nodes = living_nodes()
            allocation = allocate(config, [node.resources for node in nodes])
            nodes = [node for node in nodes if allocation.slots(node.resources)]
            if config.address != LOCAL:
                check_nodes(nodes, folder)
            machine = Cluster(allocation, nodes, is_preloaded=ahead, is_own=config.address == LOCAL)
            before_the_end.callback(machine.forget)
            return machine

        yield join


def check_fits(config: ResourceConfig) -> None:
    """See to it that a trial fits on this machine, where it is to run here; a cluster says so itself.

    Raises:
        EnvironmentProblem: it does not.
    """
    if config.address == LOCAL:
        allocate(config, [own_resources()])


def _keeps_every_core_busy(study: StudyConfig) -> bool:
    """Whether a study runs a trial on each core of this machine, so that no worker that Ray starts is in vain."""
    config, cores, room = study.resources, usable_cores(), memory_for_trials()
    if config.address != LOCAL or torch.cuda.is_available() or config.cpus_per_trial > 1:
        return False
    if config.parallel_trials is None and room is not None and cores * _SMALL_WORKER > room:
        return False
    return min(config.parallel_trials or cores, study.search.trials) >= cores
