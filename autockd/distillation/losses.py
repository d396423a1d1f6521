"""Losses as pure functions of logits. Every reduction is stated, because conventions differ by 40x between codes.

Logits are float [B, C]; targets are class indices, int64 [B], or, for regression, float [B] with C = 1. Smoothing
and margins are numbers or 0-dim tensors. The teacher's logits never receive a gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autockd.config.methods import Reduction

Coefficient = float | Tensor
"""A number of the plan: a Python float on a CPU, a 0-dim tensor where the plan lives on the device."""

HARD = "H is the cross-entropy with the labels, or of scores the squared error"
"""What the hard loss is, for the record."""


def hard_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Task loss against labels, mean over samples: cross-entropy, or squared error for float targets."""
    if targets.is_floating_point():
        return F.mse_loss(logits.squeeze(1), targets)
    return F.cross_entropy(logits, targets)


def softened_kl(student: Tensor, teacher: Tensor, temperature: Coefficient) -> Tensor:
    """tau^2 * KL(softmax(z_T / tau) || softmax(z_S / tau)), summed over classes, mean over samples (Hinton, 2015)."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.detach() / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2


def standardised(logits: Tensor) -> Tensor:
    """Each sample's logits at mean 0 and deviation 1, [B, C]: (z - mean) / (std + 1e-7) (Sun et al., CVPR 2024)."""
    deviation = logits.std(dim=1, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + 1e-7)


def decoupled_kl(student: Tensor, teacher: Tensor, targets: Tensor, temperature: Coefficient) -> tuple[Tensor, Tensor]:
    """The two parts of tau^2 * KL that Zhao et al. (CVPR 2022, equation 7) weigh apart.

    Returns:
        TCKD, of the right class against all others together; NCKD, of the others among themselves. Both mean over
        samples, with tau^2, 0-dim.
    """
    pair_student = _right_and_rest(F.log_softmax(student / temperature, dim=1), targets)
    pair_teacher = _right_and_rest(F.log_softmax(teacher.detach() / temperature, dim=1), targets)
    target = F.kl_div(pair_student, pair_teacher, reduction="batchmean", log_target=True)
    wrong = _wrong_classes(targets, student.shape[1])
    others = softened_kl(student.gather(1, wrong), teacher.gather(1, wrong), temperature)
    return target * temperature**2, others


def _wrong_classes(targets: Tensor, classes: int) -> Tensor:
    """The classes but for the right one, in order: int64 [B, C - 1]. No mask, whose size a GPU would have to tell."""
    places = torch.arange(classes - 1, device=targets.device)
    return places + (places >= targets[:, None])


def _right_and_rest(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of the right class, and of all others together: [B, 2]."""
    right = targets[:, None]
    rest = log_probabilities.scatter(1, right, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([log_probabilities.gather(1, right), rest], dim=1)


def uncorrelated(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """1 - Pearson's correlation along one dimension, mean over the other: 0-dim (Huang et al., NeurIPS 2022)."""
    mine, theirs = (values - values.mean(dim=dim, keepdim=True) for values in (student, teacher.detach()))
    return 1 - F.cosine_similarity(mine, theirs, dim=dim, eps=1e-8).mean()


def squared_distance(student: Tensor, teacher: Tensor, smoothing: Coefficient, reduction: Reduction) -> Tensor:
    """d(x) = |z_S - phi * z_T|^2 of each sample, as mean or sum over the classes: [B] (equation 4)."""
    squares = (student - smoothing * teacher.detach()).square()
    return squares.mean(dim=1) if reduction == "mean" else squares.sum(dim=1)


def hinge(distance: Tensor, margin: Coefficient) -> tuple[Tensor, Tensor]:
    """max(0, d - margin), and the share of samples where it is active.

    Args:
        distance: [B], or 0-dim for a hinge on the batch mean.
        margin: what distances below count as zero; loss and gradient are exactly zero there.

    Returns:
        The mean hinged distance and the active share in 0..1, both 0-dim.
    """
    excess = distance - margin
    return F.relu(excess).mean(), (excess.detach() > 0).to(torch.float32).mean()
