from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from autockd.config.tasks import Augmentation, Digits, Npz
from autockd.data import HeldOut, Split, Task, Views, load_task
from autockd.data.load import channel_statistics
from autockd.errors import DataError
from autockd.hashing import bytes_hash


def image_hashes(split: Split) -> list[str]:
    return [bytes_hash(image.numpy().data) for image in split.inputs]


def same(one: Split, other: Split) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


@pytest.fixture(scope="module")
def digits() -> tuple[Task, HeldOut]:
    return load_task(Digits(test_fraction=0.3, validation_fraction=0.25))


def test_digits_have_942_training_images(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = digits
    assert (len(task.train), len(task.validation), len(held_out.split)) == (942, 315, 540)
    assert task.name == "digits"
    assert task.classes == tuple("0123456789")
    assert (task.channels, task.image_size) == (1, (8, 8))
    assert task.train.inputs.dtype == torch.uint8
    assert task.train.targets.dtype == torch.int64


def test_splits_of_the_digits_keep_the_proportions_of_the_classes(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = digits
    everything = np.bincount(load_digits().target) / 1797
    for split in (task.train, task.validation, held_out.split):
        shares = torch.bincount(split.targets, minlength=10).numpy() / len(split)
        assert np.abs(shares - everything).max() <= 1 / len(split)


def test_the_task_holds_no_test_image_of_the_digits(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = digits
    test, train, validation = (image_hashes(split) for split in (held_out.split, task.train, task.validation))
    assert len({*test, *train, *validation}) == 1797, "no digit occurs twice, so a shared hash is a shared image"
    assert not set(test) & {*train, *validation}
    assert not set(train) & set(validation)


def test_ink_is_scaled_to_the_full_range(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = digits
    parts = [task.train.inputs, task.validation.inputs, held_out.split.inputs]
    levels = torch.unique(torch.cat(parts)).tolist()
    assert levels == [int(ink * 255 / 16 + 0.5) for ink in range(17)]
    assert (levels[0], levels[8], levels[16]) == (0, 128, 255)


def test_loading_twice_gives_the_same(digits: tuple[Task, HeldOut]) -> None:
    task, held_out = load_task(Digits(test_fraction=0.3, validation_fraction=0.25))
    assert same(task.train, digits[0].train)
    assert same(task.validation, digits[0].validation)
    assert task.fingerprint == digits[0].fingerprint
    assert held_out.fingerprint == digits[1].fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"validation_fraction": 0.2},
        {"limit_train": 500},
        {"image_size": 9},
        {"augmentation": Augmentation(crop_padding=1)},
        {"augmentation": Augmentation(flip=True)},
    ],
)
def test_the_fingerprint_tells_tasks_apart(digits: tuple[Task, HeldOut], changes: dict[str, object]) -> None:
    config = Digits.model_validate({"validation_fraction": 0.25, **changes})
    assert load_task(config)[0].fingerprint != digits[0].fingerprint


def test_the_test_split_has_a_fingerprint_of_its_own(digits: tuple[Task, HeldOut]) -> None:
    same_test = load_task(Digits(validation_fraction=0.1))[1]
    assert same_test.fingerprint == digits[1].fingerprint
    assert load_task(Digits(seed=1))[1].fingerprint != digits[1].fingerprint
    assert load_task(Digits(limit_test=100))[1].fingerprint != digits[1].fingerprint


@pytest.mark.parametrize(("side", "padding"), [(8, 8), (8, 16), (12, 12)])
def test_crops_must_show_something_of_every_image(side: int, padding: int) -> None:
    load_task(Digits(image_size=side, augmentation=Augmentation(crop_padding=side - 1)))
    with pytest.raises(
        DataError,
        match=rf"task\.augmentation\.crop_padding: is {padding}, so that crops may miss images, which have {side} "
        rf"pixels a side -> set it to {side - 1} at most",
    ):
        load_task(Digits(image_size=side, augmentation=Augmentation(crop_padding=padding)))


def test_an_image_may_have_no_more_pixels_than_networks_take() -> None:
    Digits(image_size=4096)
    with pytest.raises(ValidationError, match="image_size"):
        Digits(image_size=4097)


def test_augmentation_becomes_views() -> None:
    task, _ = load_task(Digits(augmentation=Augmentation(crop_padding=1, flip=True), seed=5))
    assert task.views == Views(1, True)
    assert task.seed == 5


def test_statistics_are_those_of_the_training_split_alone(digits: tuple[Task, HeldOut]) -> None:
    task, _ = digits
    scaled = task.train.inputs.double() / 255
    assert task.mean == pytest.approx((scaled.mean().item(),), abs=1e-12)
    assert task.std == pytest.approx((scaled.std(correction=0).item(),), abs=1e-12)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.25,)), ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))])
def test_statistics_may_be_those_that_a_teacher_was_trained_with(
    mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    images = np.random.RandomState(0).randint(0, 256, (20, 4, 4, 3), "uint8")
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(20) % 2)
    task, _ = load_task(Npz(source="npz", path=tmp_path / "a.npz", mean=mean, std=std))
    assert task.mean == (mean if len(mean) == 3 else mean * 3)
    assert task.std == (std if len(std) == 3 else std * 3)
    assert task.fingerprint != load_task(Npz(source="npz", path=tmp_path / "a.npz"))[0].fingerprint


def test_statistics_of_other_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"task.mean: gives 3 channels, and the images have 1"):
        load_task(Digits(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)))


@pytest.mark.parametrize("given", [{"mean": (0.5,)}, {"std": (0.5,)}, {"mean": (0.5,) * 3, "std": (0.2,)}])
def test_mean_and_std_are_given_together(given: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValidationError, match="mean and std go together"):
        Digits.model_validate(given)


def test_statistics_are_per_channel_and_exact_over_many_chunks() -> None:
    images = torch.randint(0, 256, (9000, 3, 3, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] //= 4
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(tuple(scaled.mean((0, 2, 3)).tolist()), abs=1e-12)
    assert std == pytest.approx(tuple(scaled.std((0, 2, 3), correction=0).tolist()), abs=1e-12)


def test_a_constant_channel_can_be_normalised() -> None:
    mean, std = channel_statistics(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean == (0.2,)
    assert std == (1 / 255,)


def test_limits_apply() -> None:
    task, held_out = load_task(Digits(limit_train=200, limit_test=50, validation_fraction=0.25))
    assert (len(task.train), len(task.validation), len(held_out.split)) == (150, 50, 50)
    assert torch.bincount(held_out.split.targets, minlength=10).min() >= 4


def test_image_size_resizes_every_split() -> None:
    task, held_out = load_task(Digits(image_size=12))
    assert task.image_size == (12, 12)
    assert task.validation.inputs.shape[1:] == held_out.split.inputs.shape[1:] == (1, 12, 12)
    assert task.train.inputs.dtype == torch.uint8


def test_grey_and_colour_splits_get_as_many_channels(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    grey, colour = random.randint(0, 256, (20, 4, 4), "uint8"), random.randint(0, 256, (4, 4, 4, 3), "uint8")
    np.savez(tmp_path / "a.npz", x_train=grey, y_train=np.arange(20) % 2, x_test=colour, y_test=np.arange(4) % 2)
    task, held_out = load_task(Npz(source="npz", path=tmp_path / "a.npz"))
    assert task.channels == held_out.split.inputs.shape[1] == 3
    assert torch.equal(task.train.inputs[:, 0], task.train.inputs[:, 2])
    assert torch.equal(held_out.split.inputs, torch.from_numpy(colour).permute(0, 3, 1, 2))
