"""Regret over cost, with confidence intervals: how contestants compare on the recorded curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness.curves import Curves
from harness.points import Floats
from harness.simulation import Sighting

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of means, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def scaled(self, factor: float) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Regrets:
    """What a contestant missed, in accuracy: [searches, costs] each.

    Attributes:
        shown: by the validation accuracy that the incumbent showed in this search, against the best run of the table.
        expected: by what the incumbent's other seeds show on average, against the best point's.
    """

    shown: Floats
    expected: Floats


def incumbents(sightings: Sequence[Sighting], times: Sequence[float]) -> list[int]:
    """The recorded run that a search would export at each time.

    It is the best whole run that is over by then, or, where none is, the best of what was seen. Baselines do not count.
    """
    found, best, at = [], (False, -1.0), -1
    queue = [sighting for sighting in sightings if sighting.slice.point is not None]
    for time in times:
        while queue and queue[0].time <= time:
            seen = queue.pop(0).slice
            if (seen.is_whole, seen.value) > best:
                assert seen.point is not None
                best, at = (seen.is_whole, seen.value), seen.point
        found.append(at)
    return found


def regrets(curves: Curves, searches: Sequence[Sequence[Sighting]], workers: int, costs: Sequence[float]) -> Regrets:
    """Regret of searches, the i-th with seed i, after each of `costs` whole runs' time of all workers together."""
    times = [cost * curves.epochs / workers for cost in costs]
    seeds = [search % curves.seeds for search in range(len(searches))]
    points = np.array([incumbents(sightings, times) for sightings in searches])
    shown = np.array([curves.final[seed, row] for seed, row in zip(seeds, points, strict=True)])
    best = np.array([curves.final[seed, curves.sampled].max() for seed in seeds])
    expected = np.array([curves.expected(seed)[row] for seed, row in zip(seeds, points, strict=True)])
    return Regrets(best[:, None] - shown, curves.best_expected - expected)


def mean(values: Floats) -> Estimate:
    """Mean of [searches]."""
    samples = values[_draws(len(values))].mean(axis=1)
    return _estimate(values.mean(), samples)


def ratio(values: Floats, others: Floats) -> Estimate:
    """Ratio of the means of [searches] each, paired by seed."""
    draws = _draws(len(values))
    return _estimate(values.mean() / others.mean(), values[draws].mean(axis=1) / others[draws].mean(axis=1))


def _draws(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _estimate(value: float, samples: Floats) -> Estimate:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
