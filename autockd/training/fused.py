"""Several students of one shape trained as a single network: a prototype, to measure on a GPU what it gives there.

On a GPU a small student leaves most of the device idle; K of them in one program share every kernel, and the whole step
is captured as a CUDA graph. On a CPU this is slower than one student after the other. No study uses it yet:
`scripts/benchmark_fused.py` compares it with single students.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data.metrics import METRICS
from autockd.data.order import EpochOrder
from autockd.data.task import Task
from autockd.distillation import LossParts, Plan, Row, compile_plan, make_method
from autockd.facts import sign_of
from autockd.models.fused import FusedResNet
from autockd.models.resnet import ResNet6n2
from autockd.records import EpochRecord, PrecisionChoice
from autockd.training.bank import TeacherBank
from autockd.training.batches import Batch
from autockd.training.evaluation import predict
from autockd.training.networks import build_network, make_feed
from autockd.training.precision import autocast, memory_format, without_tf32_if_fp32
from autockd.training.program import StepProgram


class FusedTrainer:
    """Trains K students side by side; each has a plan and hyperparameters of its own, and learns as it would alone.

    All of them see the same batches, as trials of one data seed do anyway.
    """

    def __init__(
        self,
        trials: Sequence[TrialConfig],
        task: Task,
        precision: PrecisionChoice,
        *,
        bank: TeacherBank | None = None,
        second_moment: float | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build the students and make their plans.

        Args:
            trials: of one student's shape, one batch size and one number of epochs, trained by SGD in one stage each.
            task: training and validation samples.
            precision: arithmetic and device.
            bank: the teacher's logits; needed by methods that use a teacher.
            second_moment: E[z_T^2] of the teacher; None for trials without a margin.
            dtype: of weights, inputs and losses.
        """
        first = trials[0]
        assert all(trial.student == first.student for trial in trials), "students are of one shape"
        assert len({(trial.training.epochs, trial.training.batch_size) for trial in trials}) == 1, "and of one length"
        assert all(trial.training.optimizer == "sgd" for trial in trials), "SGD alone has rows of hyperparameters"
        assert all(trial.training.max_grad_norm is None for trial in trials), "gradients are not cut apart"
        self.trials, self.task, self.precision, self.bank = tuple(trials), task, precision, bank
        self.device, self._dtype = torch.device(precision.device), dtype
        self.methods = [make_method(trial.method) for trial in trials]
        self.plans = [compile_plan(trial, len(task.train), second_moment) for trial in trials]
        assert not any(plan.restarts for plan in self.plans), "methods have one stage"
        networks = [cast(ResNet6n2, build_network(trial.student, task, seed=trial.seed)) for trial in trials]
        fused = FusedResNet(networks).to(self.device, dtype)
        self.model: FusedResNet = fused.to(memory_format=memory_format(precision))
        self.optimizer = FusedSGD(self.model, [trial.training for trial in trials])
        self.epoch = 0
        self.best = [(math.nan, 0)] * len(trials)
        self._feed = make_feed(
            first.student, task, task.train, self.device, augmented=True, channels_last=precision.channels_last
        )
        self._program = StepProgram(
            self._feed,
            task.train.targets.to(self.device),
            _side_by_side(self.plans),
            first.training.batch_size,
            returns=(len(trials), 4),
            dtype=dtype,
        )
        self._validation = make_feed(
            first.student, task, task.validation, self.device, channels_last=precision.channels_last
        )

    def fit(self) -> Iterator[tuple[EpochRecord, ...]]:
        """Train all epochs; yields the students' records after each."""
        while self.epoch < self.trials[0].training.epochs:
            began = time.perf_counter()
            with without_tf32_if_fp32(self.precision.precision, self.device):
                totals = self._train_epoch(self.epoch + 1).tolist()
            trained = time.perf_counter()
            metrics = self._evaluate()
            self.epoch += 1
            spent = (trained - began, time.perf_counter() - trained)
            yield tuple(
                self._record(place, metric, sums, spent)
                for place, (metric, sums) in enumerate(zip(metrics, totals, strict=True))
            )

    def _train_epoch(self, epoch: int) -> Tensor:
        """One pass over the training samples; returns the sums of total, hard, soft loss and active share: [K, 4]."""
        samples, batch_size = len(self.task.train), self.trials[0].training.batch_size
        order = self._feed.arrange(EpochOrder.of(self.task, epoch), batch_size)
        teacher = self.bank.logits(order.indices, order.views).to(self.device, self._dtype) if self.bank else None
        self.model.train()
        with self._program.epoch(order, teacher, (epoch - 1) * self.plans[0].run.steps_per_epoch):
            for start in range(0, samples, batch_size):
                self._program.step(self._train_batch, self.optimizer, min(batch_size, samples - start))
        return self._program.totals

    def _train_batch(self, batch: Batch, teacher: Tensor | None, row: Row) -> Tensor:
        """Change the weights once; returns the sums of total, hard, soft loss and active share over the samples."""
        rows = [{name: row[f"{place}.{name}"] for name in plan.columns} for place, plan in enumerate(self.plans)]
        self.optimizer.zero_grad()
        losses = self._losses(batch, teacher, rows)
        torch.stack([parts.total for parts in losses]).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(torch.stack([cast(Tensor, own["learning_rate"]) for own in rows]))
        return torch.stack([parts.stacked() for parts in losses]).float() * len(batch.targets)

    def _losses(self, batch: Batch, teacher: Tensor | None, rows: Sequence[Row]) -> list[LossParts]:
        assert isinstance(batch.inputs, Tensor), "only ResNets are fused"
        with autocast(self.precision.precision, self.device):
            logits = self.model(batch.inputs.to(self._dtype))
        logits = logits.to(self._dtype)
        answers = {"logits": teacher[batch.rows]} if teacher is not None else {}
        return [
            method.loss({"logits": logits[:, place]}, answers, batch.targets, row)
            for place, (method, row) in enumerate(zip(self.methods, rows, strict=True))
        ]

    def _evaluate(self) -> list[float]:
        single = self.model if self._dtype == torch.float32 else _Casting(self.model, self._dtype)
        answers = predict(single, self._validation, precision=self.precision.precision)  # [N, K, outputs]
        compute = METRICS[self.task.metric].compute
        targets = self.task.validation.targets
        return [compute(answers[:, place], targets) for place in range(len(self.trials))]

    def _record(self, place: int, metric: float, totals: Sequence[float], spent: tuple[float, float]) -> EpochRecord:
        samples = len(self.task.train)
        loss, hard, soft, active = (total / samples for total in totals)
        sign = sign_of(self.task.direction)
        best, best_epoch = self.best[place]
        if best_epoch == 0 or sign * metric > sign * best:
            best, best_epoch = self.best[place] = (metric, self.epoch)
        plan = self.plans[place]
        step = self.epoch * plan.run.steps_per_epoch
        return EpochRecord(
            epoch=self.epoch,
            step=step,
            metric=metric,
            best_metric=best,
            best_epoch=best_epoch,
            loss=loss,
            hard_loss=hard,
            soft_loss=soft if math.isfinite(soft) else None,
            active_fraction=active if math.isfinite(active) else None,
            coefficients=plan.row(step - 1),
            train_seconds=spent[0] / len(self.trials),
            evaluate_seconds=spent[1] / len(self.trials),
            samples_per_second=samples * len(self.trials) / spent[0],
        )


class FusedSGD:
    """SGD with momentum as torch has it, with a row of learning rate, momentum and weight decay for each student."""

    param_groups = ()
    """None whose rate is to be told: it is given all rates with each step."""

    def __init__(self, model: FusedResNet, recipes: Sequence[TrainingConfig]) -> None:
        self._parameters = list(model.parameters())
        self._momentum = self._column([recipe.momentum for recipe in recipes])
        self._decay = self._column([recipe.weight_decay for recipe in recipes])
        self._nesterov = recipes[0].nesterov
        assert all(recipe.nesterov == self._nesterov for recipe in recipes), "Nesterov's momentum for all or none"
        self._buffers = [torch.zeros_like(parameter) for parameter in self._parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rates: Tensor) -> None:
        """Change the weights; a learning rate for each student, [K]."""
        rate = rates[:, None]
        for parameter, buffer in zip(self._parameters, self._buffers, strict=True):
            assert parameter.grad is not None, "every layer is used"
            weight, momentum = self._apart(parameter), self._apart(buffer)  # [K, rest]
            gradient = self._apart(parameter.grad) + self._decay * weight
            momentum.mul_(self._momentum).add_(gradient)
            weight -= rate * (gradient + self._momentum * momentum if self._nesterov else momentum)

    def _column(self, values: Sequence[float]) -> Tensor:
        first = self._parameters[0]
        return torch.tensor(values, dtype=first.dtype, device=first.device)[:, None]

    def _apart(self, tensor: Tensor) -> Tensor:
        """A tensor of all students as [K, rest], in the same memory."""
        flat = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 and not tensor.is_contiguous() else tensor
        return flat.view(len(self._momentum), -1)


class _Casting(nn.Module):
    """A network that is given its inputs in its own precision."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.model(images.to(self.dtype)))


def _side_by_side(plans: Sequence[Plan]) -> Plan:
    """One plan with the columns of all, named by the student's place: `0.learning_rate`, `1.learning_rate`."""
    columns = {f"{place}.{name}": plan.column(name) for place, plan in enumerate(plans) for name in plan.columns}
    return Plan.of(plans[0].run, columns)
