"""Plan: every number that a method changes over a run, as a table [steps, coefficients] made before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from autockd.config.methods import Granularity


@dataclass(frozen=True)
class Run:
    """The length of a training run.

    Attributes:
        epochs: passes over the training samples.
        steps_per_epoch: training steps of one pass.
    """

    epochs: int
    steps_per_epoch: int

    @classmethod
    def of(cls, samples: int, batch_size: int, epochs: int) -> Run:
        """The run over `samples` in batches of `batch_size`, where a smaller last batch counts as a step."""
        return cls(epochs, -(-samples // batch_size))

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.epochs * self.steps_per_epoch

    def ticks(self, granularity: Granularity) -> int:
        """N of the schedules: epochs or steps."""
        return self.epochs if granularity == "epoch" else self.steps

    def tick(self, step: int, granularity: Granularity) -> int:
        """I of the schedules, from 1, at a training step counted from 0."""
        return (step // self.steps_per_epoch if granularity == "epoch" else step) + 1


@dataclass(frozen=True)
class Plan:
    """The coefficients of every training step of a run.

    Attributes:
        columns: names of the coefficients, such as hard_weight, smoothing, margin, learning_rate.
        table: float64 [steps, coefficients], on the CPU.
        run: the run it was made for.
        restarts: steps at which training goes back to the best weights so far, those of this moment among them, with
            a fresh optimizer: the first step of each later stage of a method.
    """

    columns: tuple[str, ...]
    table: torch.Tensor
    run: Run
    restarts: tuple[int, ...] = ()

    @classmethod
    def of(cls, run: Run, columns: Mapping[str, Sequence[float]], restarts: tuple[int, ...] = ()) -> Plan:
        """A plan from its columns, each of `run.steps` numbers."""
        assert all(len(column) == run.steps for column in columns.values()), "a column has a number for every step"
        table = torch.tensor([list(column) for column in columns.values()], dtype=torch.float64).reshape(-1, run.steps)
        return cls(tuple(columns), table.T.contiguous(), run, restarts)

    @classmethod
    def constant(cls, run: Run, **coefficients: float) -> Plan:
        """A plan whose coefficients never change."""
        return cls.of(run, {name: [value] * run.steps for name, value in coefficients.items()})

    def with_column(self, name: str, values: Sequence[float]) -> Plan:
        """The same plan with one more coefficient."""
        column = torch.tensor(list(values), dtype=torch.float64)[:, None]
        return replace(self, columns=(*self.columns, name), table=torch.cat([self.table, column], dim=1))

    def column(self, name: str) -> list[float]:
        """One coefficient over all steps."""
        values: list[float] = self.table[:, self.columns.index(name)].tolist()
        return values

    def row(self, step: int) -> dict[str, float]:
        """All coefficients at one step."""
        return dict(zip(self.columns, self._rows[step], strict=True))

    @cached_property
    def _rows(self) -> list[list[float]]:
        rows: list[list[float]] = self.table.tolist()
        return rows
