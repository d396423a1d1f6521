"""A trial must stay as much cheaper than a naive one as it was: a ratio of CPU times, taken in one process.

The whole comparison, cold commands by the wall clock, is `scripts/benchmark_search.py`; this is the part of it that
fits into a minute: what one of 32 trials costs, its share of the teacher's pass included, beside the trial of the naive
arm, both in fp32 on one thread; and what its training takes beside the bare steps. Whoever makes autockd faster sets
the references anew, from what the tests print.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.tasks import Augmentation, Digits
from autockd.config.training import LrSchedule, TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import HeldOut, ImageTask, Task, load_task
from autockd.data.order import EpochOrder
from autockd.models import save_weights
from autockd.records import PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import build_network, make_feed
from autockd.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from search_benchmark.arms.images import train as train_naively
from search_benchmark.preparing import save_data
from search_benchmark.setting import Setting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REFERENCE, TOLERANCE = 5.6, 0.2
OVER_BARE, FEWEST, MOST = 1.05, 4, 12
"""What an epoch takes beside its bare steps, and how often both are tried: the least times are compared."""

TRIALS, ROUNDS, BATCH = 32, 3, 64
POINT = {"learning_rate": 0.1, "weight_decay": 1e-4, "temperature": 4.0, "alpha": 0.9}
TEACHER, STUDENT = CifarResNet(depth=110), CifarResNet(depth=8)
PLAIN = PrecisionChoice(precision="fp32", channels_last=True, threads=1, device="cpu", reason="compared in fp32")


@pytest.fixture(scope="module")
def data() -> tuple[Task, HeldOut]:
    augmentation = Augmentation(crop_padding=4, flip=True)
    return load_task(Digits(limit_train=240, limit_test=50, image_size=32, augmentation=augmentation))


@pytest.fixture
def setting(data: tuple[Task, HeldOut], tmp_path: Path) -> Setting:
    task, held_out = data
    assert isinstance(task, ImageTask)
    save_data(task, held_out, tmp_path)
    for name, config in (("teacher", TEACHER), ("student", STUDENT)):
        (tmp_path / name).mkdir()
        save_weights(build_network(config, task, seed=0), tmp_path / name / "model.safetensors")
    shapes: dict[str, Any] = {"teacher": TEACHER.model_dump(), "student": STUDENT.model_dump(), "padding": 4}
    sizes: dict[str, Any] = {"epochs": 1, "batch_size": BATCH, "classes": task.outputs, "max_length": 0}
    normalisation = {"mean": list(task.mean), "std": list(task.std)}
    return Setting(
        folder=str(tmp_path), kind="image", points=[POINT], parallel=1, gpus=0.0, **shapes, **sizes, **normalisation
    )


def cpu_seconds(run: Iterator[object]) -> float:
    began = time.process_time()
    for _ in run:
        pass
    return time.process_time() - began


def test_a_trial_is_as_much_cheaper_than_a_naive_one_as_it_was(
    data: tuple[Task, HeldOut], setting: Setting, tmp_path: Path
) -> None:
    task, _ = data
    torch.set_num_threads(1)
    recipe = TrainingConfig(
        epochs=1, batch_size=BATCH, learning_rate=0.1, weight_decay=1e-4, lr_schedule=LrSchedule(shape="cosine")
    )
    trial = TrialConfig(method=HintonKD(alpha=0.9, temperature=4.0), training=recipe, student=STUDENT, seed=0)
    ratios: list[float] = []
    least = (1 - TOLERANCE) * REFERENCE
    for number in range(ROUNDS):
        teacher = LiveTeacher(TEACHER, build_network(TEACHER, task, seed=0), task, torch.device("cpu"))
        bank = TeacherBank(tmp_path / f"bank-{number}", BankIdentity.of("teacher", task), lambda t=teacher: t)
        naive = cpu_seconds(train_naively(POINT, setting, tuned=False))
        first = cpu_seconds(Trainer(trial, task, PLAIN, bank=bank).fit())  # fills the bank on its way
        later = cpu_seconds(Trainer(trial, task, PLAIN, bank=bank).fit())
        assert (bank.hits, bank.misses) == (len(task.train), len(task.train))
        ratios.append(naive * TRIALS / (first + (TRIALS - 1) * later))
        enough = sum(ratio >= least for ratio in ratios)
        if max(enough, len(ratios) - enough) > ROUNDS // 2:
            break  # the median of all rounds is on that side, whatever the others would give
    ratio = statistics.median(ratios)
    print(f"a naive trial costs {ratio:.2f} times as much ({min(ratios):.2f} to {max(ratios):.2f})")
    assert ratio >= least


class BareLoop:
    """The same steps and nothing else: inputs lie there already, and there is a network and an optimizer."""

    def __init__(self, trial: TrialConfig, task: Task, bank: TeacherBank) -> None:
        order = EpochOrder.of(task, 1)
        feed = make_feed(trial.student, task, task.train, torch.device("cpu"), augmented=True, channels_last=True)
        teacher, targets = bank.logits(order.indices, order.views), task.train.targets[order.indices]
        rows = torch.arange(len(targets)).split(trial.training.batch_size)
        inputs = [feed.read(order.indices[part], order.views[part]) for part in rows]
        self._batches = [(each, teacher[part], targets[part]) for each, part in zip(inputs, rows, strict=True)]
        self._student = build_network(trial.student, task, seed=0).to(memory_format=torch.channels_last).train()
        self._optimizer = torch.optim.SGD(
            self._student.parameters(), 0.1, momentum=0.9, weight_decay=trial.training.weight_decay, fused=True
        )

    def epoch(self) -> None:
        for inputs, teacher, targets in self._batches:
            logits = self._student(inputs)
            soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean")
            self._optimizer.zero_grad()
            (0.1 * F.cross_entropy(logits, targets) + 0.9 * 16 * soft).backward()
            self._optimizer.step()


def test_an_epoch_costs_little_more_than_its_bare_steps(data: tuple[Task, HeldOut], tmp_path: Path) -> None:
    """What the trainer does beside them: reading, augmenting, the plan's rows, the parts of losses."""
    task, _ = data
    torch.set_num_threads(1)
    recipe = TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=0.1, weight_decay=1e-4)
    trial = TrialConfig(method=HintonKD(alpha=0.9, temperature=4.0), training=recipe, student=STUDENT, seed=0)
    live = LiveTeacher(STUDENT, build_network(STUDENT, task, seed=0), task, torch.device("cpu"))
    bank = TeacherBank(tmp_path, BankIdentity.of("teacher", task), lambda: live)
    order = EpochOrder.of(task, 1)
    bank.fill(order.indices, order.views)
    bare, trainer = BareLoop(trial, task, bank), Trainer(trial, task, PLAIN, bank=bank)
    limit = (1 + TOLERANCE) * OVER_BARE
    own, theirs = [], []
    for _ in range(MOST):
        for times, run in ((theirs, bare.epoch), (own, lambda: trainer._train_epoch(1))):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
        if len(own) >= FEWEST and min(own) <= limit * min(theirs):
            break
    print(f"an epoch costs {min(own) / min(theirs):.2f} times its bare steps, after {len(own)} rounds")
    assert min(own) <= limit * min(theirs)
