from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from pydantic import ValidationError

from autockd.config.tasks import Text
from autockd.data import Texts, load_task
from autockd.data.sources.text import read_text
from autockd.errors import DataError

Columns = dict[str, list[Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the user's home."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(path: Path, columns: Columns) -> Path:
    """A file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    match path.suffix:
        case ".csv" | ".tsv":
            with path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream, delimiter="," if path.suffix == ".csv" else "\t")
                writer.writerows([list(columns), *(row.values() for row in rows)])
        case ".jsonl" | ".ndjson":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case _:
            with datasets.Dataset.from_dict(columns) as dataset:
                dataset.to_parquet(path)
    return path


def config(path: Path | str, **options: Any) -> Text:
    return Text(source="text", path=str(path), **options)


def sentences(count: int = 12) -> Columns:
    texts = [f'row {row}, with "quotes", commas\tand tabs' for row in range(count)]
    return {"text": texts, "label": [("ham", "spam")[row % 2] for row in range(count)]}


def pairs(count: int = 12) -> Columns:
    left, right = ([f"{side} {row}" for row in range(count)] for side in ("left", "right"))
    return {"id": list(range(count)), "question": left, "answer": right, "label": [row / 2 for row in range(count)]}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "ndjson", "parquet"])
def test_files_of_all_kinds_hold_the_same(tmp_path: Path, suffix: str) -> None:
    raw = read_text(config(write(tmp_path / f"Mails.{suffix}", sentences())))
    assert (raw.name, raw.classes, raw.metric, raw.test) == ("mails", ("ham", "spam"), "accuracy", None)
    assert raw.train.texts.columns == (tuple(sentences()["text"]),)
    assert raw.train.targets.tolist() == [0, 1] * 6
    assert raw.train.targets.dtype == np.int64


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_pairs_with_scores(tmp_path: Path, suffix: str) -> None:
    raw = read_text(config(write(tmp_path / f"x.{suffix}", pairs()), problem="regression"))
    assert raw.train.texts.columns == (tuple(pairs()["question"]), tuple(pairs()["answer"]))
    assert raw.train.targets.tolist() == pairs()["label"]
    assert raw.train.targets.dtype == np.float32
    assert (raw.classes, raw.metric, raw.score_range) == ((), "pearson_spearman", None)


def test_trials_learn_nothing_of_the_scores_of_the_test_split(tmp_path: Path) -> None:
    columns = {"text": [f"text {row}" for row in range(100)], "score": [float(row % 10) for row in range(100)]}
    options = {"problem": "regression", "test_fraction": 0.2, "validation_fraction": 0.2}
    before, held_out = load_task(config(write(tmp_path / "one" / "x.csv", columns), **options))
    assert isinstance(held_out.split.inputs, Texts)
    best = held_out.split.inputs.first[int(held_out.split.targets.argmax())]
    columns["score"][columns["text"].index(best)] = 9.5
    after, opened = load_task(config(write(tmp_path / "two" / "x.csv", columns), **options))
    assert opened.split.targets.max() == 9.5
    assert after.fingerprint == before.fingerprint


def test_whole_numbers_are_scores_too(tmp_path: Path) -> None:
    columns = {"text": ["a", "b", "c"], "stars": [1, 5, 3]}
    assert read_text(config(write(tmp_path / "x.csv", columns), problem="regression")).train.targets.tolist() == [
        1,
        5,
        3,
    ]


def test_a_file_is_split_where_there_is_no_test_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", sentences(40))
    task, held_out = load_task(config(path, test_fraction=0.25, validation_fraction=0.2))
    splits = (task.train, task.validation, held_out.split)
    assert [len(split) for split in splits] == [24, 6, 10]
    texts = [text for split in splits if isinstance(split.inputs, Texts) for text in split.inputs.first]
    assert sorted(texts) == sorted(sentences(40)["text"])
    assert [float(split.targets.double().mean()) for split in splits] == [0.5] * 3


def test_scores_without_a_test_file_are_split_by_their_size(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", pairs(100))
    task, held_out = load_task(config(path, problem="regression", test_fraction=0.1, validation_fraction=0.1))
    assert [len(split) for split in (task.train, task.validation, held_out.split)] == [81, 9, 10]
    assert sorted((held_out.split.targets // 5).int().tolist()) == list(range(10)), "one of each tenth"


def test_too_few_scores_to_split_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", pairs(5))
    with pytest.raises(
        DataError, match=r"task\.test_fraction: 0\.2 splits 5 examples into 4 and 1 -> choose a fraction"
    ):
        load_task(config(path, problem="regression"))


def test_a_class_with_one_example_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", {"text": list("abcdef"), "label": ["u", "u", "u", "u", "u", "v"]})
    with pytest.raises(
        DataError, match=r"test_fraction: fewer than 2 examples are left to be split of 'v' -> add examples \(train"
    ):
        load_task(config(path))


def test_a_test_file_may_be_of_another_kind(tmp_path: Path) -> None:
    path, test = write(tmp_path / "a.csv", sentences()), write(tmp_path / "b.jsonl", sentences(4))
    task, held_out = load_task(config(path, test_file=test, validation_fraction=0.25))
    assert (len(task.train), len(task.validation), len(held_out.split)) == (9, 3, 4)
    assert held_out.split.targets.tolist() == [0, 1, 0, 1]


def test_a_label_of_the_test_file_alone_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", sentences())
    test = write(tmp_path / "b.csv", {"text": ["x"], "label": ["eggs"]})
    with pytest.raises(DataError, match=r"no training example has the class 'eggs'"):
        load_task(config(path, test_file=test))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_folder_has_its_splits_by_name(tmp_path: Path, suffix: str) -> None:
    for split, count in (("train", 12), ("dev", 6), ("test", 4)):
        write(tmp_path / "Mails" / f"{split}.{suffix}", sentences(count))
    raw = read_text(config(tmp_path / "Mails"))
    assert raw.name == "mails"
    assert raw.test is not None
    assert (len(raw.train.texts), len(raw.test.texts)) == (12, 4)
    validated = read_text(config(tmp_path / "Mails", test_split="validation"))
    assert validated.test is not None
    assert len(validated.test.texts) == 6
    assert read_text(config(tmp_path / "Mails", test_split=None)).test is None


@pytest.mark.parametrize("place", ["x.csv", "folder/train.csv"])
def test_words_that_mean_missing_elsewhere_are_words_here(tmp_path: Path, place: str) -> None:
    words = ["None", "NA", "null", "nan", "N/A", "x"]
    path = write(tmp_path / place, {"text": words, "label": ["NA", "None"] * 3})
    raw = read_text(
        config(path if place == "x.csv" else path.parent, **({} if place == "x.csv" else {"test_split": None}))
    )
    assert raw.train.texts.first == tuple(words)
    assert raw.classes == ("NA", "None")


def test_integers_become_classes_in_their_own_order(tmp_path: Path) -> None:
    raw = read_text(config(write(tmp_path / "x.csv", {"text": list("abcd"), "label": [10, 9, 2, 9]})))
    assert raw.classes == ("2", "9", "10")
    assert raw.train.targets.tolist() == [2, 1, 0, 1]


def test_class_labels_keep_their_names_and_numbers(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["world", "sports"])
    with datasets.Dataset.from_dict({"text": ["a", "b"], "topic": [1, 0], "label": ["x", "y"]}) as dataset:
        dataset.cast_column("topic", feature).to_parquet(tmp_path / "x.parquet")
    raw = read_text(config(tmp_path / "x.parquet", text_columns=("text",)))
    assert raw.classes == ("world", "sports"), "class labels go before a column called label"
    assert raw.train.targets.tolist() == [1, 0]


def test_columns_may_be_named(tmp_path: Path) -> None:
    columns = {"a": ["1a", "2a"], "b": ["1b", "2b"], "c": ["1c", "2c"], "label": [0, 1], "sort": ["u", "v"]}
    path = write(tmp_path / "x.csv", columns)
    raw = read_text(config(path, text_columns=("c", "a"), label_column="sort"))
    assert raw.train.texts.columns == (("1c", "2c"), ("1a", "2a"))
    assert raw.classes == ("u", "v")


def test_a_label_is_found_by_its_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", {"review": list("abcd"), "weight": [0.5, 1, 2, 3.5], "stars": [1, 2, 1, 2]})
    assert read_text(config(path)).classes == ("1", "2")


def test_a_column_that_numbers_the_rows_is_no_label_unless_it_is_named(tmp_path: Path) -> None:
    columns = {"Unnamed: 0": [0, 1, 2, 3], "review": list("abcd"), "stars": [1, 2, 1, 2]}
    path = write(tmp_path / "x.csv", columns)
    assert read_text(config(path)).classes == ("1", "2")
    assert read_text(config(path, label_column="Unnamed: 0")).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_empty_label_is_a_missing_one(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"x.{suffix}", {"text": list("abcd"), "label": ["u", "v", "", "u"]})
    with pytest.raises(DataError, match=r"label_column: row 2 of the split 'train' has no label in 'label' -> label"):
        read_text(config(path))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"a": ["x"], "b": ["y"]},
            {},
            r"label_column: no column holds classes; the columns are 'a', 'b' -> name the one that does, as task.label",
        ),
        ({"a": ["x"], "b": [1], "c": [2]}, {}, r"label_column: several columns hold classes -> name one of 'b', 'c'"),
        (
            {"Unnamed: 0": [0, 1, 2], "review": list("abc"), "sentiment": ["u", "v", "u"]},
            {},
            r"label_column: no column holds classes; the columns are 'Unnamed: 0', 'review', 'sentiment' -> name the",
        ),
        ({"a": ["x"], "label": [1]}, {"label_column": "no"}, r"label_column: 'no' is not among 'a', 'label'"),
        (
            {"a": ["x"], "label": [1]},
            {"text_columns": ["no"]},
            r"text_columns: 'no' is not among .* -> name one of 'a'",
        ),
        (
            {"a": ["x"], "label": [1]},
            {"text_columns": ["label"]},
            r"text_columns: the column 'label' does not hold text",
        ),
        ({"a": ["x"], "label": [1]}, {"text_columns": ["a", "a"]}, r"text_columns: 'a' is named twice"),
        ({"a": [1], "label": [1]}, {}, r"text_columns: one or two columns of strings are texts, but .* such: none -> "),
        (
            {"a": ["x"], "b": ["y"], "c": ["z"], "label": [1]},
            {},
            r"text_columns: one or two .* these are such: 'a', 'b', 'c' -> name those that are meant, of 'a', 'b', 'c'",
        ),
        (
            {"a": ["x", None], "label": [1, 2]},
            {},
            r"text_columns: row 1 of the split 'train' has no text in 'a' -> write",
        ),
        ({"a": ["x", " "], "label": [1, 2]}, {}, r"text_columns: row 1 of the split 'train' is empty in 'a'"),
        (
            {"a": ["x", "y"], "label": ["u", None]},
            {},
            r"label_column: row 1 of the split 'train' has no label in 'label'",
        ),
        (
            {"a": ["x", "y"], "label": ["u", " "]},
            {},
            r"label_column: row 1 of the split 'train' has no label in 'label'",
        ),
        (
            {"a": ["x", "y"], "label": [1, None]},
            {},
            r"label_column: row 1 of the split 'train' has no label in 'label'",
        ),
        (
            {"a": ["x"], "label": [0.5]},
            {},
            r"label_column: classes must be integers or strings, but .* holds 0\.5 -> .*",
        ),
        (
            {"a": ["x"], "label": ["u"]},
            {"problem": "regression"},
            r"label_column: .* does not hold numbers, which regr",
        ),
        (
            {"a": ["x", "y"], "label": [0.5, None]},
            {"problem": "regression"},
            r"label_column: the score of row 1 of the split 'train' must be a number from .*, but is missing ->",
        ),
        (
            {"a": list("xyz"), "label": list("uvw")},
            {"metric": "f1"},
            r"metric: f1 is of two classes, but there are 'u'",
        ),
        ({"a": ["x", "y"], "label": [1, 1]}, {}, r"task: the data set has 1 class \('1'\)"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_does_not_fit_is_named(
    tmp_path: Path, suffix: str, columns: Columns, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=r"task\.?" + message.removeprefix("task")):
        load_task(config(write(tmp_path / f"x.{suffix}", columns), **options))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("text;score\nGood, but dear;3,5\nBad, and dear;1,5\n", {"problem": "regression"}),
        ("text,label\nGood, but dear,u\nBad, and dear,v\n", {}),
    ],
    ids=["decimal commas", "unquoted commas"],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_rows_with_more_fields_than_columns_are_refused(
    tmp_path: Path, content: str, options: dict[str, Any], is_file: bool
) -> None:
    """Its reader would take their first field for the name of the row."""
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"task\.path: the rows of .*'train' have more fields than the first line"):
        read_text(config(tmp_path / "train.csv" if is_file else tmp_path, **options))


def test_a_score_must_be_finite(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"a": ["x", "y"], "label": [0.5, float("inf")]})
    with pytest.raises(DataError, match=r"the score of row 1 .* must be a number from .* to 1e\+18, but is inf"):
        read_text(config(path, problem="regression"))


def test_labels_of_two_kinds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"text": ["x", "y"], "label": [0, 1]})
    test = write(tmp_path / "b.csv", {"text": ["x", "y"], "label": ["u", 1]})
    with pytest.raises(DataError, match=r"label_column: 'label' holds numbers in one split and strings in the other"):
        read_text(config(path, test_file=test))


def test_a_test_file_needs_the_same_columns(tmp_path: Path) -> None:
    path, test = write(tmp_path / "a.csv", sentences()), write(tmp_path / "b.csv", {"text": ["x"]})
    with pytest.raises(DataError, match=r"task\.test_file: the split 'test' has no column 'label'"):
        read_text(config(path, test_file=test))


def test_hidden_test_labels_are_refused(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1]), ("test", [-1, -1])):
        with datasets.Dataset.from_dict({"text": ["x", "y"], "label": labels}) as dataset:
            typed = dataset.cast_column("label", datasets.ClassLabel(names=["u", "v"]))
            typed.to_parquet(write(tmp_path / "set" / f"{split}.parquet", {"a": [1]}))
    with pytest.raises(DataError, match=r"row 0 of the split 'test' has no label in 'label' -> .*test_split: null"):
        read_text(config(tmp_path / "set"))


def test_classes_of_both_splits_must_be_the_same(tmp_path: Path) -> None:
    for split, names in (("train", ["u", "v"]), ("test", ["v", "u"])):
        with datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}) as dataset:
            typed = dataset.cast_column("label", datasets.ClassLabel(names=names))
            typed.to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(DataError, match=r"label_column: .* does not have the classes of the split 'train', 'u', 'v'"):
        read_text(config(tmp_path / "train.parquet", test_file=tmp_path / "test.parquet"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent.csv", r"task\.path: there is no file .*absent\.csv -> name a file that ends with \.csv, \.tsv"),
        ("notes.docx", r"task\.path: .*is a file of another kind -> name a file that ends with"),
        ("./absent", r"task\.path: .*is neither an existing folder nor a hub id"),
    ],
)
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "notes.docx").write_bytes(b"PK")
    with pytest.raises(DataError, match=message):
        read_text(config(path if path.startswith(".") else tmp_path / path))


def test_a_test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", sentences())
    with pytest.raises(DataError, match=r"task\.test_file: there is no file"):
        read_text(config(path, test_file=tmp_path / "no.csv"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"task\.test_file: .*is a file of another kind"):
        read_text(config(path, test_file=tmp_path / "notes.txt"))


@pytest.mark.parametrize(("name", "content"), [("x.jsonl", "{broken"), ("x.parquet", "no"), ("x.csv", "")])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"task\.path: .*x\..* (cannot be loaded: .+ -> check|'train' is empty)"):
        read_text(config(tmp_path / name))


def test_a_split_is_not_tested_on_itself(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", sentences())
    with pytest.raises(DataError, match=r"task\.test_split: is 'train', the training split itself"):
        read_text(config(tmp_path, test_split="train"))
    with pytest.raises(
        DataError, match=r"task\.test_split: there is no split 'test' -> .*or null to set test_fraction"
    ):
        read_text(config(tmp_path))


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("x.csv", {"test_split": "dev"}, "test_split cannot be set where path is a file; name a test_file, or none"),
        ("x.CSV", {"subset": "a", "revision": "b"}, "subset, revision cannot be set where path is a file"),
        (
            "folder",
            {"test_file": "x.csv"},
            "test_file goes with a path that is a file; name the test data by test_split",
        ),
        (
            "x.csv",
            {"metric": "pearson"},
            "problem: classification has classes, which pearson does not judge; choose one",
        ),
        ("x.csv", {"metric": "f1", "problem": "regression"}, "problem: regression has scores, which f1 does not judge"),
        ("x.csv", {"text_columns": ["a", "b", "c"]}, "text_columns"),
        ("x.csv", {"text_columns": []}, "text_columns"),
        ("x.csv", {"max_length": 513}, "max_length"),
    ],
)
def test_options_that_contradict_are_refused(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(path, **options)


def test_a_task_is_named_as_its_data() -> None:
    assert config("data/Reviews.v2.csv").name == "reviews.v2"
    assert config("owner/Set-1.5").name == "set-1.5"


def test_numbers_where_the_training_file_has_texts_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", sentences())
    test = write(tmp_path / "b.csv", {"text": [1997, 2001], "label": sentences()["label"][:2]})
    with pytest.raises(DataError, match=r"row 0 of .* has 1997 in 'text', and not a text -> "):
        read_text(config(path, test_file=test))


UNQUOTED = ('"fine" is what he said', 'an "odd one', '"', 'said "no"', "plain")
"""As GLUE's own files have them: each mark is a character."""


def write_unquoted(path: Path, texts: Sequence[str] = UNQUOTED) -> Path:
    lines = [f"{text}\t{row % 2}" for row, text in enumerate([*texts] * 3)]
    path.write_text("\n".join(["sentence\tlabel", *lines, ""]), encoding="utf-8")
    return path


def test_marks_in_tab_separated_files_that_quote_nothing_are_characters(tmp_path: Path) -> None:
    raw = read_text(config(write_unquoted(tmp_path / "train.tsv")))
    assert raw.train.texts.columns == (UNQUOTED * 3,)
    raw = read_text(config(tmp_path, test_split=None))
    assert raw.train.texts.columns == (UNQUOTED * 3,), "a folder of such files is read alike"


def test_both_files_of_a_data_set_are_written_alike(tmp_path: Path) -> None:
    test = write_unquoted(tmp_path / "test.tsv", ['"all of it"', "plain"])
    raw = read_text(config(write_unquoted(tmp_path / "train.tsv"), test_file=test))
    assert raw.test is not None
    assert raw.test.texts.columns[0][:2] == ('"all of it"', "plain")


def test_marks_that_quote_whole_fields_are_none_of_their_characters(tmp_path: Path) -> None:
    """A field with a line break makes lines that are no samples; it can be read only as files that quote have it."""
    (tmp_path / "x.tsv").write_text('sentence\tlabel\n"one\nand ""two"""\t0\n"three"\t1\nfour\t0\n', encoding="utf-8")
    raw = read_text(config(tmp_path / "x.tsv"))
    assert raw.train.texts.columns == (('one\nand "two"', "three", "four"),)
