"""The search space: named dimensions, some of which exist only under a condition on others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, field_validator, model_validator

from autockd.config.base import Config


def _scalar(value: object) -> object:
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value is a word, a finite number, true or false, not {value!r}")
    return value


Value = Annotated[bool | int | float | str, PlainValidator(_scalar)]
"""What a dimension can take: exactly the types that Optuna stores."""

Params = dict[str, bool | int | float | str]
"""One point of a space: a value for each of its active dimensions."""


class _Dimension(Config):
    type: str
    when: dict[str, Value | tuple[Value, ...]] = {}
    """Other dimensions and the value, or values, that each must have for this one to exist."""

    @field_validator("when")
    @classmethod
    def _can_hold(cls, when: dict[str, Value | tuple[Value, ...]]) -> dict[str, Value | tuple[Value, ...]]:
        if empty := [name for name, allowed in when.items() if allowed == ()]:
            raise ValueError(f"{empty[0]} needs one value at least, at which this dimension exists, not []")
        return when

    def is_active(self, params: Mapping[str, object]) -> bool:
        """Whether this dimension exists at the point `params`."""
        return all(name in params and params[name] in as_tuple(allowed) for name, allowed in self.when.items())

    def own(self, value: object) -> object:
        """As the dimension writes the value."""
        return value


class _Range(_Dimension):
    log: bool = False
    """Whether to search on a logarithmic scale."""
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    step: float | None
    """Grid width, counted from low."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        low, high = self.low, self.high
        if low > high:
            raise ValueError(f"low must not be above high, but low is {low:g} and high is {high:g}; swap them")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic range must start above 0, but low is {low:g}")
        if self.log and self.step is not None:
            raise ValueError("a range has either log or step, not both")
        return self


class FloatRange(_Range):
    """Real numbers from low to high, both included."""

    type: Literal["float"]
    step: float | None = Field(default=None, gt=0)

    @property
    def corners(self) -> tuple[float, ...]:
        """Values to check the whole range by: the first and the last that can be proposed."""
        if self.step is None:
            return (self.low, self.high)
        return (self.low, self.low + math.floor((self.high - self.low) / self.step + _TOLERANCE) * self.step)

    def contains(self, value: object) -> bool:
        """Whether `value` can be proposed."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return self.step is None or _on_grid(value, self.low, self.step)


class IntRange(_Range):
    """Whole numbers from low to high, both included."""

    type: Literal["int"]
    low: int
    high: int
    step: int | None = Field(default=None, ge=1)
    """Null is 1."""

    @property
    def corners(self) -> tuple[int, ...]:
        """Values to check the whole range by."""
        step = self.step or 1
        return (self.low, self.low + (self.high - self.low) // step * step)

    def own(self, value: object) -> object:
        """As the dimension writes the value: a whole number of a field that may have others too."""
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def contains(self, value: object) -> bool:
        """Whether `value` can be proposed."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % (self.step or 1) == 0


class Choice(_Dimension):
    """One of a list of values, without an order."""

    type: Literal["choice"]
    choices: tuple[Value, ...] = Field(min_length=1)
    """The values."""

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"choices must differ from each other: {list(self.choices)}")
        return self

    @property
    def corners(self) -> tuple[bool | int | float | str, ...]:
        """Values to check the whole dimension by."""
        return self.choices

    def own(self, value: object) -> object:
        """As the dimension writes the value: 4 for 4.0."""
        alike = (choice for choice in self.choices if isinstance(choice, bool) == isinstance(value, bool))
        return next((choice for choice in alike if choice == value), value)

    def contains(self, value: object) -> bool:
        """Whether `value` can be proposed."""
        return any(choice == value and type(choice) is type(value) for choice in self.choices)


AnyDimension = FloatRange | IntRange | Choice

Dimension = Annotated[AnyDimension, Field(discriminator="type")]

Space = dict[str, Dimension]
"""Dimensions by name; `ordered` gives them with every condition after what it depends on."""


def ordered(space: Mapping[str, AnyDimension]) -> Iterator[tuple[str, AnyDimension]]:
    """The dimensions, each after those that its condition names.

    Raises:
        ValueError: a condition names a dimension that is not in the space, or conditions form a circle.
    """
    done: set[str] = set()
    waiting = dict(space)
    for name, dimension in space.items():
        if missing := [other for other in dimension.when if other not in space]:
            raise ValueError(f"{name}.when names {missing[0]!r}, which is not a dimension of this space")
    while waiting:
        ready = [name for name, dimension in waiting.items() if done >= set(dimension.when)]
        if not ready:
            raise ValueError(f"conditions form a circle: {', '.join(waiting)}")
        for name in ready:
            done.add(name)
            yield name, waiting.pop(name)


def active_params(space: Mapping[str, AnyDimension], values: Mapping[str, object]) -> dict[str, object]:
    """The part of `values` whose dimensions exist, given their conditions."""
    params: dict[str, object] = {}
    for name, dimension in ordered(space):
        if name in values and dimension.is_active(params):
            params[name] = values[name]
    return params


def varies(dimension: AnyDimension) -> bool:
    """Whether a dimension can take more than one value."""
    return len(set(dimension.corners)) > 1


def space_text(space: Mapping[str, AnyDimension]) -> str:
    """A space in a line: `learning_rate 0.05 to 0.3 (log), margin_mode none | dead_zone, ...`."""
    return ", ".join(f"{name} {_dimension_text(dimension)}" for name, dimension in space.items()) or "no dimension"


def _dimension_text(dimension: AnyDimension) -> str:
    if isinstance(dimension, Choice):
        return " | ".join(map(str, dimension.choices))
    return f"{dimension.low:g} to {dimension.high:g}{' (log)' if dimension.log else ''}"


def as_tuple(allowed: object) -> tuple[object, ...]:
    """The values that a condition allows, whether it names one or several."""
    return allowed if isinstance(allowed, tuple) else (allowed,)


def as_number(value: object) -> float:
    """A value of a dimension as something to order it by; 0 for a word."""
    return float(value) if isinstance(value, int | float) else 0.0


_TOLERANCE = 1e-6
"""How far from a tick a value may lie, in steps, for what is lost in rounding."""


def _on_grid(value: float, low: float, step: float) -> bool:
    ticks = (value - low) / step
    return math.isclose(ticks, round(ticks), abs_tol=_TOLERANCE)
