from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.schema import AssistantConfig, TeacherConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.errors import ConfigError, EnvironmentProblem, ModelError, StudyError
from autockd.models import build_model, read_state, save_weights, weights_hash
from autockd.records import PrecisionChoice
from autockd.training import live_teacher
from autockd.training import teacher as teacher_module
from autockd.training.evaluation import evaluate
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import build_network, make_feed
from autockd.training.teacher import TeacherSpec, _known, _trainer, prepare_teacher
from autockd.training.trainer import Trainer

CPU = torch.device("cpu")
RECIPE = TrainingConfig(epochs=3, batch_size=32, learning_rate=0.1)
CONFIG = TeacherConfig(model=CifarResNet(width=4), training=RECIPE)

Prepare = Callable[..., TeacherSpec]


def never() -> PrecisionChoice:
    raise AssertionError("a teacher that is not trained needs no choice of arithmetic")


@pytest.fixture
def prepare(task: Task, fp32: PrecisionChoice, tmp_path: Path) -> Prepare:
    def call(config: TeacherConfig = CONFIG, study: str = "study", **changes: Any) -> TeacherSpec:
        settings = {
            "task": task,
            "choose": lambda: fp32,
            "device": torch.device("cpu"),
            "cache": tmp_path / "cache",
            "target": tmp_path / study / "teacher" / "model.safetensors",
        }
        return prepare_teacher(config, **settings | changes)  # type: ignore[arg-type]

    return call


def test_it_is_trained_and_evaluated(prepare: Prepare, task: Task, fp32: PrecisionChoice) -> None:
    told: list[str] = []
    spec = prepare(tell=told.append)
    record = spec.record
    epochs, metrics = zip(*(text.split(", validation ") for text in told), strict=True)
    assert epochs == ("epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3")
    assert (record.origin, record.precision, record.parameters) == ("trained", fp32, 4934)
    assert record.weights_path == str(spec.weights)
    assert record.bytes == spec.weights.stat().st_size
    assert record.weights_hash == weights_hash(read_state(spec.weights))
    assert record.seconds > 0
    assert f"{record.metric:.4f}" == max(metrics), "the best epoch's weights are kept"
    live = spec.load(task, torch.device("cpu"))
    feed = make_feed(CONFIG.model, task, task.validation, torch.device("cpu"), channels_last=True)
    assert evaluate(live.model, feed, task.validation.targets, "accuracy") == record.metric
    assert record.second_moment == live.second_moment() > 0


def test_a_second_study_finds_it_in_the_cache(prepare: Prepare) -> None:
    first = prepare()
    second = prepare(study="another", choose=never)
    assert (second.record.origin, second.record.precision) == ("cached", None)
    assert second.record.weights_hash == first.record.weights_hash
    assert second.identity == first.identity
    assert (second.record.metric, second.record.second_moment) == (first.record.metric, first.record.second_moment)
    assert second.weights != first.weights
    assert second.weights.read_bytes() == first.weights.read_bytes()


def test_its_weights_are_hashed_once(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[None] = []

    def hash_of(state: Any) -> str:
        hashed.append(None)
        return weights_hash(state)

    monkeypatch.setattr(teacher_module, "weights_hash", hash_of)
    prepare()
    assert len(hashed) == 1
    prepare(study="another", choose=never)
    assert len(hashed) == 2


def test_who_insists_on_an_arithmetic_gets_a_teacher_that_was_trained_in_it(prepare: Prepare) -> None:
    studies: tuple[tuple[str, Any], ...] = (("one", None), ("two", "fp32"), ("three", "fp32"), ("four", None))
    origins = [prepare(study=study, insisted=insisted).record.origin for study, insisted in studies]
    assert origins == ["trained", "trained", "cached", "cached"]


def test_what_a_teacher_answers_is_computed_once(prepare: Prepare, tmp_path: Path) -> None:
    first = prepare()
    (kept,) = (tmp_path / "cache").glob("*.answers.json")
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps(known | {"metric": 0.25, "second_moment": 2.0}))
    assert (prepare(study="second").record.metric, prepare(study="third").record.second_moment) == (0.25, 2.0)
    for damaged in ("", "{}", '{"metric": null, "second_moment": 1}'):
        kept.write_text(damaged)
        again = prepare(study="fourth").record
        assert (again.metric, again.second_moment) == (first.record.metric, first.record.second_moment)


def test_it_answers_for_every_sample_only_where_its_second_moment_is_wanted(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_calls(monkeypatch, LiveTeacher, "second_moment")
    assert prepare(with_moment=False).record.second_moment is None
    assert asked == []
    wanted = prepare(study="second").record
    assert len(asked) == 1
    assert wanted.second_moment is not None, "what was kept without it is not enough"
    again = prepare(study="third", with_moment=False).record
    assert (again.metric, again.second_moment) == (wanted.metric, wanted.second_moment)
    assert len(asked) == 1


def count_calls(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[None]:
    """A list that grows with each call of a method."""
    calls: list[None] = []
    original = getattr(owner, name)

    def call(*args: Any) -> Any:
        calls.append(None)
        return original(*args)

    patch.setattr(owner, name, call)
    return calls


def test_a_teacher_answers_in_bf16_where_that_is_close(prepare: Prepare, task: Task) -> None:
    plain, fast = prepare(answers="fp32"), prepare(study="another", answers="bf16")
    assert (plain.record.answers, plain.record.answers_difference) == ("fp32", 0.0)
    assert fast.record.answers == "bf16"
    assert 0 < fast.record.answers_difference < 0.05
    assert fast.record.metric == plain.record.metric, "metrics are those of fp32"
    indices, views = torch.arange(20), torch.zeros(20, dtype=torch.int64)
    exact, rounded = (spec.load(task, CPU).logits(indices, views) for spec in (plain, fast))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_teacher_that_bf16_changes_answers_in_fp32(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "CLOSE_ENOUGH", 1e-6)
    spec = prepare(answers="bf16")
    assert spec.record.answers == "fp32"
    assert spec.record.answers_difference > 1e-6, "the reason is recorded"
    assert spec.record.second_moment == prepare(study="another", answers="fp32").record.second_moment


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"model": CifarResNet(width=3)},
        {"training": RECIPE.model_copy(update={"epochs": 2})},
        {"training": RECIPE.model_copy(update={"weight_decay": 1e-3})},
    ],
    ids=["seed", "model", "epochs", "weight_decay"],
)
def test_another_recipe_is_another_teacher(prepare: Prepare, changes: dict[str, Any]) -> None:
    first = prepare()
    second = prepare(CONFIG.model_copy(update=changes), study="another")
    assert second.record.origin == "trained"
    assert second.identity != first.identity


def test_another_task_is_another_teacher(prepare: Prepare, task: Task) -> None:
    prepare()
    smaller = replace(task, train=task.train.take(torch.arange(60)), fingerprint="smaller")
    assert prepare(study="another", task=smaller).record.origin == "trained"


def test_given_weights_are_used_as_they_are(prepare: Prepare, task: Task, tmp_path: Path) -> None:
    model = build_model(CONFIG.model, classes=10, channels=1, image_size=task.image_size, seed=5)
    path = tmp_path / "given.safetensors"
    save_weights(model, path)
    config = CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=path)})
    spec = prepare(config, choose=never)
    assert (spec.record.origin, spec.record.precision) == ("given", None)
    assert spec.record.weights_hash == weights_hash(model.state_dict())
    assert weights_hash(read_state(spec.weights)) == spec.record.weights_hash


def test_given_weights_may_move_once_a_study_has_them(prepare: Prepare, task: Task, tmp_path: Path) -> None:
    """The study keeps a copy of its own; a worker must not need the file that the user named."""
    model = build_model(CONFIG.model, classes=10, channels=1, image_size=task.image_size, seed=5)
    path = tmp_path / "given.safetensors"
    save_weights(model, path)
    spec = prepare(CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=path)}), choose=never)
    path.unlink()
    live = spec.load(task, torch.device("cpu"))
    assert weights_hash(live.model.state_dict()) == spec.record.weights_hash


def test_the_same_weights_have_the_same_identity_wherever_they_come_from(prepare: Prepare, tmp_path: Path) -> None:
    trained = prepare()
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(trained.weights.read_bytes())
    config = CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=copy)})
    assert prepare(config, study="another").identity == trained.identity


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_is_refused(prepare: Prepare, tmp_path: Path) -> None:
    path, sign = tmp_path / "teacher.pt", tmp_path / "boom"
    torch.save({"state_dict": Bomb(sign)}, path)
    config = CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=path)})
    with pytest.raises(ModelError, match="what would run code is never loaded"):
        prepare(config)
    assert not sign.exists()


def test_weights_of_another_shape_are_refused(prepare: Prepare, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "given.safetensors"
    save_weights(build_model(CifarResNet(width=3), classes=10, channels=1, image_size=(8, 8), seed=0), path)
    with pytest.raises(ModelError, match="does not fit"):
        prepare(CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=path)}))


def test_a_teacher_that_diverges_is_not_cached(prepare: Prepare, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"training": RECIPE.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(ConfigError, match=r"teacher\.training: the loss became .* -> a lower learning_rate may help"):
        prepare(config)
    assert list((tmp_path / "cache").glob("*.safetensors")) == []


class Stopped(Exception):
    """Stands for a kill in the middle of training."""


def test_training_goes_on_where_it_was_stopped(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_module, "CHECKPOINT_EVERY", 0.0)
    whole = prepare(cache=tmp_path / "elsewhere", study="whole")
    seen: list[str] = []

    def stop_in_the_third(text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        prepare(tell=stop_in_the_third)
    spec = prepare(tell=seen.append)
    assert [text.split()[1] for text in seen] == ["1", "2", "3", "3"]
    assert spec.record.origin == "trained"
    assert spec.record.weights_hash == whole.record.weights_hash
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".lock", ".safetensors"]


def test_a_teacher_that_another_study_trains_is_waited_for_and_taken(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first goes on once the second waits, and the second then finds what the first has made."""
    # While one thread folds a network, torch.fx takes part in whatever any other one computes; studies are processes.
    monkeypatch.setattr(live_teacher, "folded", lambda network, _: network)
    is_waiting, told = threading.Event(), []

    def tell_of_waiting(text: str) -> None:
        told.append(text)
        is_waiting.set()

    with ThreadPoolExecutor(2) as threads:
        has_begun = threading.Event()

        def hold_the_first(text: str) -> None:
            has_begun.set()
            assert is_waiting.wait(60)

        first = threads.submit(prepare, tell=hold_the_first)
        assert has_begun.wait(60)
        second = threads.submit(prepare, study="another", tell=tell_of_waiting)
        origins = [future.result(timeout=60).record.origin for future in (first, second)]
    assert origins == ["trained", "cached"]
    assert told == [f"waiting for process {os.getpid()} on {socket.gethostname()}, which trains the same one"]


def test_a_study_keeps_its_own_copy_where_other_weights_are_given(prepare: Prepare, tmp_path: Path) -> None:
    own, other = prepare(), prepare(CONFIG.model_copy(update={"seed": 1}), study="another")
    given = CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=other.weights)})
    with pytest.raises(StudyError, match="cannot go on: its teacher has changed"):
        prepare(given, expected=own.record.weights_hash)
    assert weights_hash(read_state(own.weights)) == own.record.weights_hash
    same = CONFIG.model_copy(update={"model": CifarResNet(width=4, weights=own.weights)})
    assert prepare(same, expected=own.record.weights_hash).identity == own.identity


def test_memory_that_runs_out_while_it_is_trained_has_its_remedy(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    monkeypatch.setattr(Trainer, "_train_epoch", run_out)
    with pytest.raises(EnvironmentProblem, match=r"while the teacher is trained .* lower teacher.training.batch_size"):
        prepare()


def test_a_cache_that_cannot_be_written_is_the_machines_problem(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentProblem, match="AUTOCKD_CACHE"):
        prepare(cache=tmp_path / "file" / "teachers")


def test_a_teacher_from_the_cache_answers_as_the_one_that_was_trained(prepare: Prepare, task: Task) -> None:
    pairs = (torch.arange(len(task.train)), torch.zeros(len(task.train), dtype=torch.int64))
    trained, cached = (prepare(study=study).load(task, torch.device("cpu")) for study in ("one", "two"))
    assert torch.equal(trained.logits(*pairs), cached.logits(*pairs))


@pytest.fixture
def teacher(prepare: Prepare) -> TeacherSpec:
    return prepare()


def test_an_assistant_learns_from_the_teacher(
    prepare: Prepare, task: Task, fp32: PrecisionChoice, teacher: TeacherSpec
) -> None:
    config = AssistantConfig(model=CifarResNet(width=3), training=RECIPE, seed=2, method=HintonKD(alpha=0.7))
    spec = prepare(config, study="assistant", teacher=teacher)
    trial = TrialConfig(method=config.method, training=RECIPE, student=config.model, seed=2)
    moment = teacher.record.second_moment
    trainer = Trainer(trial, task, fp32, bank=teacher.bank(task, CPU), second_moment=moment)
    best = list(trainer.fit())[-1].best_metric
    assert (spec.record.origin, spec.record.metric) == ("trained", best)
    assert spec.record.weights_hash == weights_hash(trainer.best_weights)


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, "cached"),
        ({"method": HintonKD(temperature=2.0)}, "trained"),
        ({"method": HintonKD(standardise_logits=True)}, "trained"),
        ({"seed": 1}, "trained"),
    ],
)
def test_an_assistant_is_found_by_all_that_made_it(
    prepare: Prepare, teacher: TeacherSpec, changes: dict[str, Any], origin: str
) -> None:
    config = AssistantConfig(model=CifarResNet(width=2), training=TrainingConfig(epochs=1, learning_rate=0.1))
    prepare(config, study="one", teacher=teacher)
    again = prepare(config.model_copy(update=changes), study="two", teacher=teacher)
    assert again.record.origin == origin


def test_an_assistant_of_another_teacher_is_another_one(prepare: Prepare, teacher: TeacherSpec) -> None:
    config = AssistantConfig(model=CifarResNet(width=2), training=TrainingConfig(epochs=1, learning_rate=0.1))
    one = prepare(config, study="one", teacher=teacher)
    other_teacher = prepare(CONFIG.model_copy(update={"seed": 5}), study="other")
    other = prepare(config, study="two", teacher=other_teacher)
    alone = prepare(config, study="three", choose=never, teacher=teacher)
    assert (one.record.origin, other.record.origin, alone.record.origin) == ("trained", "trained", "cached")


def test_a_given_assistant_is_taken_as_it_is(prepare: Prepare, teacher: TeacherSpec, tmp_path: Path) -> None:
    model = CifarResNet(width=2)
    save_weights(build_model(model, classes=10, channels=1, image_size=(8, 8), seed=4), tmp_path / "given.safetensors")
    config = AssistantConfig(model=model.model_copy(update={"weights": tmp_path / "given.safetensors"}))
    spec = prepare(config, study="given", choose=never, teacher=teacher)
    assert spec.record.origin == "given"
    assert spec.record.weights_hash == weights_hash(read_state(tmp_path / "given.safetensors"))


def test_a_teacher_is_evaluated_where_its_answers_are_given(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    def look(model: nn.Module, *_: object, **__: object) -> float:
        places.append(next(model.parameters()).device.type)
        return 0.5

    monkeypatch.setattr("autockd.training.teacher.evaluate", look)
    live = LiveTeacher(CONFIG.model, build_network(CONFIG.model, task, seed=0), task, torch.device("meta"))
    _known(live, tmp_path / "answers.json", "fp32", with_moment=False)
    assert places == ["meta"]


@pytest.mark.parametrize(
    ("device", "asked", "expected"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_its_steps_are_captured_where_those_of_trials_are(
    device: str, asked: bool, expected: bool, task: Task, fp32: PrecisionChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("autockd.training.teacher.Trainer", lambda *_, cuda_graphs: seen.append(cuda_graphs))
    config = TeacherConfig(model=CifarResNet(depth=8, widths=(2, 2, 2)))
    _trainer(config, task, fp32.model_copy(update={"device": device}), None, asked)
    assert seen == [expected]
