from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from encoders import SENTENCES, Family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autockd.config.models import Encoder
from autockd.models.encoder import TextEncoder, build_encoder
from autockd.models.tokens import Tokens, load_tokenizer
from autockd.models.vocabulary import trim_vocabulary

FAMILIES: tuple[Family, ...] = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module", params=FAMILIES)
def config(request: pytest.FixtureRequest, tiny_encoder: Callable[..., Path]) -> Encoder:
    return Encoder(path=str(tiny_encoder(layers=2, family=request.param)), dropout=0)


@pytest.fixture(scope="module")
def whole(config: Encoder) -> TextEncoder:
    """A model that is not trimmed: to be copied."""
    return build_encoder(config, outputs=2, seed=0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_trimmed_model_answers_exactly_alike(whole: TextEncoder, data: st.DataObject) -> None:
    model = copy.deepcopy(whole)
    pad = model.hf.config.pad_token_id
    known = st.integers(0, model.hf.config.vocab_size - 1).filter(lambda token: token != pad)
    samples = data.draw(st.lists(st.lists(known, min_size=1, max_size=12), min_size=1, max_size=6))
    ids = torch.tensor([token for sample in samples for token in sample], dtype=torch.int32)
    offsets = torch.tensor([0, *map(len, samples)]).cumsum(0)
    tokens = Tokens(ids, offsets, None, pad)
    rows = torch.arange(len(samples))
    with torch.no_grad():
        expected = model(tokens.batch(rows))
        vocabulary = trim_vocabulary(model, ids)
        trimmed = model(vocabulary.tokens(tokens).batch(rows))
    assert torch.equal(trimmed, expected)
    assert len(model.state_dict()[vocabulary.name]) == len(vocabulary.used) <= len(ids) + pad + 1
    before, restored = whole.state_dict(), vocabulary.restored(model.state_dict())
    assert restored.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in restored.items())


def train(model: TextEncoder, tokens: Tokens, steps: int, rate: float, decay: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    targets = torch.arange(len(tokens)) % 2
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens.batch(torch.arange(len(tokens)))), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def test_training_without_the_unused_rows_ends_where_training_with_them_does(
    config: Encoder, whole: TextEncoder
) -> None:
    rate, decay, steps = 1e-2, 0.1, 5
    tokens = Tokens.of(load_tokenizer(config), [SENTENCES[:3]], 64)
    plain, trimmed = copy.deepcopy(whole), copy.deepcopy(whole)
    vocabulary = trim_vocabulary(trimmed, tokens.ids)
    assert len(vocabulary.used) < len(vocabulary.rows)
    train(plain, tokens, steps, rate, decay)
    train(trimmed, vocabulary.tokens(tokens), steps, rate, decay)
    shrunk = (1 - rate * decay) ** steps
    restored = vocabulary.restored(trimmed.state_dict(), decay=shrunk)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(restored[name], tensor, rtol=1e-5, atol=1e-6)
    moved = (restored[vocabulary.name] - vocabulary.rows * shrunk).abs().amax(1) > 1e-3
    padding = trimmed.hf.config.pad_token_id
    assert moved.nonzero().flatten().tolist() == [i for i in tokens.ids.unique().tolist() if i != padding]
    assert trimmed.hf.get_input_embeddings().num_embeddings == len(vocabulary.used)


def test_texts_with_other_tokens_are_refused(config: Encoder, whole: TextEncoder) -> None:
    tokenizer = load_tokenizer(config)
    vocabulary = trim_vocabulary(copy.deepcopy(whole), Tokens.of(tokenizer, [["good film"]], 64).ids)
    with pytest.raises(ValueError, match="not trimmed for"):
        vocabulary.tokens(Tokens.of(tokenizer, [["1997"]], 64))


def test_a_tokenizer_may_pad_with_another_id_than_the_model(whole: TextEncoder) -> None:
    """One that was added last, say; the model's own is 0 or 1."""
    model = copy.deepcopy(whole)
    pad = model.hf.config.vocab_size - 1
    tokens = Tokens(torch.tensor([3, 4, 5, 3], dtype=torch.int32), torch.tensor([0, 3, 4]), None, pad)
    with torch.no_grad():
        expected = model(tokens.batch(torch.arange(2)))
        vocabulary = trim_vocabulary(model, torch.cat([tokens.ids, torch.tensor([pad])]))
        assert torch.equal(model(vocabulary.tokens(tokens).batch(torch.arange(2))), expected)
    assert vocabulary.tokens(tokens).pad_id == len(vocabulary.used) - 1
