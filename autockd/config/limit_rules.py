"""Numbers that are beyond all use: trials with them would fail one after the other, or learn from rounding errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autockd.config.schema import StudyConfig

_LARGEST: Mapping[str, int] = {
    "seed": 2**63 - 101,  # fresh seeds are up to 100 more, and torch has 64 bits for them
    "batch_size": 2**31 - 1,
    "temperature": 1000,  # softened logits differ by less than float32 tells apart
}
"""Of fields by their names, wherever they stand."""


def limit_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Dotted fields and messages: settings, and values of dimensions, above what their field can use."""
    yield from _beyond(study.model_dump(exclude={"smoke"}), "", "")


def _beyond(value: Any, place: str, name: str) -> Iterator[tuple[str, str]]:
    """Such values in a part of a study; `name` is that of the field with a limit which the part belongs to."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _beyond(inner, f"{place}.{key}" if place else key, key if key in _LARGEST else name)
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _beyond(inner, f"{place}.{index}", name)
    elif name and isinstance(value, int | float) and value > _LARGEST[name]:
        yield place, f"is {value}, and a {name.replace('_', ' ')} can be {_LARGEST[name]} at most"
