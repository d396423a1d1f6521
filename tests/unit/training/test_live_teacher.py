from __future__ import annotations

import pytest
import torch

from autockd.data.image_feed import ANSWER_BATCH_ON_CPU, Normalisation
from autockd.data.task import Task
from autockd.models import weights_hash
from autockd.training import live_teacher
from autockd.training.live_teacher import LiveTeacher


def all_pairs(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.arange(len(task.train) * task.views.count)
    return pairs // task.views.count, pairs % task.views.count


def test_it_answers_what_its_network_says_of_the_views(task: Task, live: LiveTeacher) -> None:
    indices, views = all_pairs(task)
    assert len(indices) % ANSWER_BATCH_ON_CPU, "the last forward pass must be a short one"
    found = live.logits(indices, views)
    images = task.views.render(task.views.pad(task.train.inputs), indices, views)
    expected = live.model.eval()(Normalisation.of(task, torch.device("cpu"))(images)).detach()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")


@pytest.mark.parametrize("size", [1, 7, ANSWER_BATCH_ON_CPU, ANSWER_BATCH_ON_CPU + 1])
def test_an_answer_does_not_depend_on_its_neighbours(task: Task, live: LiveTeacher, size: int) -> None:
    indices, views = all_pairs(task)
    whole = live.logits(indices, views)
    chosen = torch.randperm(len(indices), generator=torch.Generator().manual_seed(size))[:size]
    assert torch.equal(live.logits(indices[chosen], views[chosen]), whole[chosen])


def test_answers_that_are_fetched_in_parts_are_the_same(
    task: Task, live: LiveTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = all_pairs(task)
    whole = live.logits(*pairs)
    monkeypatch.setattr(live_teacher, "AT_ONCE", 100)
    assert torch.equal(live.logits(*pairs), whole)


def test_no_pairs_give_no_logits(task: Task, live: LiveTeacher) -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert live.logits(none, none).shape == (0, len(task.classes))


def test_its_network_is_frozen(task: Task, live: LiveTeacher) -> None:
    before = weights_hash(live.model.state_dict())
    live.model.train()
    live.logits(*all_pairs(task))
    assert not live.model.training
    assert not any(parameter.requires_grad for parameter in live.model.parameters())
    assert weights_hash(live.model.state_dict()) == before


def test_the_second_moment_is_that_of_unaugmented_images(task: Task, live: LiveTeacher) -> None:
    inputs = Normalisation.of(task, torch.device("cpu"))(task.train.inputs)
    logits = live.model.eval()(inputs).detach().double()
    assert live.second_moment() == pytest.approx(logits.square().mean().item(), rel=1e-5)
