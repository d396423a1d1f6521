"""Files that name their classes: the library would take the numbers of all of them for the classes of the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from autockd.config.tasks import TaskConfig
from autockd.data import Texts, load_task
from autockd.errors import DataError

Kind = str
Write = Callable[[datasets.Dataset, Path], Any]

GREY = {"ash": 10, "elm": 20, "oak": 30}
TREES = ("ash", "elm", "oak")
OTHERS = pytest.mark.parametrize("others", [("elm", "ash", "oak"), ("ash", "oak"), ("ash", "elm", "oak", "fir")])
KINDS = pytest.mark.parametrize("kind", ["image", "text"])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the library's cache out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def trees(kind: Kind, names: tuple[str, ...] = TREES, count: int = 24, feature: Any = None) -> datasets.Dataset:
    """Samples that show which tree they are of; labels number the names, or are what the feature says."""
    shown = [names[row % len(names)] for row in range(count)]
    label = shown if feature == datasets.Value("string") else [names.index(name) for name in shown]
    image = kind == "image"
    column = "image" if image else "text"
    features = {column: datasets.Image() if image else datasets.Value("string")}
    features["label"] = feature or datasets.ClassLabel(names=list(names))
    samples = [
        Image.new("L", (4, 4), GREY.get(name, 0)) if image else f"{name} {row}" for row, name in enumerate(shown)
    ]
    return datasets.Dataset.from_dict({column: samples, "label": label}, features=datasets.Features(features))


def write(folder: Path, **files: datasets.Dataset) -> Path:
    """Parquet files by name, such as `train` and `test`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, dataset in files.items():
        dataset.to_parquet(folder / f"{name.replace('_', '-')}.parquet")
    return folder


def seen(kind: Kind, path: Path, **options: Any) -> set[tuple[str, str]]:
    """Each tree that a sample shows, with the class that it is said to be of."""
    config = {"source": "huggingface" if kind == "image" else "text", "path": str(path), **options}
    task, held_out = load_task(TypeAdapter(TaskConfig).validate_python(config))
    pairs = set()
    for split in (task.train, task.validation, held_out.split):
        shown = (
            [text.split()[0] for text in split.inputs.first]
            if isinstance(split.inputs, Texts)
            else [next(name for name, grey in GREY.items() if grey == image[0, 0, 0]) for image in split.inputs]
        )
        pairs |= {(name, task.classes[label]) for name, label in zip(shown, split.targets.tolist(), strict=True)}
    return pairs


RIGHT = {(name, name) for name in TREES}


@KINDS
@OTHERS
def test_splits_of_other_classes_are_refused(tmp_path: Path, kind: Kind, others: tuple[str, ...]) -> None:
    write(tmp_path, train=trees(kind), test=trees(kind, others))
    listed = ", ".join(map(repr, others))
    with pytest.raises(
        DataError,
        match=rf"task\.path: the classes of 'label' are {listed} in .*test\.parquet, but 'ash', 'elm', 'oak' elsewhere"
        " -> give all files the same classes in the same order",
    ):
        seen(kind, tmp_path)


@KINDS
@OTHERS
def test_shards_of_other_classes_are_refused(tmp_path: Path, kind: Kind, others: tuple[str, ...]) -> None:
    write(tmp_path, train_00000_of_00002=trees(kind), train_00001_of_00002=trees(kind, others))
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet, but 'ash', 'elm', 'oak' elsewhere"):
        seen(kind, tmp_path, test_split=None)


@KINDS
def test_they_are_refused_again_once_the_library_has_converted_them(tmp_path: Path, kind: Kind) -> None:
    write(tmp_path, train=trees(kind), test=trees(kind, ("oak", "elm", "ash")))
    datasets.load_dataset(str(tmp_path))
    for _ in range(2):
        with pytest.raises(DataError, match="give all files the same classes"):
            seen(kind, tmp_path)


@KINDS
def test_splits_and_shards_of_the_same_classes_are_read(tmp_path: Path, kind: Kind) -> None:
    shards = {f"train_0000{part}_of_00002": trees(kind) for part in range(2)}
    assert seen(kind, write(tmp_path, **shards, test=trees(kind))) == RIGHT


@KINDS
def test_a_split_that_is_not_used_may_have_other_classes(tmp_path: Path, kind: Kind) -> None:
    write(tmp_path, train=trees(kind), test=trees(kind), validation=trees(kind, ("oak", "elm", "ash")))
    assert seen(kind, tmp_path) == RIGHT


@KINDS
def test_classes_that_are_written_out_are_mapped_by_name(tmp_path: Path, kind: Kind) -> None:
    words = trees(kind, ("oak", "ash", "elm"), feature=datasets.Value("string"))
    assert seen(kind, write(tmp_path, train=trees(kind), test=words)) == RIGHT


@KINDS
@pytest.mark.parametrize("feature", [datasets.Value("string"), datasets.Value("int64")])
def test_numbers_are_never_made_words_or_taken_for_others(tmp_path: Path, kind: Kind, feature: Any) -> None:
    plain = trees(kind, feature=feature)
    write(tmp_path, train_00000_of_00002=plain, train_00001_of_00002=trees(kind))
    with pytest.raises(
        DataError, match=r"are 'ash', 'elm', 'oak' in .*00001-of-00002\.parquet, but not named elsewhere"
    ):
        seen(kind, tmp_path, test_split=None)


@KINDS
def test_numbers_beside_named_classes_are_refused(tmp_path: Path, kind: Kind) -> None:
    numbers = trees(kind, ("ash", "oak"), feature=datasets.Value("int64"))
    write(tmp_path, train=trees(kind), test=numbers)
    with pytest.raises(
        DataError, match=r"of 'label' are not named in .*test\.parquet, but 'ash', 'elm', 'oak' elsewhere"
    ):
        seen(kind, tmp_path)


def readme(folder: Path, kind: Kind) -> Path:
    """A card that names the classes, as the hub's data sets have it."""
    column = "{name: image, dtype: image}" if kind == "image" else "{name: text, dtype: string}"
    names = ", ".join(f"'{index}': {name}" for index, name in enumerate(TREES))
    label = f"{{name: label, dtype: {{class_label: {{names: {{{names}}}}}}}}}"
    (folder / "README.md").write_text(f"---\ndataset_info:\n  features: [{column}, {label}]\n---\n")
    return folder


@KINDS
def test_a_card_may_name_the_classes_of_numbers(tmp_path: Path, kind: Kind) -> None:
    numbers = trees(kind, feature=datasets.Value("int64"))
    assert seen(kind, readme(write(tmp_path, train=numbers, test=numbers), kind)) == RIGHT


@KINDS
def test_a_card_may_not_name_others_than_the_files(tmp_path: Path, kind: Kind) -> None:
    swapped = trees(kind, ("oak", "elm", "ash"))
    with pytest.raises(DataError, match=r"'oak', 'elm', 'ash' in .*train\.parquet, but 'ash', 'elm', 'oak' elsewhere"):
        seen(kind, readme(write(tmp_path, train=swapped, test=swapped), kind))


@KINDS
@OTHERS
def test_a_saved_data_set_keeps_the_classes_of_each_split(tmp_path: Path, kind: Kind, others: tuple[str, ...]) -> None:
    datasets.DatasetDict(train=trees(kind), test=trees(kind, others)).save_to_disk(tmp_path)
    with pytest.raises(
        DataError,
        match=r"task\.label_column: 'label' of the split 'test' does not have the classes of the split 'train', 'ash', "
        "'elm', 'oak' -> give both splits the same",
    ):
        seen(kind, tmp_path)


@KINDS
def test_a_saved_data_set_of_named_classes_and_numbers_is_refused(tmp_path: Path, kind: Kind) -> None:
    numbers = trees(kind, feature=datasets.Value("int64"))
    datasets.DatasetDict(train=numbers, test=trees(kind)).save_to_disk(tmp_path)
    with pytest.raises(DataError, match="'label' of the split 'train' does not have the classes of the split 'test'"):
        seen(kind, tmp_path)


@KINDS
def test_a_saved_data_set_is_read_with_its_splits(tmp_path: Path, kind: Kind) -> None:
    saved = datasets.DatasetDict(train=trees(kind).with_format("numpy", columns=["label"]), test=trees(kind))
    saved.save_to_disk(tmp_path)
    assert seen(kind, tmp_path) == RIGHT
    with pytest.raises(DataError, match=r"test_split: there is no split 'dev' -> name one of 'train', 'test'"):
        seen(kind, tmp_path, test_split="dev")
    with pytest.raises(DataError, match=r"task\.subset: is 'small', but .* without subsets -> leave it out"):
        seen(kind, tmp_path, subset="small")


@KINDS
def test_a_saved_data_set_is_the_same_data_as_its_parquet_files(tmp_path: Path, kind: Kind) -> None:
    splits = {"train": trees(kind), "test": trees(kind)}
    write(tmp_path / "a" / "trees", **splits)
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "b" / "trees")
    source = "huggingface" if kind == "image" else "text"
    tasks = [
        load_task(TypeAdapter(TaskConfig).validate_python({"source": source, "path": str(tmp_path / name / "trees")}))
        for name in "ab"
    ]
    assert tasks[0][0].fingerprint == tasks[1][0].fingerprint
    assert tasks[0][1].fingerprint == tasks[1][1].fingerprint


@KINDS
def test_splits_that_were_saved_apart_need_the_same_classes(tmp_path: Path, kind: Kind) -> None:
    for folder, names in (("same", TREES), ("swapped", ("oak", "elm", "ash"))):
        trees(kind).save_to_disk(tmp_path / folder / "train")
        trees(kind, names).save_to_disk(tmp_path / folder / "test")
    assert seen(kind, tmp_path / "same") == RIGHT
    with pytest.raises(DataError, match=r"'oak', 'elm', 'ash' in .*test/data-.*\.arrow, but 'ash', 'elm', 'oak' elsew"):
        seen(kind, tmp_path / "swapped")


def test_an_arrow_file_of_the_other_format_is_looked_into_too(tmp_path: Path) -> None:
    for split, names in (("train", TREES), ("test", ("oak", "elm", "ash"))):
        table = trees("text", names).data.table
        with pa.OSFile(str(tmp_path / f"{split}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=r"'oak', 'elm', 'ash' in .*test\.arrow"):
        seen("text", tmp_path)


def test_a_task_of_glue_has_one_order_of_its_classes(tmp_path: Path) -> None:
    for split, names in (("train", ("no", "yes")), ("validation", ("yes", "no"))):
        columns = {"sentence": [f"{split} {row}" for row in range(12)], "label": [row % 2 for row in range(12)]}
        features = {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))}
        dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        write(tmp_path / "sst2", **{f"{split}_00000_of_00001": dataset})
    config = {"source": "glue", "task": "sst2", "path": str(tmp_path)}
    with pytest.raises(DataError, match=r"task\.path: the classes of 'label' are 'yes', 'no' in .*validation-00000"):
        load_task(TypeAdapter(TaskConfig).validate_python(config))


def test_files_without_the_library_s_own_notes_hold_what_they_hold(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = {"text": [f"{split} {row}" for row in range(12)], "label": [row % 2 for row in range(12)]}
        pq.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    config = {"source": "text", "path": str(tmp_path)}
    assert load_task(TypeAdapter(TaskConfig).validate_python(config))[0].classes == ("0", "1")
