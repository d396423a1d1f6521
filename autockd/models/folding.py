"""Networks that only answer, with batch normalisation as a part of their convolutions.

In eval mode it is one factor and one shift for each channel, which the convolution before it may have as well: the same
answers up to rounding, without a pass over the memory of its own.
"""

from __future__ import annotations

import warnings

import torch
from torch import fx, nn


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network, for eval mode alone, whose convolutions do what the normalisations behind them did.

    Where torch cannot follow what a network computes (it may depend on its input), or nothing can be folded, it is the
    network itself.
    """
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which torch 2.11 compiles there
        from torch.fx.experimental.optimization import fuse

    try:
        with torch.no_grad():
            found = fuse(network.eval())
    except Exception:  # whatever a network of somebody else does that cannot be traced
        return network
    assert isinstance(found, fx.GraphModule), "that is what tracing makes"
    return network if _has_shared_parts(found) else found


def _has_shared_parts(network: fx.GraphModule) -> bool:
    """Whether a module stands in several places: a convolution that does may not do each of them alike any more."""
    called = [node.target for node in network.graph.nodes if node.op == "call_module"]
    shared = {target for target in called if called.count(target) > 1}
    return any(list(network.get_submodule(target).parameters()) for target in shared)
