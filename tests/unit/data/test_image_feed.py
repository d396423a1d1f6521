from __future__ import annotations

import pytest
import torch

from autockd.data.image_feed import ANSWER_BATCH_ON_CPU, ImageFeed, Normalisation, evaluation_batch
from autockd.data.order import EpochOrder
from autockd.data.task import ImageTask
from autockd.data.views import Views

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


def test_a_tasks_training_images_have_mean_0_and_deviation_1(task: ImageTask) -> None:
    inputs = Normalisation.of(task, CPU)(task.images).double()
    assert inputs.mean().item() == pytest.approx(0, abs=1e-6)
    assert inputs.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def make_feed(task: ImageTask) -> ImageFeed:
    return ImageFeed(task.images, task.views, Normalisation.of(task, CPU))


def test_a_feed_reads_the_views_that_it_is_asked_for(task: ImageTask) -> None:
    order, feed = EpochOrder.of(task, 1), make_feed(task)
    inputs = feed.read(order.indices[:50], order.views[:50])
    pairs = zip(order.indices[:50].tolist(), order.views[:50].tolist(), strict=True)
    by_hand = [view_by_hand(task.images[index], view, padding=1) for index, view in pairs]
    assert torch.equal(inputs, Normalisation.of(task, CPU)(torch.stack(by_hand)))


def test_large_images_are_padded_a_batch_at_a_time_and_not_copied(
    task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, resident = EpochOrder.of(task, 1), make_feed(task)
    monkeypatch.setattr("autockd.data.image_feed._LARGE", 10)
    large = make_feed(task)
    asked = order.indices[:50], order.views[:50]
    assert torch.equal(large.read(*asked), resident.read(*asked))
    assert large._images.data_ptr() == task.images.data_ptr()
    assert len(large) == len(resident)


def test_images_are_trained_on_in_the_order_of_the_epoch(task: ImageTask) -> None:
    order = EpochOrder.of(task, 2)
    assert make_feed(task).arrange(order, 32) is order


def test_evaluation_sees_every_image_once_and_as_it_is(task: ImageTask) -> None:
    chunks = list(make_feed(task).evaluation())
    assert torch.cat([rows for rows, _ in chunks]).tolist() == list(range(len(task.train)))
    assert torch.equal(torch.cat([inputs for _, inputs in chunks]), Normalisation.of(task, CPU)(task.images))


@pytest.mark.parametrize("samples", [0, 1, ANSWER_BATCH_ON_CPU, ANSWER_BATCH_ON_CPU + 1])
def test_batches_of_answers_are_all_of_one_size(task: ImageTask, samples: int) -> None:
    rows = torch.arange(samples) % len(task.train)
    views = torch.arange(samples) % task.views.count
    feed = make_feed(task)
    found = list(feed.answering(rows, views))
    assert torch.cat([rows[:0], *(places for places, _ in found)]).tolist() == list(range(samples))
    for places, inputs in found:
        assert len(inputs) == ANSWER_BATCH_ON_CPU
        assert torch.equal(inputs[: len(places)], feed.read(rows[places], views[places]))


@pytest.mark.parametrize(
    ("device", "side", "expected"),
    [("cpu", 8, 64), ("cpu", 148, 63), ("cpu", 256, 32), ("cuda", 8, 512), ("cuda", 53, 497), ("cuda", 256, 32)],
)
def test_a_forward_pass_has_as_many_images_as_suit_the_device(device: str, side: int, expected: int) -> None:
    assert evaluation_batch(torch.device(device), 3 * side * side) == expected


@pytest.mark.parametrize(("side", "expected"), [(8, 64), (148, 63), (256, 32)])
def test_of_large_images_fewer_are_taken_at_a_time(side: int, expected: int) -> None:
    images = torch.zeros(65, 3, side, side, dtype=torch.uint8)
    one = torch.ones(1, 3, 1, 1)
    feed = ImageFeed(images, Views(), Normalisation(one, one))
    rows = torch.arange(len(images))
    assert max(len(inputs) for _, inputs in feed.evaluation()) == expected
    assert {len(inputs) for _, inputs in feed.answering(rows, torch.zeros_like(rows))} == {expected}
