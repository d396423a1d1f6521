"""One bank of a node, filled by several of its processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from autockd.config.models import CifarResNet
from autockd.config.tasks import Augmentation, Digits
from autockd.data import Task, load_task
from autockd.models import build_model
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.live_teacher import LiveTeacher


def absent() -> LiveTeacher:
    raise AssertionError("a bank that has every entry must not ask for its teacher")


def every_pair(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.arange(len(task.train) * task.views.count)
    return numbers // task.views.count, numbers % task.views.count


def tiny_task() -> Task:
    return load_task(
        Digits(limit_train=80, validation_fraction=0.25, augmentation=Augmentation(crop_padding=1, flip=True))
    )[0]


def tiny_teacher() -> LiveTeacher:
    task = tiny_task()
    model = build_model(CifarResNet(width=2), classes=len(task.classes), channels=1, image_size=task.image_size, seed=1)
    return LiveTeacher(CifarResNet(width=2), model, task, torch.device("cpu"))


def fill_in_another_process(cache: Path, is_backwards: bool) -> None:
    torch.set_num_threads(1)
    teacher = tiny_teacher()
    bank = TeacherBank(cache, BankIdentity.of("tiny", teacher.task), lambda: teacher)
    indices, views = every_pair(teacher.task)
    order = torch.arange(len(indices))
    for chunk in torch.split(order.flip(0) if is_backwards else order, 9):
        bank.fill(indices[chunk], views[chunk])


@pytest.mark.slow
def test_processes_share_one_file(tmp_path: Path) -> None:
    """Two fill it at the same time, from both ends, while a third has had it open since before."""
    teacher = tiny_teacher()
    onlooker = TeacherBank(tmp_path, BankIdentity.of("tiny", teacher.task), absent)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=fill_in_another_process, args=(tmp_path, way)) for way in (False, True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    indices, views = every_pair(teacher.task)
    assert torch.equal(onlooker.logits(indices, views), teacher.logits(indices, views))
    assert onlooker.misses == 0
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
