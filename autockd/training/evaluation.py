"""Metrics of a network on a split, in fp32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autockd.data.feeds import Feed
from autockd.data.metrics import METRICS


@torch.inference_mode()
def predict(model: nn.Module, feed: Feed) -> Tensor:
    """What a network gives for every sample of a feed, in eval mode.

    Args:
        model: returns [B, outputs]; its training flag is restored.
        feed: of the split, on the model's device.

    Returns:
        float32 [N, outputs] on the model's device, in the order of the split.
    """
    was_training = model.training
    model.eval()
    rows, answers = [], []
    for chunk, inputs in feed.evaluation():
        rows.append(chunk)
        answers.append(model(inputs).float())
    model.train(was_training)
    return torch.cat(answers)[torch.cat(rows).argsort().to(answers[0].device)]


def evaluate(model: nn.Module, feed: Feed, targets: Tensor, metric: str) -> float:
    """A network's metric, by its name, on a split."""
    return METRICS[metric].compute(predict(model, feed), targets)
