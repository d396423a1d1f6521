"""Encoders small enough for tests, made here: with a tokenizer that knows every text, and without a network."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Literal

import torch

from autockd.data import Split, Texts, TextTask

Family = Literal["bert", "roberta", "distilbert"]

WORDS = ("the", "a", "film", "is", "was", "not", "very", "good", "bad", "dull", "and", "it", "##ing", "##s")
_FILLER = ("the", "film", "is", "and", "it", "was", "very", "a")
SENTENCES = (
    "The film is good.",
    "It was not very good, and a bit dull; nothing happens and it goes on, and on, and on.",
    "Bad!",
    "",
    "A very good film and a very bad one were showing in 1997.",
    "Dull and bad.",
)
"""Of 2 to some 70 tokens."""


def make_tiny_encoder(
    folder: Path,
    *,
    layers: int = 4,
    hidden: int = 16,
    family: Family = "bert",
    seed: int = 0,
    outputs: int | None = None,
) -> Path:
    """Save an encoder with random weights and its tokenizer, as hub models are; `outputs` gives it a head."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    tokenizer = _byte_tokenizer() if family == "roberta" else _word_tokenizer(family)
    config = _config(family, layers, hidden, len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if outputs is None:
            model = AutoModel.from_config(config)
        else:
            config.num_labels = outputs
            model = AutoModelForSequenceClassification.from_config(config)
        for tensor in model.parameters():  # fresh biases are zero and scales one, which would hide mistakes
            torch.nn.init.normal_(tensor, mean=tensor.detach().mean().round().item(), std=0.2)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _config(family: Family, layers: int, hidden: int, vocabulary: int) -> Any:
    from transformers import BertConfig, DistilBertConfig, RobertaConfig

    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=vocabulary,
            n_layers=layers,
            dim=hidden,
            n_heads=2,
            hidden_dim=2 * hidden,
            max_position_embeddings=128,
        )
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
    }
    if family == "bert":
        return BertConfig(**sizes, max_position_embeddings=128)
    return RobertaConfig(**sizes, max_position_embeddings=130, type_vocab_size=1)


def _word_tokenizer(family: Family) -> Any:
    from transformers import BertTokenizer, DistilBertTokenizer

    symbols = [*string.ascii_lowercase, *string.digits]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *symbols, *WORDS]
    words += [f"##{symbol}" for symbol in symbols]
    kind = BertTokenizer if family == "bert" else DistilBertTokenizer
    return kind(vocab={word: index for index, word in enumerate(dict.fromkeys(words))}, model_max_length=128)


def _byte_tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    return RobertaTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=128)


def _is_good(row: int) -> bool:
    return row * 7 % 3 == 0


def make_text_task(train: int = 43, validation: int = 30, *, scores: bool = False) -> TextTask:
    """Sentences of several lengths that hold either `good` or `bad`, as classes or as scores."""

    def split(count: int, start: int) -> Split:
        rows = range(start, start + count)
        texts = [" ".join([*_FILLER[: 1 + row % 8], ("bad", "good")[_is_good(row)]]) for row in rows]
        labels = torch.tensor([_is_good(row) for row in rows]).long()
        return Split(Texts(tuple(texts)), labels.float() * 4 if scores else labels)

    return TextTask(
        name="films",
        train=split(train, 0),
        validation=split(validation, 100),
        classes=() if scores else ("bad", "good"),
        seed=1,
        metric="pearson_spearman" if scores else "accuracy",
        fingerprint="scores" if scores else "classes",
        max_length=32,
    )
