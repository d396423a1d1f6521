"""Dimensions that change nothing: they exist nowhere, something puts them out of use, or there is one value alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from autockd.config.method_spaces import SWITCHES, idle_fields
from autockd.config.methods import METHOD_CONFIGS
from autockd.config.schema import StudyConfig
from autockd.config.space import Space, active_params, as_tuple, varies
from autockd.config.training import TRAINING_DIMENSIONS
from autockd.config.trial import STUDENT_DIMENSIONS

Mistake = tuple[str, str]
"""A dotted field and the message about it."""

BASE = "search.space"

_MOST_POINTS = 4096
"""A space with more points to look at is not looked at: hardly a dimension of it can be out of use everywhere."""


def idle_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    """Dimensions that never exist, and those whose every value trains the same student wherever they do.

    Args:
        study: the study.
        space: its space with all conditions, each dimension after those that it depends on.
    """
    points = _decisive_points(space)
    idle = [_idle_at(study, point) for point in points]
    for name in space:
        there = [place for place, point in enumerate(points) if name in point]
        if points and not there:
            yield f"{BASE}.{name}", "never exists, for its conditions never hold together; change them, or remove it"
        elif there and all(name in idle[place] for place in there):
            switches = dict.fromkeys(switch for place in there for switch in idle[place][name])
            said = _said(study, switches, [points[place] for place in there])
            yield f"{BASE}.{name}", f"changes nothing while {said}; remove it, or change that"


def _decisive_points(space: Space) -> list[dict[str, object]]:
    """The points of a space that differ in a condition, or in what may put a dimension out of use."""
    asked: dict[str, list[object]] = {name: [] for name in SWITCHES}
    for dimension in space.values():
        for other, allowed in dimension.when.items():
            asked.setdefault(other, []).extend(as_tuple(allowed))
    values: dict[str, tuple[object, ...]] = {
        name: tuple(dict.fromkeys([*dimension.corners, *asked[name]])) if name in asked else dimension.corners[:1]
        for name, dimension in space.items()
    }
    if math.prod(map(len, values.values())) > _MOST_POINTS:
        return []
    return [
        active_params(space, dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())
    ]


def _idle_at(study: StudyConfig, point: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """As `idle_fields`, of the study's method at a point; nothing where the method itself is searched."""
    if "method" in study.search.space:
        return {}
    own = type(study.method).model_fields.keys() & point.keys()
    method = study.method.model_copy(update={name: point[name] for name in own})
    return idle_fields(method, is_regression=study.task.is_regression, is_binary=study.task.is_binary)


def _said(study: StudyConfig, switches: Mapping[str, None], points: Sequence[Mapping[str, object]]) -> str:
    """Such as `ramp_shape is linear or cosine`: the values of switches at some points."""
    own = {**dict(study.method), "task": "of two classes" if study.task.is_binary else "of scores"}
    told = {switch: dict.fromkeys(_word(point.get(switch, own[switch])) for point in points) for switch in switches}
    return " and ".join(f"{switch} is {' or '.join(words)}" for switch, words in told.items())


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def constant_mistakes(study: StudyConfig) -> Iterator[tuple[str, str, str]]:
    """Fields, messages and remedies: dimensions with one value in all trials, which can be a setting of the study."""
    for name, dimension in study.search.space.items():
        if not varies(dimension) and not dimension.when and (place := _own_place(study, name)):
            value = _word(dimension.corners[0])
            remedy = f"write {place}: {value}, and leave the dimension out wherever it is named"
            yield f"{BASE}.{name}", f"has one value alone, {value}", remedy


def _own_place(study: StudyConfig, name: str) -> str:
    """Where else a value can be set for all trials; empty where a dimension alone reaches several methods."""
    if name in TRAINING_DIMENSIONS:
        return f"training.{name}"
    if name in STUDENT_DIMENSIONS:
        return f"student.model.{STUDENT_DIMENSIONS[name]}"
    if study.compare:
        return ""
    owners = [method for method in study.own_methods if name in METHOD_CONFIGS[method].model_fields]
    if name == "method":
        return "method.name"
    return f"method.{name}" if owners == [study.method.name] else ""
