"""How many trials run at a time, and with what: decided from the study and the cluster, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autockd.config.schema import ResourceConfig
from autockd.errors import EnvironmentProblem

TRIALS_PER_GPU = 4
"""Trials that share a GPU where the study does not say: small students leave most of it idle."""


@dataclass(frozen=True)
class Allocation:
    """What each trial gets.

    Attributes:
        parallel: trials at a time.
        cpus: cores of a trial.
        gpus: GPUs of a trial, perhaps a fraction.
        reason: how this was decided, in a sentence.
    """

    parallel: int
    cpus: int
    gpus: float
    reason: str

    @property
    def device(self) -> str:
        """Where a trial's tensors live."""
        return "cuda" if self.gpus else "cpu"

    @property
    def ray(self) -> dict[str, float]:
        """As Ray wants it."""
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}


def allocate(config: ResourceConfig, cluster: Mapping[str, float]) -> Allocation:
    """Share a cluster's CPUs and GPUs out to trials.

    Args:
        config: what the study asks for.
        cluster: Ray's totals, by name.

    Raises:
        EnvironmentProblem: not even one trial fits.
    """
    cpus, gpus = cluster.get("CPU", 0), cluster.get("GPU", 0)
    wanted = config.gpus_per_trial
    gpu_share = (1 / TRIALS_PER_GPU if gpus else 0.0) if wanted is None else wanted
    slots = int(cpus // config.cpus_per_trial)
    if gpu_share:
        slots = min(slots, int(gpus / gpu_share + 1e-9))
    if slots < 1:
        raise EnvironmentProblem(
            f"a trial needs {config.cpus_per_trial} CPU cores and {gpu_share:g} GPUs, but there are {cpus:g} and "
            f"{gpus:g}; lower resources.cpus_per_trial or resources.gpus_per_trial"
        )
    parallel = min(slots, config.parallel_trials or slots)
    each = f"{config.cpus_per_trial} core{'s' if config.cpus_per_trial > 1 else ''}"
    each += f" and {gpu_share:g} GPU" if gpu_share else ""
    return Allocation(
        parallel,
        config.cpus_per_trial,
        gpu_share,
        f"{parallel} trials at a time with {each} each, of {cpus:g} cores and {gpus:g} GPUs",
    )
