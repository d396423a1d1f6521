"""Attention of transformers' encoders that a CPU is quick with while it trains.

Where samples are as short as those of most tasks, torch's fused attention trains slowly on a CPU: with dropout it
falls back to float32, and its backward pass in bfloat16 takes many times what the products themselves do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autockd.models.dropout import dropped

ATTENTION = "autockd"
"""Under which transformers knows it."""

_LONG = 160
"""Tokens from which torch's fused attention trains faster in bfloat16."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for attention; the same as its "sdpa", up to rounding and the dropout's mask.

    Args:
        module: the layer's attention.
        query: [B, H, L, D]; and so are key and value.
        key: see query.
        value: see query.
        attention_mask: which pairs of tokens may attend, bool, or what is added to their scores, [B, 1, L, L].
        dropout: probability with which an attention weight is dropped.
        scaling: of the scores; None is D ** -0.5.
        **others: what an architecture adds.

    Returns:
        [B, L, H, D], and None for the weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_plain = _is_plain(module, query, key, attention_mask, others)
    if module.training and is_plain and _is_quicker_by_parts(query, dropout):
        return _by_parts(query, key, value, attention_mask, dropout, scaling), None
    found, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
    )
    return found, None


def register_attention() -> None:
    """Make `attention` known to transformers, in this process."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def use_quick_attention(hf: Any) -> None:
    """Let a `PreTrainedModel` that attends with torch's fused attention use `attention`."""
    register_attention()
    if hf.config._attn_implementation == "sdpa":
        hf.set_attn_implementation(ATTENTION)


def _is_quicker_by_parts(query: Tensor, dropout: float) -> bool:
    if query.device.type != "cpu":
        return False
    return dropout > 0 or (query.dtype == torch.bfloat16 and query.shape[2] < _LONG)


def _is_plain(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, others: dict[str, Any]) -> bool:
    """Whether there is nothing to it but products, a mask and a softmax."""
    is_causal = others.get("is_causal")
    if mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        return False  # "sdpa" masks what follows by itself then
    return query.shape == key.shape and all(others.get(name) is None for name in ("position_bias", "softcap"))


def _by_parts(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is not None:
        scores = scores + _as_scores(mask, scores.dtype)
    weights = dropped(torch.softmax(scores, dim=-1), dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


def _as_scores(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores so that masked tokens have no weight."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
