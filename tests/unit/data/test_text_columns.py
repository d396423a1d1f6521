"""Which columns of own data are taken as texts and label: what is told of it, and what is refused as a bad guess."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from autockd.config.tasks import Glue, Text
from autockd.data import TextTask, load_task
from autockd.data.load import _fingerprint
from autockd.data.sources.text import read_text
from autockd.errors import DataError

ROWS = 24
Columns = dict[str, list[Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the user's home."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def cycle(*values: Any) -> list[Any]:
    return [values[row % len(values)] for row in range(ROWS)]


def texts(what: str) -> list[str]:
    return [f"{what} number {row}" for row in range(ROWS)]


IDS = [f"b3{row:04x}" for row in range(ROWS)]
WORDS, INTEGERS = cycle("bad", "good"), cycle(0, 1)
STARS = cycle(1, 5, 2, 4)
"""Of which the odd ones of WORDS are the low ones."""


def configured(folder: Path, columns: Columns, **options: Any) -> Text:
    path = folder / "own.jsonl"
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Text(source="text", path=str(path), **options)


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        (
            {"text": texts("review"), "label": WORDS},
            {},
            "texts: text (the only column of strings); label: label (by its name)",
        ),
        (
            {"n": list(range(ROWS)), "review": texts("review"), "stars": STARS},
            {},
            "texts: review (the only column of strings); "
            "label: stars (by its type, the only column that may hold classes)",
        ),
        (
            {"review": texts("review"), "score": [row / 2 for row in range(ROWS)]},
            {"problem": "regression"},
            "texts: review (the only column of strings); "
            "label: score (by its type, the only column that may hold scores)",
        ),
        (
            {"premise": texts("premise"), "hypothesis": texts("hypothesis"), "label": INTEGERS},
            {},
            "texts: premise + hypothesis, a pair (the only columns of strings); label: label (by its name)",
        ),
        (
            {"sentence1": texts("one"), "sentence2": texts("two"), "label": WORDS},
            {},
            "texts: sentence1 + sentence2, a pair (the only columns of strings); label: label (by its name)",
        ),
        (
            {"question": cycle("who is it?", "what is it?", "why?"), "answer": texts("answer"), "label": INTEGERS},
            {},
            "texts: question + answer, a pair (the only columns of strings; question has 3 values in 24 rows); "
            "label: label (by its name)",
        ),
        (
            {"first": [f"\u7b2c\u4e00{row}" for row in range(ROWS)], "second": texts("two"), "label": INTEGERS},
            {},
            "texts: first + second, a pair (the only columns of strings); label: label (by its name)",
        ),
        (
            {"id": IDS, "text": texts("review"), "label": WORDS},
            {"text_columns": ("text",)},
            "texts: text (named in the study); label: label (by its name)",
        ),
        (
            {"text": texts("review"), "stars": STARS},
            {"label_column": "stars"},
            "texts: text (the only column of strings); label: stars (named in the study)",
        ),
        ({"text": texts("review"), "stars": STARS}, {"text_columns": ("text",), "label_column": "stars"}, ""),
    ],
)
def test_what_was_chosen_is_told_with_its_reason(
    columns: Columns, options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    config = configured(tmp_path, columns, **options, validation_fraction=0.25)
    assert read_text(config).chosen == told
    task, _ = load_task(config)
    assert isinstance(task, TextTask)
    assert task.chosen == told


def test_classes_by_name_are_told(tmp_path: Path) -> None:
    columns = {"text": texts("news"), "topic": INTEGERS}
    with datasets.Dataset.from_dict(columns) as dataset:
        dataset.cast_column("topic", datasets.ClassLabel(names=["world", "sports"])).to_parquet(tmp_path / "x.parquet")
    told = read_text(Text(source="text", path=str(tmp_path / "x.parquet"))).chosen
    assert told.endswith("label: topic (by its type, the only column of named classes)")


def test_what_was_chosen_travels_with_a_task_and_is_none_of_its_content(tmp_path: Path) -> None:
    task, _ = load_task(configured(tmp_path, {"text": texts("review"), "label": WORDS}))
    assert isinstance(task, TextTask)
    assert pickle.loads(pickle.dumps(task)).chosen == task.chosen != ""
    assert _fingerprint(replace(task, chosen="")) == task.fingerprint
    named, _ = load_task(configured(tmp_path, {"text": texts("review"), "label": WORDS}, label_column="label"))
    assert named.fingerprint == task.fingerprint


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"id": IDS, "text": texts("review"), "label": WORDS},
            {},
            r"'id', 'text' 'id' is probably an id: its values are all different and have no spaces -> of the columns "
            r"'id', 'text', 'label', name the texts as task\.text_columns: \[text\], or both of a pair, and the label "
            r"as task\.label_column",
        ),
        (
            {"text": texts("review"), "url": [f"https://a.example/{row}" for row in range(ROWS)], "stars": STARS},
            {"label_column": "stars"},
            r"'url' is probably an id: .* task\.text_columns: \[text\]",
        ),
        (
            {"text": texts("review"), "stars": STARS, "sentiment": cycle("bad", "good", "good")},
            {},
            r"'sentiment' is probably a label: it has 2 values in 24 rows, and nothing but its type makes 'stars' one",
        ),
        (
            {"sentiment": WORDS, "text": texts("review"), "score": [row / 2 for row in range(ROWS)]},
            {"problem": "regression"},
            r"'sentiment' is probably a label: it has 2 values in 24 rows, and nothing but its type makes 'score' one",
        ),
        (
            {"text": texts("review"), "label": INTEGERS, "label_text": WORDS},
            {},
            r"'label_text' is probably the label in other words: it has 2 values, each with one class of 'label' ->",
        ),
        (
            {"text": texts("review"), "stars": STARS, "sentiment": WORDS},
            {"label_column": "stars"},
            r"'sentiment' is probably a coarser label: it has 2 values, and each class of 'stars' has one of them ->",
        ),
    ],
)
def test_half_of_a_pair_that_is_probably_no_text_is_refused(
    columns: Columns, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    told = r"task\.text_columns: two columns of strings are a pair of texts, but of .*" + message
    with pytest.raises(DataError, match=told):
        read_text(configured(tmp_path, columns, **options))
    read_text(configured(tmp_path, columns, **options, text_columns=tuple(columns)[:1]))
    both = [name for name, values in columns.items() if isinstance(values[0], str) and name != "label"]
    read_text(configured(tmp_path, columns, **options | {"text_columns": tuple(both)}))


def test_a_column_of_few_values_may_be_half_of_a_pair_where_it_says_nothing_of_the_label(tmp_path: Path) -> None:
    """As the targets do in data about stances."""
    columns = {"target": cycle("taxes", "schools", "roads"), "text": texts("tweet"), "label": INTEGERS}
    assert read_text(configured(tmp_path, columns)).chosen == (
        "texts: target + text, a pair (the only columns of strings; target has 3 values in 24 rows); "
        "label: label (by its name)"
    )


def test_sentences_that_come_again_are_no_names_of_classes(tmp_path: Path) -> None:
    """Each has one class, as every text has that is there more than once."""
    columns = {"first": cycle("it is a good film", "it is a bad film"), "text": texts("tweet"), "label": cycle(1, 0)}
    assert read_text(configured(tmp_path, columns)).chosen.startswith("texts: first + text, a pair")


def test_nothing_is_chosen_of_a_published_task(test_data: Path) -> None:
    task, _ = load_task(Glue(source="glue", task="rte", path=str(test_data / "glue"), limit_train=40))
    assert isinstance(task, TextTask)
    assert task.chosen == ""
