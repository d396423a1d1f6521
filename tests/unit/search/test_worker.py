from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autockd.config.models import CifarResNet
from autockd.config.schema import TeacherConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.batches import Normalisation
from autockd.data.task import Split
from autockd.folders import CACHE_ENV
from autockd.models import build_model, load_weights, read_state, weights_hash
from autockd.records import PrecisionChoice, TrialOutcome, TrialReport
from autockd.search import worker as worker_module
from autockd.search.worker import TrialWorker, WorkerSetting, open_bank, trial_folder
from autockd.training.evaluation import evaluate
from autockd.training.teacher import TeacherSpec, prepare_teacher

CPU = torch.device("cpu")
MakeTrial = Callable[..., TrialConfig]
CLOCKS = {"train_seconds", "evaluate_seconds", "images_per_second"}


@pytest.fixture(scope="module")
def teacher(task: Task, fp32: PrecisionChoice, tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    folder = tmp_path_factory.mktemp("teacher")
    config = TeacherConfig(model=CifarResNet(width=4), training=TrainingConfig(epochs=1, learning_rate=0.1))
    target = folder / "teacher.safetensors"
    return prepare_teacher(config, task, choose=lambda: fp32, device=CPU, cache=folder / "cache", target=target)


@pytest.fixture
def setting(
    tmp_path: Path, teacher: TeacherSpec, fp32: PrecisionChoice, monkeypatch: pytest.MonkeyPatch
) -> WorkerSetting:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return WorkerSetting(tmp_path / "study", teacher, fp32)


@pytest.fixture
def report_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 0.0)


@pytest.fixture
def checkpoint_each_report(monkeypatch: pytest.MonkeyPatch, report_each_epoch: None) -> None:
    monkeypatch.setattr(worker_module, "CHECKPOINT_EVERY", 0.0)


def run(worker: TrialWorker) -> list[TrialReport]:
    reports = [worker.advance()]
    while reports[-1].outcome is None:
        reports.append(worker.advance())
    return reports


def outcome_of(reports: list[TrialReport]) -> TrialOutcome:
    assert reports[-1].outcome is not None
    assert all(report.outcome is None for report in reports[:-1])
    return reports[-1].outcome


def facts(reports: list[TrialReport]) -> list[str]:
    return [record.model_dump_json(exclude=CLOCKS) for report in reports for record in report.records]


@pytest.mark.usefixtures("report_each_epoch")
def test_a_trial_runs_in_slices_to_its_outcome(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(TrialWorker(setting, task, 3, make_trial("continuation")))
    assert [[record.epoch for record in report.records] for report in reports] == [[1], [2], [3], [4]]
    assert {report.trial for report in reports} == {3}
    outcome = outcome_of(reports)
    metrics = [record.metric for report in reports for record in report.records]
    assert (outcome.state, outcome.value, outcome.epochs) == ("complete", max(metrics), 4)
    assert outcome.best_epoch == 1 + metrics.index(max(metrics))
    assert (outcome.bank_hits + outcome.bank_misses, outcome.reason) == (4 * len(task.train), "")
    assert outcome.seconds > 0


def test_short_epochs_are_reported_together(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(TrialWorker(setting, task, 0, make_trial("none", epochs=8)))
    assert len(reports) < 8
    assert [record.epoch for report in reports for record in report.records] == list(range(1, 9))


def test_its_weights_load_and_give_the_recorded_metric(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    trial = make_trial("kd", learning_rate=1.0)
    outcome = outcome_of(run(TrialWorker(setting, task, 0, trial)))
    folder = trial_folder(setting.study, 0)
    assert sorted(path.name for path in folder.iterdir()) == ["best.safetensors", "last.safetensors"]
    assert outcome.weights == "trials/0000/best.safetensors"
    model = build_model(trial.student, classes=10, channels=1, image_size=task.image_size, seed=99)
    load_weights(model, setting.study / outcome.weights)
    assert evaluate(model, task.validation, Normalisation.of(task, CPU)) == outcome.value
    load_weights(model, folder / "last.safetensors")
    assert outcome.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.usefixtures("checkpoint_each_report")
@pytest.mark.parametrize(("arriving", "goes_on_at"), [(0, 1), (1, 2), (2, 3), (3, 1)])
def test_a_trial_whose_worker_is_lost_goes_on(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, tmp_path: Path, arriving: int, goes_on_at: int
) -> None:
    """It dies after a slice whose report never arrives. After the last slice there is no checkpoint any more."""
    trial = make_trial("continuation")
    whole = run(TrialWorker(replace(setting, study=tmp_path / "whole"), task, 0, trial))
    first = TrialWorker(setting, task, 0, trial)
    arrived = [first.advance() for _ in range(arriving)]
    first.advance()
    del first
    arrived += run(TrialWorker(setting, task, 0, trial))

    epochs = [record.epoch for report in arrived for record in report.records]
    assert epochs == [*range(1, arriving + 1), *range(goes_on_at, 5)], "no epoch may be missing from the record"
    told = {record.epoch: record for report in arrived for record in report.records}
    assert [told[epoch].model_dump_json(exclude=CLOCKS) for epoch in sorted(told)] == facts(whole)
    for name in ("best.safetensors", "last.safetensors"):
        mine, theirs = (trial_folder(study, 0) / name for study in (setting.study, tmp_path / "whole"))
        assert weights_hash(read_state(mine)) == weights_hash(read_state(theirs))
    assert not (trial_folder(setting.study, 0) / "checkpoint.pt").exists()


def test_a_diverging_trial_fails_with_its_reason(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(TrialWorker(setting, task, 0, make_trial("kd", learning_rate=1e30)))
    outcome = outcome_of(reports)
    assert (outcome.state, outcome.value, outcome.weights) == ("failed", None, None)
    assert outcome.reason.startswith("the loss became ")
    assert facts(reports) == []


@pytest.mark.usefixtures("report_each_epoch")
def test_epochs_before_a_failure_are_reported(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    worker = TrialWorker(setting, task, 0, make_trial("none"))
    reports = [worker.advance()]
    assert worker._trainer is not None
    next(worker._trainer.model.parameters()).data.fill_(float("nan"))
    reports += run(worker)
    assert [record.epoch for report in reports for record in report.records] == [1]
    assert "nan in epoch 2" in outcome_of(reports).reason


def test_any_exception_becomes_a_failed_outcome(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    """Labels that the network has no logits for."""
    strange = replace(task, train=Split(task.train.inputs, task.train.targets + 90))
    outcome = outcome_of(run(TrialWorker(setting, strange, 0, make_trial("none"))))
    assert outcome.state == "failed"
    assert "IndexError: Target 9" in outcome.reason
    assert "line " in outcome.reason, "where it happened, for the report of a bug"


def test_a_damaged_checkpoint_fails_its_trial_alone(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    folder = trial_folder(setting.study, 0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"torn")
    assert "the checkpoint is damaged" in outcome_of(run(TrialWorker(setting, task, 0, make_trial("none")))).reason
    assert outcome_of(run(TrialWorker(setting, task, 1, make_trial("none")))).state == "complete"


def test_a_baseline_opens_no_bank(setting: WorkerSetting, task: Task, make_trial: MakeTrial, tmp_path: Path) -> None:
    outcome = outcome_of(run(TrialWorker(setting, task, 0, make_trial("none"))))
    assert (outcome.bank_hits, outcome.bank_misses) == (0, 0)
    assert not (tmp_path / "cache").exists()


def test_trials_share_a_bank(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    first = outcome_of(run(TrialWorker(setting, task, 0, make_trial("kd"))))
    second = outcome_of(run(TrialWorker(setting, task, 1, make_trial("continuation", seed=4))))
    assert first.bank_misses > 0
    assert (second.bank_hits, second.bank_misses) == (4 * len(task.train), 0)


def test_the_banks_teacher_is_the_studys(setting: WorkerSetting, task: Task, teacher: TeacherSpec) -> None:
    bank = open_bank(teacher, task, CPU)
    indices = torch.arange(len(task.train))
    views = torch.full_like(indices, task.views.identity)
    assert torch.equal(bank.logits(indices, views), teacher.load(task, CPU).logits(indices, views))
    assert bank.identity.teacher == teacher.identity
