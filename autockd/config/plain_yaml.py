"""YAML as a study file has it: plain data, of YAML 1.2, with the line that each value stands on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from autockd.errors import ConfigError

Location = tuple[str | int, ...]
"""Keys and places that lead to a value."""

_MOST_VALUES = 100_000
"""Of a study file: a few lines of aliases can stand for more than any memory holds."""

_MERGE = "tag:yaml.org,2002:merge"
_INT, _FLOAT, *_NO_DATA = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp", "value"))

NUMBERS = {
    _INT: re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*$|0o[0-7]+$|0x[0-9a-fA-F]+$"),
    _FLOAT: re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
}
"""Numbers of YAML 1.2, by their tags, with 1.1's `1_000`: `1e-3` is one, `1:30` is none, and `010` is ten."""

NUMBERS_BEGIN = list("-+.0123456789")
"""Their first characters."""


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, of YAML 1.1, with YAML 1.2's numbers, without dates, and with no repeated keys."""

    def construct_scalar(self, node: Any) -> Any:
        """A value as text, of whole characters: no file can hold half of one, which YAML can name."""
        text = super().construct_scalar(node)
        if isinstance(text, str) and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise _refused("\\ud800 to \\udfff are halves of a character; write the character itself", node)
        return text

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number, decimal unless it begins with 0o or 0x."""
        text = str(self.construct_scalar(node))
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A section, whose keys are words, each there once."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f"a key must be a word, not {key!r}", key_node)
            if key in seen:
                raise _refused(f"the key {key!r} appears twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refused(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


PlainLoader.add_constructor(_INT, PlainLoader.construct_yaml_int)
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in (_INT, _FLOAT, *_NO_DATA)]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in NUMBERS.items():
    PlainLoader.add_implicit_resolver(_tag, _pattern, NUMBERS_BEGIN)


def read_plain(text: str, source: str) -> dict[str, Any]:
    """The data of a study file as it stands there.

    Args:
        text: of the file.
        source: names it in messages.

    Raises:
        ConfigError: it is not plain YAML.
    """
    return parse_yaml(text, source)[0]


def parse_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[Location, int]]:
    """The same, with the line of each value, counted from 1."""
    try:
        root = yaml.compose(text, Loader=PlainLoader)
        lines = _all_lines(root)
        data = yaml.load(text, Loader=PlainLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        where = f"{source}:{mark.line + 1}" if mark else source
        remedy = "a study file is plain data: remove the tag" if "!" in text and "tag" in problem else ""
        raise ConfigError.of("YAML", problem, remedy, where) from None
    if not isinstance(data, dict):
        raise ConfigError.of("YAML", "a study file must be a mapping of keys to values", "see `autockd cat`", source)
    return data, lines


def _all_lines(root: yaml.Node | None) -> dict[Location, int]:
    """Where each value of a document stands; refuses one that aliases multiply beyond all measure."""
    lines: dict[Location, int] = {}
    for location, line in _lines(root, (), ()):
        lines[location] = line
        if len(lines) > _MOST_VALUES:
            raise ValueError(f"a study has no more than {_MOST_VALUES:,} values; do aliases repeat some of them?")
    return lines


def _lines(
    node: yaml.Node | None, location: Location, parents: tuple[yaml.Node, ...]
) -> Iterator[tuple[Location, int]]:
    """Where each value of a document stands; refuses a value that contains itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if node in parents:
        raise _refused("a value must not contain itself", node)
    if isinstance(node, yaml.MappingNode):
        children: list[tuple[str | int, int, yaml.Node]] = [
            (str(key.value), key.start_mark.line, value) for key, value in node.value
        ]
    else:
        children = [(index, value.start_mark.line, value) for index, value in enumerate(node.value)]
    for name, line, value in children:
        here = (*location, name)
        yield here, line + 1
        yield from _lines(value, here, (*parents, node))


def parse_value(text: str) -> Any:
    """One value, as `key=value` has it.

    Raises:
        YAMLError, ValueError: it is none.
    """
    return yaml.load(text, Loader=PlainLoader)  # noqa: S506 - a SafeLoader
