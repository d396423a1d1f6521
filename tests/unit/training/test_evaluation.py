from __future__ import annotations

import pytest
import torch

from autockd.data.image_feed import EVALUATION_BATCH, ImageFeed, Normalisation
from autockd.data.task import ImageTask
from autockd.data.views import Views
from autockd.training.evaluation import evaluate, predict
from autockd.training.live_teacher import LiveTeacher

CPU = torch.device("cpu")


def feed_of(task: ImageTask, images: torch.Tensor) -> ImageFeed:
    return ImageFeed(images, Views(), Normalisation.of(task, CPU))


@pytest.mark.parametrize("is_training", [True, False])
def test_predicting_leaves_no_trace(task: ImageTask, live: LiveTeacher, is_training: bool) -> None:
    live.model.train(is_training)
    before = {name: tensor.clone() for name, tensor in live.model.state_dict().items()}
    predict(live.model, feed_of(task, task.validation.inputs))
    assert live.model.training == is_training
    assert all(torch.equal(before[name], tensor) for name, tensor in live.model.state_dict().items())


def test_logits_are_those_of_the_network_in_eval_mode(task: ImageTask, live: LiveTeacher) -> None:
    images = task.train.inputs.repeat(10, 1, 1, 1)  # more than two batches, the last one smaller
    assert len(images) > 2 * EVALUATION_BATCH
    found = predict(live.model.train(), feed_of(task, images))
    expected = live.model.eval()(Normalisation.of(task, CPU)(images)).detach()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not found.requires_grad


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_logit(task: ImageTask, live: LiveTeacher, threads: int) -> None:
    feed = feed_of(task, task.train.inputs.repeat(3, 1, 1, 1))
    assert torch.equal(predict(live.model, feed, threads=threads), predict(live.model, feed))


def test_logits_are_rounded_as_the_precision_says(task: ImageTask, live: LiveTeacher) -> None:
    feed = feed_of(task, task.validation.inputs)
    exact, rounded = (predict(live.model, feed, precision=precision) for precision in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_a_split_is_evaluated_on_all_of_its_samples(task: ImageTask, live: LiveTeacher) -> None:
    logits = live.model.eval()(Normalisation.of(task, CPU)(task.validation.inputs))
    right = sum(int(row.argmax()) == label for row, label in zip(logits, task.validation.targets.tolist(), strict=True))
    found = evaluate(live.model, feed_of(task, task.validation.inputs), task.validation.targets, "accuracy")
    assert found == right / len(task.validation)
