"""What a network answers, and its metric on a split."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from autockd.data.feeds import Feed, NetworkInput, in_order
from autockd.data.metrics import METRICS
from autockd.records import Precision
from autockd.training.precision import autocast, without_tf32
from autockd.training.threads import for_each


def forward(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, NetworkInput]],
    *,
    device: torch.device,
    precision: Precision = "fp32",
    threads: int = 1,
) -> Tensor:
    """What a network in eval mode gives for batches of samples. A GPU is given all of them before it is waited for.

    Args:
        model: returns [B, outputs].
        batches: one at least; rows, int64 [B] on the CPU, that are 0..N-1 together, and inputs of at least as many
            samples, those first.
        device: the model's and the inputs'.
        precision: arithmetic of the forward pass.
        threads: batches computed side by side, on a CPU.

    Returns:
        float32 [N, outputs] on the device, in the order of the rows.
    """
    answers: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def answer(batch: tuple[Tensor, NetworkInput]) -> None:
        rows, inputs = batch
        with autocast(precision, device):
            logits = model(inputs)
        answers.append((rows, logits[: len(rows)].float()))

    with without_tf32(device):
        for_each(answer, batches, threads if device.type == "cpu" else 1)
    return in_order(answers)


def predict(model: nn.Module, feed: Feed, *, precision: Precision = "fp32", threads: int = 1) -> Tensor:
    """What a network gives for every sample of a feed, in eval mode.

    Args:
        model: returns [B, outputs]; its training flag is restored.
        feed: of the split, on the model's device.
        precision: arithmetic of the forward pass.
        threads: batches computed side by side, on a CPU.

    Returns:
        float32 [N, outputs] on the model's device, in the order of the split.
    """
    was_training, device = model.training, next(chain(model.parameters(), model.buffers())).device
    model.eval()
    answers = forward(model, feed.evaluation(), device=device, precision=precision, threads=threads)
    model.train(was_training)
    return answers


def evaluate(
    model: nn.Module, feed: Feed, targets: Tensor, metric: str, *, precision: Precision = "fp32", threads: int = 1
) -> float:
    """A network's metric, by its name, on a split; the rest as of `predict`."""
    return METRICS[metric].compute(predict(model, feed, precision=precision, threads=threads), targets)
