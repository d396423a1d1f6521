"""Steps that take nothing from the host give what the plain loop gives; on a CPU they are computed one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autockd.config.methods import DecoupledKD, Dist
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.order import EpochOrder
from autockd.errors import TrialFailed
from autockd.records import EpochRecord, PrecisionChoice
from autockd.training import trainer as trainer_module
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.live_teacher import LiveTeacher
from autockd.training.program import WARM_UP
from autockd.training.trainer import Trainer

MakeTrial = Callable[..., TrialConfig]
MakeTrainer = Callable[..., Trainer]
METHODS = ("none", "kd", "annealing", "continuation")
RELATIVES = {"dkd": DecoupledKD(), "dist": Dist()}
"""Trained with the recipe of kd."""


@pytest.fixture(scope="module")
def make_trainer(
    tmp_path_factory: pytest.TempPathFactory, task: Task, fp32: PrecisionChoice, shared_live: LiveTeacher
) -> MakeTrainer:
    folder = tmp_path_factory.mktemp("banks")
    bank = TeacherBank(folder, BankIdentity.of("teacher", task), lambda: shared_live)
    moment = shared_live.second_moment()

    def make(trial: TrialConfig, *, cuda_graphs: bool) -> Trainer:
        return Trainer(trial, task, fp32, bank=bank, second_moment=moment, cuda_graphs=cuda_graphs)

    return make


def assert_like(records: list[EpochRecord], expected: list[EpochRecord]) -> None:
    assert [record.epoch for record in records] == [record.epoch for record in expected]
    for record, other in zip(records, expected, strict=True):
        assert record.loss == pytest.approx(other.loss, rel=1e-4)
        assert record.hard_loss == pytest.approx(other.hard_loss, rel=1e-4)
        assert record.soft_loss == (None if other.soft_loss is None else pytest.approx(other.soft_loss, rel=1e-4))
        assert record.coefficients == other.coefficients


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", [*METHODS, *RELATIVES])
def test_a_run_is_that_of_the_plain_loop(
    name: str, optimizer: str, task: Task, make_trial: MakeTrial, make_trainer: MakeTrainer
) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.01
    settings = {"optimizer": optimizer, "learning_rate": rate, "batch_size": 50, "max_grad_norm": 1.0}
    trial = make_trial("kd" if name in RELATIVES else name, **settings)
    if name in RELATIVES:
        trial = trial.model_copy(update={"method": RELATIVES[name]})
    assert len(task.train) % 50, "the last batch of an epoch has fewer samples"
    plain, captured = (make_trainer(trial, cuda_graphs=cuda_graphs) for cuda_graphs in (False, True))
    assert_like(list(captured.fit()), list(plain.fit()))
    for one, other in zip(captured.last_weights.values(), plain.last_weights.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert bool(plain.plan.restarts) == (name == "annealing")


def test_coefficients_and_samples_are_read_on_the_device(
    make_trial: MakeTrial, make_trainer: MakeTrainer, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss sees tensors, those of each step's row; nothing of them comes from the host."""
    trial = make_trial("continuation", {"granularity": "step"}, batch_size=50, lr_schedule={"shape": "cosine"})
    trainer = make_trainer(trial, cuda_graphs=True)  # no two steps have the same row
    seen: list[dict[str, Any]] = []
    loss = trainer.method.loss

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(method, name)

        def loss(self, student: Any, teacher: Any, targets: Any, row: Any) -> Any:
            seen.append({"row": dict(row), "targets": targets, "teacher": teacher["logits"]})
            return loss(student, teacher, targets, row)

    method = trainer.method
    monkeypatch.setattr(trainer, "method", Watched())
    list(trainer.fit())
    assert trainer.bank is not None
    orders = [EpochOrder.of(task, epoch) for epoch in (1, 2, 3, 4)]
    indices = torch.cat([order.indices for order in orders])
    assert torch.equal(torch.cat([step["targets"] for step in seen]), task.train.targets[indices])
    answers = torch.cat([trainer.bank.logits(order.indices, order.views) for order in orders])
    assert torch.equal(torch.cat([step["teacher"] for step in seen]), answers)
    for number, step in enumerate(seen):
        assert all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in step["row"].values())
        found = {name: value.item() for name, value in step["row"].items()}
        assert found == pytest.approx(trainer.plan.row(number), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_goes_on_from_its_checkpoint(
    optimizer: str, make_trial: MakeTrial, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trial = make_trial("continuation", optimizer=optimizer, learning_rate=0.01, batch_size=50)
    first = make_trainer(trial, cuda_graphs=True)
    epochs = first.fit()
    whole = list(itertools.islice(epochs, 2))
    save_checkpoint(tmp_path / "checkpoint.pt", first.state_dict())
    whole += epochs

    def rest(*, cuda_graphs: bool) -> list[EpochRecord]:
        state = load_checkpoint(tmp_path / "checkpoint.pt")
        assert state is not None
        trainer = make_trainer(trial, cuda_graphs=cuda_graphs)
        trainer.load_state_dict(state)
        return list(trainer.fit())

    assert [record.loss for record in rest(cuda_graphs=True)] == [record.loss for record in whole[2:]]
    assert_like(rest(cuda_graphs=False), whole[2:])


def test_memory_that_runs_out_while_a_step_is_recorded_is_told_as_such(
    make_trial: MakeTrial, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture that failed does not end well either; by that error alone the GPU would be taken for broken."""
    trainer = make_trainer(make_trial("none", optimizer="adamw"), cuda_graphs=True)
    groups, waited = trainer.optimizer.param_groups, list[object]()
    end = "CUDA error: operation failed due to a previous error during capture"

    @contextmanager
    def record(*_: object, **__: object) -> Iterator[None]:
        assert waited, "for what steps before have left to the GPU"
        assert all(group["capturable"] for group in groups), "or AdamW refuses to be captured"
        try:
            yield
        finally:
            raise torch.AcceleratorError(end)

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    program = trainer._program
    assert program is not None
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(program, "_stream", SimpleNamespace(device=torch.device("cuda")))
    monkeypatch.setattr(program, "_warm", WARM_UP)
    monkeypatch.setattr(program, "_optimizer", trainer.optimizer)
    monkeypatch.setattr(program, "_bind", lambda optimizer: None)
    size = trainer.trial.training.batch_size
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        program.step(run_out, trainer.optimizer, size)
    assert not any(group["capturable"] for group in groups), "or it complains of every step that is not"
    monkeypatch.setattr(program, "_compute", lambda *_: None)
    with pytest.raises(TrialFailed, match=r"cannot be captured .* set resources.cuda_graphs: false"):
        program.step(run_out, trainer.optimizer, size)
    end = "CUDA error: an illegal memory access was encountered"  # of the GPU, which no other setting would mend
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        program.step(run_out, trainer.optimizer, size)


def test_a_batch_in_parts_is_left_to_the_plain_loop(
    task: Task, fp32: PrecisionChoice, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("no program was asked for")

    monkeypatch.setattr(trainer_module, "StepProgram", refuse)
    for options in ({"micro_batches": 2, "cuda_graphs": True}, {"cuda_graphs": False}):
        next(Trainer(make_trial("none", batch_size=60), task, fp32, **options).fit())
    with pytest.raises(AssertionError, match="no program"):
        Trainer(make_trial("none"), task, fp32, cuda_graphs=True)
