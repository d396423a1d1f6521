"""A run of MLflow in the making: what it has to be told, gathered until somebody comes for it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Status = Literal["RUNNING", "FINISHED", "KILLED", "FAILED"]


class Point(NamedTuple):
    """One value of a metric; `timestamp` in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class RunUpdate:
    """What a run still has to be told, and enough to create it.

    Attributes:
        trial: number of the trial; None for the study's own run.
        name: the run's display name.
        started, ended: moments in milliseconds; `ended` is None while the run goes on.
        tags, params, points: what is new since the update before.
        status: the run's status after this update.
        experiment_tags: what the experiment is to be told along with it.
        digest: checksum of all that the run was ever told; None while it goes on.
    """

    trial: int | None
    name: str
    started: int
    tags: dict[str, str]
    params: dict[str, str]
    points: tuple[Point, ...]
    status: Status
    ended: int | None
    digest: str | None
    experiment_tags: dict[str, str] = field(default_factory=dict)


@dataclass
class RunDraft:
    """A run as far as the events tell, with what MLflow does not know yet."""

    trial: int | None
    name: str
    started: int
    latest: int = 0
    status: Status = "RUNNING"
    ended: int | None = None
    changed: bool = True
    checksum: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    experiment_tags: dict[str, str] = field(default_factory=dict)

    def tell(
        self,
        time: float,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        step: int = 0,
    ) -> None:
        """Note what an event says; its moment becomes the timestamp of its metrics."""
        self.latest = max(self.latest, milliseconds(time))
        points = [
            Point(key, float(value), milliseconds(time), step)
            for key, value in (metrics or {}).items()
            if value is not None
        ]
        self.tags |= tags or {}
        self.params |= params or {}
        self.points += points
        self.checksum = zlib.crc32(repr((tags, params, points)).encode(), self.checksum)
        self.changed = True

    def end(self, status: Status, moment: int) -> None:
        """The run is over, as far as is known."""
        self.status, self.ended, self.changed = status, moment, True

    def reopen(self) -> None:
        """The run goes on."""
        self.status, self.ended, self.changed = "RUNNING", None, True

    def take(self) -> RunUpdate:
        """All that is new, which is then no longer new."""
        digest = None if self.ended is None else f"{self.checksum:08x}"
        update = RunUpdate(
            trial=self.trial,
            name=self.name,
            started=self.started,
            tags=self.tags,
            params=self.params,
            points=tuple(self.points),
            status=self.status,
            ended=self.ended,
            digest=digest,
            experiment_tags=self.experiment_tags,
        )
        self.tags, self.params, self.points, self.experiment_tags, self.changed = {}, {}, [], {}, False
        return update


def milliseconds(time: float) -> int:
    """MLflow's unit of time, from Unix seconds."""
    return round(time * 1000)
