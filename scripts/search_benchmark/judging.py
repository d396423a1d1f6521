"""From measured runs to ratios, and whether they hold: pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from search_benchmark.measuring import Measured

OURS = "autockd"


@dataclass(frozen=True)
class Ratio:
    """How much longer an arm takes than autockd.

    Attributes:
        arm: the arm.
        rounds: wall time over autockd's, round by round.
        trials: that it really ran in each.
        difference: mean over configurations of autockd's metric minus the arm's.
        error: standard error of that difference between two runs that differ by their seed alone; NaN where there was
            one round.
        holds: whether the difference lies within two standard errors.
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
        """Whether the arm learns what autockd learns; otherwise the ratio is void. None where one round cannot say."""
        return None if math.isnan(self.error) else abs(self.difference) <= 2 * self.error


def ratio_of(arm: str, runs: Sequence[Measured], samples: int) -> Ratio:
    """Compare an arm with autockd.

    Args:
        arm: its name.
        runs: of both, all rounds.
        samples: that a metric is a share of. No standard error is believed that is below half the smallest step of the
            configurations' mean.
    """
    mine = {run.round: run for run in runs if run.arm == OURS}
    theirs = [run for run in runs if run.arm == arm and run.round in mine]
    ours = next(iter(mine.values())).result.metrics
    count = min(run.trials for run in theirs)
    means = [statistics.mean(run.result.metrics[place] for run in theirs) for place in range(count)]
    return Ratio(
        arm=arm,
        rounds=tuple(run.projected / mine[run.round].projected for run in theirs),
        trials=count,
        difference=statistics.mean(ours[place] - means[place] for place in range(count)),
        error=reseeded_error(theirs, count, least=1 / (2 * samples * count)),
    )


def reseeded_error(runs: Sequence[Measured], count: int, least: float = 0.0) -> float:
    """Standard error of (one run's mean) - (mean over the given runs' means), from how these differ among themselves.

    Each run has another seed for orders and augmentation; NaN for a single one.
    """
    if len(runs) < 2:
        return math.nan
    differences = [
        one.result.metrics[place] - other.result.metrics[place]
        for one, other in combinations(runs, 2)
        for place in range(count)
    ]
    single = statistics.mean(difference**2 for difference in differences) / 2  # variance of one metric
    return max(least, math.sqrt(single * (1 + 1 / len(runs)) / count))
