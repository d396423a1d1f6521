"""Dropout that a CPU is quick with.

torch draws a number for each element on a CPU and takes six times as long as here, where a word of the generator makes
four elements' coins and the mask is made of their bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SIDES = 2**16
"""Of the coin that is thrown for an element: probabilities are multiples of its inverse."""

_ONE = 0x3F80
"""1 as bfloat16, by its bits."""


class Dropout(nn.Dropout):
    """As `nn.Dropout`, with masks of `dropped` on a CPU."""

    def forward(self, inputs: Tensor) -> Tensor:
        """As `nn.Dropout.forward`."""
        is_quick = self.training and inputs.device.type == "cpu" and not self.inplace
        return dropped(inputs, self.p) if is_quick else super().forward(inputs)


def dropped(inputs: Tensor, probability: float) -> Tensor:
    """Elements set to 0 with a probability, all others divided by what is left of 1 (Srivastava et al., 2014).

    Args:
        inputs: floating point, of any shape, on the CPU.
        probability: in [0, 1]; rounded to a multiple of 2**-16.

    Returns:
        A tensor of the same shape and type; its mask comes from torch's default generator.
    """
    cut = round(probability * _SIDES)
    if cut in (0, _SIDES):
        return inputs if cut == 0 else inputs * 0.0
    count = inputs.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    coins = words.view(torch.int16)[:count]
    # 0 or 1, and then 0.0 or 1.0, without leaving 16 bits: comparisons that return bool are five times as slow.
    kept = coins.ge_(cut - _SIDES // 2).mul_(_ONE).view(torch.bfloat16)
    mask = kept.to(inputs.dtype).mul_(_SIDES / (_SIDES - cut))
    return inputs * mask.view(inputs.shape)


def use_quick_dropout(network: nn.Module) -> None:
    """Exchange, in place, every `nn.Dropout` of a network for one that is quick on a CPU."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))
