"""Texts and pairs of texts from CSV, TSV, JSON, JSON lines and Parquet files, folders of them, and the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autockd.config.tasks import FILE_SUFFIXES, Text
from autockd.data.sources.hub import choose_column, load_files, load_splits, require_columns, split_named, values_of
from autockd.data.sources.raw import Indices, data_error, listed
from autockd.data.sources.raw_text import RawTexts, Scores, TextPart, checked_scores, checked_texts
from autockd.data.texts import Texts

Targets = tuple[tuple[str, ...], Sequence[Indices | Scores]]
"""Class names, and the targets of each part."""

_LABEL_NAMES = ("label", "labels")
_CSV = {"keep_default_na": False, "na_values": [""]}
"""Only an empty field is missing: "None", "NA" and "null" are words of a text, or names of classes."""
_NAME_IT = f"name a file that ends with {', '.join(FILE_SUFFIXES)}, a folder of such files, or a hub id"


def read_text(config: Text) -> RawTexts:
    """A data set of texts with one label column.

    Columns that are not named are found: the label by its name or its type, the texts as the other columns of
    strings. Labels that are integers or strings become classes in sorted order.

    Raises:
        DataError: a file, split or column is missing, or a text or label is missing or not of its kind.
    """
    parts = _parts(config)
    label = _label_column(parts[0], config)
    columns = _text_columns(parts[0], config, label)
    for part in parts[1:]:
        require_columns(part, *columns, label, field="test_file" if config.is_file else "test_split")
    classes, targets = _score_targets(parts, label) if config.is_regression else _class_targets(parts, label)
    train, *test = (TextPart(_texts(part, columns), labels) for part, labels in zip(parts, targets, strict=True))
    scores = train.targets if config.is_regression else None
    return RawTexts(
        name=config.name,
        train=train,
        test=test[0] if test else None,
        classes=classes,
        metric=config.metric or ("pearson_spearman" if config.is_regression else "accuracy"),
        score_range=None if scores is None else (float(scores.min()), float(scores.max())),
    )


def _parts(config: Text) -> list[Any]:
    """The training samples and, where there are such, the test samples."""
    if config.is_file:
        parts = [_file(Path(config.path), "train", "path")]
        return parts if config.test_file is None else [*parts, _file(config.test_file, "test", "test_file")]
    if config.test_split == config.train_split:
        message = f"is {config.test_split!r}, the training split itself"
        raise data_error("task.test_split", message, "name another split, or null to set test_fraction aside")
    folder = Path(config.path).expanduser()
    if folder.is_file():
        raise data_error("task.path", f"{config.path!r} is a file of another kind", _NAME_IT)
    options = _CSV if folder.is_dir() and _is_comma_separated(folder) else {}
    splits = load_splits(config.path, config.subset, config.revision, **options)
    parts = [split_named(splits, "train_split", config.train_split)]
    return parts if config.test_split is None else [*parts, split_named(splits, "test_split", config.test_split)]


def _file(path: Path, split: str, field: str) -> Any:
    path = path.expanduser()
    suffix = path.suffix.lower()
    if not path.is_file():
        raise data_error(f"task.{field}", f"there is no file {path}", _NAME_IT)
    if suffix not in FILE_SUFFIXES:
        raise data_error(f"task.{field}", f"{str(path)!r} is a file of another kind", _NAME_IT)
    reader = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}.get(suffix, "json")
    options: dict[str, Any] = dict(_CSV) if reader == "csv" else {}
    if suffix == ".tsv":
        options["sep"] = "\t"
    loaded = load_files(reader, {split: [path]}, f"task.{field}", str(path), **options)
    return split_named(loaded, field, split)


def _is_comma_separated(folder: Path) -> bool:
    """Whether the folder's data files are all CSV or TSV."""
    suffixes = {path.suffix.lower() for path in folder.rglob("*")} & set(FILE_SUFFIXES)
    return bool(suffixes) and suffixes <= {".csv", ".tsv"}


def _label_column(train: Any, config: Text) -> str:
    """The named column; else the only one with class labels, or with the usual name, or with values of that kind."""
    import datasets

    features = train.features
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    content, types = ("scores", "u?int|float") if config.is_regression else ("classes", "u?int|bool")
    if config.label_column is not None:
        single = [*classes, *(name for name, feature in features.items() if _holds(feature, ""))]
        return choose_column(train, "label_column", config.label_column, single, content)
    usual = [name for name in _LABEL_NAMES if name in features]
    candidates = (classes if not config.is_regression else []) or usual
    candidates = candidates or [name for name, feature in features.items() if _holds(feature, types)]
    return choose_column(train, "label_column", None, candidates, content)


def _holds(feature: Any, types: str) -> bool:
    """Whether a column has single values of a type whose name matches."""
    import datasets

    return isinstance(feature, datasets.Value) and re.match(types, feature.dtype) is not None


def _text_columns(train: Any, config: Text, label: str) -> tuple[str, ...]:
    strings = [name for name, feature in train.features.items() if _holds(feature, "(large_)?string") and name != label]
    if config.text_columns is not None:
        chosen = [choose_column(train, "text_columns", name, strings, "texts") for name in config.text_columns]
        if len(set(chosen)) < len(chosen):
            raise data_error(
                "task.text_columns", f"{chosen[0]!r} is named twice", "name one column, or two that differ"
            )
        return tuple(chosen)
    if not 1 <= len(strings) <= 2:
        message = f"one or two columns of strings are texts, but these are such: {listed(strings)}"
        remedy = f"name those that are meant, of {listed(list(train.features))}"
        raise data_error("task.text_columns", message, remedy)
    return tuple(strings)


def _texts(part: Any, columns: tuple[str, ...]) -> Texts:
    return checked_texts({column: values_of(part, column) for column in columns}, _name(part), "task.text_columns")


def _name(part: Any) -> str:
    return f"the split {str(part.split)!r}"


def _score_targets(parts: list[Any], label: str) -> Targets:
    for part in parts:
        if not _holds(part.features[label], "u?int|float"):
            message = f"the column {label!r} of {_name(part)} does not hold numbers, which regression needs"
            raise data_error("task.label_column", message, "name a column of numbers, or set problem: classification")
    return (), [checked_scores(values_of(part, label), _name(part), "task.label_column") for part in parts]


def _class_targets(parts: list[Any], label: str) -> Targets:
    """Class names, and the class indices of each part, int64 [N]."""
    import datasets

    feature = parts[0].features[label]
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names), [_published(part, label, feature) for part in parts]
    labels = [_plain_labels(part, label) for part in parts]
    if len({type(value) for values in labels for value in values}) > 1:
        message = f"{label!r} holds numbers in one split and strings in the other"
        raise data_error("task.label_column", message, "write the labels in the same way")
    values = sorted(set().union(*labels))
    index = {value: position for position, value in enumerate(values)}
    return tuple(map(str, values)), [np.array([index[value] for value in part], dtype=np.int64) for part in labels]


def _published(part: Any, label: str, feature: Any) -> Indices:
    if part.features[label] != feature:
        message = f"{label!r} of {_name(part)} does not have the training split's classes, {listed(feature.names)}"
        raise data_error("task.label_column", message, "give both splits the same classes in the same order")
    labels = values_of(part, label)
    if (row := next((row for row, value in enumerate(labels) if value is None or value < 0), None)) is not None:
        raise _no_label(row, part, label)
    return np.array(labels, dtype=np.int64)


def _plain_labels(part: Any, label: str) -> list[Any]:
    labels = values_of(part, label)
    if (row := next((row for row, value in enumerate(labels) if value is None), None)) is not None:
        raise _no_label(row, part, label)
    if not _holds(part.features[label], "u?int|bool|(large_)?string"):
        message = f"classes must be integers or strings, but {label!r} of {_name(part)} holds {labels[0]!r}"
        raise data_error("task.label_column", message, "name another column, or set problem: regression for scores")
    return labels


def _no_label(row: int, part: Any, label: str) -> Exception:
    message = f"row {row} of {_name(part)} has no label in {label!r}"
    return data_error("task.label_column", message, "remove the row, choose a labelled split, or set test_split: null")
