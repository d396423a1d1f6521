"""The space that a study's charts in MLflow show: the study's own, or of a comparison what all of its arms search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from autockd.config.arms import Arm, arms_of
from autockd.config.schema import StudyConfig
from autockd.config.space import AnyDimension, Choice
from autockd.tracking.chart_axes import Space

ARM = "arm"
"""The param that says which compared method a trial is of; its axis and its column come first."""


def charted_space(config: Mapping[str, Any]) -> Space:
    """The dimensions that charts show.

    Args:
        config: a study's configuration, as its first event says it. A comparison that this version cannot read, for an
            older one wrote it, has the dimensions of its file alone.

    Returns:
        The file's dimensions; of a comparison, the arm and every dimension of its arms, under a condition on the arm
        where not all of them have it.
    """
    space: Space = config.get("search", {}).get("space", {})
    if not config.get("compare"):
        return space
    with suppress(ValueError):
        return _of_all(arms_of(StudyConfig.model_validate(config)))
    return space


def _of_all(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    labels = [arm.label for arm in arms]
    space: dict[str, dict[str, Any]] = {ARM: {"type": "choice", "choices": labels}}
    for name in dict.fromkeys(name for arm in arms for name in arm.study.search.space):
        found = {arm.label: arm.study.search.space[name] for arm in arms if name in arm.study.search.space}
        when: dict[str, object] = {} if len(found) == len(labels) else {ARM: list(found)}
        for dimension in found.values():
            when |= dimension.when
        space[name] = _joined(list(found.values())) | {"when": when}
    return space


def _joined(dimensions: Sequence[AnyDimension]) -> dict[str, Any]:
    """One that has room for the values of all: a range from the least to the greatest, or else a choice."""
    ranges = [each for each in dimensions if not isinstance(each, Choice)]
    if len(ranges) < len(dimensions):
        choices = dict.fromkeys(corner for each in dimensions for corner in each.corners)
        return {"type": "choice", "choices": list(choices)}
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    return {"type": ranges[0].type, "low": low, "high": high, "log": all(each.log for each in ranges)}
