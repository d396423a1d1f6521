"""Which columns of somebody's own data are the texts and the label: those that are named, or found, and then told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autockd.config.tasks import Text
from autockd.data.sources.hub import WORDS, choose_column, holds, values_of
from autockd.data.sources.raw import data_error, listed
from autockd.text import plural

_LABEL_NAMES = ("label", "labels")
_NAMED, _BY_NAME = "named in the study", "by its name"
"""Reasons of a choice; any other of a label is its type."""

_MOST_VALUES, _ROWS_EACH, _MOST_WORDS = 200, 3, 4
"""A column has few values where it has so many at most, each in so many rows on average, of so many words at most:
names of classes do."""


@dataclass(frozen=True)
class Columns:
    """What is read of each part of a data set.

    Attributes:
        texts: the column of the texts, or the two of the pairs.
        label: the column of classes or scores.
        chosen: what was found without being named, and why; empty where the study names all.
    """

    texts: tuple[str, ...]
    label: str
    chosen: str


def choose_columns(train: Any, config: Text) -> Columns:
    """The named columns; else the label by its name or its type, and as the texts the other columns of strings.

    Raises:
        DataError: a named column is not there or holds something else; none or several may be meant; two columns of
            strings are left, and one of them is probably no text.
    """
    label, why = _label_column(train, config)
    if config.text_columns is not None:
        texts, how = _named_texts(train, config.text_columns, label), _NAMED
    else:
        texts, how = _found_texts(train, label, why, is_regression=config.is_regression)
    if config.text_columns is not None and config.label_column is not None:
        return Columns(texts, label, "")
    pair = ", a pair" if len(texts) == 2 else ""
    return Columns(texts, label, f"texts: {' + '.join(texts)}{pair} ({how}); label: {label} ({why})")


def _label_column(train: Any, config: Text) -> tuple[str, str]:
    """The named column; else the only one with class labels, or with the usual name, or with values of that kind.

    What numbers the rows is no class.

    Returns:
        The column, and by what it was chosen.
    """
    import datasets

    features = train.features
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    content, types = ("scores", "u?int|float") if config.is_regression else ("classes", "u?int|bool")
    if config.label_column is not None:
        single = [*classes, *(name for name, feature in features.items() if holds(feature, ""))]
        return choose_column(train, "label_column", config.label_column, single, content), _NAMED
    usual = [name for name in _LABEL_NAMES if name in features]
    candidates, why = usual, _BY_NAME
    if classes and not config.is_regression:
        candidates, why = classes, _BY_NAME if classes[0] in usual else "by its type, the only column of named classes"
    if not candidates:
        why = f"by its type, the only column that may hold {content}"
        candidates = [
            name
            for name, feature in features.items()
            if holds(feature, types) and (config.is_regression or not _is_index(train, name))
        ]
    return choose_column(train, "label_column", None, candidates, content), why


def _is_index(train: Any, column: str) -> bool:
    """Whether a column numbers the rows, as that which pandas writes first: no value is there twice."""
    values = values_of(train, column)
    return len(set(values)) == len(values) > 1


def _strings(train: Any, label: str) -> list[str]:
    return [name for name, feature in train.features.items() if holds(feature, WORDS) and name != label]


def _named_texts(train: Any, named: Sequence[str], label: str) -> tuple[str, ...]:
    strings = _strings(train, label)
    chosen = tuple(choose_column(train, "text_columns", name, strings, "texts") for name in named)
    if len(set(chosen)) < len(chosen):
        raise data_error("task.text_columns", f"{chosen[0]!r} is named twice", "name one column, or two that differ")
    return chosen


def _found_texts(train: Any, label: str, why: str, *, is_regression: bool) -> tuple[tuple[str, ...], str]:
    """The only column of strings, or the only two, unless one of these is probably no text.

    Args:
        train: the training samples.
        label: the column of the label.
        why: by what it was chosen.
        is_regression: whether it holds scores.

    Returns:
        The columns, and by what they were chosen.
    """
    strings, there = _strings(train, label), listed(list(train.features))
    if len(strings) == 1:
        return tuple(strings), "the only column of strings"
    if len(strings) != 2:
        message = f"one or two columns of strings are texts, but these are such: {listed(strings)}"
        raise data_error("task.text_columns", message, f"name those that are meant, of {there}")
    labels = [] if is_regression else values_of(train, label)
    how = "the only columns of strings"
    for name, other in zip(strings, reversed(strings), strict=True):
        values = values_of(train, name)
        if doubt := _doubt(values, label, labels, is_by_type=why not in (_NAMED, _BY_NAME)):
            message = (
                f"two columns of strings are a pair of texts, but of {listed(strings)} {name!r} is probably {doubt}"
            )
            remedy = f"of the columns {there}, name the texts as task.text_columns: [{other}], or both of a pair, and"
            raise data_error("task.text_columns", message, f"{remedy} the label as task.label_column")
        if count := _few(values):
            how += f"; {name} has {plural(count, 'value')} in {len(values)} rows"
    return tuple(strings), how


def _doubt(values: Sequence[Any], label: str, labels: Sequence[Any], *, is_by_type: bool) -> str:
    """What a column of strings probably is that would be half of a pair; empty where it may well be texts.

    Args:
        values: the column.
        label: name of the column of the label.
        labels: its classes, by row; none where they are scores.
        is_by_type: whether it was chosen by its type alone.
    """
    if _are_ids(values):
        return "an id: its values are all different and have no spaces"
    if (count := _few(values)) < 2:
        return ""
    if is_by_type:
        return f"a label: it has {count} values in {len(values)} rows, and nothing but its type makes {label!r} one"
    together = len(set(zip(values, labels, strict=False)))
    if together == count:
        return f"the label in other words: it has {count} values, each with one class of {label!r}"
    if labels and together == len(set(labels)):
        return f"a coarser label: it has {count} values, and each class of {label!r} has one of them"
    return ""


def _are_ids(values: Sequence[Any]) -> bool:
    """Whether strings are all different and have no spaces; where a script has none, texts are so too."""
    return len(set(values)) == len(values) > 1 and all(
        isinstance(value, str) and value.isascii() and len(value.split()) == 1 for value in values
    )


def _few(values: Sequence[Any]) -> int:
    """How many values there are, if they are as few and as short as names of classes; else 0."""
    found = set(values)
    is_short = all(len(str(value).split()) <= _MOST_WORDS for value in found)
    return len(found) if is_short and len(found) <= min(_MOST_VALUES, len(values) // _ROWS_EACH) else 0
