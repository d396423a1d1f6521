from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autockd.config.tasks import ImageFolder
from autockd.data import HeldOut, Task, load_task
from autockd.data.sources.folder import read_folder
from autockd.errors import DataError


def load(path: Path, **options: Any) -> tuple[Task, HeldOut]:
    return load_task(ImageFolder(source="folder", path=path, **options))


def fill(folder: Path, count: int, *, value: int = 0, size: tuple[int, int] = (6, 5), suffix: str = "png") -> Path:
    """`count` grey images whose first pixel is `value`."""
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.full(size, index, np.uint8)
        pixels[0, 0] = value
        Image.fromarray(pixels).save(folder / f"{index:02}.{suffix}")
    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Three classes of ten images, without a test folder."""
    for value, name in enumerate(["ash", "beech", "cedar"]):
        fill(tmp_path / "trees" / name, 10, value=value)
    return tmp_path / "trees"


def test_folders_are_classes(plain: Path) -> None:
    task, held_out = load(plain, validation_fraction=0.25)
    assert task.name == "trees"
    assert task.classes == ("ash", "beech", "cedar")
    assert (len(task.train), len(task.validation), len(held_out.split)) == (18, 6, 6)
    assert (task.channels, task.image_size) == (1, (6, 5))
    for split in (task.train, task.validation, held_out.split):
        assert torch.equal(split.inputs[:, 0, 0, 0].long(), split.targets)


def test_images_of_a_class_may_lie_in_folders_of_its_own(plain: Path) -> None:
    fill(plain / "ash" / "2024" / "june", 30, value=0)
    fill(plain / "ash" / ".thumbnails", 5, value=0)
    (plain / "beech" / "broken.png").mkdir()
    fill(plain.parent / "july", 4, value=0)
    (plain / "ash" / "july").symlink_to(plain.parent / "july")
    (plain / "ash" / "round").symlink_to(plain / "ash")
    task, held_out = load(plain)
    targets = torch.cat([split.targets for split in (task.train, task.validation, held_out.split)])
    assert torch.bincount(targets).tolist() == [44, 10, 10]


def test_an_image_that_a_link_leads_to_and_that_is_not_there_is_named(plain: Path) -> None:
    (plain / "ash" / "zz.png").symlink_to(plain / "not fetched.png")
    with pytest.raises(DataError, match=r"zz\.png is not a readable image"):
        load(plain)


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    for part in ("training", "testing"):
        for name in ("a", "b"):
            fill(tmp_path / "photos" / part / name, 5)
    with pytest.raises(DataError, match=r"'testing', 'training', which are parts and no classes -> lay the images out"):
        load(tmp_path / "photos")


def test_what_is_no_image_whatever_its_name_is_handed_to_no_interpreter(plain: Path, tmp_path: Path) -> None:
    """Pillow goes by content, and would have Ghostscript draw what is PostScript."""
    (plain / "ash" / "00.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 5\n%%EndComments\n")
    with pytest.raises(DataError, match=r"00\.png is not a readable image: cannot identify image file"):
        load(plain)


def test_a_class_whose_name_is_no_text_is_named(plain: Path) -> None:
    fill(plain / b"\xe9bene".decode("utf-8", "surrogateescape"), 10)
    with pytest.raises(DataError, match=r"class folder '\\udce9bene' in .* is no UTF-8 -> rename it"):
        load(plain)


def test_train_and_test_folders(tmp_path: Path) -> None:
    for value, name in enumerate(["a", "b"]):
        fill(tmp_path / "train" / name, 8, value=value)
    fill(tmp_path / "test" / "b", 3, value=1)
    fill(tmp_path / "other" / "c", 3)
    task, held_out = load(tmp_path)
    assert task.classes == ("a", "b")
    assert len(task.train) + len(task.validation) == 16
    assert held_out.split.targets.tolist() == [1, 1, 1]


def test_test_images_by_another_name_are_not_passed_over(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "train" / name, 8)
        fill(tmp_path / "val" / name, 3)
    with pytest.raises(DataError, match=r"beside .*train there is no folder test, but 'val' -> call the folder"):
        load(tmp_path)


def test_a_train_folder_alone_gives_its_test_images(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "train" / name, 10)
    task, held_out = load(tmp_path, test_fraction=0.4)
    assert task.classes == ("a", "b")
    assert len(held_out.split) == 8


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        fill(tmp_path / name, 10)
    assert load(tmp_path)[0].classes == ("bus", "train")


@pytest.mark.parametrize("names", [("test", "train"), ("Testing", "Training"), ("test", "train", "val"), ("train",)])
def test_parts_without_classes_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        fill(tmp_path / name, 10)
    listed = ", ".join(map(repr, names))
    with pytest.raises(
        DataError, match=rf"has {listed}, which are parts and no classes -> lay the images out as train/"
    ):
        load(tmp_path)


def test_every_usual_format_is_read(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "JPEG", "bmp", "webp", "gif", "tiff", "pgm"):
        fill(tmp_path / suffix, 4, suffix=suffix)
    (tmp_path / "png" / "notes.txt").write_text("not an image")
    (tmp_path / "png" / ".hidden.png").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    task, held_out = load(tmp_path, test_fraction=0.25, validation_fraction=0.4)
    assert len(task.classes) == 8
    assert len(task.train) + len(task.validation) + len(held_out.split) == 32


def test_one_colour_image_makes_the_task_colour(plain: Path) -> None:
    Image.fromarray(np.zeros((6, 5, 4), np.uint8)).save(plain / "ash" / "00.png")
    task, held_out = load(plain)
    assert task.channels == task.validation.inputs.shape[1] == held_out.split.inputs.shape[1] == 3


def test_only_chosen_images_are_opened(plain: Path) -> None:
    (plain / "beech" / "03.png").write_bytes(b"no image")
    samples = read_folder(ImageFolder(source="folder", path=plain)).train
    assert samples.targets.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert samples.read(np.array([12, 14, 0])).shape == (3, 1, 6, 5)
    with pytest.raises(DataError, match=r"beech/03\.png is not a readable image: .*-> replace or remove it"):
        samples.read(np.array([12, 13]))


def test_a_truncated_image_is_named(plain: Path) -> None:
    path = plain / "cedar" / "05.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cedar/05\.png is not a readable image"):
        load(plain)


def test_mixed_sizes_are_named_and_image_size_mends_them(plain: Path) -> None:
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(plain / "ash" / "04.png")
    with pytest.raises(DataError, match=r"task\.image_size: .*(5x6, .*: 7x9|7x9, .*: 5x6) .*-> set image_size"):
        load(plain)
    assert load(plain, image_size=8)[0].image_size == (8, 8)


def test_an_empty_class_is_named(plain: Path) -> None:
    (plain / "oak").mkdir()
    (plain / "oak" / "readme.txt").write_text("to come")
    with pytest.raises(
        DataError, match=r"task\.path: the class folder .*oak has no image \(\.avif .*-> add images, or re"
    ):
        load(plain)


def test_a_class_only_in_test_is_named(tmp_path: Path) -> None:
    for name in "ab":
        fill(tmp_path / "train" / name, 4)
    fill(tmp_path / "test" / "c", 2)
    with pytest.raises(DataError, match=r"test has 'c', which .*train has not -> give each class training images"):
        load(tmp_path)


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_classes_or_no_folder_is_refused(tmp_path: Path, make: bool) -> None:
    path = fill(tmp_path / "flat", 3) if make else tmp_path / "absent"
    message = "has no folder, so no class -> lay the images out as train/" if make else "there is no folder"
    with pytest.raises(DataError, match=message):
        load(path)


def test_a_class_with_one_image_is_named(plain: Path) -> None:
    fill(plain / "yew", 1)
    with pytest.raises(DataError, match="fewer than 2 images are left to be split of 'yew'"):
        load(plain)


def test_images_that_do_not_fit_into_memory_are_refused_once_the_first_is_open(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 2 * 30 * 30  # 30 images of 30 bytes, of all splits, and as much where workers read them
    monkeypatch.setattr("autockd.data.sources.images.memory", lambda: (10_000, needed))
    load(plain, validation_fraction=0.25)
    monkeypatch.setattr("autockd.data.sources.images.memory", lambda: (10_000, needed - 1))
    with pytest.raises(DataError, match=r"task: 30 images of 5x6 take 0\.0 GB .* -> set limit_train") as raised:
        load(plain, validation_fraction=0.25)
    assert "free" in str(raised.value)
