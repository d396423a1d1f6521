"""Points of a search space in the unit cube: each dimension on [0, 1], logarithmic ones on their logarithms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autockd.config.space import AnyDimension, Choice, FloatRange, Params, ordered

Floats = NDArray[np.float64]

_HALF = 0.5
"""A whole number k stands for the interval from k - 1/2 to k + 1/2, as in Optuna."""


def from_unit(space: Mapping[str, AnyDimension], coordinates: Sequence[float]) -> Params:
    """The point at `coordinates`, one in [0, 1) for each dimension; those of inactive dimensions are not used."""
    coordinate = dict(zip(space, coordinates, strict=True))
    params: Params = {}
    for name, dimension in ordered(space):
        if dimension.is_active(params):
            params[name] = _value(dimension, coordinate[name])
    return params


def to_unit(space: Mapping[str, AnyDimension], points: Sequence[Mapping[str, object]]) -> Floats:
    """Coordinates [points, columns]: a column in [0, 1] for each range, one for each value of a choice; else NaN.

    A value of a choice counts 1/2 in its own column and 0 in the others', so two points that differ in a choice are
    sqrt(1/2) apart in it. Inactive dimensions are NaN.
    """
    columns = [_column(dimension, [point.get(name) for point in points]) for name, dimension in space.items()]
    return np.concatenate(columns, axis=1)


def distances(table: Floats, point: Floats) -> Floats:
    """Squared distance [N] of each row of `table` to `point`, over the dimensions that exist at both."""
    return np.nansum((table - point) ** 2, axis=1)  # type: ignore[no-any-return]


def _value(dimension: AnyDimension, coordinate: float) -> bool | int | float | str:
    if isinstance(dimension, Choice):
        return dimension.choices[int(coordinate * len(dimension.choices))]
    low, high = _bounds(dimension)
    value = low + coordinate * (high - low)
    value = math.exp(value) if dimension.log else value
    return float(f"{value:.6g}") if isinstance(dimension, FloatRange) else round(value)


def _column(dimension: AnyDimension, values: Sequence[object]) -> Floats:
    if isinstance(dimension, Choice):
        return np.array([[_HALF * (value == choice) for choice in dimension.choices] for value in values])
    low, high = _bounds(dimension)
    numbers = np.array([math.nan if value is None else float(value) for value in values])  # type: ignore[arg-type]
    scaled = np.log(numbers) if dimension.log else numbers
    return ((scaled - low) / (high - low))[:, None]  # type: ignore[no-any-return]


def _bounds(dimension: AnyDimension) -> tuple[float, float]:
    """Ends of a range on the scale on which it is uniform."""
    assert not isinstance(dimension, Choice)
    half = 0.0 if isinstance(dimension, FloatRange) else _HALF
    low, high = dimension.low - half, dimension.high + half
    return (math.log(low), math.log(high)) if dimension.log else (low, high)
