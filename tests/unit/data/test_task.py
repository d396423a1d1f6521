from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from autockd.data import HeldOut, ImageTask, Split, Task
from autockd.data.texts import Texts


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


def test_a_split_travels_as_memory_that_many_may_read() -> None:
    """As Ray has it: what lies outside of the pickle is kept once, and nobody may write to it."""
    split, buffers = small_split(500), []
    pickled = pickle.dumps(split, protocol=5, buffer_callback=buffers.append)
    assert len(pickled) < 1000
    arrived = pickle.loads(pickled, buffers=[bytes(buffer) for buffer in buffers])
    assert torch.equal(arrived.inputs, split.inputs)
    assert torch.equal(arrived.targets, split.targets)
    copied = pickle.loads(pickle.dumps(split))
    assert torch.equal(copied.inputs, split.inputs)


def test_texts_travel_too() -> None:
    split = Split(Texts(("a", "b"), ("c", "d")), torch.tensor([1.5, 2.0]))
    arrived = pickle.loads(pickle.dumps(split))
    assert arrived.inputs == split.inputs
    assert torch.equal(arrived.targets, split.targets)


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
