"""What all arms of a comparison share, on disk: data, weights, configurations. Read by every arm, written once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NAME, WORKERS = "setting.json", "workers.txt"


@dataclass(frozen=True)
class Setting:
    """One comparison, as its arms see it.

    Attributes:
        folder: holds data.npz or data.json, teacher/ and student/, each with model.safetensors.
        kind: image or text.
        points: the configurations, in order.
        epochs, batch_size: of every trial.
        classes: of the task.
        mean, std: per channel of the training images, pixels scaled to 0..1; empty for texts.
        teacher, student: models as a study file names them, without weights.
        padding: pixels of padding before a random crop.
        max_length: tokens of a text.
        parallel: trials at a time.
        gpus: a trial's share of the GPU.
        workers: worker processes of a loader; the best of those that were tried, for the tuned arm.
        bf16: whether the tuned arms compute in bf16: where the hardware does.
        validation: samples of the validation split.
    """

    folder: str
    kind: str
    points: list[dict[str, Any]]
    epochs: int
    batch_size: int
    classes: int
    mean: list[float]
    std: list[float]
    teacher: dict[str, Any]
    student: dict[str, Any]
    padding: int
    max_length: int
    parallel: int
    gpus: float
    workers: int = 0
    bf16: bool = True
    validation: int = 0

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def save(self) -> None:
        """Write it into its folder."""
        (self.path / NAME).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Setting:
        """Read what `save` wrote."""
        return cls(**json.loads((Path(folder) / NAME).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Result:
    """What an arm says of itself.

    Attributes:
        metrics: validation metric of each trial that it ran, its best epoch's, in the order of the points.
        ends: moments of these trials' ends, in Unix seconds, from the first to the last.
        seconds: wall time by what it went into, where the arm says so.
        facts: what else it says of itself.
    """

    metrics: list[float]
    ends: list[float]
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def sobol_points(space: Mapping[str, Mapping[str, Any]], count: int) -> list[dict[str, float]]:
    """The list of configurations: a scrambled Sobol sequence, seed 0, over the space's ranges."""
    from scipy.stats import qmc

    unit = qmc.Sobol(len(space), seed=0).random_base2((count - 1).bit_length())[:count]
    return [
        {name: _value(dimension, float(share)) for (name, dimension), share in zip(space.items(), row, strict=True)}
        for row in unit
    ]


def _value(dimension: Mapping[str, Any], share: float) -> float:
    low, high = dimension["low"], dimension["high"]
    if dimension.get("log"):
        return float(np.exp(np.log(low) + share * (np.log(high) - np.log(low))))
    return float(low + share * (high - low))
