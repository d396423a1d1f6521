"""Metrics of a network on a split, in fp32 and in batches of a fixed size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autockd.data.batches import Normalisation
from autockd.data.metrics import accuracy
from autockd.data.task import Split

BATCH = 512
"""Images a forward pass; large enough to be fast, small enough for any device."""


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, normalise: Normalisation) -> Tensor:
    """Logits of images in eval mode.

    Args:
        model: returns logits [B, K]; its training flag is restored.
        images: uint8 [N, C, H, W].
        normalise: of the task, on the model's device.

    Returns:
        float32 [N, K] on the model's device.
    """
    device = normalise.scale.device
    was_training = model.training
    model.eval()
    chunks = [model(normalise(chunk.to(device))).float() for chunk in torch.split(images, BATCH)]
    model.train(was_training)
    return torch.cat(chunks)


def evaluate(model: nn.Module, split: Split, normalise: Normalisation) -> float:
    """Accuracy of a model on a split."""
    return accuracy(predict(model, split.inputs, normalise), split.targets)
