"""Rules of a search for several objectives, and of picking a student by them."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from autockd.config.pick import parse_pick
from autockd.config.schema import Objective, StudyConfig
from autockd.config.space import AnyDimension, Choice, FloatRange, varies
from autockd.config.tasks import ClassMetric, ScoreMetric
from autockd.config.trial import STUDENT_DIMENSIONS

ALWAYS_KNOWN = "parameters"
"""The cost that every trial's record has, whether it is an objective or not."""


def objective_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Dotted fields and messages: objectives that cannot be searched, or by which nothing can be picked."""
    search = study.search
    if search.objectives:
        if len(set(search.objectives)) < len(search.objectives):
            yield "search.objectives", f"names a cost twice: {', '.join(search.objectives)}; name each once"
        if search.stopping.rule != "none":
            yield (
                "search.stopping.rule",
                f"is {search.stopping.rule}, but a search for several objectives stops no trial early: Optuna judges "
                "prefixes of a run by one value; set it to none, or leave search.objectives out",
            )
        if not any(varies(dimension) for dimension in student_dimensions(study).values()):
            yield "search.objectives", f"every student of this space costs the same; {_remedy(study)}"
    elif search.sampler == "nsga2" and search.stopping.rule != "none":
        yield (
            "search.stopping.rule",
            f"is {search.stopping.rule}, but nsga2 breeds from whole runs alone, and would hear of few; set it to "
            "none, or choose another sampler",
        )
    yield from _pick_mistakes(study)


def student_dimensions(study: StudyConfig) -> dict[str, AnyDimension]:
    """The dimensions of the space that change what a student costs."""
    return {name: dimension for name, dimension in study.search.space.items() if name in STUDENT_DIMENSIONS}


def architecture_points(study: StudyConfig, limit: int) -> list[dict[str, Any]] | None:
    """Points of the space that together have all of its students; None where there may be more than `limit`.

    Of a dimension that exists under a condition alone, a point may be without it.
    """
    options: list[list[tuple[tuple[str, object], ...]]] = []
    count = 1
    for name, dimension in student_dimensions(study).items():
        values = _values(dimension)
        count *= len(values) + bool(dimension.when)
        if not values or count > limit:
            return None
        options.append([*(((name, value),) for value in values), *([()] if dimension.when else [])])
    return [dict(itertools.chain.from_iterable(point)) for point in itertools.product(*options)]


def _values(dimension: AnyDimension) -> Sequence[object]:
    """The values of a dimension; empty where they cannot be counted."""
    if isinstance(dimension, Choice):
        return dimension.choices
    return () if isinstance(dimension, FloatRange) else range(dimension.low, dimension.high + 1, dimension.step or 1)


def _remedy(study: StudyConfig) -> str:
    fields = type(study.student.model).model_fields
    known = [name for name, field in STUDENT_DIMENSIONS.items() if field in fields]
    if not known:
        return f"a student of the family {study.student.model.family} has no dimension; leave search.objectives out"
    return f"add {' or '.join(known)} to search.space with two values or more, or leave search.objectives out"


def _pick_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    metrics = get_args(ScoreMetric if study.task.is_regression else ClassMetric)
    known = (*dict.fromkeys((*study.search.objectives, ALWAYS_KNOWN)), *metrics)
    for constraint in parse_pick(study.export.pick):
        if constraint.name in known:
            continue
        if constraint.name in get_args(Objective):
            yield (
                "export.pick",
                f"{constraint.name} is not measured by this study; add it to search.objectives, or pick by "
                f"{ALWAYS_KNOWN}",
            )
            continue
        near = difflib.get_close_matches(constraint.name, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"it can be one of {', '.join(known)}"
        yield "export.pick", f"{constraint.name!r} is neither a cost nor a metric; {hint}"
