"""Constraints by which a student is picked: `latency_ms <= 2 and accuracy >= 0.97`. Read by this parser alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {"<=": le, ">=": ge, "<": lt, ">": gt}
_JOINTS = re.compile(r",|\band\b")
_COMPARISON = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|<|>)\s*([^\s=]\S*)")
_FORM = "a constraint reads NAME <= NUMBER (or <, >=, >), several are joined by `and`"


@dataclass(frozen=True)
class Constraint:
    """A limit on a cost or on the metric, such as `latency_ms <= 2`.

    Attributes:
        name: of a cost, or of the study's metric.
        operator: `<=`, `<`, `>=` or `>`.
        limit: a finite number.
    """

    name: str
    operator: str
    limit: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.limit:.15g}"

    def holds(self, value: float) -> bool:
        """Whether a value fulfils it; what is not a number does not."""
        return _OPERATORS[self.operator](value, self.limit)

    def excess(self, value: float) -> float:
        """How far a value is beyond the limit, as a share of the limit; 0 for one that fulfils it or stands on it."""
        beyond = value - self.limit if self.operator.startswith("<") else self.limit - value
        return max(0.0, beyond) / (abs(self.limit) or 1.0)


def parse_pick(text: str) -> tuple[Constraint, ...]:
    """The constraints that a text says; none for an empty one.

    Raises:
        ValueError: a part of it is no constraint; the message says which, and what one looks like.
    """
    if not text.strip():
        return ()
    return tuple(_constraint(part.strip()) for part in _JOINTS.split(text))


def _constraint(text: str) -> Constraint:
    if not text:
        raise ValueError(f"a constraint is missing beside `and` or a comma; {_FORM}")
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no constraint; {_FORM}, such as latency_ms <= 2")
    name, operator, number = found.groups()
    try:
        limit = float(number)
    except ValueError:
        raise ValueError(f"{number!r} in {text!r} is no number; write it without a unit, such as 2 or 0.97") from None
    if not math.isfinite(limit):
        raise ValueError(f"{number!r} in {text!r} is no limit; write a finite number, such as 2 or 0.97")
    return Constraint(name, operator, limit)
