from __future__ import annotations

import errno
import functools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autockd.config.kinds import uses_teacher
from autockd.config.methods import AssistantKD, HintonKD, NoDistillation
from autockd.config.models import CifarResNet
from autockd.config.schema import (
    AssistantConfig,
    ResourceConfig,
    SearchConfig,
    StudentConfig,
    StudyConfig,
    TeacherConfig,
)
from autockd.config.tasks import Digits
from autockd.config.training import TrainingConfig
from autockd.data import HeldOut, Split, Task
from autockd.data.order import EpochOrder
from autockd.data.task import ImageTask
from autockd.data.views import Views
from autockd.errors import ConfigError, EnvironmentProblem, StudyError, TrialFailed
from autockd.folders import CACHE_ENV, write_whole
from autockd.models import build_model, save_weights
from autockd.processor import memory
from autockd.records import BankRecord, PrecisionChoice
from autockd.search.stages import (
    Subject,
    check_bank,
    check_student,
    fill_bank,
    longest_run,
    probe_precision,
    ready_teacher,
    score,
)
from autockd.training.evaluation import evaluate
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import make_feed
from autockd.training.peaks import peaks_if_they_fit
from autockd.training.probes import AGAIN
from autockd.training.teacher import TeacherSpec, prepare_teacher

CPU = torch.device("cpu")
TEACHER = TeacherConfig(model=CifarResNet(width=4), training=TrainingConfig(epochs=1, learning_rate=0.1))


def study_of(**changes: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": "s",
        "task": Digits(),
        "teacher": TEACHER,
        "student": StudentConfig(model=CifarResNet(width=2)),
        "training": TrainingConfig(epochs=4, batch_size=16),
    }
    return StudyConfig(**values | changes)


@pytest.fixture(scope="module")
def teacher(task: Task, fp32: PrecisionChoice, tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    folder = tmp_path_factory.mktemp("teacher")
    target = folder / "model.safetensors"
    return prepare_teacher(TEACHER, task, choose=lambda: fp32, device=CPU, cache=folder / "cache", target=target)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return tmp_path / "cache"


peaks_of_this_machine = functools.cache(peaks_if_they_fit)


@pytest.fixture(autouse=True)
def peaks_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autockd.search.stages.peaks_if_they_fit", peaks_of_this_machine)


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_a_studys_own_precision_is_respected(task: Task, wanted: str) -> None:
    study = study_of(resources=ResourceConfig.model_validate({"precision": wanted}))
    choice, peaks = probe_precision(study, task, threads=1, device="cpu")
    assert min(peaks.fp32, peaks.bf16, peaks.copy_rate) > 1e6
    assert (choice.precision, choice.threads, choice.device) == (wanted, 1, "cpu")
    assert choice.reason


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say what a process takes")
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("wanted", ["auto", "fp32"])
def test_what_a_trial_takes_of_memory_is_measured_by_its_largest_batch(task: Task, wanted: str) -> None:
    def memory(samples: int) -> int:
        space = {"batch_size": {"type": "choice", "choices": [8, samples]}}
        study = study_of(
            search=SearchConfig.model_validate({"space": space}),
            resources=ResourceConfig.model_validate({"precision": wanted}),
        )
        found = probe_precision(study, many, threads=1, device="cpu")[0].memory
        assert found is not None
        return found

    many = replace(task, train=Split(torch.cat([task.train.inputs] * 40), torch.cat([task.train.targets] * 40)))  # type: ignore[list-item]
    assert 100e6 < memory(16) < memory(4000) - 20e6
    assert memory(4000) == memory(4000), "on a machine it is measured once: the number of trials at a time goes by it"


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say what a process takes")
@pytest.mark.usefixtures("own_cache")
def test_the_copy_of_all_images_that_views_take_is_part_of_it(task: ImageTask) -> None:
    """Each worker has it for itself, and as much again while it is made."""
    images = torch.zeros(4000, 1, 32, 32, dtype=torch.uint8)
    many = replace(task, train=Split(images, torch.arange(4000) % 10))

    def taken(views: Views) -> int:
        padded = replace(many, views=views, fingerprint=str(views))
        found = probe_precision(study_of(), padded, threads=1, device="cpu")[0].memory
        assert found is not None
        return found

    copied = 4000 * (32 + 2 * 60) ** 2
    assert taken(Views(60)) > taken(Views()) + 0.9 * copied


@pytest.mark.usefixtures("own_cache")
def test_a_training_that_does_not_fit_just_now_leaves_one_trial_at_a_time_and_is_measured_again(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise MemoryError

    study, there = study_of(resources=ResourceConfig(precision="fp32")), memory()
    with monkeypatch.context() as patch:
        patch.setattr("autockd.search.stages.training_memory", none_left)
        found = probe_precision(study, task, threads=1, device="cpu")[0]
    assert found.memory == (there and there[0])
    again = probe_precision(study, task, threads=1, device="cpu")[0]
    assert again.memory is None or again.memory < 4e9
    assert AGAIN not in again.reason


def test_a_study_is_probed_once_on_a_machine(task: Task, own_cache: Path) -> None:
    first, _ = probe_precision(study_of(), task, threads=1, device="cpu")
    again, _ = probe_precision(study_of(name="again"), task, threads=1, device="cpu")
    assert again == first.model_copy(update={"reason": first.reason + AGAIN})
    other, _ = probe_precision(study_of(training=TrainingConfig(epochs=4, batch_size=8)), task, 1, "cpu")
    assert not other.reason.endswith(AGAIN)


def test_a_teacher_is_trained_into_the_cache_and_found_there(task: Task, own_cache: Path, tmp_path: Path) -> None:
    study = study_of(resources=ResourceConfig(precision="bf16"))
    first = ready_teacher(study, task, tmp_path / "one" / "model.safetensors", 1, "cpu", "fp32")
    second = ready_teacher(study, task, tmp_path / "two" / "model.safetensors", 1, "cpu", "fp32")
    assert [spec.record.origin for spec in (first, second)] == ["trained", "cached"]
    assert first.record.precision is not None
    assert first.record.precision.precision == "bf16"
    assert first.record.weights_hash == second.record.weights_hash
    assert len(list((own_cache / "teachers").glob("*.safetensors"))) == 1


@pytest.mark.usefixtures("own_cache")
def test_an_assistant_is_taught_by_the_teacher_that_is_handed_over(
    task: Task, teacher: TeacherSpec, tmp_path: Path
) -> None:
    recipe = TrainingConfig(epochs=1, learning_rate=0.1)
    assistant = AssistantConfig(model=CifarResNet(width=3), training=recipe)
    study = study_of(assistant=assistant, method=AssistantKD(), resources=ResourceConfig(precision="fp32"))
    target = tmp_path / "assistant" / "model.safetensors"
    spec = ready_teacher(study, task, target, 1, "cpu", "fp32", teacher=teacher)
    assert (spec.config.model, spec.weights, spec.record.origin) == (assistant.model, target, "trained")
    assert teacher.bank(task, CPU).filled > 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"method": NoDistillation()}, False),
        ({"method": NoDistillation(), "search": SearchConfig(baselines=(NoDistillation(), HintonKD()))}, True),
        (
            {
                "method": NoDistillation(),
                "search": SearchConfig.model_validate(
                    {"space": {"method": {"type": "choice", "choices": ["none", "kd"]}}}
                ),
            },
            True,
        ),
    ],
)
def test_a_study_without_distillation_needs_no_bank(changes: dict[str, Any], expected: bool) -> None:
    assert uses_teacher(study_of(**changes)) == expected


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        (None, 4),
        ({"type": "int", "low": 2, "high": 9}, 9),
        ({"type": "int", "low": 2, "high": 9, "step": 2}, 8),
        ({"type": "int", "low": 1, "high": 3}, 4),
        ({"type": "choice", "choices": [3, 12, 6]}, 12),
    ],
)
def test_the_longest_run_is_known(dimension: dict[str, Any] | None, expected: int) -> None:
    space = {"epochs": dimension} if dimension else {}
    assert longest_run(study_of(search=SearchConfig.model_validate({"space": space}))) == expected


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("shards", [1, 3])
def test_shards_together_fill_what_runs_will_see(task: Task, teacher: TeacherSpec, shards: int) -> None:
    orders = [EpochOrder.of(task, epoch) for epoch in (1, 2, 3)]
    pairs = {
        (index, view)
        for order in orders
        for index, view in zip(order.indices.tolist(), order.views.tolist(), strict=True)
    }
    records = [fill_bank(teacher, task, "cpu", 1, 3, shard, shards) for shard in range(shards)]
    assert sum(record.misses for record in records) == len(pairs)
    assert sum(record.hits for record in records) == 0
    assert max(record.misses for record in records) - min(record.misses for record in records) <= 1
    assert records[-1].filled == len(pairs)
    assert records[0].entries == len(task.train) * task.views.count
    bank = teacher.bank(task, CPU)
    for order in orders:
        bank.logits(order.indices, order.views)
    assert bank.misses == 0
    again = [fill_bank(teacher, task, "cpu", 1, 3, shard, shards) for shard in range(shards)]
    assert (sum(record.misses for record in again), sum(record.hits for record in again)) == (0, len(pairs))


@pytest.mark.usefixtures("own_cache")
def fill_at_once(teacher: TeacherSpec, task: Task, shares: Sequence[int]) -> list[BankRecord]:
    """Fill shares of a bank in a thread each, all begun at the same time."""
    begin = threading.Barrier(len(shares))

    def fill(share: int) -> BankRecord:
        begin.wait(20)
        return fill_bank(teacher, task, "cpu", 1, 2, share, max(shares) + 1)

    with ThreadPoolExecutor(len(shares)) as workers:
        return list(workers.map(fill, shares))


def answer_after(wait: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers answer by zeros from here on, for torch traces a network in one thread at a time."""

    def logits(live: LiveTeacher, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        wait()
        return torch.zeros(len(indices), live.task.outputs)

    monkeypatch.setattr(LiveTeacher, "logits", logits)
    monkeypatch.setattr(LiveTeacher, "work", lambda live: None)


@pytest.mark.usefixtures("own_cache")
def test_of_two_studies_that_want_the_same_bank_one_fills_it(
    task: Task, teacher: TeacherSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_after(lambda: time.sleep(0.3), monkeypatch)
    one, other = fill_at_once(teacher, task, [0, 0])
    assert sorted([(one.hits, one.misses), (other.hits, other.misses)]) == [(0, one.filled), (one.filled, 0)]


@pytest.mark.usefixtures("own_cache")
def test_shares_of_a_bank_do_not_wait_for_each_other(
    task: Task, teacher: TeacherSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_after(threading.Barrier(2, timeout=20).wait, monkeypatch)
    parts = fill_at_once(teacher, task, [0, 1])
    assert all(part.misses for part in parts)
    assert sum(part.misses for part in parts) == max(part.filled for part in parts)


def test_threads_fill_a_bank_with_the_same(task: Task, teacher: TeacherSpec) -> None:
    record = fill_bank(teacher, task, "cpu", threads=3, epochs=2, shard=0, shards=1)
    order, bank = EpochOrder.of(task, 2), teacher.bank(task, CPU)
    live = teacher.load(task, CPU).logits(order.indices, order.views)
    assert torch.equal(bank.logits(order.indices, order.views), live)
    assert (bank.misses, record.hits, record.filled) == (0, 0, record.misses)


@pytest.mark.usefixtures("own_cache")
def test_the_check_compares_with_the_teacher(task: Task, teacher: TeacherSpec) -> None:
    fill_bank(teacher, task, "cpu", threads=1, epochs=1, shard=0, shards=1)
    record = check_bank(teacher, task, "cpu", threads=1, seed=0)
    assert (record.checked, record.max_difference, record.filled) == (len(task.train), 0.0, len(task.train))
    path = teacher.bank(task, CPU).folder / "logits.f32"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StudyError, match="differs from its teacher"):
        check_bank(teacher, task, "cpu", threads=1, seed=0)


def test_final_models_are_scored_on_both_splits(digits: tuple[Task, HeldOut], tmp_path: Path) -> None:
    task, held_out = digits
    subjects, models = [], []
    for seed, width in enumerate((2, 4)):
        config = CifarResNet(width=width, weights=tmp_path / "what it started from, gone since")
        bare = CifarResNet(width=width)
        model = build_model(bare, classes=10, channels=1, image_size=task.image_size, seed=seed)
        save_weights(model, tmp_path / f"{seed}.safetensors")
        subjects.append(Subject(f"s{seed}", seed, config, tmp_path / f"{seed}.safetensors"))
        models.append(model)

    def metric(model: torch.nn.Module, split: Split) -> float:
        return evaluate(model, make_feed(CifarResNet(), task, split, CPU), split.targets, "accuracy")

    scores = score(subjects, subjects[1], task, held_out, "cpu", threads=1)
    for found, model, subject in zip(scores, models, subjects, strict=True):
        assert found.diagnosis is not None
        assert sum(found.diagnosis.counts) == len(held_out.split)
        assert found.validation == pytest.approx(metric(model, task.validation))
        assert found.test == pytest.approx(metric(model, held_out.split))
        assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert found.bytes == subject.weights.stat().st_size
    assert score(subjects, subjects[1], task, held_out, "cpu", threads=2) == scores
    known = score([replace(subjects[0], validation=0.5)], subjects[1], task, held_out, "cpu", threads=1)
    assert known == [replace(scores[0], validation=0.5)]
    assert [found.diagnosis.agreement < 1 for found in scores if found.diagnosis] == [True, False]


def test_a_node_without_what_the_student_starts_from_is_told_of(
    teacher: TeacherSpec, task: Task, tmp_path: Path
) -> None:
    check_student(study_of(), teacher, task)
    given = study_of(student=StudentConfig(model=CifarResNet(width=2, weights=tmp_path / "elsewhere.safetensors")))
    with pytest.raises(EnvironmentProblem, match=r"node .* cannot build the student: weights: .*elsewhere"):
        check_student(given, teacher, task)


def test_a_gpu_that_torch_cannot_use_is_told_of_before_anything_is_computed(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"resources.gpus_per_trial: .* cannot use -> .* set it to 0"):
        probe_precision(study_of(), task, threads=1, device="cuda")


def test_progress_that_cannot_be_shown_holds_up_nothing(
    task: Task, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        if path.name == "progress.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, text)

    monkeypatch.setattr("autockd.search.stages.write_whole", refuse)
    study = study_of(resources=ResourceConfig(precision="fp32"))
    spec = ready_teacher(study, task, tmp_path / "one" / "model.safetensors", 1, "cpu", "fp32")
    assert spec.record.origin == "trained"


@pytest.mark.usefixtures("own_cache")
def test_a_step_that_cannot_be_captured_is_a_mistake_of_the_study_whosever_it_is(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrialFailed("a step of this model cannot be captured", "set resources.cuda_graphs: false")

    monkeypatch.setattr("autockd.search.stages.remembered", fail)
    for ask in (
        lambda: probe_precision(study_of(), task, 1, "cpu"),
        lambda: ready_teacher(study_of(), task, tmp_path / "model.safetensors", 1, "cpu", "fp32"),
    ):
        with pytest.raises(ConfigError, match=r"resources\.cuda_graphs: a step of this model cannot be captured"):
            ask()
