"""How many trials run at a time, and with what: decided from the study and the cluster, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autockd.config.schema import ResourceConfig
from autockd.errors import EnvironmentProblem
from autockd.limits import trials_on_one_gpu
from autockd.processor import memory
from autockd.text import plural

TRIALS_PER_GPU = 4
"""Trials that share a GPU where the study does not say: small students leave most of it idle."""

_SHARE, _OTHERS = 0.75, 2 << 30
"""The part of a machine's memory that may be in use, and the bytes of it that are the command's and those of the worker
that makes things ready."""

_BESIDE = 128 << 20
"""Bytes of a trial's worker beside its training: Tune, and what it evaluates with."""


def memory_for_trials() -> int | None:
    """Bytes of this machine's memory that its trials may have together; None where the system does not say.

    It is a part of all memory, not of what is free just then: the number of trials at a time, by which a search's
    proposals go, is the same whenever a study runs here.
    """
    found = memory()
    return None if found is None else max(0, int(_SHARE * found[0]) - _OTHERS)


@dataclass(frozen=True)
class Allocation:
    """What each trial gets.

    Attributes:
        parallel: trials at a time.
        cpus: cores of a trial.
        gpus: GPUs of a trial, perhaps a fraction.
        reason: how this was decided, in a sentence.
        memory: bytes of a trial, where they are short.
    """

    parallel: int
    cpus: int
    gpus: float
    reason: str
    memory: int = 0

    @property
    def device(self) -> str:
        """Where a trial's tensors live."""
        return "cuda" if self.gpus else "cpu"

    @property
    def ray(self) -> dict[str, float]:
        """By Ray's names, such as {"CPU": 1, "GPU": 0.25}."""
        share = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return {kind: amount for kind, amount in share.items() if amount}

    def slots(self, node: Mapping[str, float]) -> int:
        """How many trials a node has room for at a time."""
        return min(self.parallel, _slots(node, self.cpus, self.gpus, self.memory))


def allocate(
    config: ResourceConfig, nodes: Sequence[Mapping[str, float]], trial_memory: int | None = None
) -> Allocation:
    """Share the CPUs and GPUs of a cluster's nodes out to trials; a trial runs on one node.

    Args:
        config: what the study asks for.
        nodes: what each node has in all, by Ray's names.
        trial_memory: bytes that training takes on a CPU, where that is known; they count unless the study says how many
            trials run at a time.

    Raises:
        EnvironmentProblem: not even one trial fits on any node.
    """
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    wanted = config.gpus_per_trial
    share = _gpu_share(config, nodes) if wanted is None else min(wanted, 1.0)
    slots = sum(_slots(node, config.cpus_per_trial, share) for node in nodes)
    where = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    if slots < 1:
        raise EnvironmentProblem(
            f"a trial needs {config.cpus_per_trial} CPU cores and {share:g} GPUs{' of one node' if where else ''}, but "
            f"there are {cpus:g} and {gpus:g}{where}; lower resources.cpus_per_trial or resources.gpus_per_trial"
        )
    each = plural(config.cpus_per_trial, "core")
    each += f" and {share:g} GPU" if share else ""
    of = f"with {each} each, of {cpus:g} cores and {gpus:g} GPUs{where}"
    parallel, counted = min(slots, config.parallel_trials or slots), 0
    if trial_memory is not None and not share and config.parallel_trials is None:
        needed = trial_memory + _BESIDE
        fitting = sum(_slots(node, config.cpus_per_trial, share, needed) for node in nodes)
        if fitting < slots:
            parallel, counted = max(1, fitting), needed if fitting else 0
            of += f": {_say_memory(needed, nodes)}"
    return Allocation(
        parallel, config.cpus_per_trial, share, f"{plural(parallel, 'trial')} at a time {of}", memory=counted
    )


def _say_memory(each: int, nodes: Sequence[Mapping[str, float]]) -> str:
    room = sum(node.get("memory", 0.0) for node in nodes)
    return (
        f"each takes {each / 1e9:.1f} GB of the {room / 1e9:.1f} GB that trials may have (resources.cpus_per_trial "
        "gives them the cores that are left, and resources.parallel_trials is heard whatever they take)"
    )


def _gpu_share(config: ResourceConfig, nodes: Sequence[Mapping[str, float]]) -> float:
    """A trial's share of a GPU: the largest with which as many trials run as may; 0 without a GPU."""
    if not any(int(node.get("GPU", 0)) for node in nodes):
        return 0.0

    def slots(on_one: int) -> int:
        return sum(_slots(node, config.cpus_per_trial, 1 / on_one) for node in nodes)

    most = slots(TRIALS_PER_GPU)
    wanted = min(most, config.parallel_trials or most)
    return 1 / next(on_one for on_one in range(1, TRIALS_PER_GPU + 1) if slots(on_one) >= wanted)


def _slots(node: Mapping[str, float], cpus: int, gpus: float, memory: int = 0) -> int:
    """How many trials fit on a node; a fraction of a GPU is one of a single GPU."""
    slots = int(node.get("CPU", 0) // cpus)
    if memory and "memory" in node:
        slots = min(slots, int(node["memory"] // memory))
    if not gpus:
        return slots
    return min(slots, int(node.get("GPU", 0)) * trials_on_one_gpu(gpus))
