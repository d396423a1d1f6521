"""Rules of a search space that need the whole study: names, conditions, reachable values, first trials."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from autockd.config.methods import METHOD_CONFIGS
from autockd.config.schema import StudyConfig
from autockd.config.space import (
    AnyDimension,
    Choice,
    FloatRange,
    IntRange,
    Space,
    active_params,
    as_number,
    as_tuple,
    ordered,
)
from autockd.config.training import TRAINING_DIMENSIONS, TrainingConfig
from autockd.config.trial import STUDENT_DIMENSIONS, baseline_config, conditioned_space, default_params, trial_config
from autockd.config.use_rules import BASE, Mistake, idle_mistakes


def known_dimensions(study: StudyConfig) -> tuple[str, ...]:
    """Every name that this study's space may use."""
    names = dict.fromkeys([*study.methods, *study.own_methods])
    known = [name for name in names if name in METHOD_CONFIGS]
    fields = itertools.chain.from_iterable(METHOD_CONFIGS[name].model_fields for name in known)
    fields_of_student = type(study.student.model).model_fields
    student = [name for name, field in STUDENT_DIMENSIONS.items() if field in fields_of_student]
    return tuple(dict.fromkeys(["method", *TRAINING_DIMENSIONS, *student, *(f for f in fields if f != "name")]))


def space_mistakes(study: StudyConfig) -> list[Mistake]:
    """Every rule of the space that is broken; empty for a space that can be searched.

    Checks the names of the dimensions, their conditions, their extreme values in a whole trial, and that the
    points to try first lie inside.
    """
    if mistakes := list(name_mistakes(study)):
        return mistakes
    try:
        space = dict(ordered(conditioned_space(study)))
    except ValueError as error:
        return [(BASE, str(error))]
    mistakes = [*_base_mistakes(study), *_baseline_mistakes(study), *_corner_mistakes(study, space)]
    mistakes += idle_mistakes(study, space)
    mistakes = mistakes or list(_shortest_schedule_mistakes(study, space)) or list(_joint_mistakes(study, space))
    return [*mistakes, *_first_trial_mistakes(study, space)]


def name_mistakes(study: StudyConfig) -> Iterator[Mistake]:
    """Dimensions that there are not, and conditions on such."""
    space = study.search.space
    method = space.get("method")
    if method is not None and (not isinstance(method, Choice) or not set(study.own_methods) <= set(METHOD_CONFIGS)):
        yield f"{BASE}.method", f"must be of type choice, among {', '.join(METHOD_CONFIGS)}"
    known = known_dimensions(study)
    if "student_width" in space and getattr(study.student.model, "widths", None) is not None:
        yield (
            f"{BASE}.student_width",
            "changes nothing where student.model.widths names the widths; remove one of them",
        )
    if study.student.model.weights is not None:
        for name in STUDENT_DIMENSIONS.keys() & space.keys():
            yield (
                f"{BASE}.{name}",
                "needs weights of every shape, and student.model.weights has one; remove one of them",
            )
    if "momentum" in space and study.training.optimizer == "adamw":
        yield f"{BASE}.momentum", "changes nothing while optimizer is adamw; remove it, or change that"
    for name, dimension in space.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"it can be one of {', '.join(known)}"
            yield f"{BASE}.{name}", f"no dimension of this study; {hint}"
        for other, allowed in dimension.when.items():
            if other not in space:
                yield f"{BASE}.{name}.when", f"names {other!r}, which is not a dimension of this space"
            elif impossible := [value for value in as_tuple(allowed) if not space[other].contains(value)]:
                yield f"{BASE}.{name}", f"exists when {other} is {impossible[0]!r}, a value that {other} never takes"


def twin_mistakes(field: str, values: Sequence[object]) -> Iterator[Mistake]:
    """Those of a list of settings that stand there already, and would train the same students again."""
    for place, value in enumerate(values):
        if value in values[:place]:
            yield f"{field}.{place}", f"is the same as {field}.{values.index(value)}; remove one of them"


def _base_mistakes(study: StudyConfig) -> Iterator[Mistake]:
    """The study's own values must make a trial."""
    for message in _trial_mistakes(study, {}):
        yield "method", message


def _baseline_mistakes(study: StudyConfig) -> Iterator[Mistake]:
    """So must every baseline in its place, each another one; a comparison has none."""
    baselines = () if study.compare else study.search.baselines
    yield from twin_mistakes("search.baselines", baselines)
    for place, baseline in enumerate(baselines):
        try:
            baseline_config(study, baseline)
        except ValidationError as error:
            yield from ((f"search.baselines.{place}", message) for message in _messages(error))


def _corner_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    """Each dimension's extreme values, tried at a point where its conditions hold, and one between good ones."""
    base = set(_trial_mistakes(study, {}))
    usual = _usual_point(study, space)

    def messages(name: str, value: object, asked: Mapping[str, object]) -> list[str]:
        found = _trial_mistakes(study, active_params(space, {**usual, **asked, name: value}))
        return [message for message in found if message not in base] or _number_mistakes(study, name, value)

    for name, values, asked in _corners(space):
        wrong = [f"at {value}: {message}" for value in values for message in messages(name, value, asked)]
        if not wrong and (between := _between(space[name])) is not None:
            remedy = "write type: int, or type: choice with the values that there are"
            wrong = [f"at {between:.4g}: {message}; {remedy}" for message in messages(name, between, asked)[:1]]
        yield from ((f"{BASE}.{name}", each) for each in wrong)


def _number_mistakes(study: StudyConfig, name: str, value: object) -> list[str]:
    """A word, true or false as the value of a number, which pydantic reads as one and nothing else does."""
    if not isinstance(value, bool | str):
        return []
    fields = {**TrainingConfig.model_fields}
    for method in study.own_methods:
        fields |= METHOD_CONFIGS[method].model_fields
    of_student = type(study.student.model).model_fields
    fields |= {name: of_student[field] for name, field in STUDENT_DIMENSIONS.items() if field in of_student}
    annotation = fields[name].annotation if name in fields else None
    if not {int, float} & {annotation, *get_args(annotation)}:
        return []
    return [f"must be a number, not {'true or false' if isinstance(value, bool) else 'a word; leave the quotes out'}"]


def _joint_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    """Extreme values of two dimensions at a time, as far as both exist there."""
    usual = _usual_point(study, space)
    for (name, values, asked), (other, others, also_asked) in itertools.combinations(list(_corners(space)), 2):
        for value, another in itertools.product(values, others):
            together = active_params(space, {**usual, **asked, **also_asked, name: value, other: another})
            if name in together and other in together and (messages := _trial_mistakes(study, together)):
                yield f"{BASE}.{name}", f"at {value}, with {other} at {another}: {messages[0]}"
                return


def _shortest_schedule_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    """smoothing_start at its highest must fit the shortest schedule, under every shape and granularity."""
    if "smoothing_start" not in space:
        return
    extremes: dict[str, object] = {
        name: min(space[name].corners, key=as_number)
        for name in ("schedule_fraction", "stage_fraction", "epochs")
        if name in space
    }
    extremes["smoothing_start"] = max(space["smoothing_start"].corners, key=as_number)
    choices = [name for name in ("method", "smoothing_shape", "granularity") if name in space]
    for values in itertools.product(*(space[name].corners for name in choices)):
        point = active_params(space, {**extremes, **dict(zip(choices, values, strict=True))})
        if "smoothing_start" in point and (messages := _trial_mistakes(study, point)):
            yield f"{BASE}.smoothing_start", f"at the shortest schedule of the space: {messages[0]}"
            return


def _usual_point(study: StudyConfig, space: Space) -> dict[str, object]:
    """The study's own value of each dimension where that lies in it, else the dimension's first."""
    first: dict[str, object] = {name: dimension.corners[0] for name, dimension in space.items()}
    return first | {name: value for name, value in default_params(study).items() if space[name].contains(value)}


def _corners(space: Space) -> Iterator[tuple[str, tuple[object, ...], dict[str, object]]]:
    """Each dimension with its extreme values, and the values that its conditions ask of others."""
    conditions: dict[str, dict[str, object]] = {}
    for name, dimension in space.items():
        asked = {key: value for other in dimension.when for key, value in conditions[other].items()}
        asked |= {other: as_tuple(allowed)[0] for other, allowed in dimension.when.items()}
        conditions[name] = asked
        yield name, _extremes(name, dimension), asked


def _extremes(name: str, dimension: AnyDimension) -> tuple[object, ...]:
    """Values that tell whether all can be: the ends, and of depths, every sixth of which there is, the second too."""
    if name != "student_depth" or not isinstance(dimension, IntRange):
        return dimension.corners
    second = dimension.low + (dimension.step or 1)
    return tuple(dict.fromkeys([dimension.low, *([second] if second <= dimension.high else ()), *dimension.corners]))


def _between(dimension: AnyDimension) -> float | None:
    """A value between the ends of a range of real numbers: 1.0 and 40.0 are whole, and most between them are not."""
    if not isinstance(dimension, FloatRange):
        return None
    return min(dimension.high, dimension.low + (dimension.step or (dimension.high - dimension.low) / math.pi))


def _first_trial_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    points: list[tuple[str, Mapping[str, Any]]] = [
        (f"search.enqueue.{index}", point) for index, point in enumerate(study.search.enqueue)
    ]
    if study.search.enqueue_defaults:
        points.append((BASE, default_params(study)))
    yield from _twin_point_mistakes(study, space)
    for field, point in points:
        exists = active_params(space, point)
        for name, value in point.items():
            if name not in space:
                yield f"{field}.{name}", f"not a dimension of the space ({', '.join(space) or 'it is empty'})"
            elif not space[name].contains(value):
                remedy = "widen the range, or change the value"
                if field == BASE:
                    remedy = "widen the range, change the value, or set search.enqueue_defaults: false"
                message = f"the value to try first, {value!r}, lies outside of this dimension; {remedy}"
                yield f"{field}.{name}", message
            elif name not in exists:
                yield f"{field}.{name}", "does not exist at this point, by its conditions; leave it out"


def _twin_point_mistakes(study: StudyConfig, space: Space) -> Iterator[Mistake]:
    """Equal points that leave no dimension to be sampled, in which their trials could differ."""
    whole = [
        point if all(name in point for name, dimension in space.items() if dimension.is_active(point)) else object()
        for point in study.search.enqueue
    ]
    yield from twin_mistakes("search.enqueue", whole)


def _trial_mistakes(study: StudyConfig, params: Mapping[str, object]) -> list[str]:
    try:
        trial_config(study, params)
    except ValidationError as error:
        return _messages(error)
    return []


def _messages(error: ValidationError) -> list[str]:
    return [detail["msg"].removeprefix("Value error, ") for detail in error.errors()]
