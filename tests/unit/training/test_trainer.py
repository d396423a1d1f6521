from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.metrics import METRICS
from autockd.data.order import EpochOrder
from autockd.distillation import compile_plan, make_method
from autockd.errors import StudyError, TrialFailed
from autockd.models import weights_hash
from autockd.records import EpochRecord, Precision, PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.batches import Batches
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.evaluation import evaluate, predict
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import make_feed
from autockd.training.trainer import Trainer

MakeTrial = Callable[..., TrialConfig]
MakeTrainer = Callable[[TrialConfig], Trainer]

METHODS = ("none", "kd", "annealing", "continuation")
CLOCKS = {"train_seconds", "evaluate_seconds", "samples_per_second"}


@dataclass(frozen=True)
class WholeRun:
    """A run without a stop, which several tests look at and none changes.

    Attributes:
        trainer: at the end.
        records: of each epoch.
        states: copies of what a checkpoint would have held after each epoch.
        asked: answers that it took from the bank.
    """

    trainer: Trainer
    records: list[EpochRecord]
    states: list[dict[str, Any]]
    asked: int


GiveRun = Callable[[TrialConfig], WholeRun]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, task: Task, shared_live: LiveTeacher) -> TeacherBank:
    folder = tmp_path_factory.mktemp("banks")
    return TeacherBank(folder, BankIdentity.of("teacher", task), lambda: shared_live)


@pytest.fixture(scope="module")
def make_trainer(task: Task, fp32: PrecisionChoice, bank: TeacherBank, shared_live: LiveTeacher) -> MakeTrainer:
    moment = shared_live.second_moment()
    return lambda trial: Trainer(trial, task, fp32, bank=bank, second_moment=moment)


@pytest.fixture(scope="module")
def whole_run(make_trainer: MakeTrainer) -> GiveRun:
    """Gives the whole run of a trial, which is trained once."""
    runs: dict[str, WholeRun] = {}

    def give(trial: TrialConfig) -> WholeRun:
        if trial.fingerprint not in runs:
            runs[trial.fingerprint] = run_through(make_trainer(trial))
        return runs[trial.fingerprint]

    return give


def run_through(trainer: Trainer) -> WholeRun:
    before = answers_taken(trainer)
    records, states = [], []
    for record in trainer.fit():
        records.append(record)
        states.append(copy.deepcopy(trainer.state_dict()))
    return WholeRun(trainer, records, states, answers_taken(trainer) - before)


def answers_taken(trainer: Trainer) -> int:
    return trainer.bank.hits + trainer.bank.misses if trainer.bank else 0


def facts(records: list[EpochRecord]) -> list[str]:
    """What does not depend on the clock; as text, because a NaN equals itself there."""
    return [record.model_dump_json(exclude=CLOCKS) for record in records]


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Bit for bit, through mappings and lists."""
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert torch.equal(bits(one), bits(other)), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}.{index}")
    else:
        assert repr(one) == repr(other), where


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def assert_differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_split_that_is_worth_it_is_asked_of_a_folded_student(
    make_trainer: MakeTrainer, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which changes nothing of its training, and of the metric no more than rounding does."""
    asked = []

    def answers(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        asked.append(model)
        return predict(model, *args, **kwargs)

    monkeypatch.setattr("autockd.training.trainer.predict", answers)
    runs = []
    for least in (2**40, 0):
        monkeypatch.setattr("autockd.training.trainer._WORTH_FOLDING", least)
        runs.append(run_through(make_trainer(make_trial("annealing"))))
    plain, quick = runs
    assert plain.trainer.model in asked
    assert quick.trainer.model not in asked
    assert facts(quick.records) == facts(plain.records)
    assert_equal(quick.states, plain.states)


def test_a_folded_student_is_of_the_epoch_that_is_judged(
    make_trainer: MakeTrainer, make_trial: MakeTrial, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.training.trainer._WORTH_FOLDING", 0)
    trainer = make_trainer(make_trial("none"))
    feed = make_feed(trainer.trial.student, task, task.validation, trainer.device)
    for record in trainer.fit():
        exact = predict(trainer.model, feed)
        torch.testing.assert_close(predict(trainer._answering, feed), exact, rtol=1e-4, atol=1e-4)
        assert record.metric == METRICS[task.metric].compute(exact, task.validation.targets)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in trainer._answering.modules())


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_parts_gives_the_same_step(
    task: Task, fp32: PrecisionChoice, bank: TeacherBank, make_trial: MakeTrial, method: str
) -> None:
    """Up to rounding, where no layer looks at the whole batch."""
    trial = make_trial(method)
    whole, *split = (
        Trainer(trial, task, fp32, bank=bank, second_moment=1.0, micro_batches=parts) for parts in (1, 2, 3)
    )
    for trainer in (whole, *split):
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
    expected = next(whole.fit())
    for trainer in split:
        found = next(trainer.fit())
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        assert found.hard_loss == pytest.approx(expected.hard_loss, rel=1e-4)
        for one, other in zip(trainer.model.parameters(), whole.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def batches_of(task: Task) -> Batches:
    feed = make_feed(CifarResNet(), task, task.train, torch.device("cpu"), augmented=True)
    return Batches(feed, task.train.targets, 32)


class TestResuming:
    """A run equals some of its epochs, a checkpoint, a new Trainer, and the rest."""

    @pytest.mark.parametrize(
        ("name", "epochs"), [*((name, 2) for name in METHODS), *(("annealing", epochs) for epochs in (1, 3, 4))]
    )
    def test_is_exact(
        self,
        name: str,
        epochs: int,
        make_trial: MakeTrial,
        make_trainer: MakeTrainer,
        whole_run: GiveRun,
        tmp_path: Path,
    ) -> None:
        whole = whole_run(make_trial(name))
        second = resumed(make_trainer, whole, tmp_path, epochs)
        found = [*whole.records[:epochs], *second.fit()]
        assert len(whole.records) == 4
        assert facts(found) == facts(whole.records)
        assert_equal(second.state_dict(), whole.states[-1])

    @pytest.mark.parametrize(
        "changes",
        [{"optimizer": "adamw", "learning_rate": 0.01}, {"nesterov": True}, {"momentum": 0.0}],
        ids=["adamw", "nesterov", "no momentum"],
    )
    def test_keeps_every_optimizers_state(
        self, changes: dict[str, Any], make_trial: MakeTrial, make_trainer: MakeTrainer, tmp_path: Path
    ) -> None:
        whole = run_through(make_trainer(make_trial("continuation", **changes)))
        second = resumed(make_trainer, whole, tmp_path, epochs=2)
        list(second.fit())
        assert_equal(second.state_dict(), whole.states[-1])

    def test_is_exact_in_bf16_and_channels_last(
        self, task: Task, bank: TeacherBank, fp32: PrecisionChoice, make_trial: MakeTrial, tmp_path: Path
    ) -> None:
        precision = fp32.model_copy(update={"precision": "bf16", "channels_last": True})

        def make(trial: TrialConfig) -> Trainer:
            return Trainer(trial, task, precision, bank=bank)

        whole = run_through(make(make_trial("kd", epochs=2)))
        second = resumed(make, whole, tmp_path, epochs=1)
        list(second.fit())
        assert_equal(second.state_dict(), whole.states[-1])

    @pytest.mark.parametrize("changes", [{"seed": 1}, {"learning_rate": 0.11}, {"epochs": 5}])
    def test_refuses_a_checkpoint_of_another_trial(
        self, changes: dict[str, Any], make_trial: MakeTrial, make_trainer: MakeTrainer
    ) -> None:
        state = make_trainer(make_trial("none")).state_dict()
        other = make_trainer(make_trial("none", **changes))
        before = weights_hash(other.model.state_dict())
        with pytest.raises(StudyError, match="the checkpoint belongs to another trial; delete it"):
            other.load_state_dict(state)
        assert weights_hash(other.model.state_dict()) == before

    def test_refuses_a_checkpoint_of_another_task(
        self, task: Task, fp32: PrecisionChoice, make_trial: MakeTrial
    ) -> None:
        trial = make_trial("none")
        other = Trainer(trial, replace(task, fingerprint="another"), fp32)
        with pytest.raises(StudyError, match="the checkpoint belongs to another task; delete it"):
            other.load_state_dict(Trainer(trial, task, fp32).state_dict())


def resumed(make: MakeTrainer, whole: WholeRun, folder: Path, epochs: int) -> Trainer:
    """A new trainer that has read a run's checkpoint after some epochs."""
    save_checkpoint(folder / "checkpoint.pt", whole.states[epochs - 1])
    torch.rand(7)
    trainer = make(whole.trainer.trial)
    state = load_checkpoint(folder / "checkpoint.pt")
    assert state is not None
    trainer.load_state_dict(state)
    return trainer


class TestSeeds:
    @pytest.mark.parametrize("name", METHODS)
    def test_the_same_seed_gives_the_same_run(
        self, name: str, make_trial: MakeTrial, make_trainer: MakeTrainer, whole_run: GiveRun
    ) -> None:
        one, other = whole_run(make_trial(name)), make_trainer(make_trial(name))
        assert facts(list(other.fit())) == facts(one.records)
        assert_equal(other.state_dict(), one.states[-1])

    def test_another_seed_gives_another_student(
        self, make_trial: MakeTrial, make_trainer: MakeTrainer, whole_run: GiveRun
    ) -> None:
        trials = make_trial("none"), make_trial("none", seed=1)
        assert_differ(*(make_trainer(trial).model.state_dict() for trial in trials))
        one, other = (facts(whole_run(trial).records) for trial in trials)
        assert one != other

    def test_two_runs_at_a_time_do_not_disturb_each_other(
        self, make_trial: MakeTrial, make_trainer: MakeTrainer, whole_run: GiveRun
    ) -> None:
        trials = [make_trial("kd"), make_trial("none", seed=1)]
        alone = [facts(whole_run(trial).records) for trial in trials]
        together = zip(*(make_trainer(trial).fit() for trial in trials), strict=True)
        assert [facts(list(records)) for records in zip(*together, strict=True)] == alone


class TestTheTeacher:
    @pytest.mark.parametrize("name", ["kd", "annealing", "continuation"])
    def test_a_bank_gives_what_the_teacher_itself_would(
        self,
        name: str,
        task: Task,
        shared_live: LiveTeacher,
        fp32: PrecisionChoice,
        make_trial: MakeTrial,
        whole_run: GiveRun,
    ) -> None:
        trial, moment = make_trial(name), shared_live.second_moment()
        from_bank = whole_run(trial)
        from_life = Trainer(trial, task, fp32, bank=shared_live, second_moment=moment)  # type: ignore[arg-type]
        assert facts(list(from_life.fit())) == facts(from_bank.records)
        assert_equal(from_life.state_dict(), from_bank.states[-1])
        assert from_bank.asked == 4 * len(task.train)

    @pytest.mark.parametrize("name", ["kd", "annealing", "continuation"])
    def test_a_run_is_the_naive_loop_with_the_teacher_in_every_step(
        self,
        name: str,
        task: Task,
        shared_live: LiveTeacher,
        make_trial: MakeTrial,
        make_trainer: MakeTrainer,
        whole_run: GiveRun,
    ) -> None:
        """The loop as anyone would write it. Annealing is compared up to its second stage."""
        epochs = 2 if name == "annealing" else 4
        found = whole_run(make_trial(name)).states[epochs - 1]["model"]
        naive = make_trainer(make_trial(name))
        method, plan = make_method(naive.trial.method), naive.plan
        batches = batches_of(task)
        rows = iter(range(plan.run.steps))
        for epoch in range(1, epochs + 1):
            for batch in batches.epoch(EpochOrder.of(task, epoch)):
                row = plan.row(next(rows))
                for group in naive.optimizer.param_groups:
                    group["lr"] = row["learning_rate"]
                with torch.no_grad():
                    answers = shared_live.model.eval()(batch.inputs)
                outputs = {"logits": naive.model.train()(batch.inputs)}
                loss = method.loss(outputs, {"logits": answers}, batch.targets, row).total
                naive.optimizer.zero_grad()
                loss.backward()
                naive.optimizer.step()
        assert found.keys() == naive.model.state_dict().keys()
        for key, tensor in found.items():
            torch.testing.assert_close(tensor, naive.model.state_dict()[key], rtol=1e-3, atol=1e-4, msg=key)

    @pytest.mark.parametrize("name", ["kd", "annealing", "continuation"])
    def test_its_weights_stay(
        self, name: str, live: LiveTeacher, shared_live: LiveTeacher, make_trial: MakeTrial, whole_run: GiveRun
    ) -> None:
        """Those of one that has taught are those of a fresh one."""
        optimizer = whole_run(make_trial(name)).trainer.optimizer
        assert weights_hash(shared_live.model.state_dict()) == weights_hash(live.model.state_dict())
        mine = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
        assert not mine & {id(tensor) for tensor in shared_live.model.parameters()}

    def test_a_baseline_does_not_ask_it(self, make_trial: MakeTrial, whole_run: GiveRun) -> None:
        assert whole_run(make_trial("none")).trainer.bank is None


@pytest.fixture(scope="module")
def wild_run(make_trial: MakeTrial, whole_run: GiveRun) -> Callable[[int], WholeRun]:
    """Gives the run of a seed, of a rate so high that its best epoch may be any."""
    return lambda seed: whole_run(make_trial("none", learning_rate=2.0, epochs=6, seed=seed))


class TestWeights:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_the_best_epochs_weights_are_kept_beside_the_last(
        self, seed: int, task: Task, wild_run: Callable[[int], WholeRun]
    ) -> None:
        run = wild_run(seed)
        metrics: list[float] = []
        for record in run.records:
            metrics.append(record.metric)
            assert record.best_metric == max(metrics)
            assert record.best_epoch == 1 + metrics.index(record.best_metric)
        trainer = run.trainer
        assert_equal(dict(trainer.best_weights), dict(run.states[trainer.progress.best_epoch - 1]["model"]))
        assert_equal(dict(trainer.last_weights), dict(run.states[5]["model"]))
        model = copy.deepcopy(trainer.model)
        model.load_state_dict(trainer.best_weights)
        feed = make_feed(trainer.trial.student, task, task.validation, torch.device("cpu"))
        metric = evaluate(model, feed, task.validation.targets, "accuracy")
        assert metric == trainer.progress.best_metric

    @pytest.mark.parametrize(("arithmetic", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
    def test_a_student_is_evaluated_in_the_arithmetic_that_it_trains_in(
        self, arithmetic: Precision, dtype: torch.dtype, task: Task, fp32: PrecisionChoice, make_trial: MakeTrial
    ) -> None:
        trial = make_trial("none", batch_size=len(task.train))
        trainer = Trainer(trial, task, fp32.model_copy(update={"precision": arithmetic}))
        seen = set()
        trainer.model.register_forward_hook(lambda module, _, logits: seen.add((module.training, logits.dtype)))
        next(trainer.fit())
        assert seen == {(True, dtype), (False, dtype)}

    def test_the_best_epoch_is_not_always_the_last(self, wild_run: Callable[[int], WholeRun]) -> None:
        """Without such a run the test above would show nothing."""
        trainers = [wild_run(seed).trainer for seed in range(3)]
        early = [trainer for trainer in trainers if trainer.progress.best_epoch < 6]
        assert early
        assert_differ(early[0].best_weights, early[0].model.state_dict())

    def test_less_is_better_where_the_task_says_so(
        self, task: Task, fp32: PrecisionChoice, make_trial: MakeTrial
    ) -> None:
        trainer = Trainer(make_trial("none"), replace(task, direction="minimize"), fp32)
        metrics = [record.metric for record in trainer.fit()]
        assert min(metrics) < max(metrics)
        assert trainer.progress.best_metric == min(metrics)


class TestAnnealing:
    def test_equals_continuation_with_margin_0_and_a_step_until_it_restarts(
        self, make_trial: MakeTrial, make_trainer: MakeTrainer
    ) -> None:
        step = {
            "hard_loss_ramp": 0.5,
            "ramp_shape": "step",
            "schedule_fraction": 0.5,
            "smoothing_start": 2,
            "margin": 0.0,
            "margin_mode": "none",
        }
        annealing, continuation = make_trainer(make_trial("annealing")), make_trainer(make_trial("continuation", step))
        assert annealing.plan.restarts == (2 * annealing.plan.run.steps_per_epoch,)
        assert annealing.plan.column("hard_weight") == continuation.plan.column("hard_weight")
        for one, other in itertools.islice(zip(annealing.fit(), continuation.fit(), strict=True), 2):
            shared = {"epoch", "step", "metric", "best_metric", "best_epoch", "loss", "hard_loss", "soft_loss"}
            assert one.model_dump(include=shared) == other.model_dump(include=shared)
            assert_equal(annealing.model.state_dict(), continuation.model.state_dict())

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_its_second_stage_starts_from_the_best_weights_with_a_fresh_optimizer(
        self, optimizer: str, make_trial: MakeTrial, make_trainer: MakeTrainer
    ) -> None:
        changes = {"optimizer": optimizer, "learning_rate": 1.0, "epochs": 6}
        trainers = (make_trainer(make_trial("annealing", seed=seed, **changes)) for seed in range(20))
        trainer, epochs = next(found for found in map(stage_one, trainers) if found[0].progress.best_epoch < 3)
        best = {name: tensor.clone() for name, tensor in trainer.best_weights.items()}
        next(epochs)

        plain = make_trainer(make_trial("none", **changes))
        plain.model.load_state_dict(best)
        plain.progress.epoch = 3
        next(plain.fit())
        assert_equal(trainer.model.state_dict(), plain.model.state_dict())
        assert_equal(trainer.optimizer.state_dict(), plain.optimizer.state_dict())

    @pytest.mark.parametrize("improves", [True, False])
    def test_a_stage_that_ends_within_an_epoch_leaves_its_last_weights_to_the_next_if_they_are_best(
        self, improves: bool, make_trial: MakeTrial, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stage two begins at the third of four steps of epoch two."""
        settings = {"stage_fraction": 0.4, "smoothing_start": 2, "granularity": "step"}
        trainer = make_trainer(make_trial("annealing", settings, epochs=4, learning_rate=0.1))
        assert trainer.plan.restarts == (6,)
        epochs = trainer.fit()
        next(epochs)
        best, at_end, began = trainer.best_weights, {}, {}

        def evaluate(metric: float) -> float:
            at_end.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
            return metric

        metric = trainer.progress.best_metric + (0.1 if improves else -0.1)
        monkeypatch.setattr(trainer, "_evaluate", lambda: evaluate(metric))
        restart = trainer._restart

        def observed(step: int) -> None:
            restart(step)
            began.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
            monkeypatch.undo()

        monkeypatch.setattr(trainer, "_restart", observed)
        next(epochs)
        assert_differ(best, at_end)
        assert_equal(began, at_end if improves else best)

    def test_a_stage_that_ends_within_the_first_epoch_is_not_lost(
        self, make_trial: MakeTrial, make_trainer: MakeTrainer
    ) -> None:
        settings = {"stage_fraction": 0.5, "smoothing_start": 1, "granularity": "step"}
        trainer = make_trainer(make_trial("annealing", settings, epochs=1, learning_rate=0.1))
        assert trainer.plan.restarts == (2,)
        fresh = {name: tensor.clone() for name, tensor in trainer.best_weights.items()}
        began: dict[str, torch.Tensor] = {}
        restart = trainer._restart

        def observed(step: int) -> None:
            restart(step)
            began.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})

        trainer._restart = observed  # type: ignore[method-assign]
        list(trainer.fit())
        assert_differ(fresh, began)


def stage_one(trainer: Trainer) -> tuple[Trainer, Iterator[EpochRecord]]:
    """A trainer of six epochs before its second stage. A best epoch before the third makes the restart visible."""
    epochs = trainer.fit()
    list(itertools.islice(epochs, 3))
    return trainer, epochs


class TestSteps:
    @pytest.mark.parametrize(
        "schedule",
        [
            {"shape": "step"},
            {"shape": "cosine", "warmup": 0.25},
            {"shape": "linear"},
            {"shape": "constant"},
        ],
        ids=lambda schedule: schedule["shape"],
    )
    def test_every_step_has_the_plans_learning_rate(
        self, schedule: dict[str, Any], make_trial: MakeTrial, make_trainer: MakeTrainer
    ) -> None:
        trainer = make_trainer(make_trial("continuation", lr_schedule=schedule, batch_size=60))
        used: list[float] = []
        trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
        list(trainer.fit())
        assert used == trainer.plan.column("learning_rate")
        assert len(used) == 8

    def test_a_record_has_the_plans_row_of_its_last_step(
        self, make_trial: MakeTrial, whole_run: GiveRun, task: Task, shared_live: LiveTeacher
    ) -> None:
        trial = make_trial("continuation")
        plan = compile_plan(trial, len(task.train), shared_live.second_moment())
        records = whole_run(trial).records
        assert [record.step for record in records] == [4, 8, 12, 16]
        assert [record.coefficients for record in records] == [plan.row(step - 1) for step in (4, 8, 12, 16)]
        assert {"hard_weight", "smoothing", "margin", "learning_rate"} <= records[0].coefficients.keys()

    def test_losses_are_means_over_samples(self, task: Task, make_trial: MakeTrial, make_trainer: MakeTrainer) -> None:
        """With a learning rate of almost 0 the student stays, so that its loss can be computed again."""
        trainer = make_trainer(make_trial("none", epochs=1, learning_rate=1e-30, weight_decay=0))
        fresh = make_trainer(trainer.trial).model.train()
        (record,) = trainer.fit()
        order = EpochOrder.of(task, 1)
        batches = batches_of(task)
        losses = [
            torch.nn.functional.cross_entropy(fresh(batch.inputs), batch.targets, reduction="sum").item()
            for batch in batches.epoch(order)
        ]
        assert record.loss == pytest.approx(sum(losses) / len(task.train), rel=1e-5)
        assert record.hard_loss == record.loss
        assert (record.soft_loss, record.active_fraction) == (None, None)

    def test_the_hinges_active_share_is_recorded(
        self, make_trial: MakeTrial, make_trainer: MakeTrainer, whole_run: GiveRun
    ) -> None:
        def shares(margin: float) -> list[float | None]:
            trial = make_trial("continuation", {"margin": margin, "margin_mode": "absolute"}, batch_size=60)
            return [record.active_fraction for record in make_trainer(trial).fit()]

        assert shares(0.0) == [1.0] * 4
        assert shares(1e9) == [0.0] * 4
        assert [record.active_fraction for record in whole_run(make_trial("kd")).records] == [None] * 4

    def test_a_student_learns(self, make_trial: MakeTrial, make_trainer: MakeTrainer) -> None:
        records = list(make_trainer(make_trial("none", epochs=12, batch_size=16)).fit())
        assert records[-1].best_metric > 0.3
        assert records[-1].loss < records[0].loss


class TestDivergence:
    @pytest.mark.parametrize("name", METHODS)
    def test_stops_with_its_reason(self, name: str, make_trial: MakeTrial, make_trainer: MakeTrainer) -> None:
        trainer = make_trainer(make_trial(name, learning_rate=1e30))
        with pytest.raises(TrialFailed, match=r"the loss became (nan|inf) in epoch 1; a lower learning_rate may help"):
            list(trainer.fit())

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_so_does_one_whose_last_step_went_astray(
        self, bad: float, make_trial: MakeTrial, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of which no loss tells: it is that of the weights before."""
        trainer = make_trainer(make_trial("none"))
        train = trainer._train_epoch

        def astray(epoch: int) -> Tensor:
            totals = train(epoch)
            trainer.model.linear.bias.data[0] = bad
            return totals

        monkeypatch.setattr(trainer, "_train_epoch", astray)
        with pytest.raises(TrialFailed, match="an answer of the student is no finite number in epoch 1"):
            next(trainer.fit())
        assert trainer.progress.best_epoch == 0

    def test_a_nan_never_counts_as_the_best(self, make_trial: MakeTrial, make_trainer: MakeTrainer) -> None:
        trainer = make_trainer(make_trial("none"))
        epochs = trainer.fit()
        next(epochs)
        trainer.progress.best_metric = -0.5  # as a correlation may be, and those of no numbers are 0
        next(trainer.model.parameters()).data.fill_(math.nan)
        with pytest.raises(TrialFailed, match="nan in epoch 2"):
            next(epochs)
        assert (trainer.progress.best_metric, trainer.progress.best_epoch) == (-0.5, 1)
        assert all(tensor.isfinite().all() for tensor in trainer.best_weights.values())


class ScalarReads(TorchDispatchMode):
    """Counts how often a number is taken out of a tensor, which waits for a GPU to be done with all before it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", METHODS)
def test_no_step_reads_a_number_from_a_tensor(name: str, make_trial: MakeTrial, make_trainer: MakeTrainer) -> None:
    def reads(batch_size: int) -> int:
        trainer = make_trainer(make_trial(name, batch_size=batch_size))
        with ScalarReads() as counted:
            trainer._train_epoch(1)
        return counted.count

    assert reads(40) == reads(120)
    with ScalarReads() as counted:
        torch.ones(1).item()
    assert counted.count == 1, "a read is counted"
