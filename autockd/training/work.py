"""The work of training on a split's samples, or of answering for them, counted once for each network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from autockd.data.feeds import Feed
from autockd.limits import Work

_SAMPLES = 8

_BYTES = 2
"""Of a number, at the least: bf16."""

_PASSES, _ANSWER_PASSES = 5, 2
"""Times that a layer's output passes memory in a step: written, read by the next layer and by its own backward pass,
and its gradient written and read. Where a network only answers: written and read."""


def epoch_work(model: nn.Module, feed: Feed, *, training: bool) -> Work | None:
    """What one pass over all samples of a feed takes at the least, forward alone or with gradients.

    A copy of the network is run on a few samples in eval mode, so that nothing of a run changes, not even a random
    number. Texts are reckoned by their real tokens. A layer is what has parameters of its own; what lies between two
    (activations, dropout, pooling), optimizers and losses do not count.

    Returns:
        The work; None for a network that cannot be counted this way.
    """
    try:
        return _epoch_work(model, feed, training=training)
    except Exception:  # whatever a network of somebody else cannot do: a count is no reason to lose a trial
        return None


def _epoch_work(model: nn.Module, feed: Feed, *, training: bool) -> Work:
    rows = torch.arange(min(_SAMPLES, len(feed)))
    inputs = feed.read(rows, torch.zeros_like(rows))
    network = copy.deepcopy(model).eval().requires_grad_(training)
    numbers = 0

    def note(module: nn.Module, _: object, output: object) -> None:
        nonlocal numbers
        if isinstance(output, Tensor) and list(module.parameters(recurse=False)):
            numbers += output.numel()

    handles = [module.register_forward_hook(note) for module in network.modules()]
    with _Counter() as counter, nullcontext() if training else torch.no_grad():
        answers = network(inputs)
        if training:
            answers.float().sum().backward()
    for handle in handles:
        handle.remove()
    passes = _PASSES if training else _ANSWER_PASSES
    counted = Work(flop=float(counter.flop), bytes=float(numbers * _BYTES * passes))
    if isinstance(inputs, Mapping):
        assert feed.tokens is not None, "texts have tokens"
        return counted.times(feed.tokens / inputs["input_ids"].numel())
    return counted.times(len(feed) / len(rows))


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up floating-point operations by torch's formulas, as its `FlopCounterMode`, and without its compiler.

    Attributes:
        flop: so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nobody compiles here; with True torch imports its compiler (see `autockd.training.optimizer`)."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:  # made of others that have one, perhaps
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.flop += formula(*args, **kwargs, out_val=result)
        return result
