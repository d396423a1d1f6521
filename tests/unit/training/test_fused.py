"""Several students in one network learn what each of them learns alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.order import EpochOrder
from autockd.distillation import compile_plan, make_method
from autockd.models import build_model
from autockd.models.fused import FusedResNet
from autockd.models.resnet import ResNet6n2
from autockd.records import PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.batches import Batches
from autockd.training.fused import FusedTrainer
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import build_network, make_feed
from autockd.training.trainer import Trainer

MakeTrial = Callable[..., TrialConfig]
MOMENT = 1.5


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, task: Task, shared_live: LiveTeacher) -> TeacherBank:
    folder = tmp_path_factory.mktemp("banks")
    return TeacherBank(folder, BankIdentity.of("teacher", task), lambda: shared_live)


@pytest.fixture
def trials(make_trial: MakeTrial) -> list[TrialConfig]:
    return [
        make_trial("continuation", seed=0, learning_rate=0.05),
        make_trial("kd", seed=1, learning_rate=0.1, weight_decay=1e-2),
        make_trial("none", seed=2, learning_rate=0.2, momentum=0.5),
    ]


Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def alone(task: Task, bank: TeacherBank) -> Callable[[TrialConfig], Weights]:
    """Gives what a student becomes that is trained alone; trained once, whatever the layout of the others in memory."""
    found: dict[str, Weights] = {}

    def give(trial: TrialConfig) -> Weights:
        if trial.fingerprint not in found:
            found[trial.fingerprint] = trained(trial, task, bank)
        return found[trial.fingerprint]

    return give


def trained(trial: TrialConfig, task: Task, bank: TeacherBank) -> Weights:
    """The same training in float64, written down again: one network, torch's own optimizer."""
    model = build_network(trial.student, task, seed=trial.seed).double()
    recipe = trial.training
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, 0.0, recipe.weight_decay)
    plan, method = compile_plan(trial, len(task.train), MOMENT), make_method(trial.method)
    feed = make_feed(trial.student, task, task.train, torch.device("cpu"), augmented=True)
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        order = EpochOrder.of(task, epoch)
        teacher = bank.logits(order.indices, order.views).double()
        for batch in Batches(feed, task.train.targets, recipe.batch_size).epoch(order):
            row = plan.row(step)
            optimizer.param_groups[0]["lr"] = row["learning_rate"]
            assert isinstance(batch.inputs, torch.Tensor)
            logits = model(batch.inputs.double())
            loss = method.loss({"logits": logits}, {"logits": teacher[batch.rows]}, batch.targets, row).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_students_in_one_network_learn_as_each_alone(
    shortcut: str,
    channels_last: bool,
    trials: list[TrialConfig],
    alone: Callable[[TrialConfig], Weights],
    task: Task,
    bank: TeacherBank,
    fp32: PrecisionChoice,
) -> None:
    student = CifarResNet.model_validate({"depth": 8, "width": 2, "shortcut": shortcut})
    trials = [trial.model_copy(update={"student": student}) for trial in trials]
    choice = fp32.model_copy(update={"channels_last": channels_last})
    trainer = FusedTrainer(trials, task, choice, bank=bank, second_moment=MOMENT, dtype=torch.float64)
    epochs = list(trainer.fit())
    assert [records[0].epoch for records in epochs] == [1, 2, 3, 4]
    for place, trial in enumerate(trials):
        wanted, found = alone(trial), trainer.model.state_of(place)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.allclose(found[name], tensor, rtol=0, atol=1e-9), (place, name)


def test_records_are_those_of_the_trainer(
    trials: list[TrialConfig], task: Task, bank: TeacherBank, fp32: PrecisionChoice
) -> None:
    together = list(FusedTrainer(trials, task, fp32, bank=bank, second_moment=MOMENT).fit())
    for place, trial in enumerate(trials):
        singly = list(Trainer(trial, task, fp32, bank=bank, second_moment=MOMENT).fit())
        for records, one in zip(together, singly, strict=True):
            fused = records[place]
            assert fused.loss == pytest.approx(one.loss, rel=1e-3)
            assert (fused.step, fused.coefficients) == (one.step, one.coefficients)
            assert (fused.soft_loss is None) == (one.soft_loss is None)
            assert fused.metric == pytest.approx(one.metric, abs=0.1)


def test_no_student_hears_of_the_others() -> None:
    torch.manual_seed(0)
    networks = [
        build_model(CifarResNet(width=2), classes=3, channels=1, image_size=(8, 8), seed=seed) for seed in range(3)
    ]
    fused = FusedResNet([network for network in networks if isinstance(network, ResNet6n2)])
    images = torch.rand(4, 1, 8, 8)
    logits = fused(images)
    assert logits.shape == (4, 3, 3)
    logits[:, 1].sum().backward()
    for parameter in fused.parameters():
        assert parameter.grad is not None
        mine = [part.abs().max().item() for part in parameter.grad.chunk(3)]
        assert mine[0] == mine[2] == 0
    for place, network in enumerate(networks):
        assert torch.allclose(network(images), logits[:, place], atol=1e-6)
