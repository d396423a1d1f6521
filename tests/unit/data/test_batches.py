from __future__ import annotations

import pytest
import torch

from autockd.data.batches import Batches, EpochOrder, Normalisation
from autockd.data.task import Task

CPU = torch.device("cpu")


def view_by_hand(image: torch.Tensor, view: int, padding: int) -> torch.Tensor:
    """The definition: pad with black, cut out at (dy, dx), mirror."""
    side = 2 * padding + 1
    crop, flip = divmod(view, 2)
    dy, dx = divmod(crop, side)
    _, height, width = image.shape
    padded = torch.zeros(image.shape[0], height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    cut = padded[:, dy : dy + height, dx : dx + width]
    return cut.flip(2) if flip else cut


@pytest.mark.parametrize("channels_last", [False, True])
def test_inputs_are_standardised_pixels(channels_last: bool) -> None:
    images = torch.randint(256, (5, 3, 4, 6), dtype=torch.uint8)
    mean, std = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 0.4])
    normalise = Normalisation(
        (1 / (255 * std)).view(1, 3, 1, 1), (-mean / std).view(1, 3, 1, 1), channels_last=channels_last
    )
    inputs = normalise(images)
    expected = (images.double() / 255 - mean.double().view(1, 3, 1, 1)) / std.double().view(1, 3, 1, 1)
    torch.testing.assert_close(inputs.double(), expected, rtol=1e-5, atol=1e-5)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_a_tasks_training_images_have_mean_0_and_deviation_1(task: Task) -> None:
    inputs = Normalisation.of(task, CPU)(task.train.inputs).double()
    assert inputs.mean().item() == pytest.approx(0, abs=1e-6)
    assert inputs.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_an_epochs_order_has_every_sample_once_and_each_with_its_own_view(task: Task) -> None:
    order = EpochOrder.of(task, 3)
    assert sorted(order.indices.tolist()) == list(range(len(task.train)))
    by_sample = task.views.of_epoch(len(task.train), task.seed, 3)
    assert order.views.tolist() == [by_sample[index].item() for index in order.indices.tolist()]


def test_an_epochs_order_is_a_function_of_seed_and_epoch(task: Task) -> None:
    torch.manual_seed(1)
    first = EpochOrder.of(task, 1)
    torch.manual_seed(2)
    again, other = EpochOrder.of(task, 1), EpochOrder.of(task, 2)
    assert torch.equal(first.indices, again.indices)
    assert torch.equal(first.views, again.views)
    assert not torch.equal(first.indices, other.indices)
    assert not torch.equal(first.views.sort().values, other.views.sort().values)


@pytest.mark.parametrize("batch_size", [1, 32, 120, 500])
def test_batches_are_the_rows_of_the_order(task: Task, batch_size: int) -> None:
    order = EpochOrder.of(task, 1)
    batches = list(Batches(task, batch_size, Normalisation.of(task, CPU)).epoch(order))
    rows = [row for batch in batches for row in range(len(task.train))[batch.rows]]
    assert rows == list(range(len(task.train)))
    assert [len(batch.targets) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1].targets) <= batch_size
    targets = torch.cat([batch.targets for batch in batches])
    assert torch.equal(targets, task.train.targets[order.indices])


def test_a_batchs_inputs_are_the_views_that_the_order_names(task: Task) -> None:
    order, normalise = EpochOrder.of(task, 1), Normalisation.of(task, CPU)
    batches = Batches(task, 50, normalise).epoch(order)
    inputs = torch.cat([batch.inputs for batch in batches])
    pairs = zip(order.indices.tolist(), order.views.tolist(), strict=True)
    by_hand = [view_by_hand(task.train.inputs[index], view, padding=1) for index, view in pairs]
    assert torch.equal(inputs, normalise(torch.stack(by_hand)))
