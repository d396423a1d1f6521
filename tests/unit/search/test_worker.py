from __future__ import annotations

import contextlib
import faulthandler
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_folders import memory_folder

from autockd.config.methods import Dist
from autockd.config.models import CifarResNet
from autockd.config.schema import AssistantConfig, TeacherConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.task import Split
from autockd.errors import EnvironmentProblem, ExportError
from autockd.folders import CACHE_ENV, LEDGER
from autockd.models import build_model, load_weights, read_state, weights_hash
from autockd.models.resnet import ResNet6n2
from autockd.records import PrecisionChoice, TrialOutcome, TrialReport
from autockd.search import worker as worker_module
from autockd.search.proposal import Proposal, trial_folder
from autockd.search.stopping import compressed
from autockd.search.trainable import TrialTrainable, read_report
from autockd.search.watchdog import FIRST_PATIENCE, PATIENCE
from autockd.search.worker import BROKEN, PROFILE, TrialWorker, WorkerSetting
from autockd.training.evaluation import evaluate
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import make_feed
from autockd.training.teacher import TeacherSpec, prepare_teacher
from autockd.training.trainer import Trainer

CPU = torch.device("cpu")
MakeTrial = Callable[..., TrialConfig]
CLOCKS = {"train_seconds", "evaluate_seconds", "samples_per_second"}
RUNGS = (1, 2)


@pytest.fixture(scope="module")
def teacher(task: Task, fp32: PrecisionChoice, tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    folder = tmp_path_factory.mktemp("teacher")
    config = TeacherConfig(model=CifarResNet(width=4), training=TrainingConfig(epochs=1, learning_rate=0.1))
    target = folder / "model.safetensors"
    return prepare_teacher(config, task, choose=lambda: fp32, device=CPU, cache=folder / "cache", target=target)


@pytest.fixture(scope="module")
def banks() -> Iterator[Path]:
    """A cache for all of these trials: the teacher answers for each sample once."""
    with memory_folder() as folder:
        yield Path(folder)


@pytest.fixture
def setting(
    tmp_path: Path, teacher: TeacherSpec, fp32: PrecisionChoice, banks: Path, monkeypatch: pytest.MonkeyPatch
) -> WorkerSetting:
    monkeypatch.setenv(CACHE_ENV, str(banks))
    return WorkerSetting(tmp_path / "study", teacher, fp32)


@pytest.fixture
def own_cache(setting: WorkerSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nobody has used before, in place of `banks`."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def report_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 0.0)


@pytest.fixture
def checkpoint_each_report(monkeypatch: pytest.MonkeyPatch, report_each_epoch: None) -> None:
    monkeypatch.setattr(worker_module, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(worker_module, "CHECKPOINT_SHARE", math.inf)


def worker_of(setting: WorkerSetting, task: Task, config: TrialConfig, number: int = 0, **proposal: Any) -> TrialWorker:
    return TrialWorker(setting, task, Proposal(number, config, **proposal))


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


@pytest.fixture(scope="module")
def whole(
    task: Task,
    make_trial: MakeTrial,
    teacher: TeacherSpec,
    fp32: PrecisionChoice,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[bool], tuple[Path, list[TrialReport]]]:
    """A trial with two rungs to which nothing happens, on the ladder or not: its study's folder, and what it told."""

    @functools.cache
    def run_once(ladder: bool) -> tuple[Path, list[TrialReport]]:
        study = tmp_path_factory.mktemp("whole")
        setting = WorkerSetting(study, teacher, fp32)
        return study, run(worker_of(setting, task, make_trial("continuation"), rungs=RUNGS, ladder=ladder))

    return run_once


@pytest.mark.usefixtures("report_each_epoch")
def test_a_trial_runs_in_slices_to_its_outcome(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(worker_of(setting, task, make_trial("continuation"), number=3))
    assert [[record.epoch for record in report.records] for report in reports] == [[1], [2], [3], [4]]
    assert {report.trial for report in reports} == {3}
    outcome = outcome_of(reports)
    metrics = [record.metric for report in reports for record in report.records]
    assert (outcome.state, outcome.value, outcome.epochs) == ("complete", max(metrics), 4)
    assert outcome.best_epoch == 1 + metrics.index(max(metrics))
    assert (outcome.bank_hits + outcome.bank_misses, outcome.reason) == (4 * len(task.train), "")
    assert outcome.seconds > 0


def test_short_epochs_are_reported_together(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(worker_of(setting, task, make_trial("none", epochs=8)))
    assert len(reports) < 8
    assert [record.epoch for report in reports for record in report.records] == list(range(1, 9))


def test_its_weights_load_and_give_the_recorded_metric(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    trial = make_trial("kd", learning_rate=1.0)
    outcome = outcome_of(run(worker_of(setting, task, trial)))
    folder = trial_folder(setting.study, 0)
    assert [path.name for path in folder.glob("*.safetensors")] == ["best.safetensors"]
    assert outcome.weights == "trials/0000/best.safetensors"
    model = build_model(trial.student, classes=10, channels=1, image_size=task.image_size, seed=99)
    load_weights(model, setting.study / outcome.weights)
    feed = make_feed(trial.student, task, task.validation, CPU)
    assert evaluate(model, feed, task.validation.targets, "accuracy") == outcome.value
    assert outcome.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.usefixtures("checkpoint_each_report")
def test_a_finalist_goes_on_in_its_own_folder_whatever_its_place_is_now(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    trial = make_trial("none").model_copy(update={"seed": 9})
    first = worker_of(setting, task, trial, number=5, trial=2, seed=9)
    told = [first.advance(), first.advance()]
    del first
    reports = run(worker_of(setting, task, trial, number=3, trial=2, seed=9))
    assert {report.trial for report in reports} == {3}
    epochs = [record.epoch for report in reports for record in report.records]
    assert epochs == [1, 2, 3, 4]
    assert reports[0] == told[0].model_copy(update={"trial": 3}), "it went on from the checkpoint"
    assert outcome_of(reports).weights == "finalists/0002-9/best.safetensors"


@pytest.mark.usefixtures("checkpoint_each_report")
@pytest.mark.parametrize("arriving", range(4))
@pytest.mark.parametrize("ladder", [False, True])
def test_a_trial_whose_worker_is_lost_goes_on(
    setting: WorkerSetting,
    task: Task,
    make_trial: MakeTrial,
    whole: Callable[[bool], tuple[Path, list[TrialReport]]],
    arriving: int,
    ladder: bool,
) -> None:
    """It dies after a slice whose report never arrives; some epochs are told twice, none is missing."""
    trial = make_trial("continuation")
    undisturbed, expected = whole(ladder)
    first = worker_of(setting, task, trial, rungs=RUNGS, ladder=ladder)
    arrived = [first.advance() for _ in range(arriving)]
    lost = first.advance()
    del first
    arrived += run(worker_of(setting, task, trial, rungs=RUNGS, ladder=ladder))

    if arriving:
        assert arrived[arriving] in (arrived[arriving - 1], lost), (
            "it goes on from what was kept, and does not begin anew"
        )
    told = {record.epoch: record for report in arrived for record in report.records}
    assert [told[epoch].model_dump_json(exclude=CLOCKS) for epoch in sorted(told)] == facts(expected)
    assert {report.rung for report in arrived} == {report.rung for report in expected}
    mine, theirs = (trial_folder(study, 0) / "best.safetensors" for study in (setting.study, undisturbed))
    assert weights_hash(read_state(mine)) == weights_hash(read_state(theirs))


@pytest.mark.usefixtures("own_cache")
def test_students_of_takd_learn_from_the_assistant(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, fp32: PrecisionChoice, tmp_path: Path
) -> None:
    """As students of kd whose teacher it is, and not as those of the teacher; each has a bank of its own."""
    config = AssistantConfig(model=CifarResNet(width=3), training=TrainingConfig(epochs=1, learning_rate=0.1))
    assistant = prepare_teacher(
        config,
        task,
        choose=lambda: fp32,
        device=CPU,
        cache=tmp_path / "assistants",
        target=tmp_path / "assistant" / "model.safetensors",
        teacher=setting.teacher,
    )
    both, taught = replace(setting, assistant=assistant), replace(setting, teacher=assistant)
    runs = {
        "takd": run(worker_of(both, task, make_trial("takd", epochs=2), number=0)),
        "kd": run(worker_of(both, task, make_trial("kd", epochs=2), number=1)),
        "kd of the assistant": run(worker_of(taught, task, make_trial("kd", epochs=2), number=2)),
    }
    assert facts(runs["takd"]) == facts(runs["kd of the assistant"]) != facts(runs["kd"])
    assert both.teacher_of(make_trial("takd").method) == assistant
    assert both.teacher_of(make_trial("continuation").method) == setting.teacher
    assert outcome_of(runs["takd"]).bank_misses > 0


def test_an_outcome_that_never_arrived_is_told_again(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    told = run(worker_of(setting, task, make_trial("none", epochs=2)))[-1]
    again = worker_of(setting, task, make_trial("none", epochs=2))
    assert again.advance() == told, "no epoch is trained twice"
    again.forget()
    assert worker_of(setting, task, make_trial("none", epochs=1)).advance().records


def test_a_run_is_judged_at_shares_of_its_length(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(worker_of(setting, task, make_trial("continuation"), rungs=(1, 3)))
    judged = [(report.rung.rung, report.rung.epochs) for report in reports if report.rung]
    assert judged == [(1, 1), (2, 3)]
    for report in reports:
        if report.rung:
            assert report.records[-1].epoch == report.rung.epochs, "it waits there for the verdict"
            assert report.records[-1].best_metric == report.rung.value
    assert [record.epoch for report in reports for record in report.records] == [1, 2, 3, 4]


def test_the_ladder_runs_whole_schedules_first(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, whole: Callable[[bool], tuple[Path, list[TrialReport]]]
) -> None:
    trial = make_trial("continuation")
    _, reports = whole(True)
    plain = run(worker_of(setting, task, trial, number=1))
    judged = [report.rung for report in reports if report.rung]  # a slow machine reports between rungs, too
    assert [(rung.rung, rung.epochs) for rung in judged] == [(1, 1), (2, 2)]
    assert facts(reports) == facts(plain), "the record of a trial is that of its own run"
    short = run(worker_of(setting, task, compressed(trial, 2), number=2))
    assert judged[1].value == outcome_of(short).value
    assert outcome_of(reports).value == outcome_of(plain).value


@pytest.mark.usefixtures("report_each_epoch")
def test_compressed_runs_are_sliced_too(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    """So that they can be stopped, and go on from a checkpoint."""
    reports = run(worker_of(setting, task, make_trial("continuation"), rungs=(3,), ladder=True))
    assert [report.rung is not None for report in reports[:4]] == [False, False, True, False]
    assert [len(report.records) for report in reports] == [0, 0, 0, 1, 1, 1, 1]


def test_cost_is_counted_over_all_workers(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    trial, shared = make_trial("none"), replace(setting, gpus=0.25)
    first = worker_of(shared, task, trial, rungs=(1, 2))
    before = first.advance()
    first.save()
    outcome = outcome_of(run(worker_of(shared, task, trial, rungs=(1, 2))))
    assert 0 < before.seconds < outcome.seconds
    assert 0 < before.cpu_seconds < outcome.cpu_seconds
    assert outcome.gpu_seconds == pytest.approx(outcome.seconds / 4, rel=0.01)


def test_a_trial_has_so_much_time(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    outcome = outcome_of(run(worker_of(replace(setting, timeout=1e-3), task, make_trial("none"))))
    assert (outcome.state, outcome.reason) == ("failed", "it ran longer than resources.trial_timeout, 0.001 s")


class Crowded:
    """A machine whose memory runs out while a batch is larger than it can take."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.met: list[int] = []

    def __call__(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if module.training:
            self.met.append(len(arguments[0]))
            if len(arguments[0]) > self.fits:
                raise torch.OutOfMemoryError("out of memory: tried to allocate 1 GiB")


@pytest.fixture
def crowd() -> Iterator[Callable[[int], Crowded]]:
    """Fills the memory of every student for batches of more than so many images."""
    with contextlib.ExitStack() as stack:

        def fill(fits: int) -> Crowded:
            crowded = Crowded(fits)

            def hook(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
                if isinstance(module, ResNet6n2):
                    crowded(module, arguments)

            stack.callback(torch.nn.modules.module.register_module_forward_pre_hook(hook).remove)
            return crowded

        yield fill


def test_after_running_out_of_memory_it_trains_on_halves(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    trial = make_trial("continuation")
    size = trial.training.batch_size
    crowded = crowd(size - 1)
    outcome = outcome_of(run(worker_of(setting, task, trial)))
    assert (outcome.state, outcome.micro_batches) == ("complete", 2)
    assert crowded.met[0] == size
    assert max(crowded.met[1:]) == size / 2


@pytest.mark.usefixtures("checkpoint_each_report")
def test_memory_that_runs_out_later_lets_it_go_on_from_its_checkpoint(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    trial = make_trial("none")
    worker = worker_of(setting, task, trial, rungs=(1, 2))
    reports = [worker.advance()]
    worker.save()
    crowded = crowd(trial.training.batch_size - 1)
    while reports[-1].outcome is None and len(reports) < 20:
        reports.append(worker.advance())
    outcome = reports[-1].outcome
    assert outcome is not None, "or it tries for ever"
    assert (outcome.state, outcome.micro_batches) == ("complete", 2)
    assert crowded.met.count(trial.training.batch_size) == 1
    assert {record.epoch for report in reports for record in report.records} == {1, 2, 3, 4}


def test_a_trial_that_is_stopped_after_its_memory_ran_out_goes_on_from_its_checkpoint(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    trial = make_trial("none")
    first = worker_of(setting, task, trial, rungs=(1, 2))
    told = first.advance()
    first.save()
    crowded = crowd(trial.training.batch_size - 1)
    assert first.advance().outcome is None
    first.save()  # as a search does that is stopped
    crowded.fits = trial.training.batch_size
    kept, *rest = run(worker_of(setting, task, trial, rungs=(1, 2)))
    assert kept == told
    assert [record.epoch for report in rest for record in report.records] == [2, 3, 4]


@pytest.mark.parametrize("passed", [0, 1, 2])
def test_memory_that_runs_out_on_the_ladder_lets_it_climb_on_halves(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded], passed: int
) -> None:
    """Before it has passed a rung, between two, or in its own run: none of its epochs is told twice."""
    trial = make_trial("continuation")
    worker = worker_of(setting, task, trial, rungs=RUNGS, ladder=True)
    reports: list[TrialReport] = []
    while sum(report.rung is not None for report in reports) < passed:
        reports.append(worker.advance())
    crowded = crowd(trial.training.batch_size - 1)
    reports += itertools.islice(told_until_its_end(worker), 99)
    outcome = outcome_of(reports)
    assert (outcome.state, outcome.micro_batches, outcome.epochs) == ("complete", 2, 4)
    assert crowded.met.count(trial.training.batch_size) == 1
    assert {(report.rung.rung, report.rung.epochs) for report in reports if report.rung} == {(1, 1), (2, 2)}
    assert [record.epoch for report in reports for record in report.records] == [1, 2, 3, 4]


def test_it_tries_halves_once(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    crowded = crowd(1)
    outcome = outcome_of(run(worker_of(setting, task, make_trial("none"))))
    assert (outcome.state, outcome.micro_batches, len(crowded.met)) == ("failed", 2, 2)
    assert "out of memory" in outcome.reason
    assert "batch_size" in outcome.reason
    assert outcome.of_its_point


def test_on_a_shared_gpu_more_of_it_may_be_what_a_trial_needs(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    crowd(1)
    outcome = outcome_of(run(worker_of(replace(setting, gpus=0.25), task, make_trial("none"))))
    assert "more of the GPU (resources.gpus_per_trial is 0.25) or a smaller batch_size or student" in outcome.reason
    assert not outcome.of_its_point, "the sampler has no reason to keep away from it"


def test_a_loss_of_the_whole_batch_is_not_split(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, crowd: Callable[[int], Crowded]
) -> None:
    trial = make_trial("continuation")
    trial = trial.model_copy(update={"method": trial.method.model_copy(update={"hinge": "batch"})})
    crowd(1)
    outcome = outcome_of(run(worker_of(setting, task, trial)))
    assert "its loss cannot be computed in parts" in outcome.reason


def test_a_diverging_trial_fails_with_its_reason(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    reports = run(worker_of(setting, task, make_trial("kd", learning_rate=1e30)))
    outcome = outcome_of(reports)
    assert (outcome.state, outcome.value, outcome.weights) == ("failed", None, None)
    assert outcome.reason.startswith("the loss became ")
    assert outcome.of_its_point
    assert facts(reports) == []


@pytest.mark.usefixtures("report_each_epoch")
def test_epochs_before_a_failure_are_reported(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    worker = worker_of(setting, task, make_trial("none"))
    reports = [worker.advance()]
    assert worker._trainer is not None
    next(worker._trainer.model.parameters()).data.fill_(float("nan"))
    reports += run(worker)
    assert [record.epoch for report in reports for record in report.records] == [1]
    assert "nan in epoch 2" in outcome_of(reports).reason


def test_any_exception_becomes_a_failed_outcome(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    """Labels that the network has no logits for."""
    strange = replace(task, train=Split(task.train.inputs, task.train.targets + 90))
    outcome = outcome_of(run(worker_of(setting, strange, make_trial("none"))))
    assert outcome.state == "failed"
    assert "IndexError: Target 9" in outcome.reason
    assert "line " in outcome.reason, "where it happened, for the report of a bug"


def test_a_trial_with_a_damaged_checkpoint_starts_again(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    folder = trial_folder(setting.study, 0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"torn")
    reports = run(worker_of(setting, task, make_trial("none", epochs=2)))
    assert outcome_of(reports).state == "complete"
    assert [record.epoch for report in reports for record in report.records] == [1, 2]


def test_a_baseline_opens_no_bank(setting: WorkerSetting, task: Task, make_trial: MakeTrial, own_cache: Path) -> None:
    outcome = outcome_of(run(worker_of(setting, task, make_trial("none", epochs=1))))
    assert (outcome.bank_hits, outcome.bank_misses) == (0, 0)
    assert not own_cache.exists()


@pytest.mark.usefixtures("own_cache")
def test_trials_share_a_bank(setting: WorkerSetting, task: Task, make_trial: MakeTrial) -> None:
    first = outcome_of(run(worker_of(setting, task, make_trial("kd"))))
    second = outcome_of(run(worker_of(setting, task, make_trial("continuation", seed=4), number=1)))
    assert first.bank_misses > 0
    assert (second.bank_hits, second.bank_misses) == (4 * len(task.train), 0)


@pytest.mark.usefixtures("own_cache")
def test_the_banks_teacher_is_the_studys(setting: WorkerSetting, task: Task, teacher: TeacherSpec) -> None:
    bank = teacher.bank(task, CPU)
    indices = torch.arange(len(task.train))
    views = torch.full_like(indices, task.views.identity)
    assert torch.equal(bank.logits(indices, views), teacher.load(task, CPU).logits(indices, views))
    assert bank.identity.teacher == teacher.identity


def test_a_trained_student_is_measured_where_costs_are_searched(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    asked: list[tuple[TrialConfig, int]] = []

    def measure(trial: TrialConfig, given: Task, weights: Path, parameters: int) -> dict[str, float]:
        asked.append((trial, parameters))
        assert given is task
        return {"bytes": float(weights.stat().st_size)}

    trial = make_trial("none", epochs=1)
    outcome = outcome_of(run(worker_of(replace(setting, measure=measure), task, trial)))
    assert outcome.weights is not None
    assert outcome.costs == {"bytes": (setting.study / outcome.weights).stat().st_size}
    assert asked == [(trial, outcome.parameters)]


def test_a_student_that_cannot_be_measured_fails_its_trial(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    def measure(trial: TrialConfig, task: Task, weights: Path, parameters: int) -> dict[str, float]:
        raise ExportError("the model cannot be exported")

    outcome = outcome_of(run(worker_of(replace(setting, measure=measure), task, make_trial("none", epochs=1))))
    assert (outcome.state, outcome.reason, outcome.costs) == ("failed", "the model cannot be exported", {})


@pytest.mark.usefixtures("own_cache")
def test_filling_a_bank_and_measuring_a_student_may_take_longer_than_an_epoch(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    due: list[float] = []
    while_answering: list[float] = []
    while_measuring: list[float] = []
    answer = LiveTeacher.logits

    def expect(timeout: float, **_: object) -> None:
        due.append(timeout)

    def logits(self: LiveTeacher, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        while_answering.append(due[-1])
        return answer(self, indices, views)

    def measure(trial: TrialConfig, task: Task, weights: Path, parameters: int) -> dict[str, float]:
        while_measuring.append(due[-1])
        return {}

    monkeypatch.setattr(faulthandler, "dump_traceback_later", expect)
    monkeypatch.setattr(LiveTeacher, "logits", logits)
    measured = replace(setting, measure=measure)
    outcome = outcome_of(run(worker_of(measured, task, make_trial("kd", epochs=2), slowest_epoch=0.1)))
    assert outcome.state == "complete"
    assert outcome.bank_misses > 0
    assert while_answering
    assert {*while_answering, *while_measuring} == {FIRST_PATIENCE}
    assert len(while_measuring) == 1
    assert due[0] == PATIENCE
    assert PATIENCE in due[due.index(FIRST_PATIENCE) :], "epochs are watched as closely as before"


def test_a_failed_gpu_takes_its_process_with_it(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later trial of that process would fail too; on another worker Tune starts this one again."""

    def fail(self: Trainer) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    class Left(BaseException):
        """Stands for the process's end."""

    def leave(code: int) -> None:
        assert code == 1
        raise Left

    monkeypatch.setattr(Trainer, "fit", fail)
    monkeypatch.setattr(worker_module.os, "_exit", leave)
    worker = worker_of(setting, task, make_trial("none"))
    with pytest.raises(Left):
        worker.advance()
    said = (trial_folder(setting.study, 0) / BROKEN).read_text()
    assert said.strip().endswith("CUDA error: an illegal memory access was encountered")


def test_a_folder_that_cannot_be_written_is_no_failure_of_the_trial(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    folder = trial_folder(setting.study, 0)
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    report = worker_of(setting, task, make_trial("none")).advance()
    assert report.outcome is None
    assert "hang.txt" in report.problem


@pytest.mark.parametrize("name", ["save_weights", "save_checkpoint"])
def test_a_full_disk_is_no_failure_of_the_trial(
    name: str, setting: WorkerSetting, task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise EnvironmentProblem("cannot write best.safetensors (No space left on device)")

    with monkeypatch.context() as full:
        full.setattr(worker_module, name, refuse)
        *_, last = itertools.islice(told_until_its_end(worker_of(setting, task, make_trial("none", epochs=1))), 99)
    assert (last.outcome, last.problem) == (None, "cannot write best.safetensors (No space left on device)")
    assert outcome_of(run(worker_of(setting, task, make_trial("none", epochs=1)))).state == "complete"


@pytest.mark.parametrize("epochs", [1, 8], ids=["at the end", "in an epoch"])
def test_a_trace_that_cannot_be_written_is_no_failure_of_the_trial(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, epochs: int
) -> None:
    in_its_way = trial_folder(setting.study, 0) / PROFILE / "a folder"
    in_its_way.mkdir(parents=True)
    worker = worker_of(replace(setting, traced=0), task, make_trial("none", epochs=epochs))
    *_, last = itertools.islice(told_until_its_end(worker), 99)
    assert last.outcome is None
    assert last.problem.startswith(f"trace: cannot write {in_its_way.parent} (")


def test_what_a_problem_of_the_machine_breaks_off_goes_on_from_the_checkpoint_before(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from within the epoch, part of which would then be done twice, and its records never told."""
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 0.0)
    trial = make_trial("none", epochs=4, batch_size=10)
    undisturbed = losses(worker_of(setting, task, trial, number=1))
    (trial_folder(setting.study, 0) / PROFILE / "a folder").mkdir(parents=True)
    worker = worker_of(replace(setting, traced=0), task, trial)
    (first,) = worker.advance().records
    worker.save()
    assert worker.advance().problem.startswith("trace: cannot write"), "at the 19th step, in the second epoch"
    worker.save()
    told = losses(worker_of(setting, task, trial))
    assert told == undisturbed
    assert told[0] == first.loss


def losses(worker: TrialWorker) -> list[float]:
    return [record.loss for report in told_until_its_end(worker) for record in report.records]


def told_until_its_end(worker: TrialWorker) -> Iterator[TrialReport]:
    while True:
        report = worker.advance()
        yield report
        if report.outcome or report.problem:
            return


@pytest.mark.parametrize("sees_study", [True, False])
def test_a_node_that_does_not_see_the_study_trains_nothing(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, sees_study: bool
) -> None:
    """One that joined after the search had begun; what it wrote would lie where nobody looks."""

    class Shell(TrialTrainable):
        def setup(self, config: dict[str, Any], **parameters: Any) -> None:
            super().setup(config, setting=setting, task=task)

    if sees_study:
        setting.study.mkdir()
        (setting.study / LEDGER).touch()
    proposal = Proposal(5, make_trial("none"))
    report = read_report(Shell({**asdict(proposal), "config": proposal.config.model_dump(mode="json")}).step())
    assert report is not None
    assert report.trial == 5
    assert bool(report.problem) is not sees_study
    if not sees_study:
        assert f"does not see {setting.study};" in report.problem
        assert not setting.study.exists()


def test_a_loss_of_the_whole_batch_is_not_computed_in_parts_whenever_memory_runs_out(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("while the student was built")

    monkeypatch.setattr(worker_module, "Trainer", run_out)
    trial = make_trial("kd").model_copy(update={"method": Dist()})
    outcome = outcome_of(run(worker_of(setting, task, trial)))
    assert outcome.state == "failed"
    assert outcome.reason.startswith("out of memory (and its loss cannot be computed in parts)")


def test_a_rung_has_the_number_of_its_share_in_a_short_run_too(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    report = worker_of(setting, task, make_trial("none"), rungs=(1,), first_rung=2).advance()
    assert report.rung is not None
    assert (report.rung.rung, report.rung.epochs) == (2, 1)


def test_the_work_of_a_trial_at_a_rung_is_that_of_its_epochs_so_far(
    setting: WorkerSetting, task: Task, make_trial: MakeTrial
) -> None:
    trial = make_trial("none")
    whole = outcome_of(run(worker_of(setting, task, trial))).work
    at_rung = worker_of(setting, task, trial, number=1, rungs=(1,)).advance().work
    assert whole is not None
    assert at_rung == whole.times(1 / trial.training.epochs)
