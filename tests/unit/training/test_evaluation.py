from __future__ import annotations

import math

import pytest
import torch

from autockd.data.batches import Normalisation
from autockd.data.task import Task
from autockd.training.evaluation import BATCH, accuracy, evaluate, predict
from autockd.training.live_teacher import LiveTeacher

CPU = torch.device("cpu")


def test_accuracy_is_the_share_of_largest_logits_on_the_label() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, -5.0], [-1.0, -2.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])) == 0.75


def test_a_nan_is_wrong_even_where_argmax_lands_on_it() -> None:
    logits = torch.tensor([[math.nan, 0.0], [0.0, math.nan], [math.nan, math.nan], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 1, 0, 1])) == 0.25


def test_an_infinity_is_a_number() -> None:
    assert accuracy(torch.tensor([[math.inf, 0.0]]), torch.tensor([0])) == 1.0


@pytest.mark.parametrize("is_training", [True, False])
def test_predicting_leaves_no_trace(task: Task, live: LiveTeacher, is_training: bool) -> None:
    live.model.train(is_training)
    before = {name: tensor.clone() for name, tensor in live.model.state_dict().items()}
    predict(live.model, task.validation.inputs, Normalisation.of(task, CPU))
    assert live.model.training == is_training
    assert all(torch.equal(before[name], tensor) for name, tensor in live.model.state_dict().items())


def test_logits_are_those_of_the_network_in_eval_mode(task: Task, live: LiveTeacher) -> None:
    images = task.train.inputs.repeat(10, 1, 1, 1)  # more than two batches, the last one smaller
    assert len(images) > 2 * BATCH
    normalise = Normalisation.of(task, CPU)
    found = predict(live.model.train(), images, normalise)
    expected = live.model.eval()(normalise(images)).detach()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not found.requires_grad


def test_a_split_is_evaluated_on_all_of_its_samples(task: Task, live: LiveTeacher) -> None:
    normalise = Normalisation.of(task, CPU)
    logits = live.model.eval()(normalise(task.validation.inputs))
    right = sum(int(row.argmax()) == label for row, label in zip(logits, task.validation.targets.tolist(), strict=True))
    assert evaluate(live.model, task.validation, normalise) == right / len(task.validation)
