"""How the dimensions of a space stand on the axes of MLflow's charts, which know neither scales nor mixed values.

Parallel coordinates and scatter plots read params. They have no logarithmic axis, cut names short, and leave out every
run whose value is text where others have a number. So a param that would suffer has a twin that the charts show:

    log10_learning_rate = -1.5                for learning_rate = 0.0316, searched on a logarithmic scale
    axis_margin         = 2:0.1 or na         for margin = 0.05, which does not exist in every trial: the upper end of
                                              its quarter of the range
    axis_ramp_shape     = exponenti           for a name that is too long
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from autockd.config.training import TRAINING_DIMENSIONS
from autockd.config.trial import STUDENT_DIMENSIONS

Space = Mapping[str, Mapping[str, Any]]
"""A search space as a study's configuration says it."""

NOT_APPLICABLE = "na"
_LOG, _AXIS = "log10_", "axis_"
_LONGEST_NAME = 9
_BANDS = 4
_IN_EVERY_METHOD = frozenset({"method", *TRAINING_DIMENSIONS, *STUDENT_DIMENSIONS})


def axis_param(space: Space, name: str) -> str:
    """The param by which charts show a dimension: its own, or its twin."""
    if _is_mixed(space, name) or _short_names(space[name]) is not None:
        return _AXIS + name
    return _LOG + name if space[name].get("log") else name


def number_param(space: Space, name: str) -> str | None:
    """The param that holds a dimension as a number in every trial of the space; None where there is none."""
    is_choice = "choices" in space[name]
    if _is_conditional(space, name) or (is_choice and not all(map(_is_number, space[name]["choices"]))):
        return None
    return _LOG + name if space[name].get("log") else name


def slice_param(space: Space, name: str) -> str:
    """The param by which a scatter plot shows a dimension: a number if it can be; trials without it are left out."""
    if "choices" in space[name]:
        return axis_param(space, name)
    return _LOG + name if space[name].get("log") else name


def twins(space: Space, name: str, value: object) -> dict[str, str]:
    """The twins that a dimension's param has beside it.

    Args:
        space: the whole space.
        name: the dimension.
        value: its value in a trial, `na` where it does not exist.
    """
    dimension = space[name]
    found = {_LOG + name: _log10(value)} if dimension.get("log") else {}
    short = _short_names(dimension)
    if _is_mixed(space, name):
        found[_AXIS + name] = _band(dimension, value)
    elif short is not None:
        found[_AXIS + name] = short.get(str(value), str(value)[:_LONGEST_NAME])
    return found


def _is_conditional(space: Space, name: str) -> bool:
    """Whether there are trials without this dimension: a method's field exists only where the method has it."""
    return bool(space[name].get("when")) or ("method" in space and name not in _IN_EVERY_METHOD)


def _is_mixed(space: Space, name: str) -> bool:
    """Whether some trials have a number here and others a text."""
    if "choices" not in space[name]:
        return _is_conditional(space, name)
    numbers = [_is_number(choice) for choice in space[name]["choices"]]
    return any(numbers) and (not all(numbers) or _is_conditional(space, name))


def _band(dimension: Mapping[str, Any], value: object) -> str:
    """Text for a number, such that texts are in the order of their numbers: its quarter of the range."""
    if not _is_number(value):
        return str(value)[:_LONGEST_NAME]
    if "choices" in dimension:
        return f"={value}"[:_LONGEST_NAME]
    scale, unscale = (math.log, math.exp) if dimension.get("log") else (float, float)
    low, high = scale(dimension["low"]), scale(dimension["high"])
    # A baseline's own value may lie outside of the range.
    inside = min(max(float(str(value)), dimension["low"]), dimension["high"])
    share = (scale(inside) - low) / (high - low) if high > low else 1.0
    band = max(1, math.ceil(share * _BANDS))
    return f"{band}:{_brief(unscale(low + (high - low) * band / _BANDS))}"


def _brief(number: float) -> str:
    return f"{number:.2g}".replace("e-0", "e-").replace("e+0", "e")


def _short_names(dimension: Mapping[str, Any]) -> dict[str, str] | None:
    """Short and distinct names of a dimension's values; None where its values are that already."""
    names = [str(choice) for choice in dimension.get("choices", ())]
    if all(len(name) <= _LONGEST_NAME for name in names):
        return None
    return _distinct(names)


def _distinct(names: Iterable[str]) -> dict[str, str]:
    short: dict[str, str] = {}
    for name in names:
        candidate, number = name[:_LONGEST_NAME], 1
        while candidate in short.values():
            number += 1
            candidate = f"{name[: _LONGEST_NAME - len(str(number))]}{number}"
        short[name] = candidate
    return short


def _is_number(value: object) -> bool:
    """Whether MLflow's charts take a value for a number: they see the text of a param."""
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False


def _log10(value: object) -> str:
    is_positive = isinstance(value, int | float) and value > 0
    return f"{math.log10(value):.6g}" if is_positive else NOT_APPLICABLE  # type: ignore[arg-type]
