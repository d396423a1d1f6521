"""What a worker is given: one trial to run, and who gives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autockd.config.trial import TrialConfig
from autockd.records import TrialReport


def trial_folder(study: Path, number: int) -> Path:
    """Where a trial keeps its checkpoint and its weights."""
    return study / "trials" / f"{number:04d}"


def finalist_folder(study: Path, trial: int, seed: int) -> Path:
    """The same of a trial's run with a fresh seed."""
    return study / "finalists" / f"{trial:04d}-{seed}"


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Attributes:
        number: the trial's number; of a finalist's run, its place among them.
        config: its mathematics.
        rungs: epochs after which it reports a rung and waits for the verdict.
        first_rung: number of the first of these; a rung of one number is at the same share of any run.
        ladder: whether a rung is a whole schedule, compressed to so many epochs, instead of a part of the run.
        slowest_epoch: seconds of the longest epoch so far of such a student and batch size; None before the first.
        trial, seed: of a finalist's run, the trial that runs again, and its fresh seed; None for the trial itself.
    """

    number: int
    config: TrialConfig
    rungs: tuple[int, ...] = ()
    first_rung: int = 1
    ladder: bool = False
    slowest_epoch: float | None = None
    trial: int | None = None
    seed: int | None = None

    def folder(self, study: Path) -> Path:
        """Where the run keeps its checkpoint and its weights, in the study's folder."""
        if self.trial is None or self.seed is None:
            return trial_folder(study, self.number)
        return finalist_folder(study, self.trial, self.seed)


class Book(Protocol):
    """What gives proposals out and takes their results: a study's book of trials, or that of its finalists."""

    @property
    def all_proposed(self) -> bool:
        """Whether everything has been proposed."""

    @property
    def closed(self) -> tuple[int, ...]:
        """Numbers of the proposals that have an outcome."""

    def folder(self, study: Path, number: int) -> Path:
        """Where a proposal's run keeps its checkpoint and its weights."""

    def propose(self) -> Proposal | None:
        """The next one; None while none may start."""

    def report(self, report: TrialReport) -> bool:
        """Take what a worker tells; whether its run must stop, or has ended."""

    def give_up(self, number: int, reason: str) -> None:
        """Take it that a run ended without an outcome; nothing happens where there is one."""
