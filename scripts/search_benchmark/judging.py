"""From measured runs to ratios, and whether they hold: pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from search_benchmark.measuring import Measured

OURS = "autockd"


@dataclass(frozen=True)
class Ratio:
    """How much longer an arm takes than autockd.

    Attributes:
        arm: the arm.
        rounds: wall time over autockd's, round by round.
        trials: that it really ran in each.
        difference: mean over configurations and rounds of autockd's metric minus the arm's.
        error: standard error of that difference, from how either differs from round to round, each with another order
            of samples; NaN where there was one round.
    """

    arm: str
    rounds: tuple[float, ...]
    trials: int
    difference: float
    error: float

    @property
    def median(self) -> float:
        """The ratio."""
        return statistics.median(self.rounds)

    @property
    def holds(self) -> bool | None:
        """Whether the arm learns what autockd learns: the difference lies within two standard errors.

        Otherwise the ratio is void. None where one round cannot say.
        """
        return None if math.isnan(self.error) else abs(self.difference) <= 2 * self.error


def ratio_of(arm: str, runs: Sequence[Measured], samples: int) -> Ratio:
    """Compare an arm with autockd.

    Args:
        arm: its name.
        runs: of both, all rounds.
        samples: that a metric is a share of. No standard error is believed that is below half the smallest step of a
            run's mean.
    """
    mine = {run.round: run for run in runs if run.arm == OURS}
    theirs = [run for run in runs if run.arm == arm and run.round in mine]
    count = min(run.trials for run in theirs)
    ours, other = ([statistics.mean(run.result.metrics[:count]) for run in some] for some in (mine.values(), theirs))
    return Ratio(
        arm=arm,
        rounds=tuple(run.projected / mine[run.round].projected for run in theirs),
        trials=count,
        difference=statistics.mean(ours) - statistics.mean(other),
        error=standard_error(ours, other, least=1 / (2 * samples * count)),
    )


def standard_error(ours: Sequence[float], theirs: Sequence[float], least: float = 0.0) -> float:
    """Of the difference of two means over rounds; NaN for a single round.

    A round counts as one observation, whatever the number of its configurations: they share the order of samples, and
    so its luck.
    """
    if len(ours) < 2 or len(theirs) < 2:
        return math.nan
    variance = sum(statistics.variance(some) / len(some) for some in (ours, theirs))
    return max(least, math.sqrt(variance))
