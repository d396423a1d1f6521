"""The training loop, of students and of teachers: one epoch after the other, each yielding its record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from autockd.config.trial import TrialConfig
from autockd.data.image_feed import ImageFeed
from autockd.data.metrics import METRICS
from autockd.data.order import EpochOrder
from autockd.data.task import Task
from autockd.distillation import LossParts, Row, compile_plan, make_method
from autockd.errors import StudyError, TrialFailed
from autockd.facts import sign_of
from autockd.limits import Work
from autockd.models import count_parameters
from autockd.models.folding import folded, refold
from autockd.records import EpochRecord, PrecisionChoice
from autockd.training.bank import TeacherBank
from autockd.training.batches import Batch, Batches
from autockd.training.evaluation import predict
from autockd.training.networks import based_on, build_network, make_feed, trim_network
from autockd.training.optimizer import clip_gradients, make_optimizer, set_learning_rate
from autockd.training.precision import autocast, memory_format, without_tf32_if_fp32
from autockd.training.program import StepProgram
from autockd.training.threads import CoreWatch
from autockd.training.tracing import StepTracer
from autockd.training.work import epoch_work

State = dict[str, Tensor]

_WORTH_FOLDING = 3 * 2**20
"""Values of all images that a run evaluates, from which on it saves more time than it takes, some 15 ms."""

_WORK: dict[tuple[str, str], Work | None] = {}
"""Of an epoch of a student, by its configuration and the task: counted once a process, not once a trial."""


@dataclass
class Progress:
    """How far a run has come; all of it goes into the checkpoint."""

    epoch: int = 0
    best_metric: float = math.nan
    best_epoch: int = 0
    decay: float = 1.0
    """What AdamW's weight decay has left of a weight without gradients."""
    best_decay: float = 1.0


class Trainer:
    """Trains one student on a task, from a teacher's bank.

    The sequence of batches, views and coefficients is fixed before the first step, by the task's seed and the trial's
    plan; `fit` may be stopped after any epoch and goes on from `state_dict` bit for bit (on a CPU; on several threads
    unless other work has their cores, see `CoreWatch`).
    """

    def __init__(
        self,
        trial: TrialConfig,
        task: Task,
        precision: PrecisionChoice,
        *,
        bank: TeacherBank | None = None,
        second_moment: float | None = None,
        micro_batches: int = 1,
        base: Path | None = None,
        tracer: StepTracer | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        """Build the student and make the plan.

        Args:
            trial: what to train and how.
            task: training and validation samples.
            precision: arithmetic, threads and device.
            bank: the teacher's logits; needed by methods that use a teacher.
            second_moment: E[z_T^2] of the teacher; None for a trial without a margin.
            micro_batches: parts that a batch is computed in, one after the other, with gradients added up: the same
                step in less memory, apart from batch normalisation, whose statistics are then those of a part.
            base: the teacher's folder, for a student that is cut from the teacher.
            tracer: is told of every step.
            cuda_graphs: whether steps on images take nothing from the host, so that a GPU can replay a captured one.

        Raises:
            ModelError: the student cannot be built.
            TrialFailed: the plan does not fit the run.
        """
        self.trial, self.task, self.precision = trial, task, precision
        self._tracer = tracer
        self.method = make_method(trial.method)
        assert micro_batches == 1 or self.method.is_mean_over_samples, "a loss of the whole batch has no parts"
        self._micro_batches = micro_batches
        self.bank = bank if self.method.teacher_outputs else None
        assert not self.method.teacher_outputs or bank is not None, "this method needs a teacher"
        self.plan = compile_plan(trial, len(task.train), second_moment)
        self.device = torch.device(precision.device)
        self.cores = CoreWatch(precision.threads, precision.alone) if self.device.type == "cpu" else None
        torch.manual_seed(trial.seed)
        student = based_on(trial.student, base)
        self._kind = student.model_dump_json(), task.fingerprint
        network = build_network(student, task, seed=trial.seed)
        self.parameters = count_parameters(network)
        self._vocabulary = trim_network(network, student, trial.training, task)
        self.model = network.to(self.device).to(memory_format=memory_format(precision))
        self.optimizer = make_optimizer(self.model, trial.training)
        self.progress = Progress()
        self._best: State = _copy(self.model.state_dict())
        feed = partial(make_feed, student, task, channels_last=precision.channels_last, vocabulary=self._vocabulary)
        self._feed = feed(task.train, self.device, augmented=True)
        targets, batch_size = task.train.targets.to(self.device), trial.training.batch_size
        self._batches = Batches(self._feed, targets, batch_size)
        is_captured = cuda_graphs and micro_batches == 1 and isinstance(self._feed, ImageFeed)  # all of one shape
        self._program = StepProgram(self._feed, targets, self.plan, batch_size) if is_captured else None
        self._validation = feed(task.validation, self.device)
        self._answering = self._quick()

    @property
    def best_weights(self) -> State:
        """The whole student after its best epoch."""
        return self._whole(self._best, self.progress.best_decay)

    @property
    def last_weights(self) -> State:
        """The whole student as it is now."""
        return self._whole(self.model.state_dict(), self.progress.decay)

    def fit(self) -> Iterator[EpochRecord]:
        """Train the epochs that are left; yields after each.

        Raises:
            TrialFailed: the loss is not finite, or what the student answers.
        """
        while self.progress.epoch < self.trial.training.epochs:
            began = time.perf_counter()
            with without_tf32_if_fp32(self.precision.precision, self.device):
                totals = self._train_epoch(self.progress.epoch + 1)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # once an epoch, or its time would count as the evaluation's
            trained = time.perf_counter()
            self._require_finite(float(totals[0]))
            metric = self._evaluate()
            self.progress.epoch += 1
            self._keep_best(metric)
            yield self._record(metric, totals, trained - began, time.perf_counter() - trained)

    def work(self) -> Work | None:
        """What the whole run takes at the least; None where that cannot be counted."""
        if self._kind not in _WORK:
            _WORK[self._kind] = epoch_work(self.model, self._feed, training=True)
        epoch = _WORK[self._kind]
        return epoch.times(self.trial.training.epochs) if epoch else None

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, as tensors and plain data."""
        return {
            "trial": self.trial.fingerprint,
            "task": self.task.fingerprint,
            "model": self.model.state_dict(),
            "best": self._best,
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress).copy(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same trial.

        Raises:
            StudyError: the state belongs to another trial or another task.
        """
        for name, own in (("trial", self.trial.fingerprint), ("task", self.task.fingerprint)):
            if state[name] != own:
                raise StudyError(f"the checkpoint belongs to another {name}; delete it to start this run again")
        self.model.load_state_dict(state["model"])
        self._best = {name: tensor.to(self.device) for name, tensor in state["best"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["rng"])
        if state.get("cuda_rng") is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def _train_epoch(self, epoch: int) -> Tensor:
        """One pass over the training samples; returns the sums of total, hard, soft loss and active share."""
        order = self._feed.arrange(EpochOrder.of(self.task, epoch), self.trial.training.batch_size)
        teacher = self.bank.logits(order.indices, order.views).to(self.device) if self.bank else None
        step = (epoch - 1) * self.plan.run.steps_per_epoch
        self.model.train()
        if self.cores is not None:
            self.cores.begin()
        if self._program is not None:
            return self._replay(self._program, order, teacher, step)
        totals = torch.zeros(4, device=self.device)
        for batch in self._batches.epoch(order):
            row = self._begin_step(step)
            set_learning_rate(self.optimizer, row["learning_rate"])
            totals += self._train_batch(batch, teacher, row)
            self._end_step(row)
            step += 1
        return totals

    def _replay(self, program: StepProgram, order: EpochOrder, teacher: Tensor | None, step: int) -> Tensor:
        """The same as a program on the device, which reads the plan's rows by itself."""
        samples, batch_size = len(order.indices), self.trial.training.batch_size
        with program.epoch(order, teacher, step):
            for start in range(0, samples, batch_size):
                row = self._begin_step(step)
                program.step(self._train_batch, self.optimizer, min(batch_size, samples - start))
                self._end_step(row)
                step += 1
        return program.totals

    def _begin_step(self, step: int) -> dict[str, float]:
        if step in self.plan.restarts:
            self._restart(step)
        return self.plan.row(step)

    def _end_step(self, row: dict[str, float]) -> None:
        self.progress.decay *= 1 - row["learning_rate"] * self.trial.training.weight_decay
        if self._tracer is not None:
            self._tracer.step()
        if self.cores is not None:
            self.cores.step()

    def _train_batch(self, batch: Batch, teacher: Tensor | None, row: Row) -> Tensor:
        """Change the weights once; returns the sums of total, hard, soft loss and active share over the samples."""
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(4, device=self.device)
        for part in batch.split(self._micro_batches):
            losses = self._losses(part, teacher, row)
            share = len(part.targets) / len(batch.targets)
            (losses.total * share if share < 1 else losses.total).backward()  # type: ignore[no-untyped-call]
            totals += losses.stacked() * len(part.targets)
        if self.trial.training.max_grad_norm is not None:
            clip_gradients(self.model.parameters(), self.trial.training.max_grad_norm)
        self.optimizer.step()
        return totals

    def _losses(self, batch: Batch, teacher: Tensor | None, row: Row) -> LossParts:
        with autocast(self.precision.precision, self.device):
            logits = self.model(batch.inputs)
        answers = {"logits": teacher[batch.rows]} if teacher is not None else {}
        return self.method.loss({"logits": logits.float()}, answers, batch.targets, row)

    def _quick(self) -> nn.Module:
        """The student as it is asked about the validation split: on a CPU folded, where that split is worth it."""
        images = self.task.validation.inputs
        if self.device.type != "cpu" or not isinstance(images, Tensor):
            return self.model
        is_worth_it = images.numel() * self.trial.training.epochs > _WORTH_FOLDING
        return folded(self.model, self.precision.precision) if is_worth_it else self.model

    def _evaluate(self) -> float:
        """The student's metric on the validation split, in the arithmetic that it trains in.

        Raises:
            TrialFailed: an answer is not finite. The loss tells so of all steps but the last.
        """
        refold(self._answering)
        answers = predict(self._answering, self._validation, precision=self.precision.precision)
        if not bool(answers.isfinite().all()):
            self._fail("an answer of the student is no finite number")
        return METRICS[self.task.metric].compute(answers, self.task.validation.targets)

    def _restart(self, step: int) -> None:
        """A new stage begins at a step: the best weights of the stages before it, a fresh optimizer.

        Where a stage ends within an epoch, its last weights are a candidate that has not been validated yet.
        """
        is_within_epoch = step % self.plan.run.steps_per_epoch != 0
        if not (is_within_epoch and self._is_better(self._evaluate())):
            self.model.load_state_dict(self._best)
            self.progress.decay = self.progress.best_decay
        self.optimizer = make_optimizer(self.model, self.trial.training)

    def _is_better(self, metric: float) -> bool:
        """Than all epochs so far."""
        sign = sign_of(self.task.direction)
        return self.progress.best_epoch == 0 or sign * metric > sign * self.progress.best_metric

    def _keep_best(self, metric: float) -> None:
        if self._is_better(metric):
            self.progress.best_metric, self.progress.best_epoch = metric, self.progress.epoch
            self.progress.best_decay = self.progress.decay
            self._best = _copy(self.model.state_dict())

    def _whole(self, state: State, decay: float) -> State:
        return self._vocabulary.restored(state, decay=decay) if self._vocabulary else state

    def _require_finite(self, loss: float) -> None:
        """Or weights that are no numbers could be the best so far: they have a correlation of 0."""
        if not math.isfinite(loss):
            self._fail(f"the loss became {loss}")

    def _fail(self, what: str) -> NoReturn:
        raise TrialFailed(f"{what} in epoch {self.progress.epoch + 1}", "a lower learning_rate may help")

    def _record(self, metric: float, totals: Tensor, train_seconds: float, evaluate_seconds: float) -> EpochRecord:
        samples, tokens = len(self.task.train), self._feed.tokens
        loss, hard, soft, active = (totals / samples).tolist()
        epoch = self.progress.epoch
        step = epoch * self.plan.run.steps_per_epoch
        return EpochRecord(
            epoch=epoch,
            step=step,
            metric=metric,
            best_metric=self.progress.best_metric,
            best_epoch=self.progress.best_epoch,
            loss=loss,
            hard_loss=hard,
            soft_loss=soft if math.isfinite(soft) else None,
            active_fraction=active if math.isfinite(active) else None,
            coefficients=self.plan.row(step - 1),
            train_seconds=train_seconds,
            evaluate_seconds=evaluate_seconds,
            samples_per_second=samples / train_seconds,
            tokens_per_second=None if tokens is None else tokens / train_seconds,
        )


def _copy(state: State) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
