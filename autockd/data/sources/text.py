"""Texts and pairs of texts from CSV, TSV, JSON, JSON lines and Parquet files, folders of them, and the hub."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autockd.config.tasks import FILE_SUFFIXES, Text
from autockd.data.sources.hub import (
    class_targets,
    holds,
    load_files,
    load_splits,
    require_columns,
    split_name,
    split_named,
    values_of,
)
from autockd.data.sources.raw import Indices, data_error
from autockd.data.sources.raw_text import RawTexts, Scores, TextPart, checked_scores, checked_texts
from autockd.data.sources.text_columns import choose_columns
from autockd.data.texts import Texts
from autockd.folders import expanded

Targets = tuple[tuple[str, ...], Sequence[Indices | Scores]]
"""Class names, and the targets of each part."""

_WHOLE = 10**9
"""Rows, or bytes of JSON, that are read at a time: all. What is read first decides what a column holds."""
_CSV: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "chunksize": _WHOLE}
"""Only an empty field is missing: "None", "NA" and "null" are words of a text, or names of classes."""
_JSON: dict[str, Any] = {"chunksize": _WHOLE}
_CSV_SUFFIXES, _JSON_SUFFIXES = {".csv", ".tsv"}, {".json", ".jsonl", ".ndjson"}
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NAME_IT = f"name a file that ends with {', '.join(FILE_SUFFIXES)}, a folder of such files, or a hub id"


def read_text(config: Text) -> RawTexts:
    """A data set of texts with one label column.

    Columns that are not named are found: see `choose_columns`. Labels that are integers or strings become classes in
    sorted order.

    Raises:
        DataError: a file, split or column is missing, several columns may be meant, or a text or label is missing or
            not of its kind.
    """
    parts = _parts(config)
    columns = choose_columns(parts[0], config)
    label = columns.label
    for part in parts[1:]:
        require_columns(part, *columns.texts, label, field="test_file" if config.is_file else "test_split")
    classes, targets = (
        _score_targets(parts, label)
        if config.is_regression
        else class_targets(parts, label, or_else=", or set problem: regression for scores")
    )
    train, *test = (TextPart(_texts(part, columns.texts), labels) for part, labels in zip(parts, targets, strict=True))
    return RawTexts(
        name=config.name,
        train=train,
        test=test[0] if test else None,
        classes=classes,
        metric=config.metric or ("pearson_spearman" if config.is_regression else "accuracy"),
        chosen=columns.chosen,
    )


def _parts(config: Text) -> list[Any]:
    """The training samples and, where there are such, the test samples."""
    if config.is_file:
        named = [(Path(config.path), "train", "path")]
        named += [] if config.test_file is None else [(config.test_file, "test", "test_file")]
        quoting = _quoting([expanded(path) for path, _, _ in named])
        return [_file(expanded(path), split, field, quoting) for path, split, field in named]
    if config.test_split == config.train_split:
        message = f"is {config.test_split!r}, the training split itself"
        raise data_error("task.test_split", message, "name another split, or null to set test_fraction aside")
    folder = expanded(config.path)
    if folder.is_file():
        raise data_error("task.path", f"{config.path!r} is a file of another kind", _NAME_IT)
    options = _options_of(folder)
    used = {config.train_split, config.test_split}
    splits = load_splits(config.path, config.subset, config.revision, used, **options)
    parts = [split_named(splits, "train_split", config.train_split)]
    parts += [] if config.test_split is None else [split_named(splits, "test_split", config.test_split)]
    return [_with_whole_rows(part, "path") for part in parts] if options.keys() >= _CSV.keys() else parts


def _file(path: Path, split: str, field: str, quoting: dict[str, Any]) -> Any:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise data_error(f"task.{field}", f"there is no file {path}", _NAME_IT)
    if suffix not in FILE_SUFFIXES:
        raise data_error(f"task.{field}", f"{str(path)!r} is a file of another kind", _NAME_IT)
    reader = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}.get(suffix, "json")
    options: dict[str, Any] = {"csv": _CSV, "json": _JSON}.get(reader, {})
    if suffix == ".tsv":
        options = options | quoting | {"sep": "\t"}
    loaded = load_files(reader, {split: [path]}, f"task.{field}", str(path), **options)
    part = split_named(loaded, field, split)
    return _with_whole_rows(part, field) if reader == "csv" else part


def _with_whole_rows(part: Any, field: str) -> Any:
    """A split of separated values, unless its reader took what stands first in a row for the row's name.

    So it does where rows have more fields than the first line, as `text;score` over `good, but dear;3,5`.
    """
    if any(name.startswith("__index_level_") for name in part.features):
        message = f"the rows of {split_name(part)} have more fields than the first line names columns"
        remedy = "separate columns by commas (.csv) or tabs (.tsv), and put what holds one of them in quotation marks"
        raise data_error(f"task.{field}", message, remedy)
    return part


def _quoting(files: Sequence[Path]) -> dict[str, Any]:
    """How the library is to take quotation marks of tab-separated files: those of one data set are written alike."""
    tabbed = [path for path in files if path.suffix.lower() == ".tsv" and path.is_file()]
    return {"quoting": csv.QUOTE_NONE} if any(map(_is_unquoted, tabbed)) else {}


def _is_unquoted(path: Path) -> bool:
    """Whether quotation marks in a tab-separated file are characters of its texts, as they are in GLUE's own files.

    So it is where every line has as many fields as the first, and one field begins with a mark that opens nothing: in
    files that quote, a field which begins with one ends with one, and those between are doubled.
    """
    found = False
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        lines = (line.rstrip("\r\n") for line in stream)
        width = next(lines, "").count("\t")
        for line in filter(None, lines):
            if line.count("\t") != width:
                return False
            found = found or any(text.startswith('"') and not _QUOTED.fullmatch(text) for text in line.split("\t"))
    return found


def _options_of(folder: Path) -> dict[str, Any]:
    """What the reader of a folder's files is to be told, where they are of one kind; nothing where there is no folder.

    Beside JSON there must be nothing but a README: much else that has a reader of its own comes with JSON.
    """
    files = [path for path in folder.rglob("*") if not re.search(r"(^|/)\.", path.relative_to(folder).as_posix())]
    suffixes = {path.suffix.lower() for path in files if path.is_file()}
    if (known := suffixes & set(FILE_SUFFIXES)) and known <= _CSV_SUFFIXES:
        return _CSV | _quoting(files)
    return _JSON if known and suffixes - {"", ".md"} <= _JSON_SUFFIXES else {}


def _texts(part: Any, columns: tuple[str, ...]) -> Texts:
    return checked_texts({column: values_of(part, column) for column in columns}, split_name(part), "task.text_columns")


def _score_targets(parts: list[Any], label: str) -> Targets:
    for part in parts:
        if not holds(part.features[label], "u?int|float"):
            message = f"the column {label!r} of {split_name(part)} does not hold numbers, which regression needs"
            raise data_error("task.label_column", message, "name a column of numbers, or set problem: classification")
    return (), [checked_scores(values_of(part, label), split_name(part), "task.label_column") for part in parts]
