"""From a YAML file to a StudyConfig: plain data only, and every mistake at once, with its line and a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autockd.config.budget import resource_mistakes
from autockd.config.comparison_rules import comparison_mistakes
from autockd.config.kinds import kind_mistakes
from autockd.config.limit_rules import limit_mistakes
from autockd.config.models import Encoder
from autockd.config.objective_rules import objective_mistakes
from autockd.config.packages import package_path
from autockd.config.plain_yaml import Location, parse_value, parse_yaml
from autockd.config.schema import StudyConfig
from autockd.config.space_rules import space_mistakes
from autockd.config.tasks import Glue, HuggingFace, TaskConfig, Text, can_only_be_local
from autockd.errors import ConfigError, Problem, reason_of
from autockd.folders import expanded

Change = Callable[[StudyConfig], StudyConfig]
_Model = TypeVar("_Model", bound=BaseModel)

_RELATIVE_DATABASE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>[^/].*)")
"""A tracking URI whose path counts, as every other of a study file, from that file."""

_HUB_OR_LOCAL = (Encoder, Glue, HuggingFace, Text)
"""Configurations whose `path` may be a hub id, and is one unless something of that name is there."""


_LIST, _SECTION = ("a list", "write [...]"), ("a section of keys", "write {key: value, ...}")
_SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _SECTION),
}
"""Pydantic's kinds of errors about the shape of a value: what it must be, and a remedy."""


def load_study(
    path: str | Path, overrides: Sequence[str] = (), *, smoke: bool = False, change: Change | None = None
) -> StudyConfig:
    """Read and check a study file.

    Args:
        path: the YAML file. Relative paths inside it count from its folder.
        overrides: `dotted.key=value` strings, applied in order; values are YAML.
        smoke: whether to apply the file's own `smoke` overrides first.
        change: makes another study of what was read, before it is checked as a whole.

    Raises:
        ConfigError: the file is missing, is not plain YAML, or breaks rules; holds all of them.
    """
    text = read_file(Path(path))
    return parse_study(text, str(path), Path(path).parent, overrides, smoke=smoke, change=change)


def read_file(path: Path) -> str:
    """The text of a study file.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError.of(str(path), f"cannot be read: {reason}", "name a YAML file, or see `autockd ls`") from error


def parse_study(
    text: str,
    source: str,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    smoke: bool = False,
    change: Change | None = None,
    is_begun: bool = False,
) -> StudyConfig:
    """As `load_study`, from text.

    Args:
        text: of the file.
        source: names it in messages.
        folder: where relative paths count from.
        overrides: as of `load_study`.
        smoke: as of `load_study`.
        change: as of `load_study`.
        is_begun: whether a study has begun with it. What is unchanged then was checked by the rules of that time, and
            must be readable whatever rules there are now.
    """
    data, lines = parse_yaml(text, source)
    origins = {location: f"{source}:{line}" for location, line in lines.items()}
    problems: list[Problem] = []
    settings = _smoke_settings(data, source, problems) if smoke else []
    settings += _parse_overrides(overrides, problems)
    for key, value, origin in settings:
        if problem := _assign(data, key, value, origin):
            problems.append(problem)
        else:
            _note_origin(origins, tuple(key.split(".")), origin)
    try:
        study = StudyConfig.model_validate(data)
        for place, value in _booleans_as_numbers(data, study.model_dump()):
            where = _origin(place, origins, source)
            field = ".".join(map(str, place))
            problems.append(Problem(field, f"must be a number, not {str(value).lower()}", source=where))
    except ValidationError as error:
        problems += [_problem(detail, data, origins, source) for detail in error.errors()]
    if problems:
        raise ConfigError(problems)
    study = change(study) if change else study
    if settings or not is_begun:
        for field, message in _mistakes(study, is_begun=is_begun):
            problems.append(Problem(field, message, source=_origin(tuple(field.split(".")), origins, source)))
    if study.smoke and not smoke and not is_begun:  # a mistake there should not wait until somebody asks for it
        try:
            parse_study(text, source, folder, overrides, smoke=True, change=change)
        except ConfigError as error:
            known = {(problem.field, problem.message) for problem in problems}
            problems += [each for each in error.problems if (each.field, each.message) not in known]
    if problems:
        raise ConfigError(problems)
    try:
        return with_absolute_paths(study, folder)
    except ConfigError as error:
        raise _located(error, origins, source) from error


class _Data(BaseModel):
    """What a file of data has to say; the rest of a study may be missing."""

    task: TaskConfig


def parse_task(text: str, source: str, folder: Path) -> TaskConfig:
    """The data of a study file, whatever else it has; the arguments are those of `parse_study`.

    Raises:
        ConfigError: it is not plain YAML, or its `task` breaks rules.
    """
    data, lines = parse_yaml(text, source)
    origins = {location: f"{source}:{line}" for location, line in lines.items()}
    try:
        found = _Data.model_validate(data)
    except ValidationError as error:
        raise ConfigError([_problem(detail, data, origins, source) for detail in error.errors()]) from error
    try:
        return _absolute(found, folder).task
    except ConfigError as error:
        raise _located(error, origins, source) from error


def _smoke_settings(data: Mapping[str, Any], source: str, problems: list[Problem]) -> list[tuple[str, Any, str]]:
    """What the file's `smoke` section sets: field, value, and where that is said."""
    section = data.get("smoke")
    if not section:
        remedy = "add one, such as `smoke: {name: smoke, search.trials: 3, training.epochs: 1}`"
        problems.append(Problem("smoke", "is what --smoke applies, and the file has no such section", remedy, source))
    if not isinstance(section, dict):  # which is a mistake that the study's own rules name
        return []
    return [(key, value, f"{source} (smoke)") for key, value in _settings(section, data)]


def _settings(section: Mapping[str, Any], data: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted fields and values of a smoke section: the keys below one of the file's sections leave the others there."""
    for key, value in section.items():
        known = data.get(key)
        if isinstance(value, dict) and isinstance(known, dict) and _is_same_kind(value, known):
            yield from _settings(value, known, f"{place}{key}.")
        else:
            yield f"{place}{key}", value


def _is_same_kind(section: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a section says more of the same thing, and not another task, model, method or dimension instead."""
    kind = next((key for key in ("source", "family", "type", "name") if key in known), None)
    return kind is None or section.get(kind, known[kind]) == known[kind]


def refuse_mistakes(study: StudyConfig) -> None:
    """See to it that a study which was made in Python keeps the rules that a study file is read by.

    Raises:
        ConfigError: fields of it do not go together.
    """
    if found := [Problem(field, message) for field, message in _mistakes(study)]:
        raise ConfigError(found)


def _mistakes(study: StudyConfig, *, is_begun: bool = False) -> Sequence[tuple[str, str]]:
    """Fields that do not go together, and why; a space is looked at only where what it is of is right.

    What has begun may go on, with other settings too, with numbers that no study begins with now.
    """
    rules = comparison_mistakes if study.compare else space_mistakes
    mistakes = [*kind_mistakes(study), *resource_mistakes(study), *objective_mistakes(study)]
    mistakes += () if is_begun else limit_mistakes(study)
    return mistakes or list(rules(study))


def _parse_overrides(overrides: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, Any, str]]:
    """Key, value and origin of each override; those that cannot be read are added to `problems`."""
    origin = "command line"
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            problems.append(Problem(override, "an override reads key=value", "such as search.trials=12", origin))
            continue
        try:
            yield key, parse_value(value), origin
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(Problem(key, f"{value!r} is not a YAML value", "quote it", origin))


def _assign(data: dict[str, Any], key: str, value: Any, origin: str) -> Problem | None:
    """Set a value by its dotted key; the problem where the key leads nowhere."""
    *parents, last = key.split(".")
    here: Any = data
    for part in parents:
        if isinstance(here, dict):
            below = here.get(part, {})
            here[part] = dict(below) if isinstance(below, dict) else below  # an anchor may share it with other sections
            here = here[part]
    if not isinstance(here, dict):
        return Problem(key, "leads through a value that has no keys", "name a field of a section", origin)
    here[last] = value
    return None


def _note_origin(origins: dict[Location, str], location: Location, origin: str) -> None:
    """From now on this value, all below it, and sections that had to be made for it, come from `origin`."""
    for known in [known for known in origins if known[: len(location)] == location]:
        del origins[known]
    for length in range(1, len(location) + 1):
        origins.setdefault(location[:length], origin)


def _booleans_as_numbers(raw: Any, read: Any, place: Location = ()) -> Iterator[tuple[Location, bool]]:
    """Where the file says true or false and pydantic took it for 1 or 0."""
    if isinstance(raw, Mapping) and isinstance(read, Mapping):
        for key, value in raw.items():
            yield from _booleans_as_numbers(value, read.get(key), (*place, key))
    elif isinstance(raw, list) and isinstance(read, list | tuple):
        for index, (value, taken) in enumerate(zip(raw, read, strict=False)):
            yield from _booleans_as_numbers(value, taken, (*place, index))
    elif isinstance(raw, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        yield place, raw


def _problem(detail: ErrorDetails, data: Mapping[str, Any], origins: Mapping[Location, str], source: str) -> Problem:
    location = _in_data(detail["loc"], data, missing=detail["type"] == "missing")
    field = ".".join(map(str, location)) or "(whole file)"
    message, remedy = _explain(detail)
    return Problem(field, message, remedy, _origin(location, origins, source))


def _explain(detail: ErrorDetails) -> tuple[str, str]:
    """The rule with the value that breaks it, and a remedy."""
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        known = _keys_at(StudyConfig, detail["loc"][:-1])
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        meant = _below(key) if len(detail["loc"]) == 1 else ""
        meant = meant or (repr(close[0]) if close else "")
        return f"unknown key {key!r}", f"did you mean {meant}?" if meant else f"the keys here are {', '.join(known)}"
    if detail["type"] == "missing":
        return "is required", "add it"
    if detail["type"] == "union_tag_invalid":
        context = detail.get("ctx", {})
        tag = str(context.get("tag"))
        expected = str(context.get("expected_tags"))
        close = difflib.get_close_matches(tag, re.findall(r"'([^']*)'", expected), n=1, cutoff=0.5)
        key = str(context.get("discriminator")).strip("'")
        return f"{key} is {tag!r}, but must be one of {expected}", f"did you mean {close[0]!r}?" if close else ""
    if detail["type"] in _SHAPES:
        shape, remedy = _SHAPES[detail["type"]]
        return f"must be {shape}, not {detail['input']!r}", remedy
    if detail["type"] == "union_tag_not_found":
        key = str(detail.get("ctx", {}).get("discriminator")).strip("'")
        return f"needs the key {key!r}", f"add {key}: to say which kind it is"
    says_it = isinstance(detail["input"], dict | list) or detail["type"] == "value_error"
    is_read_as_another = detail["type"] == "string_type" and isinstance(detail["input"], bool | int | float)
    remedy = "put it in quotes, for YAML has a meaning of its own for it" if is_read_as_another else ""
    return (message if says_it else f"{message}, not {detail['input']!r}"), remedy


def _below(key: str) -> str:
    """Where one section below a study has such a key, as a question asks: `'teacher.model' or 'student.model'`."""
    sections = {name: _models_in(field.annotation) for name, field in StudyConfig.model_fields.items()}
    found = [name for name, models in sections.items() if any(key in model.model_fields for model in models)]
    return " or ".join(repr(f"{name}.{key}") for name in found)


def _in_data(location: Location, data: Any, *, missing: bool) -> Location:
    """The part of a pydantic location that stands in the file: union tags are left out, a missing key is kept."""
    path: list[str | int] = []
    here = data
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(here, dict) and (part in here or (missing and is_last)):
            path.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            path.append(part)
            here = here[part]
    return tuple(path)


def _origin(location: Location, origins: Mapping[Location, str], source: str) -> str:
    """Where the longest known beginning of `location` was written."""
    for length in range(len(location), 0, -1):
        for candidate in (location[:length], tuple(map(str, location[:length]))):
            if candidate in origins:
                return origins[candidate]
    return source


def _located(error: ConfigError, origins: Mapping[Location, str], source: str) -> ConfigError:
    """The same mistakes, with where each of them stands."""
    places = [_origin(tuple(problem.field.split(".")), origins, source) for problem in error.problems]
    return ConfigError([replace(problem, source=at) for problem, at in zip(error.problems, places, strict=True)])


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the model that a pydantic location leads to; union tags choose a member."""
    models = [model]
    for part in location:
        inner: list[type[BaseModel]] = []
        for candidate in models:
            if isinstance(part, str) and part in candidate.model_fields:
                inner += _models_in(candidate.model_fields[part].annotation)
            elif part in [get_args(f.annotation)[0] for f in candidate.model_fields.values() if _is_literal(f)]:
                inner.append(candidate)
        models = inner or models
    return list(dict.fromkeys(name for candidate in models for name in candidate.model_fields))


def _is_literal(field: Any) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def with_absolute_paths(study: StudyConfig, folder: Path) -> StudyConfig:
    """The study with every relative path made absolute from `folder`, `~` expanded.

    Raises:
        ConfigError: a path leads nowhere, whatever there is.
    """
    resolved = _absolute(study, folder)
    uri = resolved.tracking.uri
    if uri is not None and (database := _RELATIVE_DATABASE.match(uri)):
        with _leading_somewhere("tracking.uri", uri):
            absolute = f"{database['scheme']}{(folder / database['path']).resolve()}"
        resolved = resolved.model_copy(update={"tracking": resolved.tracking.model_copy(update={"uri": absolute})})
    return resolved


def _absolute(model: _Model, folder: Path, place: str = "") -> _Model:
    changes: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        with _leading_somewhere(f"{place}{name}", value):
            if isinstance(value, Path):
                changes[name] = (folder / expanded(value)).resolve()
            elif isinstance(model, _HUB_OR_LOCAL) and name == "path" and value is not None:
                local = package_path(value) or folder / expanded(value)
                changes[name] = str(local.resolve()) if can_only_be_local(value) or local.exists() else value
            elif isinstance(value, BaseModel):
                changes[name] = _absolute(value, folder, f"{place}{name}.")
    return model.model_copy(update=changes)


@contextmanager
def _leading_somewhere(field: str, value: object) -> Iterator[None]:
    """Name the field whose path is a circle of links, has a NUL in it, or is of a package that is not there."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        message = f"is {str(value)!r}, which leads nowhere: {reason_of(error)}"
        raise ConfigError.of(field, message, "name another file or folder") from error
