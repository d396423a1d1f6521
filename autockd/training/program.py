"""Training steps that take nothing from the host, so that a GPU can replay one that was captured (a CUDA graph).

A small student's step is some hundred kernels of a few microseconds, and the host needs longer to launch each than the
GPU to run it. Here all that changes from one step to the next lies on the device: the epoch's order, the teacher's
answers, the plan; and counters there say which part of them is next. So a step is the same sequence of kernels every
time, which is captured once and then launched as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from autockd.data.feeds import Feed
from autockd.data.order import EpochOrder
from autockd.distillation import Plan, Row
from autockd.errors import TrialFailed, reason_of
from autockd.training.batches import Batch
from autockd.training.memory import is_out_of_memory

WARM_UP = 3
"""Steps before one is captured: what is made once, such as the optimizer's state, is made in these."""

Train = Callable[[Batch, Tensor | None, Row], Tensor]
"""A step but for its learning rate: from a batch, the teacher's logits of its samples, and the coefficients. Returns
what is to be added up over an epoch, float32."""


class Optimizer(Protocol):
    """Whatever changes the weights in a step."""

    @property
    def param_groups(self) -> Sequence[dict[str, Any]]:
        """Those whose learning rate it is to be told; an optimizer that reads its rates by itself has none."""
        ...


class StepProgram:
    """The steps of one run. On a CPU they are computed one by one, with the same result.

    Batches are of one shape, except the last of an epoch, which is never captured.
    """

    def __init__(
        self,
        feed: Feed,
        targets: Tensor,
        plan: Plan,
        batch_size: int,
        *,
        returns: tuple[int, ...] = (4,),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Put the plan on the device.

        Args:
            feed: the training samples, whose inputs are of one shape.
            targets: int64 or float32 [N], on the device.
            plan: of the run.
            batch_size: samples of a batch; the last of an epoch may have fewer.
            returns: shape of what a step returns.
            dtype: of the plan's coefficients.
        """
        self._feed, self._targets, self._plan, self._batch_size = feed, targets, plan, batch_size
        self._device = targets.device
        self._table = plan.table.to(self._device, dtype)
        self._step = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._place = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._indices, self._views = (torch.zeros(len(feed), dtype=torch.int64, device=self._device) for _ in range(2))
        self._teacher: Tensor | None = None
        self.totals = torch.zeros(returns, device=self._device)
        """What the steps of the epoch so far returned, added up."""
        self._rate = torch.zeros((), device=self._device)
        self._stream = capture_stream(self._device) if self._device.type == "cuda" else None
        self._optimizer: Optimizer | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = 0

    @contextmanager
    def epoch(self, order: EpochOrder, teacher: Tensor | None, step: int) -> Iterator[None]:
        """Within this the steps of one epoch are done, in order.

        Args:
            order: of the samples.
            teacher: the teacher's logits in that order, float32 [N, outputs]; None for a method without a teacher.
            step: number of the first step.
        """
        with self._own_stream():
            self._indices.copy_(order.indices)
            self._views.copy_(order.views)
            if teacher is not None:
                if self._teacher is None:
                    self._teacher = torch.empty_like(teacher, device=self._device)
                self._teacher.copy_(teacher)
            self._step.fill_(step)
            self._place.zero_()
            self.totals.zero_()
            yield

    def step(self, train: Train, optimizer: Optimizer, size: int) -> None:
        """The next step.

        Args:
            train: the same every time.
            optimizer: that it uses. It is told where the learning rate is; what was captured with another is forgotten.
            size: samples of the batch.
        """
        self._bind(optimizer)
        is_whole = size == self._batch_size
        if self._graph is None and self._stream is not None and is_whole and self._warm >= WARM_UP:
            self._graph = capture_step(lambda: self._compute(train, size), optimizer, self._stream)
        if self._graph is not None and is_whole:
            self._graph.replay()
            return
        self._compute(train, size)
        self._warm += 1

    def _compute(self, train: Train, size: int) -> None:
        places = self._place + torch.arange(size, device=self._device)
        rows, views = self._indices[places], self._views[places]
        coefficients = self._table.index_select(0, self._step)[0].unbind()
        row = dict(zip(self._plan.columns, coefficients, strict=True))
        if "learning_rate" in row:
            self._rate.copy_(row["learning_rate"])
        teacher = None if self._teacher is None else self._teacher[places]
        batch = Batch(self._feed.read(rows, views), self._targets[rows], slice(0, size))
        self.totals += train(batch, teacher, row)
        self._place += size
        self._step += 1

    def _bind(self, optimizer: Optimizer) -> None:
        """Have the optimizer read the learning rate on the device; a new one, or a state that it loaded, does not."""
        groups = optimizer.param_groups
        if optimizer is self._optimizer and all(group["lr"] is self._rate for group in groups):
            return
        for group in groups:
            group["lr"] = self._rate
        self._optimizer, self._graph, self._warm = optimizer, None, 0

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Whatever is captured must be warmed up and captured on a stream of its own."""
        if self._stream is None:
            yield
            return
        outside = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)


def capture_step(step: Callable[[], None], optimizer: Optimizer, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """A training step, to be replayed; capturing does not do it.

    Args:
        step: what to capture; it has been done `WARM_UP` times on that stream.
        optimizer: that it uses. AdamW has to be told that it is captured, and complains where it is told so otherwise.
        stream: a stream of its own.

    Raises:
        TrialFailed: something in it cannot be captured.
        OutOfMemoryError: there is not memory enough.
        AcceleratorError: the GPU fails, in this step or in one before that nobody has waited for.
    """
    torch.cuda.synchronize(stream.device)  # out here: what steps before have done to the GPU is not this one's fault
    graph, groups = torch.cuda.CUDAGraph(), [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            step()
    except RuntimeError as error:
        for found in (error, error.__context__):  # after it, the capture may fail to end
            if found is not None and is_out_of_memory(found):
                raise found from None
        if isinstance(error, torch.AcceleratorError) and "captur" not in str(error):  # all that CUDA says of captures
            raise
        raise TrialFailed(
            f"a step of this model cannot be captured as a CUDA graph ({reason_of(error)})",
            "set resources.cuda_graphs: false",
        ) from error
    finally:
        found = None  # this frame, and with it the whole step, would be held by what it holds
        for group in groups:
            group["capturable"] = False
    return graph


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of this process's captured steps: what libraries set aside for a stream, they keep for good."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
