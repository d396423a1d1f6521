from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autockd.config.models import Encoder
from autockd.data.order import EpochOrder
from autockd.models import TextEncoder, Tokens, build_encoder, load_tokenizer
from autockd.training.batches import Batches
from autockd.training.evaluation import predict
from autockd.training.text_feed import ANSWER_BATCH, WINDOW, TextFeed

SAMPLES = 300
WORDS = ("good", "film", "bad", "dull", "the", "very", "not")


def sentence(row: int) -> str:
    """Of 1 to 40 words, in no order of length."""
    return " ".join(WORDS[(row * 5 + place) % len(WORDS)] for place in range(1 + row * 7919 % 40))


@pytest.fixture(scope="module")
def config(tiny_encoder: Callable[..., Path]) -> Encoder:
    return Encoder(path=str(tiny_encoder()))


@pytest.fixture(scope="module")
def feed(config: Encoder) -> TextFeed:
    texts = [sentence(row) for row in range(SAMPLES)]
    return TextFeed(Tokens.of(load_tokenizer(config), [texts], 64))


@pytest.fixture(scope="module")
def model(config: Encoder) -> TextEncoder:
    return build_encoder(config, outputs=3, seed=0).eval()


@pytest.fixture(scope="module")
def answers(feed: TextFeed, model: TextEncoder) -> torch.Tensor:
    """To all samples."""
    return answers_to(feed, model, torch.arange(SAMPLES))


def answers_to(feed: TextFeed, model: TextEncoder, rows: torch.Tensor) -> torch.Tensor:
    found = torch.empty(len(rows), 3)
    with torch.no_grad():
        for places, inputs in feed.answering(rows, torch.zeros_like(rows)):
            found[places] = model(inputs)[: len(places)]
    return found


def order_of(samples: int, seed: int = 0) -> EpochOrder:
    indices = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    return EpochOrder(indices, torch.zeros_like(indices))


def lengths_of(feed: TextFeed, rows: torch.Tensor) -> list[int]:
    return [int(feed.read(row[None], row[None])["attention_mask"].sum()) for row in rows]


@pytest.mark.parametrize("batch_size", [1, 7, 32, 300, 500])
def test_an_arranged_epoch_has_every_sample_once(feed: TextFeed, batch_size: int) -> None:
    order = order_of(SAMPLES)
    found = feed.arrange(order, batch_size)
    assert sorted(found.indices.tolist()) == list(range(SAMPLES))
    assert torch.equal(found.indices, feed.arrange(order, batch_size).indices), "a function of its arguments"


def test_samples_stay_in_their_window(feed: TextFeed) -> None:
    order, size = order_of(SAMPLES), WINDOW * 4
    found = feed.arrange(order, 4).indices
    for start in range(0, SAMPLES, size):
        assert set(found[start : start + size].tolist()) == set(order.indices[start : start + size].tolist())


def test_a_batch_is_of_like_lengths_and_batches_are_in_no_order_of_length(feed: TextFeed) -> None:
    found = feed.arrange(order_of(SAMPLES), 20).indices
    batches = [lengths_of(feed, rows) for rows in torch.split(found, 20)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert padded < 1.1 * sum(map(sum, batches)), "little padding"
    longest = [max(batch) for batch in batches]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_the_smaller_batch_at_the_end_is_of_whatever_samples_chance_puts_there(feed: TextFeed) -> None:
    """Each counts for more than one of another batch: the longest would do so in every epoch."""
    rest, orders = SAMPLES % 32, [order_of(SAMPLES, seed) for seed in range(40)]
    assert rest > 0
    last = [feed.arrange(order, 32).indices[-rest:].tolist() for order in orders]
    assert [set(each) for each in last] == [set(order.indices[-rest:].tolist()) for order in orders]
    assert len({sample for each in last for sample in each}) > SAMPLES / 2


def test_a_batch_is_as_wide_as_its_own_longest_text(feed: TextFeed) -> None:
    order = feed.arrange(order_of(SAMPLES), 20)
    batches = list(Batches(feed, torch.zeros(SAMPLES, dtype=torch.int64), 20).epoch(order))
    widths = [batch.inputs["input_ids"].shape[1] for batch in batches]  # type: ignore[index]
    assert widths == [feed.width(order.indices[batch.rows]) for batch in batches]
    assert min(widths) < max(widths)


def test_padding_does_not_change_an_answer(feed: TextFeed, model: TextEncoder) -> None:
    together = predict(model, feed)
    with torch.no_grad():
        for row in range(0, SAMPLES, 37):
            alone = model(feed.read(torch.tensor([row]), torch.tensor([0])))
            torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, ANSWER_BATCH + 1, 200])
def test_an_answer_does_not_depend_on_its_neighbours(
    feed: TextFeed, model: TextEncoder, answers: torch.Tensor, size: int
) -> None:
    chosen = order_of(SAMPLES, seed=size).indices[:size]
    assert torch.equal(answers_to(feed, model, chosen), answers[chosen])


def test_no_samples_are_no_batches(feed: TextFeed) -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert list(feed.answering(none, none)) == []


def test_tokens_are_counted_without_padding(feed: TextFeed) -> None:
    assert feed.tokens == sum(lengths_of(feed, torch.arange(SAMPLES)))
