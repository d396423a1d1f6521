from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from autockd.config.tasks import HuggingFace
from autockd.data import HeldOut, Task, load_task
from autockd.data.sources.hub import class_targets
from autockd.data.sources.huggingface import read_huggingface
from autockd.errors import DataError

SHARED = Path(os.environ.get("AUTOCKD_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
CIFAR = SHARED / "cifar10-jpeg"
SPLITS = ("train", "test")
CLASSES = datasets.ClassLabel(names=["ash", "beech", "cedar"])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the library's cache out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def pixels(value: int) -> Image.Image:
    array = np.full((5, 6, 3), 7, np.uint8)
    array[0, 0, 0] = value
    return Image.fromarray(array)


def write(folder: Path, split: str, label: list[Any], feature: Any = CLASSES, **more: Any) -> Path:
    """A split of PNG images whose first pixel counts the rows."""
    features = datasets.Features({"image": datasets.Image(), "label": feature, **{k: v[1] for k, v in more.items()}})
    columns = {"image": [pixels(row) for row in range(len(label))], "label": label}
    columns |= {name: values for name, (values, _) in more.items()}
    folder.mkdir(exist_ok=True)
    with datasets.Dataset.from_dict(columns, features=features) as dataset:
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def load(path: Path | str, **options: Any) -> tuple[Task, HeldOut]:
    return load_task(HuggingFace(source="huggingface", path=str(path), **options))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "Trees"
    write(folder, "train", [0, 1, 2] * 8)
    return write(folder, "test", [2, 1, 0])


def test_columns_are_found_by_their_type(trees: Path) -> None:
    task, held_out = load(trees, validation_fraction=0.25)
    assert task.name == "trees"
    assert task.classes == ("ash", "beech", "cedar")
    assert (len(task.train), len(task.validation), len(held_out.split)) == (18, 6, 3)
    assert (task.channels, task.image_size) == (3, (5, 6))
    assert held_out.split.targets.tolist() == [2, 1, 0]
    for split in (task.train, task.validation):
        assert torch.equal(split.inputs[:, 0, 0, 0].long() % 3, split.targets)


def test_a_test_split_may_be_set_aside(trees: Path) -> None:
    task, held_out = load(trees, test_split=None, test_fraction=0.25, validation_fraction=0.5)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (9, 9, 6)


@pytest.mark.parametrize(
    ("label", "feature", "classes"),
    [
        (["oak", "elm"] * 6, datasets.Value("string"), ("elm", "oak")),
        ([30, 4] * 6, datasets.Value("int32"), ("4", "30")),
        ([True, False] * 6, datasets.Value("bool"), ("False", "True")),
    ],
)
def test_other_labels_become_classes_in_sorted_order(
    tmp_path: Path, label: list[Any], feature: Any, classes: tuple[str, ...]
) -> None:
    task, held_out = load(write(tmp_path / "x", "train", label, feature), test_split=None, validation_fraction=0.4)
    assert task.classes == classes
    assert torch.equal(held_out.split.inputs[:, 0, 0, 0] % 2 == 0, held_out.split.targets == 1)


def test_a_hub_data_set_that_was_read_before_needs_no_hub(
    trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, value in (("datasets.config.HF_DATASETS_CACHE", tmp_path), ("datasets.config.HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(place, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    local = load(trees)
    (tmp_path / "trees").rename(tmp_path / "somebody___trees")  # where the library looks for those of the hub
    kept = load("somebody/trees")
    assert kept[0].fingerprint == local[0].fingerprint
    assert kept[1].fingerprint == local[1].fingerprint


def test_one_data_set_saved_to_disk_is_read(tmp_path: Path, trees: Path) -> None:
    with datasets.Dataset.from_parquet(str(next(trees.glob("train-*")))) as dataset:
        dataset.with_format("numpy", columns=["label"]).save_to_disk(tmp_path / "saved")
    task, held_out = load(tmp_path / "saved", test_split=None, validation_fraction=0.5)
    assert len(task.train) + len(task.validation) + len(held_out.split) == 24
    assert task.classes == ("ash", "beech", "cedar")
    with pytest.raises(DataError, match="there is no split 'test' -> name one of 'train', or null"):
        load(tmp_path / "saved")


def test_class_labels_are_preferred_to_plain_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "train", [0, 1, 2] * 6, width=([6] * 18, datasets.Value("int64")))
    assert load(path, test_split=None, validation_fraction=0.4)[0].classes == ("ash", "beech", "cedar")


def test_a_named_column_is_taken(tmp_path: Path) -> None:
    extra = (["oak", "elm"] * 9, datasets.Value("string"))
    path = write(tmp_path / "x", "train", [0, 1, 2] * 6, kind=extra)
    assert load(path, test_split=None, label_column="kind", image_column="image")[0].classes == ("elm", "oak")


def test_a_folder_of_image_files_is_read_too(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for name in ("ash", "beech"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels(number).save(tmp_path / part / name / f"{number}.png")
    task, held_out = load(tmp_path)
    assert task.classes == ("ash", "beech")
    assert len(held_out.split) == 4


def test_images_without_metadata_are_found(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for row in range(8):
        pixels(row).save(tmp_path / "one.png")
        rows.append({"bytes": (tmp_path / "one.png").read_bytes(), "path": None})
    (tmp_path / "x").mkdir()
    pictures = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"picture": pictures, "y": [0, 1] * 4}), tmp_path / "x" / "train.parquet")
    task, held_out = load(tmp_path / "x", test_split=None, test_fraction=0.25, validation_fraction=0.5)
    assert len(task.train) + len(task.validation) + len(held_out.split) == 8


def test_only_chosen_rows_are_decoded(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": CLASSES})
    junk = {"bytes": b"no image", "path": None}
    columns = {"image": [pixels(0), junk, pixels(2), pixels(3)], "label": [0, 1, 2, 0]}
    (tmp_path / "x").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "x" / "train.parquet")
    config = HuggingFace(source="huggingface", path=str(tmp_path / "x"), test_split=None)
    samples = read_huggingface(config).train
    assert samples.read(np.array([0, 3, 2]))[:, 0, 0, 0].tolist() == [0, 3, 2]
    with pytest.raises(DataError, match="row 1 of the split 'train' is not a readable image"):
        samples.read(np.array([0, 1]))


def test_loading_shows_no_progress_bars(
    trees: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is not in the library's cache yet."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    capfd.readouterr()
    load(trees)
    assert capfd.readouterr() == ("", "")
    assert not datasets.utils.are_progress_bars_disabled(), "the user's own setting is restored"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_split": "training"},
            r"task\.train_split: there is no split 'training' -> name one of 'train', 'test'$",
        ),
        ({"test_split": "validation"}, r"test_split: there is no split 'validation' -> .*'test', or null to set"),
        ({"test_split": "train"}, r"task\.test_split: is 'train', the training split itself"),
        ({"image_column": "img"}, r"image_column: 'img' is not among 'image', 'label' -> name one of 'image'$"),
        ({"image_column": "label"}, r"image_column: the column 'label' does not hold images"),
        (
            {"label_column": "image"},
            r"label_column: the column 'image' does not hold class labels, integers or strings",
        ),
        ({"subset": "small"}, r"task\.path: .*cannot be loaded: BuilderConfig 'small' not found.*check the folder"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(trees: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(trees, **options)


def test_several_candidates_must_be_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "train", [0, 1, 2] * 4, coarse=([0, 1, 2] * 4, CLASSES))
    with pytest.raises(
        DataError, match=r"label_column: several columns hold class .* -> name one of 'label', 'coarse'"
    ):
        load(path, test_split=None)


def test_a_data_set_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).to_parquet(tmp_path / "x" / "train.parquet")
    with pytest.raises(DataError, match=r"image_column: no column holds images; the columns are 'text', 'label'"):
        load(tmp_path / "x", test_split=None)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    write(tmp_path / "x", "train", [0, 1, 2] * 4)
    path = write(tmp_path / "x", "test", [0, -1])
    with pytest.raises(DataError, match=r"row 1 of the split 'test' has no label in 'label' -> .*test_split: null"):
        load(path)


@pytest.mark.parametrize(
    "path", ["./absent", "/absent/folder", "a/b/c", "no spaces", "-x", "../x/y", "csv", "imagefolder"]
)
def test_neither_a_folder_nor_a_hub_id(path: str) -> None:
    with pytest.raises(DataError, match=r"task\.path: '.*' is neither an existing folder nor a hub id"):
        load(path)


def test_a_file_is_no_folder(trees: Path) -> None:
    with pytest.raises(DataError, match="is neither an existing folder nor a hub id"):
        load(next(trees.glob("*.parquet")))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be loaded: .*doesn't contain any data files -> check the folder"):
        load(tmp_path)


def test_a_script_in_the_folder_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(DataError, match="cannot be loaded"):
        load(folder)
    assert not mark.exists()


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs the test data folder cifar10-jpeg")
def test_cifar10_as_jpeg() -> None:
    task, held_out = load(CIFAR, limit_train=500, limit_test=100, validation_fraction=0.2)
    assert (len(task.train), len(task.validation), len(held_out.split)) == (400, 100, 100)
    assert task.name == "cifar10-jpeg"
    assert task.classes[0] == "airplane"
    assert torch.bincount(task.train.targets).tolist() == [40] * 10
    assert task.train.inputs.shape == (400, 3, 32, 32)
    assert task.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.03)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    columns = {"image": [pixels(0), None, pixels(2)] * 8, "label": [0, 1, 2] * 8}
    features = datasets.Features({"image": datasets.Image(), "label": CLASSES})
    with datasets.Dataset.from_dict(columns, features=features) as dataset:
        (tmp_path / "x").mkdir()
        dataset.to_parquet(tmp_path / "x" / "train.parquet")
    with pytest.raises(DataError, match=r"row \d+ of the split 'train' is not a readable image: there is none"):
        load(tmp_path / "x", test_split=None, validation_fraction=0.25)


def test_splits_whose_labels_are_written_in_two_ways_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x", "train", ["1", "2"] * 8, datasets.Value("string"))
    write(tmp_path / "x", "test", [1, 2], datasets.Value("int64"))
    parts = [datasets.Dataset.from_parquet(str(tmp_path / "x" / f"{name}-00000-of-00001.parquet")) for name in SPLITS]
    with pytest.raises(DataError, match="numbers in one split and strings in the other"):
        class_targets(parts, "label")


def test_splits_with_other_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x", "train", [0, 1, 2] * 8)
    write(tmp_path / "x", "test", [0, 1], datasets.ClassLabel(names=["cedar", "beech", "ash"]))
    parts = [datasets.Dataset.from_parquet(str(tmp_path / "x" / f"{name}-00000-of-00001.parquet")) for name in SPLITS]
    with pytest.raises(DataError, match="give both splits the same classes in the same order"):
        class_targets(parts, "label")
