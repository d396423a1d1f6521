"""Training on a CUDA device; skipped without one."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import make_text_task, make_tiny_encoder

from autockd.config.methods import NoDistillation
from autockd.config.models import CifarResNet, Encoder
from autockd.config.schema import TeacherConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.image_feed import EVALUATION_BATCH
from autockd.data.order import EpochOrder
from autockd.models import weights_hash
from autockd.records import Precision, PrecisionChoice
from autockd.training.bank import TOLERANCE, BankIdentity, TeacherBank
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.fused import FusedTrainer
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import build_network
from autockd.training.precision import choose_precision, fixed_precision
from autockd.training.teacher import prepare_teacher
from autockd.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

CUDA = torch.device("cuda")
METHODS = ("none", "kd", "annealing", "continuation")
MakeTrial = Callable[..., TrialConfig]


def choice(precision: str = "fp32", *, channels_last: bool = False) -> PrecisionChoice:
    return PrecisionChoice.model_validate(
        {"precision": precision, "channels_last": channels_last, "threads": 1, "device": "cuda", "reason": ""}
    )


@pytest.fixture
def on_gpu(live: LiveTeacher, task: Task) -> LiveTeacher:
    """The same teacher, with a network of its own on the GPU."""
    model = build_network(CifarResNet(width=4), task, seed=0)
    model.load_state_dict(live.model.state_dict())
    return LiveTeacher(CifarResNet(width=4), model, task, CUDA)


@pytest.fixture
def bank(tmp_path: Path, task: Task, on_gpu: LiveTeacher) -> TeacherBank:
    return TeacherBank(tmp_path / "banks", BankIdentity.of("teacher", task), lambda: on_gpu)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_trial_runs(name: str, precision: str, make_trial: MakeTrial, task: Task, bank: TeacherBank) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("no bf16 on this device")
    trainer = Trainer(make_trial(name), task, choice(precision, channels_last=True), bank=bank, second_moment=1.0)
    records = list(trainer.fit())
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert {parameter.device.type for parameter in trainer.model.parameters()} == {"cuda"}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def waits(trainer: Trainer) -> int:
    """How often the host waits for the device in the third epoch."""
    for epoch in (1, 2):  # whatever is made once, such as a captured step
        trainer._train_epoch(epoch)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer._train_epoch(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(
    name: str, cuda_graphs: bool, make_trial: MakeTrial, task: Task, bank: TeacherBank
) -> None:
    """An epoch begins with copies to the device, which are waited for; more steps add none."""
    for epoch in (1, 2, 3):  # or the first trainer would wait for the teacher's answers, and the second find them
        order = EpochOrder.of(task, epoch)
        bank.fill(order.indices, order.views)

    def trained(batch_size: int) -> Trainer:
        trial = make_trial(name, batch_size=batch_size)
        return Trainer(trial, task, choice(), bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs)

    assert waits(trained(4)) == waits(trained(40))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_step_that_waits_is_counted(make_trial: MakeTrial, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests beside this one would compare nothing with nothing."""

    def waiting(batch_size: int) -> Trainer:
        trainer = Trainer(make_trial("none", batch_size=batch_size), task, choice())
        train = trainer._train_batch

        def train_and_wait(*words: Any) -> torch.Tensor:
            totals = train(*words)
            totals.sum().item()
            return totals

        monkeypatch.setattr(trainer, "_train_batch", train_and_wait)
        return trainer

    assert waits(waiting(4)) > waits(waiting(40))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_no_step_on_texts_waits_for_the_device(tmp_path: Path) -> None:
    texts = make_text_task(train=48, validation=8)
    student = Encoder(path=str(make_tiny_encoder(tmp_path / "base")))

    def trained(batch_size: int) -> Trainer:
        recipe = TrainingConfig(epochs=3, batch_size=batch_size, optimizer="adamw", max_grad_norm=1.0)
        trial = TrialConfig(method=NoDistillation(), training=recipe, student=student, seed=0)
        return Trainer(trial, texts, choice())

    assert waits(trained(4)) == waits(trained(24))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_step_is_the_step(
    name: str, precision: str, optimizer: str, make_trial: MakeTrial, task: Task, bank: TeacherBank
) -> None:
    trial = make_trial(name, optimizer=optimizer, learning_rate=0.01, batch_size=8, max_grad_norm=1.0)
    plain, captured = (
        Trainer(trial, task, choice(precision), bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs)
        for cuda_graphs in (False, True)
    )
    for found, expected in zip(captured.fit(), plain.fit(), strict=True):
        assert found.loss == pytest.approx(expected.loss, rel=0.05)
        assert found.coefficients == expected.coefficients
    assert captured._program is not None
    assert captured._program._graph is not None
    assert plain._program is None


def test_a_student_learns_as_on_the_cpu(make_trial: MakeTrial, task: Task, fp32: PrecisionChoice) -> None:
    """The first epochs agree within rounding; both learn."""
    trial = make_trial("none", epochs=12, batch_size=16, learning_rate=0.05)
    here, there = (list(Trainer(trial, task, place).fit()) for place in (fp32, choice()))
    assert there[0].loss == pytest.approx(here[0].loss, rel=0.02)
    assert there[-1].loss < 0.9 * there[0].loss
    assert max(record.metric for record in there) > 0.3


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_run_goes_on_from_its_checkpoint(
    cuda_graphs: bool, make_trial: MakeTrial, task: Task, bank: TeacherBank, tmp_path: Path
) -> None:
    trial = make_trial("continuation")
    whole = list(Trainer(trial, task, choice(), bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs).fit())
    first = Trainer(trial, task, choice(), bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs)
    list(itertools.islice(first.fit(), 2))
    save_checkpoint(tmp_path / "checkpoint.pt", first.state_dict())
    second = Trainer(trial, task, choice(), bank=bank, second_moment=1.0, cuda_graphs=cuda_graphs)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state is not None
    second.load_state_dict(state)
    assert {tensor.device.type for tensor in second.best_weights.values()} == {"cuda"}
    rest = list(second.fit())
    assert [record.epoch for record in rest] == [3, 4]
    assert rest[-1].loss == pytest.approx(whole[-1].loss, rel=0.05)


def test_a_bank_filled_on_the_gpu_is_what_the_cpu_says(task: Task, live: LiveTeacher, bank: TeacherBank) -> None:
    pairs = torch.arange(len(task.train) * task.views.count)
    indices, views = pairs // task.views.count, pairs % task.views.count
    stored, own = bank.logits(indices, views), live.logits(indices, views)
    assert stored.device.type == "cpu"
    assert (stored - own).abs().max() <= TOLERANCE["fp32"] * max(1.0, own.abs().max().item())
    checked, _ = bank.check(10_000)
    assert checked == len(pairs)


def test_a_bank_filled_on_the_cpu_passes_the_check_on_the_gpu(
    task: Task, live: LiveTeacher, on_gpu: LiveTeacher, tmp_path: Path
) -> None:
    identity = BankIdentity.of("teacher", task)
    indices = torch.arange(len(task.train))
    TeacherBank(tmp_path, identity, lambda: live).fill(indices, torch.zeros_like(indices))
    checked, _ = TeacherBank(tmp_path, identity, lambda: on_gpu).check(10_000)
    assert checked == len(indices)


def test_entries_do_not_depend_on_their_neighbours(task: Task, on_gpu: LiveTeacher) -> None:
    pairs = torch.arange(len(task.train) * task.views.count)
    indices, views = pairs // task.views.count, pairs % task.views.count
    whole = on_gpu.logits(indices, views)
    chosen = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:77]
    torch.testing.assert_close(on_gpu.logits(indices[chosen], views[chosen]), whole[chosen], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("answers", ["fp32", "bf16"])
def test_a_bank_in_either_precision_passes_its_check(
    task: Task, on_gpu: LiveTeacher, tmp_path: Path, answers: Precision
) -> None:
    teacher = replace(on_gpu, precision=answers)
    bank = TeacherBank(tmp_path, BankIdentity.of("teacher", task, answers), lambda: teacher)
    indices = torch.arange(len(task.train))
    bank.fill(indices, torch.zeros_like(indices))
    checked, _ = bank.check(10_000)
    assert checked == len(indices)
    assert teacher.difference(on_gpu, len(indices)) <= TOLERANCE[answers]


def test_a_process_keeps_to_its_share_of_the_memory() -> None:
    """In a process of its own, for the bound stays."""
    code = """
import torch
from autockd.training.memory import bound_memory
total = torch.cuda.get_device_properties(0).total_memory
bound_memory(0.25, torch.device("cuda"))
torch.empty(int(0.15 * total), dtype=torch.uint8, device="cuda")
try:
    torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    print("bounded")
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "bounded\n"


def test_the_teacher_stays(make_trial: MakeTrial, task: Task, on_gpu: LiveTeacher, bank: TeacherBank) -> None:
    before = weights_hash(on_gpu.model.state_dict())
    list(Trainer(make_trial("kd"), task, choice(), bank=bank).fit())
    assert weights_hash(on_gpu.model.state_dict()) == before


def test_the_probe_chooses_with_a_reason(task: Task) -> None:
    def make() -> torch.nn.Module:
        return build_network(CifarResNet(width=16), task, seed=0)

    inputs = torch.randn(32, 1, 8, 8, device=CUDA)
    found, _ = choose_precision(make, inputs, TrainingConfig(), threads=4, device=CUDA)
    assert (found.device, found.threads) == ("cuda", 1)
    assert " ms a step" in found.reason
    assert fixed_precision("fp32", 4, CUDA).threads == 1


def test_a_teacher_is_trained_and_evaluated(task: Task, tmp_path: Path) -> None:
    config = TeacherConfig(model=CifarResNet(width=4), training=TrainingConfig(epochs=2, learning_rate=0.1))
    specs = [
        prepare_teacher(
            config,
            task,
            choose=choice,
            device=CUDA,
            cache=tmp_path / "cache",
            target=tmp_path / study / "teacher.safetensors",
        )
        for study in ("one", "two")
    ]
    assert [spec.record.origin for spec in specs] == ["trained", "cached"]
    assert specs[0].record.weights_hash == specs[1].record.weights_hash
    assert specs[0].record.metric == specs[1].record.metric
    assert len(task.validation) <= EVALUATION_BATCH


def test_students_in_one_captured_network_learn_as_each_alone(
    make_trial: MakeTrial, task: Task, bank: TeacherBank
) -> None:
    trials = [make_trial("kd", seed=0), make_trial("continuation", seed=1, learning_rate=0.05)]
    fused = FusedTrainer(trials, task, choice(), bank=bank, second_moment=1.0)
    together = list(fused.fit())
    assert fused._program._graph is not None
    for place, trial in enumerate(trials):
        singly = list(Trainer(trial, task, choice(), bank=bank, second_moment=1.0).fit())
        assert [each[place].loss for each in together] == pytest.approx([one.loss for one in singly], rel=1e-2)
