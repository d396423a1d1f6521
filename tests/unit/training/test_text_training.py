"""A student learns from a teacher on texts: classes and scores, other tokenizers, cut from the teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import make_text_task, make_tiny_encoder

from autockd.config.methods import AnnealingKD, AssistantKD, ContinuationKD, HintonKD, NoDistillation
from autockd.config.models import Encoder
from autockd.config.schema import AssistantConfig, TeacherConfig
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import TextTask
from autockd.data.order import EpochOrder
from autockd.errors import ModelError
from autockd.models import weights_hash
from autockd.records import PrecisionChoice
from autockd.training import teacher as teacher_module
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.networks import build_network, trim_network
from autockd.training.teacher import TeacherSpec, prepare_teacher
from autockd.training.text_feed import TextFeed
from autockd.training.trainer import Trainer

CPU = torch.device("cpu")
RECIPE = TrainingConfig.model_validate(
    {"epochs": 3, "batch_size": 8, "optimizer": "adamw", "learning_rate": 3e-3, "max_grad_norm": 1.0}
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two bases with tokenizers of their own."""
    folder = tmp_path_factory.mktemp("encoders")
    return {name: str(make_tiny_encoder(folder / name, family=name)) for name in ("bert", "roberta")}  # type: ignore[arg-type]


MakeTeacher = Callable[..., TeacherSpec]


@pytest.fixture(scope="module")
def make_teacher(tmp_path_factory: pytest.TempPathFactory, fp32: PrecisionChoice) -> MakeTeacher:
    """Makes a teacher for a study's folder; each is trained once."""
    cache = tmp_path_factory.mktemp("teachers")

    def make(base: str, task: TextTask, folder: Path) -> TeacherSpec:
        config = TeacherConfig(model=Encoder(path=base), training=RECIPE.model_copy(update={"epochs": 6}))
        target = folder / "teacher" / "model.safetensors"
        return prepare_teacher(config, task, choose=lambda: fp32, device=CPU, cache=cache, target=target)

    return make


def bank_of(teacher: TeacherSpec, task: TextTask, folder: Path) -> TeacherBank:
    identity = BankIdentity.of(teacher.identity, task)
    return TeacherBank(folder / "banks", identity, lambda: teacher.load(task, CPU))


def trial_of(student: Encoder, method: Any, **recipe: Any) -> TrialConfig:
    return TrialConfig(method=method, training=RECIPE.model_copy(update=recipe), student=student, seed=3)


def test_teacher_and_student_may_have_other_tokenizers(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    task = make_text_task()
    teacher = make_teacher(encoders["roberta"], task, tmp_path)
    bank = bank_of(teacher, task, tmp_path)
    trial = trial_of(Encoder(path=encoders["bert"], layers=2), HintonKD(alpha=1.0))
    records = list(Trainer(trial, task, fp32, bank=bank).fit())
    assert bank.filled == len(task.train)
    assert bank.check(20)[1] == 0.0
    live = teacher.load(task, CPU).logits(torch.arange(43), torch.zeros(43, dtype=torch.int64))
    assert torch.equal(bank.logits(torch.arange(43), torch.zeros(43, dtype=torch.int64)), live)
    assert records[-1].loss < records[0].loss


def test_another_tokenizer_in_the_same_folder_makes_another_teacher(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path
) -> None:
    """Its weights begin alike, and it reads other words; what is kept of the one is not that of the other."""
    task, base = make_text_task(), tmp_path / "base"
    shutil.copytree(encoders["bert"], base)
    before, again = (make_teacher(str(base), task, tmp_path / study) for study in ("one", "two"))
    assert again.record.origin == "cached"
    assert again.identity == before.identity
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    after = make_teacher(str(base), task, tmp_path / "three")
    assert after.record.origin == "trained"
    assert after.record.reading != before.record.reading
    same = replace(after, record=after.record.model_copy(update={"weights_hash": before.record.weights_hash}))
    assert same.identity != before.identity


def test_a_student_is_cut_from_the_teacher_as_it_was_fine_tuned(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    task = make_text_task()
    teacher = make_teacher(encoders["bert"], task, tmp_path)
    student = Trainer(trial_of(Encoder(layers=(0, 3)), NoDistillation()), task, fp32, base=teacher.folder).model
    tuned, cut = teacher.load(task, CPU).model.state_dict(), student.state_dict()
    assert torch.equal(
        cut["bert.encoder.layer.1.output.dense.weight"], tuned["bert.encoder.layer.3.output.dense.weight"]
    )
    assert torch.equal(cut["classifier.weight"], tuned["classifier.weight"]), "the head is kept"
    assert "bert.encoder.layer.2.output.dense.weight" not in cut


def test_an_assistant_is_cut_from_the_teacher_and_teaches_a_student(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    """Another study finds it in the cache; it comes back to life from its own weights."""
    task = make_text_task()
    teacher = make_teacher(encoders["bert"], task, tmp_path)
    config = AssistantConfig(model=Encoder(layers=3), training=RECIPE, method=HintonKD(alpha=1.0))

    def prepared(study: str) -> TeacherSpec:
        target = tmp_path / study / "assistant" / "model.safetensors"
        places: dict[str, Any] = {"device": CPU, "cache": tmp_path / "cache", "target": target}
        return prepare_teacher(config, task, choose=lambda: fp32, teacher=teacher, **places)

    assistant = prepared("one")
    assert (assistant.record.origin, prepared("two").record.origin) == ("trained", "cached")
    assert assistant.record.parameters < teacher.record.parameters
    state = assistant.load(task, CPU).model.state_dict()
    assert weights_hash(state) == assistant.record.weights_hash
    assert "bert.encoder.layer.2.output.dense.weight" in state
    assert "bert.encoder.layer.3.output.dense.weight" not in state
    trial = trial_of(Encoder(layers=1), AssistantKD(alpha=1.0))
    bank = bank_of(assistant, task, tmp_path)
    records = list(Trainer(trial, task, fp32, bank=bank, base=teacher.folder).fit())
    assert bank.check(20)[1] == 0.0
    assert records[-1].loss < records[0].loss


class Stopped(Exception):
    """Stands for a kill in the middle of training."""


def test_another_study_goes_on_with_an_assistant_whose_training_was_cut_off(
    encoders: dict[str, str],
    make_teacher: MakeTeacher,
    tmp_path: Path,
    fp32: PrecisionChoice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its copy of the teacher, from which the assistant is cut, lies in another folder."""
    monkeypatch.setattr(teacher_module, "CHECKPOINT_EVERY", 0.0)
    task, seen = make_text_task(), []
    config = AssistantConfig(model=Encoder(layers=3), training=RECIPE, method=HintonKD(alpha=1.0))

    def prepared(study: str, stop_at: int) -> TeacherSpec:
        teacher = make_teacher(encoders["bert"], task, tmp_path / study)

        def tell(text: str) -> None:
            seen.append(int(text.split()[1]))
            if seen[-1] == stop_at:
                raise Stopped

        target = tmp_path / study / "assistant" / "model.safetensors"
        places: dict[str, Any] = {"device": CPU, "cache": tmp_path / "cache", "target": target, "tell": tell}
        return prepare_teacher(config, task, choose=lambda: fp32, teacher=teacher, **places)

    with pytest.raises(Stopped):
        prepared("one", stop_at=2)
    prepared("two", stop_at=99)
    assert seen == [1, 2, 2, 3]


def test_scores_are_learned_by_squared_error(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    task = make_text_task(scores=True)
    teacher = make_teacher(encoders["bert"], task, tmp_path)
    bank = bank_of(teacher, task, tmp_path)
    for method in (HintonKD(), ContinuationKD(smoothing_start=2, margin_mode="none")):
        trial = trial_of(Encoder(path=encoders["bert"], layers=2), method, epochs=24)  # after 8 it is luck
        trainer = Trainer(trial, task, fp32, bank=bank, second_moment=teacher.record.second_moment)
        records = list(trainer.fit())
        assert trainer.model(trainer._feed.read(torch.arange(2), torch.arange(2))).shape == (2, 1)
        assert records[-1].hard_loss < records[0].hard_loss
        assert records[-1].best_metric > 0.5


def test_a_run_goes_on_bit_for_bit(encoders: dict[str, str], fp32: PrecisionChoice) -> None:
    """Dropout included, which draws from the generator that the checkpoint holds."""
    task, trial = make_text_task(), trial_of(Encoder(path=encoders["bert"]), NoDistillation())
    whole = Trainer(trial, task, fp32)
    list(whole.fit())
    first = Trainer(trial, task, fp32)
    next(first.fit())
    state = first.state_dict()
    torch.manual_seed(99)
    second = Trainer(trial, task, fp32)
    second.load_state_dict(state)
    list(second.fit())
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in second.model.state_dict().items())


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_gradients_make_the_same_step(encoders: dict[str, str], fp32: PrecisionChoice, parts: int) -> None:
    """43 samples: the last batch has 3, and weighs by them."""
    task, trial = make_text_task(), trial_of(Encoder(path=encoders["bert"], dropout=0.0), NoDistillation(), epochs=1)
    runs = [Trainer(trial, task, fp32, micro_batches=count) for count in (1, parts)]
    whole, split = [list(run.fit()) for run in runs]
    assert split[0].loss == pytest.approx(whole[0].loss, rel=1e-5)
    expected = runs[0].model.state_dict()
    for name, tensor in runs[1].model.state_dict().items():
        if name.endswith("key.bias"):
            continue  # softmax does not see it: its gradient is rounding alone, and AdamW makes whole steps of that
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_loss_of_an_epoch_does_not_depend_on_its_buckets(
    encoders: dict[str, str], fp32: PrecisionChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that stay, every sample weighs the same whichever batch, the smaller last one too, it falls into."""
    still = {"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0}
    task, trial = make_text_task(), trial_of(Encoder(path=encoders["bert"], dropout=0.0), NoDistillation(), **still)
    bucketed = Trainer(trial, task, fp32)
    (by_length,) = bucketed.fit()
    order = EpochOrder.of(task, 1)
    assert not torch.equal(bucketed._feed.arrange(order, trial.training.batch_size).indices, order.indices)
    monkeypatch.setattr(TextFeed, "arrange", lambda self, order, batch_size: order)
    (shuffled,) = Trainer(trial, task, fp32).fit()
    assert shuffled.loss == pytest.approx(by_length.loss, rel=1e-6)
    assert shuffled.metric == by_length.metric


def test_a_teacher_answers_without_dropout(
    encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    task = make_text_task()
    live = make_teacher(encoders["bert"], task, tmp_path).load(task, CPU)
    rows = torch.arange(10)
    assert torch.equal(live.logits(rows, rows * 0), live.logits(rows, rows * 0))
    assert not live.model.training


@pytest.mark.parametrize("method", [NoDistillation(), AnnealingKD(smoothing_start=1)], ids=["plain", "two stages"])
def test_a_trimmed_vocabulary_changes_nothing_but_the_work(
    method: Any, encoders: dict[str, str], make_teacher: MakeTeacher, tmp_path: Path, fp32: PrecisionChoice
) -> None:
    """The rows that are away come back as weight decay would have left them; a stage begins with the best weights."""
    task = make_text_task()
    teacher = make_teacher(encoders["roberta"], task, tmp_path)
    bank = bank_of(teacher, task, tmp_path)
    encoder = Encoder(path=encoders["bert"])
    words, fresh = "bert.embeddings.word_embeddings.weight", build_network(encoder, task, seed=3).state_dict()
    runs, metrics = [], []
    for trimmed in (False, True):
        trial = trial_of(encoder.model_copy(update={"trim_vocabulary": trimmed}), method, weight_decay=0.3)
        runs.append(Trainer(trial, task, fp32, bank=bank))
        metrics.append([record.metric for record in runs[-1].fit()])
    assert metrics[0] == metrics[1]
    assert runs[0].parameters == runs[1].parameters
    assert len(runs[1].model.state_dict()[words]) < len(fresh[words]) / 2
    for whole, found in ((runs[0].best_weights, runs[1].best_weights), (runs[0].last_weights, runs[1].last_weights)):
        assert found.keys() == whole.keys()
        for name, tensor in whole.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        torch.testing.assert_close(found[words][-1], whole[words][-1], rtol=1e-5, atol=0)
        assert not torch.allclose(found[words][-1], fresh[words][-1], rtol=1e-4), "an unused row has decayed"


def test_a_trimmed_run_goes_on_bit_for_bit(encoders: dict[str, str], fp32: PrecisionChoice) -> None:
    task, trial = make_text_task(), trial_of(Encoder(path=encoders["bert"], trim_vocabulary=True), NoDistillation())
    whole = Trainer(trial, task, fp32)
    list(whole.fit())
    first = Trainer(trial, task, fp32)
    next(first.fit())
    state = first.state_dict()
    second = Trainer(trial, task, fp32)
    second.load_state_dict(state)
    list(second.fit())
    for expected, found in ((whole.best_weights, second.best_weights), (whole.last_weights, second.last_weights)):
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_rows_that_momentum_would_have_moved_cannot_be_put_back() -> None:
    recipe = TrainingConfig(optimizer="sgd", weight_decay=0.1)
    encoder = Encoder(path="base", trim_vocabulary=True)
    with pytest.raises(ValueError, match="trim_vocabulary needs optimizer adamw, or sgd with weight_decay 0"):
        TrialConfig(method=NoDistillation(), training=recipe, student=encoder, seed=0)
    with pytest.raises(ValueError, match="trim_vocabulary needs optimizer adamw"):
        TeacherConfig(model=encoder, training=recipe)
    TeacherConfig(model=encoder, training=recipe.model_copy(update={"weight_decay": 0.0}))


def test_a_word_embedding_of_another_kind_is_trained_whole(encoders: dict[str, str]) -> None:
    class Words(torch.nn.Module):
        """As I-BERT's, which is quantised."""

    encoder, task = Encoder(path=encoders["bert"]), make_text_task()
    model = build_network(encoder, task, seed=0)
    model.hf.set_input_embeddings(Words())  # type: ignore[operator,union-attr]
    assert trim_network(model, encoder, RECIPE, task) is None
    with pytest.raises(ModelError, match="trim_vocabulary: bert has a word embedding of its own kind -> leave it out"):
        trim_network(model, encoder.model_copy(update={"trim_vocabulary": True}), RECIPE, task)


def test_attention_plans_no_shape_anew(encoders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cuDNN plans for one shape serves no other, and batches of texts have many."""
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", (asked := list[bool]()).append)
    build_network(Encoder(path=encoders["bert"]), make_text_task(), seed=0)
    assert asked == [False]
