from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autockd.data.views import Views, order_of_epoch, seeded


def random_images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=seeded("images", *shape))


def plain_view(image: torch.Tensor, padding: int, dy: int, dx: int, *, mirrored: bool) -> torch.Tensor:
    """Pad, crop and mirror one image [C, H, W] by slices alone."""
    channels, height, width = image.shape
    canvas = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    canvas[:, padding : padding + height, padding : padding + width] = image
    crop = canvas[:, dy : dy + height, dx : dx + width]
    return crop.flip(2) if mirrored else crop


@settings(max_examples=25, deadline=None)
@given(
    padding=st.integers(0, 3),
    flip=st.booleans(),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_every_view_is_the_plain_pad_crop_and_mirror(
    padding: int, flip: bool, channels: int, height: int, width: int
) -> None:
    views = Views(padding, flip)
    images = random_images(3, channels, height, width)
    side = 2 * padding + 1
    ids = [(dy, dx, bit) for dy in range(side) for dx in range(side) for bit in range(2 if flip else 1)]
    assert len(ids) == views.count
    samples = torch.arange(views.count) % 3
    rendered = views.render(views.pad(images), samples, torch.arange(views.count))
    assert rendered.shape == (views.count, channels, height, width)
    assert rendered.dtype == torch.uint8
    for number, (dy, dx, bit) in enumerate(ids):
        expected = plain_view(images[number % 3], padding, dy, dx, mirrored=bit == 1)
        assert torch.equal(rendered[number], expected), f"view {number}"


@given(padding=st.integers(0, 4), flip=st.booleans(), order=st.permutations(range(5)))
def test_the_identity_view_is_the_image(padding: int, flip: bool, order: list[int]) -> None:
    views = Views(padding, flip)
    images = random_images(5, 3, 4, 6)
    indices = torch.tensor(order)
    rendered = views.render(views.pad(images), indices, torch.full((5,), views.identity))
    assert torch.equal(rendered, images[indices])


@given(padding=st.integers(0, 16))
def test_flip_only_doubles_the_views(padding: int) -> None:
    assert Views(padding, flip=True).count == 2 * Views(padding).count == 2 * (2 * padding + 1) ** 2


def test_flip_alone_mirrors_every_other_view() -> None:
    views = Views(flip=True)
    images = random_images(2, 1, 3, 4)
    rendered = views.render(views.pad(images), torch.tensor([1, 1]), torch.tensor([0, 1]))
    assert torch.equal(rendered[0], images[1])
    assert torch.equal(rendered[1], images[1].flip(2))


def test_cifar_has_162_views() -> None:
    assert Views(crop_padding=4, flip=True).count == 162


@given(
    padding=st.integers(0, 4),
    flip=st.booleans(),
    samples=st.integers(1, 300),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 500),
)
def test_views_of_an_epoch_are_in_range_and_repeat(
    padding: int, flip: bool, samples: int, seed: int, epoch: int
) -> None:
    views = Views(padding, flip)
    drawn = views.of_epoch(samples, seed, epoch)
    assert drawn.shape == (samples,)
    assert drawn.dtype == torch.int64
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < views.count
    assert torch.equal(drawn, views.of_epoch(samples, seed, epoch))


def test_views_of_an_epoch_are_drawn_evenly() -> None:
    views = Views(crop_padding=1, flip=True)
    counts = torch.bincount(views.of_epoch(18_000, seed=3, epoch=1), minlength=views.count)
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize(("seed", "epoch"), [(0, 2), (1, 1)])
def test_another_seed_or_epoch_draws_other_views_and_orders(seed: int, epoch: int) -> None:
    views = Views(crop_padding=4, flip=True)
    assert not torch.equal(views.of_epoch(100, 0, 1), views.of_epoch(100, seed, epoch))
    assert not torch.equal(order_of_epoch(100, 0, 1), order_of_epoch(100, seed, epoch))


@given(samples=st.integers(1, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 500))
def test_the_order_of_an_epoch_is_a_permutation_and_repeats(samples: int, seed: int, epoch: int) -> None:
    order = order_of_epoch(samples, seed, epoch)
    assert torch.equal(order.sort().values, torch.arange(samples))
    assert torch.equal(order, order_of_epoch(samples, seed, epoch))


def test_streams_are_named_by_their_whole_key() -> None:
    draws = {
        tuple(torch.randint(2**40, (4,), generator=seeded(*key)).tolist())
        for key in [("a", 1), ("a", 2), ("b", 1), ("a", "1"), ("a",), ("a", 1, 0)]
    }
    assert len(draws) == 6
