"""Regret over cost, with confidence intervals: how contestants compare on the recorded curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness.contestants import Contestant
from harness.curves import Curves
from harness.points import Floats
from harness.simulation import Sighting

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of means, with its 95 % bootstrap interval over searches."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """What a contestant's searches found: [searches, costs] each, the i-th search with seed i.

    Attributes:
        shown: regret by validation accuracy: the best run of the table less the incumbent's, as this search saw it.
        expected: regret by worth: the best point's, less the incumbent's, both as seen by runs with other seeds.
        trials: [searches], trials in all.
        whole: [searches], trials that were trained to the end.
        busy: [searches], the share of the workers' time that was used.
    """

    shown: Floats
    expected: Floats
    trials: Floats
    whole: Floats
    busy: Floats


@dataclass(frozen=True)
class Found:
    """One search.

    Attributes:
        points: the incumbent at each cost.
        trials, whole, busy: see `Result`.
    """

    points: list[int]
    trials: int
    whole: int
    busy: float


def search(contestant: Contestant, curves: Curves, seed: int, workers: int, costs: Sequence[float]) -> Found:
    """Search once; a cost is the time of so many whole runs, of all workers together, idle or not."""
    budget = max(costs) * curves.epochs / workers
    seen = contestant.search(curves, seed, workers, budget)
    return Found(
        incumbents(seen, [cost * curves.epochs / workers for cost in costs]),
        trials=len({sighting.trial for sighting in seen}),
        whole=sum(sighting.slice.is_whole for sighting in seen),
        busy=sum(sighting.slice.cost for sighting in seen) / (budget * workers),
    )


def incumbents(sightings: Sequence[Sighting], times: Sequence[float]) -> list[int]:
    """The recorded run that a search would export at each time.

    It is the best whole run that is over by then, or, where none is, the best of what was seen. Baselines do not count.
    """
    found, best, point = [], (False, -1.0), -1
    waiting = [sighting for sighting in reversed(sightings) if sighting.slice.point is not None]
    for time in times:
        while waiting and waiting[-1].time <= time:
            seen = waiting.pop().slice
            if (seen.is_whole, seen.value) > best:
                assert seen.point is not None
                best, point = (seen.is_whole, seen.value), seen.point
        found.append(point)
    return found


def result(curves: Curves, searches: Sequence[Found]) -> Result:
    """The regrets of searches, in the order of their seeds."""
    runs = [seed % curves.seeds for seed in range(len(searches))]
    points = np.array([found.points for found in searches])
    best = curves.final[:, curves.sampled].max(axis=1)
    shown = [best[run] - curves.final[run, row] for run, row in zip(runs, points, strict=True)]
    expected = [curves.best_expected - curves.expected(run)[row] for run, row in zip(runs, points, strict=True)]
    return Result(
        np.array(shown),
        np.array(expected),
        np.array([found.trials for found in searches], dtype=np.float64),
        np.array([found.whole for found in searches], dtype=np.float64),
        np.array([found.busy for found in searches]),
    )


def mean(values: Floats) -> Estimate:
    """Mean of [searches]."""
    return _estimate(values.mean(), values[_draws(len(values))].mean(axis=1))


def ratio(values: Floats, others: Floats) -> Estimate:
    """Ratio of the means of [searches] each, paired by seed."""
    draws = _draws(len(values))
    return _estimate(values.mean() / others.mean(), values[draws].mean(axis=1) / others[draws].mean(axis=1))


def _draws(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _estimate(value: float, samples: Floats) -> Estimate:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))
