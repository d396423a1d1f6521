"""Attention by parts is what torch's fused one computes, for every encoder that can use it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import SENTENCES
from torch import nn

from autockd.config.models import Encoder
from autockd.models import attention as attention_module
from autockd.models.attention import ATTENTION, attention, use_quick_attention
from autockd.models.encoder import TextEncoder, build_encoder
from autockd.models.tokens import Tokens, load_tokenizer

ARCHITECTURES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta", "modernbert", "deberta-v2")


class Layer(nn.Module):
    """What transformers hands over of itself."""

    is_causal = False


def heads(length: int = 9, *, grouped: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    query = torch.randn(2, 3, length, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(2, grouped, length, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return query, key, value


def fused(*tensors: torch.Tensor, **settings: Any) -> torch.Tensor:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: torch.Tensor = sdpa_attention_forward(Layer(), *tensors, **settings)[0]
    return found


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what was computed by parts."""
    seen: list[tuple[int, ...]] = []
    real = attention_module._by_parts

    def by_parts(query: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append(tuple(query.shape))
        return real(query, *others)

    monkeypatch.setattr(attention_module, "_by_parts", by_parts)
    return seen


def nearly_no_dropout() -> dict[str, Any]:
    """A probability that leaves every weight, as it is rounded to 0."""
    return {"dropout": 1e-9}


def some_pairs() -> torch.Tensor:
    return (torch.arange(9) < torch.tensor([9, 4])[:, None])[:, None, None, :].expand(-1, -1, 9, -1)


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_parts_are_the_whole(mask: str, scaling: float | None, parts: list[tuple[int, ...]]) -> None:
    pairs = some_pairs()
    masks = {"none": None, "bool": pairs, "added": torch.zeros(pairs.shape).double().masked_fill(~pairs, -1e9)}
    expected = fused(*heads(), attention_mask=masks[mask], scaling=scaling)
    tensors = heads()
    found, weights = attention(Layer(), *tensors, masks[mask], scaling=scaling, **nearly_no_dropout())
    assert weights is None
    assert parts == [(2, 3, 9, 8)]
    torch.testing.assert_close(found, expected)
    again = heads()
    fused(*again, attention_mask=masks[mask], scaling=scaling).sum().backward()  # type: ignore[no-untyped-call]
    found.sum().backward()  # type: ignore[no-untyped-call]
    for mine, theirs in zip(tensors, again, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_weights_are_dropped(parts: list[tuple[int, ...]]) -> None:
    """On average nothing changes."""
    query, key, value = (tensor.detach() for tensor in heads())
    many = (tensor.repeat(3000, 1, 1, 1) for tensor in (query, key, value))
    runs = attention(Layer(), *many, None, dropout=0.3)[0].unflatten(0, (3000, 2))
    assert parts == [(6000, 3, 9, 8)]
    error = runs.std(dim=0) / len(runs) ** 0.5
    assert ((runs.mean(dim=0) - fused(query, key, value, attention_mask=None)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    "case", ["evaluation", "no dropout", "grouped", "causal by itself", "causal as asked", "position bias"]
)
def test_what_it_does_not_do_goes_to_torch(case: str, parts: list[tuple[int, ...]]) -> None:
    layer, settings = Layer(), {"dropout": 0.0 if case in ("evaluation", "no dropout") else 1e-9}
    tensors = heads(grouped=1) if case == "grouped" else heads()
    if case == "evaluation":
        layer.eval()
    if case == "grouped":
        layer.num_key_value_groups = 3  # type: ignore[assignment]
    if case == "causal by itself":
        layer.is_causal = True
    if case == "causal as asked":
        settings["is_causal"] = True
    if case == "position bias":
        settings["position_bias"] = torch.randn(1, 3, 9, 9).double()  # type: ignore[assignment]
    found, _ = attention(layer, *tensors, None, **settings)  # type: ignore[arg-type]
    assert found.shape == (2, 9, 3, 8)
    assert parts == []


def test_short_bfloat16_is_trained_by_parts_without_dropout_too(parts: list[tuple[int, ...]]) -> None:
    for length in (16, 256):
        attention(Layer(), *(tensor.bfloat16() for tensor in heads(length)), None)
    assert parts == [(2, 3, 16, 8)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_as_without_it(architecture: str) -> None:
    """Those that ask transformers for an attention get this one; the others are left as they are."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 40}
    config = AutoConfig.for_model(architecture, vocab_size=30, intermediate_size=24, pad_token_id=0, **sizes)
    for name in [name for name in config.to_dict() if "dropout" in name and name != "summary_last_dropout"]:
        if isinstance(getattr(config, name), float):
            setattr(config, name, 1e-9)
    plain = AutoModelForSequenceClassification.from_config(config).train()
    quick = copy.deepcopy(plain)
    use_quick_attention(quick)
    can = plain.config._attn_implementation == "sdpa"
    assert quick.config._attn_implementation == (ATTENTION if can else "eager")
    assert can == (architecture != "deberta-v2")
    ids, lengths = torch.randint(5, 30, (3, 9)), torch.tensor([9, 4, 1])
    given = {"input_ids": ids, "attention_mask": (torch.arange(9) < lengths[:, None]).long()}
    logits = []
    for model in (plain, quick):
        torch.manual_seed(0)
        logits.append(model(**given).logits)
        logits[-1].sum().backward()
    torch.testing.assert_close(*logits)
    for (name, mine), theirs in zip(quick.named_parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_a_saved_student_says_nothing_of_it(tiny_encoder: Callable[..., Path], tmp_path: Path) -> None:
    model = build_encoder(Encoder(path=str(tiny_encoder())), outputs=2, seed=0)
    assert model.hf.config._attn_implementation == ATTENTION
    model.hf.save_pretrained(tmp_path / "saved")
    assert ATTENTION not in (tmp_path / "saved" / "config.json").read_text(encoding="utf-8")


def test_training_goes_by_parts_and_answers_do_not(
    tiny_encoder: Callable[..., Path], parts: list[tuple[int, ...]]
) -> None:
    config = Encoder(path=str(tiny_encoder()))
    model = build_encoder(config, outputs=2, seed=0)
    assert isinstance(model, TextEncoder)
    tokens = Tokens.of(load_tokenizer(config), [SENTENCES], 128)
    model(tokens.batch(torch.arange(3)))
    assert len(parts) == model.hf.config.num_hidden_layers
    model.eval()(tokens.batch(torch.arange(3)))
    assert len(parts) == model.hf.config.num_hidden_layers
