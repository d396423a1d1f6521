"""What the columns of files of texts hold, and what is said of those that hold something else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autockd.config.tasks import Glue, HuggingFace, Text
from autockd.data import load_task
from autockd.data.sources.glue import read_glue
from autockd.data.sources.huggingface import read_huggingface
from autockd.data.sources.raw_text import RawTexts
from autockd.data.sources.text import read_text
from autockd.errors import DataError

SCORES = {"problem": "regression", "label_column": "score"}
LATIN = ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "th\N{LATIN SMALL LETTER E WITH ACUTE}"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the user's home."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def read(path: Path, **options: Any) -> RawTexts:
    """The data of a file, or of the folder in which it is the training split's."""
    return read_text(Text(source="text", path=str(path), **options))


def write(path: Path, rows: Iterable[tuple[str, object]], label: str = "label", encoding: str = "utf-8") -> Path:
    """A CSV file, or JSON lines."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        lines = [f"text,{label}", *(f"{text},{value}" for text, value in rows)]
    else:
        lines = [json.dumps({"text": text, label: value}, ensure_ascii=False) for text, value in rows]
    path.write_text("\n".join([*lines, ""]), encoding=encoding)
    return path


def long_texts(suffix: str) -> Iterable[tuple[str, int]]:
    """More rows of CSV than the library reads at a time, or more bytes of JSON."""
    return ((f"{row}" if suffix == "csv" else f"{row} " + "long " * 200, row % 7) for row in range(11_000))


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_scores_of_which_a_late_one_is_no_integer(tmp_path: Path, suffix: str, place: str) -> None:
    path = write(tmp_path / "x" / f"train.{suffix}", [*long_texts(suffix), ("the last", 0.5)], "score")
    (tmp_path / "x" / "README.md").write_text("# Texts")
    (tmp_path / "x" / ".cache").mkdir()
    (tmp_path / "x" / ".cache" / "x.metadata").write_text("of a download")
    raw = read(path, **SCORES) if place == "file" else read(path.parent, test_split=None, **SCORES)
    assert raw.train.targets[-3:].tolist() == [1.0, 2.0, 0.5]


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("late", ["01", "True"])
def test_classes_keep_their_letters_wherever_they_stand(tmp_path: Path, late: str, place: str) -> None:
    """Read alone, the rows after the first 10,000 would be numbers or truth values, which are written otherwise."""
    rows = [*((f"a {row}", ("unknown", late)[row % 2]) for row in range(10_000)), *[("b", late)] * 9]
    path = write(tmp_path / "x" / "train.csv", rows)
    assert (read(path) if place == "file" else read(path.parent, test_split=None)).classes == (late, "unknown")


def test_json_beside_files_that_have_a_reader_of_their_own_is_read(tmp_path: Path) -> None:
    rows = {"text": [f"a {row}" for row in range(20)], "label": [0, 1] * 10}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert len(read(tmp_path, test_split=None).train.texts) == 20


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_texts_that_are_not_utf8_are_named(tmp_path: Path, suffix: str, place: str) -> None:
    path = tmp_path / "x" / f"train.{suffix}"
    if suffix == "parquet":
        path.parent.mkdir()
        encoded = pa.array([text.encode("latin-1") for text in LATIN], pa.binary())
        texts = pa.Array.from_buffers(pa.string(), 2, encoded.buffers())
        pq.write_table(pa.table({"text": texts, "label": [0, 1]}), path)
    else:
        write(path, zip(LATIN, [0, 1], strict=True), encoding="latin-1")
    with pytest.raises(DataError, match=r"task\.path: .*(is not UTF-8 \('utf-8' codec|: 'utf-8' codec) .* -> "):
        read(path) if place == "file" else read(path.parent, test_split=None)


def test_labels_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [(f"text {row}", LATIN[row % 2]) for row in range(8)], encoding="latin-1")
    with pytest.raises(
        DataError, match=r"task\.path: 'label' of the split 'train' is not UTF-8 .* -> write the file ag"
    ):
        read(path)


def test_labels_of_two_kinds_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [*((f"text {row}", 0) for row in range(29)), ("the last", "a")])
    with pytest.raises(DataError, match=r"'label' of the split 'train' holds both 0 and 'a' -> name another column"):
        read(path)


def test_truth_values_and_numbers_are_no_strings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("a", True), ("b", False)])
    test = write(tmp_path / "b.csv", [("a", 1), ("b", 0)])
    with pytest.raises(DataError, match="'label' holds numbers in one split and true or false in the other -> write"):
        read(path, test_file=test)


@pytest.mark.parametrize("column", ["lists", "floats"])
def test_where_no_column_holds_labels_none_is_offered(tmp_path: Path, column: str) -> None:
    images = [{"bytes": b"", "path": None}] * 4
    table = pa.table({"image": images, "lists": [[1], [2]] * 2, "floats": [0.5, 1.0] * 2})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(
        DataError,
        match=rf"label_column: the column '{column}' does not hold .* -> choose other data, for no column does",
    ):
        read_huggingface(HuggingFace(source="huggingface", path=str(tmp_path), test_split=None, label_column=column))


@pytest.mark.parametrize(("label", "shown"), [("good", "'good'"), ([1.0], r"\[1\.0\]")])
def test_scores_of_glue_that_are_no_numbers_are_named(tmp_path: Path, label: object, shown: str) -> None:
    (tmp_path / "stsb").mkdir()
    for split in ("train", "validation"):
        rows = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [label, label]}
        pq.write_table(pa.table(rows), tmp_path / "stsb" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(
        DataError, match=rf"the score of row 0 of .* must be a number from 0 to 5, but is {shown} -> corr"
    ):
        read_glue(Glue(source="glue", task="stsb", path=str(tmp_path)))


@pytest.mark.parametrize("score", [2e18, -1e30])
def test_scores_whose_loss_would_not_be_finite_are_refused(tmp_path: Path, score: float) -> None:
    path = write(tmp_path / "x.csv", [("a", 1), ("b", score)], "score")
    with pytest.raises(DataError, match=r"score of row 1 .* must be a number from -1e\+18 to 1e\+18, but is "):
        read(path, **SCORES)
    assert len(read(write(tmp_path / "y.csv", [("a", 1), ("b", score / 1e13)], "score"), **SCORES).train.texts) == 2


@pytest.mark.parametrize(
    ("train", "test", "options", "part"),
    [
        ([1.5] * 40, None, {}, "training"),
        ([1.5] * 40, range(40), {}, "training"),
        ([1.5] * 38 + [1, 2], range(40), {}, "validation"),
        (range(40), [1.5] * 40, {}, "test"),
        (range(40), None, {"limit_test": 1}, "test"),
    ],
)
def test_scores_that_are_all_the_same_are_refused(
    tmp_path: Path, train: Iterable[float], test: Iterable[float] | None, options: dict[str, Any], part: str
) -> None:
    for name, scores in (("train", train), ("test", test)):
        if scores is not None:
            write(tmp_path / f"{name}.csv", [(f"text {row}", score) for row, score in enumerate(scores)], "score")
    config = {"path": str(tmp_path / "train.csv"), "test_file": tmp_path / "test.csv" if test is not None else None}
    with pytest.raises(
        DataError, match=rf"every {part} example has the score [\d.]+, and two scores are needed -> add"
    ):
        load_task(Text(source="text", **config, **SCORES, **options))
