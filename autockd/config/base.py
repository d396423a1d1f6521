"""The base of every configuration model."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def parse_duration(value: Any) -> Any:
    """Seconds of a text such as 90s, 30m, 1.5h or 1h30m; anything else comes back as it is.

    Raises:
        ValueError: the text is no duration.
    """
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"a duration is a number of seconds or text such as 90s, 30m, 1.5h or 1h30m, not {value!r}")
    return sum(_UNITS[unit] * float(count) for unit, count in match.groupdict().items() if count)


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, which a file may also write as text such as 30m."""


class Config(BaseModel):
    """A frozen model that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
    )
