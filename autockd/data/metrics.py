"""Metrics of tasks, from logits and labels."""

from __future__ import annotations

from torch import Tensor


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Share of samples whose largest logit is the label's, 0..1.

    Args:
        logits: float [N, K]; a row with a NaN counts as wrong.
        targets: int64 [N], N at least 1.
    """
    correct = (logits.argmax(dim=1) == targets.to(logits.device)) & ~logits.isnan().any(dim=1)
    return int(correct.sum()) / len(targets)
