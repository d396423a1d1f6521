"""Networks that only answer, with batch normalisation as a part of their convolutions.

In eval mode it is one factor and one shift for each channel, which the convolution before it may have as well: the same
answers up to rounding, without a pass over the memory of its own.
"""

from __future__ import annotations

import torch
from torch import nn


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network, for eval mode alone, whose convolutions do what the normalisations behind them did.

    Where torch cannot follow what a network computes (it may depend on its input), or nothing can be folded, it is the
    network itself.
    """
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    from torch.fx.experimental.optimization import fuse

    try:
        with torch.no_grad():
            return fuse(network.eval())
    except Exception:  # whatever a network of somebody else does that cannot be traced
        return network
