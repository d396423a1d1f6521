"""What a worker is given: one trial to run."""

from __future__ import annotations

from dataclasses import dataclass

from autockd.config.trial import TrialConfig


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Attributes:
        number: the trial's number.
        config: its mathematics.
        rungs: epochs after which it reports a rung and waits for the verdict.
        ladder: whether a rung is a whole schedule, compressed to so many epochs, instead of a part of the run.
        slowest_epoch: seconds of the longest epoch of any trial so far; None before the first.
    """

    number: int
    config: TrialConfig
    rungs: tuple[int, ...] = ()
    ladder: bool = False
    slowest_epoch: float | None = None
