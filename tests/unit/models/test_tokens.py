from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import SENTENCES, Family
from hypothesis import given, settings
from hypothesis import strategies as st

from autockd.config.models import Encoder
from autockd.errors import ModelError
from autockd.models import tokens as tokens_module
from autockd.models.encoder import build_encoder, save_encoder
from autockd.models.tokens import Tokens, load_tokenizer

FAMILIES: tuple[Family, ...] = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module")
def bases(tiny_encoder: Callable[..., Path]) -> dict[str, Path]:
    return {family: tiny_encoder(family=family) for family in FAMILIES}


@pytest.fixture(scope="module")
def tokenizers(bases: dict[str, Path]) -> dict[str, Any]:
    return {family: load_tokenizer(Encoder(path=str(base))) for family, base in bases.items()}


def copy_with(base: Path, folder: Path, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Encoder:
    """A copy of a base of which one JSON file is changed."""
    shutil.copytree(base, folder)
    (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))
    return Encoder(path=str(folder))


def ragged(lengths: list[int], *, typed: bool = True) -> Tokens:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    ids = torch.arange(1, int(offsets[-1]) + 1, dtype=torch.int32)
    return Tokens(ids, offsets, (ids % 2).to(torch.int8) if typed else None, pad_id=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [128, 16])
@pytest.mark.parametrize("paired", [False, True])
def test_samples_are_those_of_the_tokenizer(
    tokenizers: dict[str, Any], family: Family, max_length: int, paired: bool
) -> None:
    tokenizer = tokenizers[family]
    columns = [SENTENCES, SENTENCES[::-1]] if paired else [SENTENCES]
    tokens = Tokens.of(tokenizer, columns, max_length)
    wanted = tokenizer(*map(list, columns), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
    got = tokens.batch(torch.arange(len(SENTENCES)), multiple=1)
    assert got.keys() == wanted.keys()
    assert ("token_type_ids" in got) == (family == "bert")
    for name, tensor in got.items():
        assert tensor.dtype == torch.int64
        assert torch.equal(tensor, wanted[name])
    assert tokens.lengths.tolist() == wanted["attention_mask"].sum(1).tolist()
    assert len(tokens) == len(SENTENCES)


def test_more_texts_than_a_chunk_keep_their_order(tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_CHUNK", 64)
    tokenizer = tokenizers["bert"]
    texts = [str(number) for number in range(150)]
    tokens = Tokens.of(tokenizer, [texts], 16)
    assert len(tokens) == 150
    for row in (0, 63, 64, 127, 128, 149):
        assert tokenizer.decode(tokens.batch(torch.tensor([row]), multiple=1)["input_ids"][0, 1:-1]) == texts[row]


def test_an_encoder_is_given_no_more_tokens_than_it_has_positions(bases: dict[str, Path], tmp_path: Path) -> None:
    def unlimited(options: dict[str, Any]) -> dict[str, Any]:
        del options["model_max_length"]
        return options

    for family, base in bases.items():
        config = copy_with(base, tmp_path / family, "tokenizer_config.json", unlimited)
        tokens = Tokens.of(load_tokenizer(config), [["very good " * 200]], 512)
        assert tokens.lengths.tolist() == [128]
        with torch.no_grad():
            assert build_encoder(config, outputs=2, seed=0)(tokens.batch(torch.tensor([0]))).isfinite().all()


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    multiple=st.integers(1, 16),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_batch_holds_its_samples_and_padding(lengths: list[int], multiple: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20))
    tokens = ragged(lengths)
    assert tokens.types is not None
    batch = tokens.batch(torch.tensor(rows), multiple=multiple)
    longest = max(lengths[row] for row in rows)
    width = batch["input_ids"].shape[1]
    assert width == min(-(-longest // multiple) * multiple, max(lengths))
    for place, row in enumerate(rows):
        sample = slice(int(tokens.offsets[row]), int(tokens.offsets[row + 1]))
        padding = [0] * (width - lengths[row])
        assert batch["input_ids"][place].tolist() == tokens.ids[sample].tolist() + padding
        assert batch["token_type_ids"][place].tolist() == tokens.types[sample].tolist() + padding
        assert batch["attention_mask"][place].tolist() == [1] * lengths[row] + padding


def test_a_length_may_be_asked_for() -> None:
    batch = ragged([3, 5], typed=False).batch(torch.tensor([0]), length=32)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (1, 32),
        "attention_mask": (1, 32),
    }
    assert batch["attention_mask"].sum() == 3


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), size=st.integers(1, 5))
def test_batches_by_length_hold_every_sample_once(lengths: list[int], size: int) -> None:
    tokens = ragged(lengths)
    found = list(tokens.by_length(size))
    rows = torch.cat([rows for rows, _ in found])
    assert [lengths[row] for row in rows] == sorted(lengths)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    for some, batch in found:
        assert all(torch.equal(batch[name], tensor) for name, tensor in tokens.batch(some).items())


def test_a_batch_by_length_need_not_ask_the_device_how_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a GPU for a number waits for all that it has to do."""
    asked: list[int | None] = []
    batch = Tokens.batch

    def watched(self: Tokens, rows: torch.Tensor, *, length: int | None = None) -> dict[str, torch.Tensor]:
        asked.append(length)
        return batch(self, rows, length=length)

    monkeypatch.setattr(Tokens, "batch", watched)
    assert len(list(ragged([3, 5, 17, 2]).by_length(2))) == 2
    assert asked == [8, 17]


def test_tokens_move_together() -> None:
    moved = ragged([3, 5]).to("meta")
    assert moved.types is not None
    assert {moved.ids.device.type, moved.offsets.device.type, moved.types.device.type} == {"meta"}


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_logit(bases: dict[str, Path], family: Family) -> None:
    config = Encoder(path=str(bases[family]))
    tokens = Tokens.of(load_tokenizer(config), [SENTENCES, SENTENCES[::-1]], 96)
    model = build_encoder(config, outputs=3, seed=0).eval()
    rows = torch.arange(len(SENTENCES))
    with torch.no_grad():
        alone = torch.cat([model(tokens.batch(row[None], multiple=1)) for row in rows])
        together = model(tokens.batch(rows))
        widest = model(tokens.batch(rows, length=128))
    assert alone.std(0).min() > 1e-4  # the samples can be told apart
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(widest, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_types_that_the_encoder_cannot_take_are_left_out(
    bases: dict[str, Path], family: Family, tmp_path: Path
) -> None:
    """Whatever the tokenizer's own file says."""
    told = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    config = copy_with(bases[family], tmp_path / "base", "tokenizer_config.json", lambda options: options | told)
    tokens = Tokens.of(load_tokenizer(config), [SENTENCES, SENTENCES], 64)
    assert (tokens.types is not None) == (family == "bert")
    build_encoder(config, outputs=2, seed=0)(tokens.batch(torch.arange(2)))


def make_tiny_albert(folder: Path) -> Encoder:
    """An encoder with token types whose tokenizer gives none, unless it is asked to."""
    from transformers import AlbertConfig, AlbertModel, AlbertTokenizer

    symbols = dict.fromkeys(["▁", *string.ascii_lowercase, *string.digits, *string.punctuation])
    pieces = [(piece, 0.0) for piece in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    tokenizer = AlbertTokenizer(vocab=pieces + [(symbol, -1.0) for symbol in symbols], model_max_length=128)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
    widths = {"embedding_size": 8, "hidden_size": 16, "intermediate_size": 32}
    AlbertModel(AlbertConfig(vocab_size=len(tokenizer), **sizes, **widths)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Encoder(path=str(folder))


@pytest.fixture(scope="module")
def albert(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return make_tiny_albert(tmp_path_factory.mktemp("albert"))


def test_an_encoder_with_token_types_tells_the_texts_of_a_pair_apart(
    albert: Encoder, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Whether or not its tokenizer gives types unasked; where it cannot, there are none."""
    plain = {"tokenizer_class": "PreTrainedTokenizerFast"}
    bert = copy_with(bases["bert"], tmp_path / "bert", "tokenizer_config.json", lambda options: options | plain)
    for config in (albert, bert):
        tokenizer = load_tokenizer(config)
        tokens = Tokens.of(tokenizer, [["a film"], ["is good"]], 64)
        first = len(tokenizer("a film")["input_ids"])
        assert tokens.types is not None
        assert tokens.types.tolist() == [0] * first + [1] * (len(tokens.ids) - first)
    roberta = copy_with(
        bases["roberta"], tmp_path / "roberta", "config.json", lambda shape: shape | {"type_vocab_size": 2}
    )
    assert Tokens.of(load_tokenizer(roberta), [["a film"], ["is good"]], 64).types is None


def test_a_saved_tokenizer_gives_what_the_encoder_takes(
    albert: Encoder, bases: dict[str, Path], tmp_path: Path
) -> None:
    """To whoever reads it with transformers alone."""
    from transformers import AutoTokenizer

    of_bert = {"tokenizer_class": "BertTokenizer"}  # as published ones of DistilBERT say
    copied = copy_with(
        bases["distilbert"], tmp_path / "base", "tokenizer_config.json", lambda options: options | of_bert
    )
    for config, typed in ((copied, False), (albert, True)):
        tokenizer, folder = load_tokenizer(config), tmp_path / f"saved-{typed}"
        save_encoder(build_encoder(config, outputs=2, seed=0), folder, tokenizer)
        again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        assert dict(again("a film", "is good")) == dict(tokenizer("a film", "is good"))
        assert ("token_type_ids" in again("a film", "is good")) == typed
        assert load_tokenizer(Encoder(path=str(folder))).model_input_names == tokenizer.model_input_names


def test_a_tokenizer_that_knows_more_words_than_the_encoder_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(bases["bert"], tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    words = len(tokenizer)
    tokenizer.add_tokens(["[USER]", "[URL]"])
    tokenizer.save_pretrained(tmp_path)
    message = rf"its tokenizer knows {words + 2} words and its encoder only {words} -> resize the embeddings"
    with pytest.raises(ModelError, match=message):
        load_tokenizer(Encoder(path=str(tmp_path)))


def test_a_folder_without_a_usable_tokenizer_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((bases["bert"] / "config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"path: .*tokenizer"):
        load_tokenizer(Encoder(path=str(tmp_path)))


def test_a_tokenizer_without_its_vocabulary_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    """As in a folder of a Trainer that was given no tokenizer: transformers makes one that knows no word."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((bases["bert"] / name).read_bytes())
    with pytest.raises(ModelError, match=r"knows no word, for its vocabulary is not there -> save the tokenizer"):
        load_tokenizer(Encoder(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("family", "positions", "longest"), [("roberta", 64, 62), ("roberta", 66, 64), ("bert", 64, 64)]
)
def test_no_text_is_longer_than_the_encoder_has_positions(
    family: Family, positions: int, longest: int, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Some count from their padding's id on."""
    changed = {"max_position_embeddings": positions}
    copied = copy_with(bases[family], tmp_path / "base", "config.json", lambda shape: shape | changed)
    config = copied.model_copy(update={"initial": "random"})
    tokens = Tokens.of(load_tokenizer(config), [["the film is " * 60]], 500)
    assert len(tokens.ids) == longest
    assert build_encoder(config, outputs=2, seed=0)(tokens.batch(torch.tensor([0]))).isfinite().all()
