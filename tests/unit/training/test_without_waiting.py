"""What a GPU must not be asked for in the middle of an epoch, checked without one.

PyTorch's fake tensors have a shape and a device and no content: whoever asks for a number of theirs, as `.item()` and
`if tensor:` do, gets an error, and so does whoever mixes devices. They stand on a GPU that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from autockd.config.methods import DecoupledKD, Dist
from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.data import Task, image_feed
from autockd.data.feeds import Feed
from autockd.distillation import Plan
from autockd.records import PrecisionChoice
from autockd.training import trainer as trainer_module
from autockd.training.evaluation import predict
from autockd.training.networks import make_feed
from autockd.training.trainer import Trainer

MakeTrial = Callable[..., TrialConfig]
METHODS = ("none", "kd", "annealing", "continuation")
RELATIVES = {"dkd": DecoupledKD(), "dist": Dist()}
"""Trained with the recipe of kd."""


class Bank:
    """Answers that are there already."""

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def logits(self, indices: Tensor, views: Tensor) -> Tensor:
        return torch.zeros(len(indices), self._outputs)


@pytest.fixture
def make_trainer(task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Makes trainers whose tensors are fake; the plan, which is the host's, is real. An epoch has two steps."""

    def make(name: str, device: str, *, cuda_graphs: bool = False, **training: Any) -> Trainer:
        trial = make_trial("kd" if name in RELATIVES else name, batch_size=100, **training)
        trial = trial.model_copy(update={"method": RELATIVES.get(name, trial.method)})
        plan, build = trainer_module.compile_plan, trainer_module.build_network

        def planned(*args: Any) -> Plan:
            with unset_fake_temporarily():
                found = plan(*args)
                found.row(0)
            return found

        def built(*args: Any, **named: Any) -> nn.Module:
            with unset_fake_temporarily():
                network = build(*args, **named)
            network = network.to(device)
            monkeypatch.setattr(nn.Module, "to", lambda self, *args, **named: self)  # a fake one moves but once
            return network

        monkeypatch.setattr(trainer_module, "compile_plan", planned)
        monkeypatch.setattr(trainer_module, "build_network", built)
        precision = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device=device, reason="")
        bank: Any = Bank(task.outputs)
        return Trainer(trial, task, precision, bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs)

    return make


@pytest.mark.parametrize(("optimizer", "cuda_graphs"), [("sgd", False), ("adamw", True)])
@pytest.mark.parametrize("name", [*METHODS, *RELATIVES])
def test_no_step_of_an_epoch_asks_for_a_number(
    name: str, optimizer: str, cuda_graphs: bool, make_trainer: Callable[..., Trainer]
) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        trainer = make_trainer(name, "cpu", cuda_graphs=cuda_graphs, optimizer=optimizer, learning_rate=0.01)
        totals = trainer._train_epoch(1)
        with pytest.raises(DataDependentOutputException):
            float(totals[0])  # as the trainer does once the epoch is over


@pytest.mark.parametrize("name", [*METHODS, *RELATIVES])
def test_all_that_a_step_takes_is_on_the_networks_device(
    name: str, make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the backward pass, which threads of a device compute that is really there."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        trainer = make_trainer(name, "cuda", optimizer="adamw", learning_rate=0.01, max_grad_norm=1.0)

        def go_back(loss: Tensor) -> None:
            for parameter in trainer.model.parameters():
                parameter.grad = loss.detach() * parameter.detach()

        monkeypatch.setattr(Tensor, "backward", go_back)
        assert trainer._train_epoch(1).device.type == "cuda"


def test_answers_are_given_where_the_network_is(task: Task, make_trainer: Callable[..., Trainer]) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = make_trainer("none", "cuda").model
        feed: Feed = make_feed(CifarResNet(), task, task.validation, torch.device("cuda"))
        assert predict(model, feed).device.type == "cuda"


class Copies(TorchDispatchMode):
    """Counts copies from the host to the device: each waits until the device has done all that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = (kwargs or {}).get("device")
        if func is torch.ops.aten._to_copy.default and device is not None:
            self.count += (args[0].device.type, device.type) == ("cpu", "cuda")
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("asked", ["evaluation", "answering"])
def test_batches_of_images_are_copied_from_nowhere_once_the_first_is_there(
    asked: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_feed, "EVALUATION_BATCH", 32)
    monkeypatch.setattr(image_feed, "ANSWER_BATCH", 32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        feed = make_feed(CifarResNet(), task, task.train, torch.device("cuda"), augmented=True)
        rows = torch.arange(len(task.train))
        with Copies() as copies:
            batches = feed.evaluation() if asked == "evaluation" else feed.answering(rows, torch.zeros_like(rows))
            counts = [copies.count for _ in batches]
    assert len(counts) == 4
    assert len(set(counts)) == 1
    assert counts[0] > 0
