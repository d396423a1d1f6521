"""What is read with the `datasets` library: data sets of the Hugging Face hub, and local files and folders.

No code of a data set is ever run. The library's own cache (`HF_HOME`) holds what it fetches and converts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from autockd.data.sources.raw import Indices, data_error, listed
from autockd.errors import DataError, reason_of
from autockd.folders import expanded

WORDS = "(large_)?string"
"""Types of columns of strings."""

LABELS = f"u?int|bool|{WORDS}"
"""Types of columns that may hold classes, beside the library's own class labels."""

_KINDS = {bool: "true or false", int: "numbers", str: "strings"}
"""How errors call what such columns hold."""

_SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` leaves in a folder: of one data set without splits, and of one with splits."""

_TYPED = (".parquet", ".geoparquet", ".gpq", ".arrow")
"""How the names of files end that say themselves what their columns hold, classes by name among it."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""With an owner: a bare name may be one of the library's own readers, which read whatever is in the current folder."""


def load_splits(
    path: str, subset: str | None, revision: str | None, used: Collection[str | None], **options: Any
) -> Any:
    """The splits of a local folder or a hub data set, by name; one data set that was saved to disk is its `train`.

    Args:
        path: a folder, or a hub id.
        subset: the data set's configuration name.
        revision: commit, tag or branch of a hub data set.
        used: the splits that are; local files of these must name the same classes.
        options: further arguments of the library's reader of such files.

    Raises:
        DataError: there is no such data set, subset or revision, or it cannot be read.
    """
    folder = expanded(path)
    if not folder.is_dir() and (folder.exists() or not _HUB_ID.fullmatch(path)):
        message = f"{path!r} is neither an existing folder nor a hub id"
        raise data_error("task.path", message, "name a folder, or a data set as owner/name")
    place = "the folder" if folder.is_dir() else "the hub id (no folder has this name), subset, revision and network"
    source = str(folder.resolve()) if folder.is_dir() else path
    with _reading("task.path", path, place):
        if not any((folder / name).exists() for name in _SAVED):
            return _converted("task.path", source, used, name=subset, revision=revision, **options)
        if subset is None:
            return _saved(source)
    message = f"is {subset!r}, but {path!r} was saved to disk by the library, without subsets"
    raise data_error("task.subset", message, "leave it out")


_FORMATS = {"csv": "UTF-8 text, separated by commas (by tabs in .tsv)", "json": "JSON", "parquet": "Parquet"}


def load_files(reader: str, files: Mapping[str, Sequence[Path]], field: str, path: str, **options: Any) -> Any:
    """The splits that local files make up, by name.

    Args:
        reader: the library's name of the files' format: csv, json or parquet.
        files: the files of each split.
        field: the field of the study file that an error names.
        path: its value.
        options: further arguments of the reader.

    Raises:
        DataError: a file cannot be read.
    """
    named = {split: [str(file) for file in some] for split, some in files.items()}
    with _reading(field, path, f"that its files are {_FORMATS[reader]}, with the same columns"):
        return _converted(field, reader, named, data_files=named, **options)


def _converted(field: str, source: str, used: Collection[str | None], **options: Any) -> Any:
    """The splits that the library makes of its files, those in use with a look at the classes that their files name."""
    import datasets

    builder = datasets.load_dataset_builder(source, **options)
    builder.download_and_prepare()
    splits = builder.as_dataset()
    data_files = builder.config.data_files or {}  # of a hub that is out of reach, all there is was converted before
    files = [file for split, some in data_files.items() if str(split) in used for file in some]
    _require_same_classes(field, next(iter(splits.values())).features, files)
    return splits


def _require_same_classes(field: str, features: Mapping[str, Any], files: Sequence[str]) -> None:
    """Raise a DataError unless local files that name classes all name those of `features`, or write them as words.

    The library casts what it reads to the features of its first file, and would take another file's numbers for these.
    """
    found = {file: own for file in files if (own := _own_features(file))}
    for column, feature in features.items():
        expected = _class_names(feature)
        there = {file: own[column] for file, own in found.items() if column in own}
        if not any(map(_class_names, there.values())):
            continue
        for file, own_feature in there.items():
            names = _class_names(own_feature)
            if names != expected and not (expected and holds(own_feature, WORDS)):
                here, elsewhere = (listed(each) if each else "not named" for each in (names, expected))
                message = f"the classes of {column!r} are {here} in {file}, but {elsewhere} elsewhere"
                raise data_error(field, message, "give all files the same classes in the same order")


def _class_names(feature: Any) -> list[str]:
    import datasets

    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else []


def _own_features(file: str) -> Mapping[str, Any]:
    """What a local file says of its columns; nothing where it cannot, or lies elsewhere."""
    if not file.endswith(_TYPED) or not Path(file).is_file():
        return {}
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    with Path(file).open("rb") as stream:
        if not file.endswith(".arrow"):
            schema = pq.read_schema(stream)
        else:
            try:
                schema = pa.ipc.open_stream(stream).schema
            except pa.ArrowInvalid:
                schema = pa.ipc.open_file(stream).schema
    return cast(Mapping[str, Any], datasets.Features.from_arrow_schema(schema))


def _saved(folder: str) -> dict[str, Any]:
    """The splits that `save_to_disk` wrote, each with its own features, as Python objects and with all columns."""
    import datasets

    found = datasets.load_from_disk(folder)
    splits = found if isinstance(found, datasets.DatasetDict) else {"train": found}
    return {name: datasets.Dataset(part.data, part.info, datasets.NamedSplit(name)) for name, part in splits.items()}


@contextmanager
def _reading(field: str, path: str, place: str) -> Iterator[None]:
    """Turn the library's errors into ours, and silence its bars over the conversion to Arrow; downloads keep theirs."""
    import datasets

    silent = datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of the library, of what it reads with, and of the network
        told = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        raise data_error(
            field, f"{path!r} cannot be loaded: {reason_of(told or error, with_file=True)}", f"check {place}"
        ) from error
    finally:
        if not silent:
            datasets.enable_progress_bars()


def split_named(parts: Any, field: str, name: str) -> Any:
    """A split by its name; `field` is that of the study file which holds the name.

    Raises:
        DataError: there is no such split, or it is empty.
    """
    if name not in parts:
        extra = ", or null to set test_fraction aside" if field == "test_split" else ""
        raise data_error(f"task.{field}", f"there is no split {name!r}", f"name one of {listed(list(parts))}{extra}")
    if not len(parts[name]):
        raise data_error(f"task.{field}", f"the split {name!r} is empty", f"name one of {listed(list(parts))}")
    return parts[name]


def choose_column(dataset: Any, field: str, named: str | None, candidates: Sequence[str], content: str) -> str:
    """The named column if it is a candidate, or the only candidate.

    Args:
        dataset: the split whose columns they are.
        field: the field of the study file which names the column.
        named: its value.
        candidates: the columns whose type is right.
        content: what such columns hold, such as "images".

    Raises:
        DataError: there is no such column, or there are several.
    """
    names = listed(list(dataset.features))
    if named is not None:
        if named in candidates:
            return named
        known = named in dataset.features
        message = f"the column {named!r} does not hold {content}" if known else f"{named!r} is not among {names}"
        remedy = f"name one of {listed(candidates)}" if candidates else "choose other data, for no column does"
        raise data_error(f"task.{field}", message, remedy)
    if not candidates:
        message = f"no column holds {content}; the columns are {names}"
        raise data_error(f"task.{field}", message, f"name the one that does, as task.{field}, or choose other data")
    if len(candidates) > 1:
        raise data_error(f"task.{field}", f"several columns hold {content}", f"name one of {listed(candidates)}")
    return candidates[0]


def require_columns(test: Any, *columns: str, field: str = "test_split") -> None:
    """Raise a DataError, which names the field, unless test samples have the training samples' columns."""
    if missing := [column for column in columns if column not in test.features]:
        message = f"{split_name(test)} has no column {listed(missing)}"
        raise data_error(f"task.{field}", message, "name labelled data, or null to set test_fraction aside")


def values_of(dataset: Any, column: str) -> list[Any]:
    """All values of a column, as Python objects.

    Raises:
        DataError: a string is not UTF-8, which files of some formats may hold.
    """
    try:
        return list(dataset.select_columns(column)[:][column])
    except UnicodeDecodeError as error:
        message = f"{column!r} of {split_name(dataset)} is not UTF-8 ({reason_of(error)})"
        raise data_error("task.path", message, "write the file again as UTF-8") from error


def split_name(part: Any) -> str:
    """A split, as errors name it."""
    return f"the split {str(part.split)!r}"


def holds(feature: Any, types: str) -> bool:
    """Whether a column has single values of a type whose name matches."""
    import datasets

    return isinstance(feature, datasets.Value) and re.match(types, feature.dtype) is not None


def class_targets(parts: Sequence[Any], label: str, *, or_else: str = "") -> tuple[tuple[str, ...], list[Indices]]:
    """Class names, and the class indices of each part, int64 [N].

    Integers and strings become classes in sorted order.

    Args:
        parts: splits with the same classes; the first one's count.
        label: their column of labels.
        or_else: another remedy where the column holds something else.

    Raises:
        DataError: a label is missing, is of another kind, or a part has other classes than the first.
    """
    import datasets

    named = next((part for part in parts if isinstance(part.features[label], datasets.ClassLabel)), None)
    if named is not None:
        return tuple(named.features[label].names), [_published(part, label, named) for part in parts]
    labels = [_plain_labels(part, label, or_else) for part in parts]
    if len(kinds := sorted({_KINDS[type(values[0])] for values in labels})) > 1:
        message = f"{label!r} holds {kinds[0]} in one split and {kinds[1]} in the other"
        raise data_error("task.label_column", message, "write the labels in the same way")
    values = sorted(set().union(*labels))
    index = {value: position for position, value in enumerate(values)}
    return tuple(map(str, values)), [np.array([index[value] for value in part], dtype=np.int64) for part in labels]


def _published(part: Any, label: str, named: Any) -> Indices:
    feature = named.features[label]
    if part.features[label] != feature:
        message = f"{label!r} of {split_name(part)} does not have the classes of {split_name(named)}, "
        message += listed(feature.names)
        raise data_error("task.label_column", message, "give both splits the same classes in the same order")
    labels = values_of(part, label)
    if (row := next((row for row, value in enumerate(labels) if value is None or value < 0), None)) is not None:
        raise _no_label(row, part, label)
    return np.array(labels, dtype=np.int64)


def _plain_labels(part: Any, label: str, or_else: str) -> list[Any]:
    labels = values_of(part, label)
    blank = (row for row, value in enumerate(labels) if value is None or (isinstance(value, str) and not value.strip()))
    if (row := next(blank, None)) is not None:
        raise _no_label(row, part, label)
    if not holds(part.features[label], LABELS):
        other = next((value for value in labels if type(value) is not type(labels[0])), None)
        found = f"{labels[0]!r}" if other is None else f"both {labels[0]!r} and {other!r}"
        message = f"classes must be integers or strings, but {label!r} of {split_name(part)} holds {found}"
        raise data_error("task.label_column", message, f"name another column{or_else}")
    return labels


def _no_label(row: int, part: Any, label: str) -> Exception:
    message = f"row {row} of {split_name(part)} has no label in {label!r}"
    remedy = "label or remove it; of a split without labels choose another, or set test_split: null"
    return data_error("task.label_column", message, remedy)
