"""The recorded learning curves: what a trial at any point of the space would have reported."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from harness.points import Floats, distances, to_unit
from pydantic import TypeAdapter

from autockd.config.space import AnyDimension, Params, Space
from autockd.records import EpochRecord

DATA = Path(__file__).parents[1] / "digits_curves.json.gz"
"""Real trials of the digits study; scripts/record_curves.py wrote it."""


@dataclass(frozen=True)
class Curves:
    """A table of runs.

    Attributes:
        space: the study's space, with its conditions.
        roles: of each point: baseline, default or sampled.
        params: of each point.
        epochs: length of a whole run.
        accuracy: by the run's length in epochs, [seeds, points, length]: validation accuracy after each epoch.
        other: the other recorded numbers, by length and name, of the same shape; NaN where there is none.
    """

    space: Mapping[str, AnyDimension]
    roles: tuple[str, ...]
    params: tuple[Params, ...]
    epochs: int
    accuracy: Mapping[int, Floats]
    other: Mapping[int, Mapping[str, Floats]]

    @classmethod
    def load(cls, path: Path = DATA) -> Curves:
        """Read a data file."""
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        runs = {int(length): _arrays(columns) for length, columns in content["runs"].items()}
        return cls(
            space=TypeAdapter(Space).validate_python(content["space"]),
            roles=tuple(point["role"] for point in content["points"]),
            params=tuple(point["params"] for point in content["points"]),
            epochs=max(runs),
            accuracy={length: columns["correct"] / content["validation_images"] for length, columns in runs.items()},
            other=runs,
        )

    @property
    def seeds(self) -> int:
        """How often every point was run, each time with another seed."""
        return len(self.accuracy[self.epochs])

    @cached_property
    def final(self) -> Floats:
        """[seeds, points]: the best epoch's validation accuracy of the whole run, which is what a study reports."""
        return self.accuracy[self.epochs].max(axis=2)  # type: ignore[no-any-return]

    def expected(self, seed: int) -> Floats:
        """[points]: the mean of `final` over the other seeds: what a point is worth, whatever luck it had with this."""
        others = [other for other in range(self.seeds) if other != seed or self.seeds == 1]
        return self.final[others].mean(axis=0)  # type: ignore[no-any-return]

    @cached_property
    def best_expected(self) -> float:
        return float(self.final.mean(axis=0)[self.sampled].max())

    @cached_property
    def sampled(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[points]: whether a search may land there."""
        return np.array([role == "sampled" for role in self.roles])

    @cached_property
    def coordinates(self) -> Floats:
        """[points, columns]: see `to_unit`."""
        return to_unit(self.space, self.params)

    def records(self, seed: int, point: int) -> list[EpochRecord]:
        """The epochs of a whole run."""
        metric = self.accuracy[self.epochs][seed, point]
        other = {name: values[seed, point] for name, values in self.other[self.epochs].items()}
        return [
            EpochRecord(
                epoch=epoch,
                step=epoch,
                metric=metric[epoch - 1],
                best_metric=metric[:epoch].max(),
                best_epoch=int(metric[:epoch].argmax()) + 1,
                loss=other["loss"][epoch - 1],
                hard_loss=other["hard_loss"][epoch - 1],
                train_seconds=other["seconds"][epoch - 1],
                evaluate_seconds=0.0,
                samples_per_second=1.0,
            )
            for epoch in range(1, self.epochs + 1)
        ]


class Lots:
    """Gives every point that a search proposes the nearest recorded run that it has not had.

    Without replacement, as two trials of a continuous space are never the same: a search that comes back to a good
    place pays for, and gets, another run from there, with another run's luck.
    """

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._left = curves.sampled.copy()

    def draw(self, params: Mapping[str, object]) -> int:
        """The run of the table for a proposal."""
        away = distances(self._curves.coordinates, to_unit(self._curves.space, [params])[0])
        away[~self._left] = np.inf
        point = int(away.argmin())
        assert self._left[point], "the table has more runs than a search has trials"
        self._left[point] = False
        return point


def _arrays(columns: Mapping[str, Any]) -> dict[str, Floats]:
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
