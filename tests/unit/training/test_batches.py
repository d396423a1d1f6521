from __future__ import annotations

import pytest
import torch

from autockd.config.models import CifarResNet
from autockd.data.order import EpochOrder
from autockd.data.task import Task
from autockd.models import Tokens
from autockd.training.batches import Batch, Batches, largest_batch, typical_batch
from autockd.training.networks import make_feed
from autockd.training.text_feed import TextFeed

CPU = torch.device("cpu")


def make_batches(task: Task, batch_size: int) -> Batches:
    feed = make_feed(CifarResNet(), task, task.train, CPU, augmented=True)
    return Batches(feed, task.train.targets, batch_size)


@pytest.mark.parametrize("batch_size", [1, 32, 120, 500])
def test_batches_are_the_rows_of_the_order(task: Task, batch_size: int) -> None:
    order = EpochOrder.of(task, 1)
    batches = list(make_batches(task, batch_size).epoch(order))
    rows = [row for batch in batches for row in range(len(task.train))[batch.rows]]
    assert rows == list(range(len(task.train)))
    assert [len(batch.targets) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].targets) <= batch_size
    targets = torch.cat([batch.targets for batch in batches])
    assert torch.equal(targets, task.train.targets[order.indices])


def test_a_batchs_inputs_are_what_the_feed_reads(task: Task) -> None:
    order = EpochOrder.of(task, 1)
    feed = make_feed(CifarResNet(), task, task.train, CPU, augmented=True)
    inputs = torch.cat([batch.inputs for batch in make_batches(task, 50).epoch(order)])
    assert torch.equal(inputs, feed.read(order.indices, order.views))


@pytest.mark.parametrize(
    ("lengths", "batch_size", "typical", "largest"),
    [
        (
            [4, 4, 40, 41, 16, 17, 10, 12, 300],
            2,
            [4, 5],
            [8],
        ),  # padded to 8, 48, 24, 16 and 304; the last is no whole batch, and the largest for all that
        ([4, 4, 40, 41, 16, 17, 50], 2, [4, 5], [2, 3]),  # 2 x 48, and 56
        ([8, 9, 10], 5, [0, 1, 2], [0, 1, 2]),
        ([5], 1, [0], [0]),
    ],
)
def test_the_typical_batch_is_next_to_the_mean_in_length(
    lengths: list[int], batch_size: int, typical: list[int], largest: list[int]
) -> None:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    feed = TextFeed(Tokens(torch.ones(int(offsets[-1]), dtype=torch.int32), offsets, None, 0))
    order = EpochOrder(torch.arange(len(lengths)), torch.zeros(len(lengths), dtype=torch.int64))
    assert typical_batch(feed, order, batch_size).indices.tolist() == typical
    assert largest_batch(feed, order, batch_size).indices.tolist() == largest


def test_of_images_the_first_batch_is_typical(task: Task) -> None:
    order = EpochOrder.of(task, 1)
    batch = typical_batch(make_feed(CifarResNet(), task, task.train, CPU, augmented=True), order, 16)
    assert torch.equal(batch.indices, order.indices[:16])
    assert torch.equal(batch.views, order.views[:16])


@pytest.mark.parametrize("parts", [1, 2, 3, 50])
def test_parts_of_a_batch_are_its_samples_in_order(parts: int) -> None:
    tokens = torch.arange(14).view(7, 2)
    batch = Batch({"input_ids": tokens, "attention_mask": -tokens}, torch.arange(7), slice(20, 27))
    pieces = list(batch.split(parts))
    assert len(pieces) <= parts
    for name, whole in batch.inputs.items():
        assert torch.equal(torch.cat([piece.inputs[name] for piece in pieces]), whole)
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), batch.targets)
    assert [row for piece in pieces for row in range(30)[piece.rows]] == list(range(20, 27))


@pytest.mark.parametrize(
    ("samples", "parts", "sizes"), [(3, 2, [3]), (2, 2, [2]), (7, 4, [4, 3]), (8, 3, [3, 3, 2]), (1, 2, [1])]
)
def test_no_part_is_a_single_sample_unless_the_batch_is(samples: int, parts: int, sizes: list[int]) -> None:
    batch = Batch(torch.zeros(samples, 1), torch.zeros(samples), slice(0, samples))
    assert [len(piece.targets) for piece in batch.split(parts)] == sizes
