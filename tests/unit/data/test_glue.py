from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import datasets
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from autockd.config.tasks import Glue, GlueTask
from autockd.data import Split, Texts, TextTask, load_task
from autockd.data.sources.glue import GLUE_DATA, read_glue
from autockd.errors import DataError

TASKS = get_args(GlueTask)
LABELLED_TEST = ("train", "validation")

Give = Callable[[GlueTask], Path]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the library's cache out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def rows(task: GlueTask, count: int, split: str) -> dict[str, list[Any]]:
    """Texts that say where they are from, and labels in turn."""
    data = GLUE_DATA[task]
    columns = {name: [f"{split} {name} {row}" for row in range(count)] for name in data.columns}
    kinds = len(data.classes)
    labels = [row % kinds if kinds else 5.0 * row / count for row in range(count)]
    return {**columns, "label": labels, "idx": list(range(count))}


def write(folder: Path, split: str, columns: dict[str, list[Any]], classes: tuple[str, ...] = ()) -> None:
    label = datasets.ClassLabel(names=list(classes)) if classes else None
    folder.mkdir(parents=True, exist_ok=True)
    with datasets.Dataset.from_dict(columns) as dataset:
        typed = dataset.cast_column("label", label) if label else dataset
        typed.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def make(folder: Path, task: GlueTask, count: int = 24) -> Path:
    """A task in the hub's layout, with hidden test labels as there."""
    data = GLUE_DATA[task]
    for split, size in zip(data.splits, (count, 6, 9), strict=False):
        write(folder / task, split, rows(task, size, split), data.classes)
    hidden = rows(task, 3, "test") | {"label": [-1.0 if not data.classes else -1] * 3}
    write(folder / task, "test_matched" if task == "mnli" else "test", hidden, data.classes)
    return folder


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Give:
    """Gives a folder with a task, and maybe others, as `make` makes them: written once, and only to be read."""
    folder = tmp_path_factory.mktemp("glue")

    def give(task: GlueTask) -> Path:
        return folder if (folder / task).is_dir() else make(folder, task)

    return give


def config(path: Path | str, task: GlueTask = "rte", **options: Any) -> Glue:
    return Glue(source="glue", task=task, path=str(path), **options)


def columns_of(split: Split) -> tuple[tuple[str, ...], ...]:
    assert isinstance(split.inputs, Texts)
    return split.inputs.columns


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_read(glue: Give, name: GlueTask) -> None:
    task, held_out = load_task(config(glue(name), name, validation_fraction=0.25))
    data = GLUE_DATA[name]
    assert (task.name, task.classes, task.metric) == (name, data.classes, data.metric)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (18, 6, 6)
    assert len(columns_of(task.train)) == len(data.columns)
    seen = [text for split in (task.train, task.validation) for text in columns_of(split)[0]]
    assert sorted(seen) == sorted(f"train {data.columns[0]} {row}" for row in range(24)), "each row stands once"
    assert columns_of(held_out.split)[0] == tuple(f"{data.test} {data.columns[0]} {row}" for row in range(6))
    for split, total in ((task.train, 24), (task.validation, 24), (held_out.split, 6)):
        row = np.array([int(text.split()[-1]) for text in columns_of(split)[0]])
        expected = row % len(data.classes) if data.classes else (5 * row / total).astype(np.float32)
        assert split.targets.tolist() == expected.tolist(), "texts keep their labels"
        assert split.targets.dtype == (torch.int64 if data.classes else torch.float32)


def test_pairs_keep_the_order_of_their_texts(glue: Give) -> None:
    raw = read_glue(config(glue("qnli"), "qnli"))
    assert raw.train.texts.second is not None
    assert (raw.train.texts.first[3], raw.train.texts.second[3]) == ("train question 3", "train sentence 3")


def test_mnli_has_a_mismatched_split_apart(glue: Give) -> None:
    _, held_out = load_task(config(glue("mnli"), "mnli", validation_fraction=0.25, limit_test=3))
    assert columns_of(held_out.split)[0][0].startswith("validation_matched ")
    assert list(held_out.others) == ["mismatched"]
    mismatched = held_out.others["mismatched"]
    assert all(text.startswith("validation_mismatched ") for text in columns_of(mismatched)[0])
    assert sorted(mismatched.targets.tolist()) == [0, 1, 2], "the limit is stratified there too"
    assert sorted(held_out.split.targets.tolist()) == [0, 1, 2]


def test_only_mnli_has_further_splits(glue: Give) -> None:
    assert load_task(config(glue("rte")))[1].others == {}


def test_scores_keep_their_scale(glue: Give) -> None:
    task, _ = load_task(config(glue("stsb"), "stsb", validation_fraction=0.25))
    assert isinstance(task, TextTask)
    assert task.score_range == (0.0, 5.0)
    assert max(task.train.targets.max(), task.validation.targets.max()) == np.float32(5 * 23 / 24)


def test_classes_have_no_score_range(glue: Give) -> None:
    task, _ = load_task(config(glue("rte")))
    assert isinstance(task, TextTask)
    assert task.score_range is None


def test_scores_are_spread_over_the_splits(tmp_path: Path) -> None:
    task, _ = load_task(config(make(tmp_path, "stsb", 200), "stsb", validation_fraction=0.1, limit_train=100))
    assert (len(task.train), len(task.validation)) == (90, 10)
    tenths = np.histogram(task.validation.targets, bins=10, range=(0, 5))[0]
    assert tenths.min() == tenths.max() == 1


def test_splits_repeat_and_depend_on_the_seed(glue: Give) -> None:
    for task in ("stsb", "rte"):
        one, again, other = (
            columns_of(load_task(config(glue(task), task, seed=seed, validation_fraction=0.25))[0].validation)  # type: ignore[arg-type]
            for seed in (0, 0, 1)
        )
        assert one == again != other


def test_a_smaller_limit_takes_rows_of_a_larger_one(tmp_path: Path) -> None:
    make(tmp_path, "stsb", 100)
    few, more = (
        {text for split in (task.train, task.validation) for text in columns_of(split)[0]}
        for task, _ in (load_task(config(tmp_path, "stsb", limit_train=limit)) for limit in (20, 60))
    )
    assert (len(few), len(more)) == (20, 60)
    assert few < more


def test_class_names_of_the_files_are_kept(tmp_path: Path) -> None:
    for split in LABELLED_TEST:
        write(tmp_path / "rte", split, rows("rte", 8, split), ("yes", "no"))
    assert read_glue(config(tmp_path)).classes == ("yes", "no")


def test_files_without_class_names_get_those_of_the_task(tmp_path: Path) -> None:
    for split in LABELLED_TEST:
        write(tmp_path / "rte", split, rows("rte", 8, split))
    assert read_glue(config(tmp_path)).classes == ("entailment", "not_entailment")


def test_several_files_of_a_split_are_one(tmp_path: Path) -> None:
    make(tmp_path, "rte")
    with datasets.Dataset.from_dict(rows("rte", 4, "more")) as more:
        typed = more.cast_column("label", datasets.ClassLabel(names=list(GLUE_DATA["rte"].classes)))
        typed.to_parquet(tmp_path / "rte" / "train-00001-of-00002.parquet")
    assert len(read_glue(config(tmp_path)).train.targets) == 28


def test_one_text_of_a_pair_may_be_empty(tmp_path: Path) -> None:
    make(tmp_path, "qqp")
    write(tmp_path / "qqp", "train", rows("qqp", 8, "train") | {"question2": [""] * 8}, GLUE_DATA["qqp"].classes)
    assert read_glue(config(tmp_path, "qqp")).train.texts.second == ("",) * 8


def test_a_metric_may_be_chosen(glue: Give) -> None:
    task, _ = load_task(config(glue("rte"), metric="accuracy_f1"))
    assert (task.metric, task.direction) == ("accuracy_f1", "maximize")


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        ("stsb", "accuracy", "stsb has scores, which accuracy does not judge; choose one of pearson, spearman"),
        ("cola", "pearson", "cola has classes, which pearson does not judge; choose one of accuracy, f1"),
    ],
)
def test_a_metric_must_fit_the_labels(task: GlueTask, metric: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config("nyu-mll/glue", task, metric=metric)


def test_f1_needs_two_classes(glue: Give) -> None:
    with pytest.raises(
        DataError, match=r"task\.metric: f1 is of two classes, but there are 'entailment', .* -> choose"
    ):
        load_task(config(glue("mnli"), "mnli", metric="f1"))


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        (
            "rte",
            {"label": [0, 1, -1, 1]},
            r"label of row 2 of the split 'train' must be an integer from 0 to 1, not -1",
        ),
        ("rte", {"label": [0, 1, None, 1]}, r"label of row 2 of the split 'train' must be an integer .*, not None"),
        ("rte", {"label": [0, 1, 2, 1]}, r"label of row 2 of the split 'train' must be an integer from 0 to 1, not 2"),
        (
            "stsb",
            {"label": [0.0, 1.0, np.nan, 1.0]},
            r"row 2 of the split 'train' must be a number from 0 to 5, but is n",
        ),
        ("stsb", {"label": [0.0, 5.5, 1.0, 1.0]}, r"row 1 of the split 'train' must be a number .*, but is 5\.5"),
        ("stsb", {"label": [0.0, None, 1.0, 1.0]}, r"row 1 of .* but is missing -> correct the score"),
        (
            "rte",
            {"sentence1": ["a", None, "c", "d"]},
            r"row 1 of the split 'train' has no text in 'sentence1' -> write",
        ),
        ("sst2", {"sentence": ["a", "b", " ", "d"]}, r"row 2 of the split 'train' is empty in 'sentence' -> write"),
        (
            "rte",
            {"sentence1": ["", "b", "c", "d"], "sentence2": ["", "b", "c", "d"]},
            r"row 0 of the split 'train' is empty in 'sentence1' and 'sentence2'",
        ),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, task: GlueTask, change: dict[str, list[Any]], message: str) -> None:
    write(tmp_path / task, "train", rows(task, 4, "train") | change)
    write(tmp_path / task, "validation", rows(task, 4, "validation"))
    with pytest.raises(DataError, match=r"task\.path: .*" + message):
        read_glue(config(tmp_path, task))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    for split in LABELLED_TEST:
        write(tmp_path / "rte", split, rows("cola", 4, split))
    with pytest.raises(
        DataError, match=r"rte's split 'train' lacks 'sentence1', 'sentence2'; it has 'sentence', 'label'"
    ):
        read_glue(config(tmp_path))


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    make(tmp_path, "cola")
    with pytest.raises(DataError, match=r"has no file 'rte/train-\*.parquet', .*; its folders are 'cola' -> lay the f"):
        read_glue(config(tmp_path))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    make(tmp_path, "rte")
    (tmp_path / "rte" / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"task\.path: .*cannot be loaded: .*-> check that its files are Parquet, with"):
        read_glue(config(tmp_path))


def test_an_unreachable_hub_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"task\.path: 'nyu-mll/glue' cannot be loaded: .*-> check .*network"):
        read_glue(config("nyu-mll/glue"))


def test_a_path_that_is_neither_folder_nor_hub_id_is_named() -> None:
    with pytest.raises(DataError, match=r"task\.path: './glue' is neither an existing folder nor a hub id"):
        read_glue(config("./glue"))


@pytest.mark.parametrize(
    ("name", "train", "test", "positive"),
    [
        ("sst2", 67_349, 872, 444 / 872),
        ("cola", 8_551, 1_043, 719 / 1_043),
        ("mrpc", 4_076, 1_725, 1_147 / 1_725),
        ("rte", 2_490, 277, 131 / 277),
        ("stsb", 5_749, 1_500, None),
    ],
)
def test_the_real_tasks(test_data: Path, name: GlueTask, train: int, test: int, positive: float | None) -> None:
    folder = test_data / "glue"
    if not (folder / name).is_dir():
        pytest.skip(f"needs the test data folder glue/{name}")
    task, held_out = load_task(config(folder, name))
    assert len(task.train) + len(task.validation) == train
    assert len(task.validation) == -(-train // 10)
    assert len(held_out.split) == test
    shares = [split.targets.double().mean().item() for split in (task.train, task.validation)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    if positive is not None:
        assert held_out.split.targets.double().mean().item() == pytest.approx(positive)
