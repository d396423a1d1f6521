from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from autockd.data import HeldOut, ImageTask, Split, Task


def small_split(count: int, channels: int = 3) -> Split:
    inputs = torch.arange(count * channels * 4 * 5).remainder(256).to(torch.uint8).view(count, channels, 4, 5)
    return Split(inputs, torch.arange(count) % 2)


def small_task() -> ImageTask:
    return ImageTask(
        name="small",
        train=small_split(6),
        validation=small_split(2),
        classes=("a", "b"),
        seed=0,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        fingerprint="f" * 64,
    )


def test_take_keeps_the_order_of_the_indices() -> None:
    split = small_split(5)
    taken = split.take(torch.tensor([3, 0, 3]))
    assert len(taken) == 3
    assert torch.equal(taken.inputs, torch.stack([split.inputs[3], split.inputs[0], split.inputs[3]]))
    assert taken.targets.tolist() == [1, 0, 1]


def test_a_task_knows_the_shape_of_its_images() -> None:
    task = small_task()
    assert task.channels == 3
    assert task.image_size == (4, 5)


def test_a_task_has_no_place_for_test_samples() -> None:
    splits = [field.name for field in fields(Task) if isinstance(getattr(small_task(), field.name), Split | HeldOut)]
    assert splits == ["train", "validation"]


def test_a_task_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        small_task().seed = 1  # type: ignore[misc]


def test_a_sealed_split_does_not_print_its_samples() -> None:
    assert repr(HeldOut(small_split(4), "0123456789abcdef")) == "HeldOut(4 samples, 0123456789ab)"
