"""Train a study's student without distillation, by autockd and by transformers' Trainer, and compare metric and speed.

.venv/bin/python scripts/compare_with_trainer.py search_spaces/minilm3_from_minilm6_rte.yaml task.path=FOLDER --seeds 1

All arms get the same student with the same fresh head, the same samples in the same order, the same batch size,
optimizer and learning rates, and are evaluated after every epoch by the same code. They differ in how batches are put
together and padded, and in the random numbers of dropout, so metrics agree within noise. With --same-batches the
Trainer is given our batches; student.model.dropout=0 leaves nothing but the padding, and metrics agree to the rounding.
Arms take turns, seed by seed. Where other work keeps the machine busy, compare tokens a processor second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from autockd.config import StudyConfig, load_study
from autockd.config.methods import NoDistillation
from autockd.config.models import Encoder
from autockd.config.trial import TrialConfig, baseline_config
from autockd.data import Texts, TextTask, load_task
from autockd.data.feeds import Feed
from autockd.data.metrics import METRICS
from autockd.data.order import EpochOrder
from autockd.distillation import compile_plan
from autockd.errors import AutockdError, UsageError
from autockd.models import load_tokenizer
from autockd.records import Precision, PrecisionChoice
from autockd.training.evaluation import evaluate
from autockd.training.networks import build_network, make_feed, student_model
from autockd.training.trainer import Trainer

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Outcome:
    """One run: the last epoch's validation metric, and real tokens a second of training.

    The processor's seconds are those of all threads, and of the evaluations too. Weights are the last ones.
    """

    metric: float
    tokens_per_second: float
    tokens_per_processor_second: float
    weights: dict[str, Tensor] = field(repr=False)


def by_autockd(trial: TrialConfig, task: TextTask, threads: int, precision: Precision) -> Outcome:
    """Our trainer."""
    choice = PrecisionChoice(precision=precision, channels_last=False, threads=threads, device="cpu", reason="compared")
    trainer = Trainer(trial, task, choice)
    began = time.process_time()
    records = list(trainer.fit())
    processor = time.process_time() - began
    seconds = sum(record.train_seconds for record in records)
    tokens = sum((record.tokens_per_second or 0.0) * record.train_seconds for record in records)
    return Outcome(records[-1].metric, tokens / seconds, tokens / processor, trainer.last_weights)


def by_transformers(
    trial: TrialConfig, task: TextTask, threads: int, precision: Precision, *, same_batches: bool
) -> Outcome:
    """Transformers' Trainer with its padding collator."""
    torch.set_num_threads(threads)
    assert isinstance(trial.student, Encoder), "a text task has encoders"
    student = build_network(trial.student, task, seed=trial.seed)
    train = _Tokenized(trial.student, task)
    feed = make_feed(trial.student, task, task.validation, CPU)
    ours = make_feed(trial.student, task, task.train, CPU) if same_batches else None
    order = _Order(task, ours, trial.training.batch_size)
    metrics, evaluating = [], 0.0

    def after_epoch() -> None:
        nonlocal evaluating
        began = time.perf_counter()
        metrics.append(evaluate(student, feed, task.validation.targets, task.metric, precision=precision))
        evaluating += time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(student.hf, train, order, trial, folder, precision, after_epoch)
        began, processor = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
    tokens = trial.training.epochs * train.tokens
    return Outcome(metrics[-1], tokens / (seconds - evaluating), tokens / processor, student.state_dict())


class _Tokenized(Dataset[dict[str, Any]]):
    def __init__(self, student: Encoder, task: TextTask) -> None:
        assert isinstance(task.train.inputs, Texts), "a text task has texts"
        tokenizer = load_tokenizer(student)
        columns = [list(column) for column in task.train.inputs.columns]
        self._encoded = tokenizer(*columns, truncation=True, max_length=task.max_length)
        self._targets = task.train.targets.tolist()
        self.tokens = sum(map(len, self._encoded["input_ids"]))
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: values[row] for name, values in self._encoded.items()} | {"labels": self._targets[row]}


class _Order(Sampler[int]):
    """Our order of samples, epoch after epoch; with a feed, that of our batches."""

    def __init__(self, task: TextTask, feed: Feed | None, batch_size: int) -> None:
        self._task = task
        self._feed = feed
        self._batch_size = batch_size
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._task.train)

    def __iter__(self) -> Iterator[int]:
        self._epoch += 1
        order = EpochOrder.of(self._task, self._epoch)
        if self._feed is not None:
            order = self._feed.arrange(order, self._batch_size)
        return iter(order.indices.tolist())


def _trainer(
    model: torch.nn.Module,
    train: _Tokenized,
    order: _Order,
    trial: TrialConfig,
    folder: str,
    precision: Precision,
    after_epoch: Callable[[], None],
) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    recipe, rates = trial.training, compile_plan(trial, len(train), 0.0).column("learning_rate")

    class Ordered(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Sampler[int]:
            return order

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            """Ours, for transformers' own begins its warm-up with a step that learns nothing."""
            peak = recipe.learning_rate
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: float(rates[min(step, len(rates) - 1)]) / peak
            )
            return self.lr_scheduler

    class Evaluate(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            after_epoch()

    arguments = transformers.TrainingArguments(
        output_dir=folder,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm or 0.0,
        optim="adamw_torch_fused",
        seed=trial.seed,
        use_cpu=True,
        bf16=precision == "bf16",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    collator = transformers.DataCollatorWithPadding(train.tokenizer)
    return Ordered(model=model, args=arguments, train_dataset=train, data_collator=collator, callbacks=[Evaluate()])


def trial_of(study: StudyConfig, seed: int) -> TrialConfig:
    """The study's student without distillation."""
    recipe = study.training
    if recipe.optimizer != "adamw":
        raise UsageError(f"training.optimizer: this comparison needs adamw, not {recipe.optimizer}")
    own = baseline_config(study, NoDistillation())
    return own.model_copy(update={"seed": seed, "student": student_model(study)})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the study file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change, by dotted name")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (default: 1)")
    parser.add_argument(
        "--precision", nargs="+", choices=get_args(Precision), default=["fp32"], help="of both arms (default: fp32)"
    )
    parser.add_argument("--same-batches", action="store_true", help="the Trainer gets our batches, not only our order")
    options = parser.parse_args(arguments)
    precisions: list[Precision] = options.precision
    pairs = {precision: (f"autockd, {precision}", f"Trainer, {precision}") for precision in precisions}
    runs = (by_autockd, partial(by_transformers, same_batches=options.same_batches))
    arms = {
        name: partial(run, threads=options.threads, precision=precision)
        for precision, names in pairs.items()
        for name, run in zip(names, runs, strict=True)
    }
    found: dict[str, list[Outcome]] = {name: [] for name in arms}
    try:
        study = load_study(options.file, options.overrides)
        task, _ = load_task(study.task)
        if not isinstance(task, TextTask):
            raise UsageError(f"{options.file}: its task is no text task")
        for seed in range(options.seeds):
            for name in list(arms)[:: 1 if seed % 2 == 0 else -1]:
                found[name].append(replace(arms[name](trial_of(study, seed), task), weights={}))
                print(f"seed {seed}, {name}: {found[name][-1]}", file=sys.stderr)
    except AutockdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"| {task.name}, {task.metric} | mean | deviation | tokens/s | tokens/processor second |")
    print("| --- | --- | --- | --- | --- |")
    assert task.metric in METRICS
    for name, outcomes in found.items():
        metrics = [outcome.metric for outcome in outcomes]
        spread = statistics.stdev(metrics) if len(metrics) > 1 else 0.0
        wall = statistics.median(outcome.tokens_per_second for outcome in outcomes)
        processor = statistics.median(outcome.tokens_per_processor_second for outcome in outcomes)
        print(f"| {name} | {statistics.mean(metrics):.4f} | {spread:.4f} | {wall:,.0f} | {processor:,.0f} |")
    for precision, (mine, other) in pairs.items():
        both = list(zip(found[mine], found[other], strict=True))
        ratios = sorted(one.tokens_per_processor_second / two.tokens_per_processor_second for one, two in both)
        span = f"{statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"\n{precision}: by the processor's seconds, autockd is {span}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
