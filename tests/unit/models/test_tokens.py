from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from encoders import SENTENCES, Family, make_tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from autockd.config.models import Encoder
from autockd.errors import ModelError
from autockd.models.encoder import build_encoder
from autockd.models.tokens import Tokens, load_tokenizer

FAMILIES: tuple[Family, ...] = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: make_tiny_encoder(folder / family, family=family) for family in FAMILIES}


def ragged(lengths: list[int], *, typed: bool = True) -> Tokens:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    ids = torch.arange(1, int(offsets[-1]) + 1, dtype=torch.int32)
    return Tokens(ids, offsets, (ids % 2).to(torch.int8) if typed else None, pad_id=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [128, 16])
@pytest.mark.parametrize("paired", [False, True])
def test_samples_are_those_of_the_tokenizer(
    bases: dict[str, Path], family: Family, max_length: int, paired: bool
) -> None:
    tokenizer = load_tokenizer(Encoder(path=str(bases[family])))
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


def test_more_texts_than_a_chunk_keep_their_order(bases: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(Encoder(path=str(bases["bert"])))
    texts = [str(number) for number in range(9000)]
    tokens = Tokens.of(tokenizer, [texts], 16)
    assert len(tokens) == 9000
    for row in (0, 4095, 4096, 8999):
        assert tokenizer.decode(tokens.batch(torch.tensor([row]), multiple=1)["input_ids"][0, 1:-1]) == texts[row]


def test_an_encoder_is_given_no_more_tokens_than_it_has_positions(tmp_path: Path) -> None:
    for family in FAMILIES:
        folder = make_tiny_encoder(tmp_path / family, layers=1, family=family)
        options = json.loads((folder / "tokenizer_config.json").read_text())
        del options["model_max_length"]
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
        config = Encoder(path=str(folder))
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
def test_token_types_that_the_encoder_cannot_take_are_left_out(bases: dict[str, Path], family: Family) -> None:
    """Whatever the tokenizer's own file says."""
    folder = bases[family]
    options = json.loads((folder / "tokenizer_config.json").read_text())
    told = {**options, "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    try:
        config = Encoder(path=str(folder))
        tokens = Tokens.of(load_tokenizer(config), [SENTENCES, SENTENCES], 64)
        assert (tokens.types is not None) == (family == "bert")
        build_encoder(config, outputs=2, seed=0)(tokens.batch(torch.arange(2)))
    finally:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))


def test_a_folder_without_a_usable_tokenizer_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((bases["bert"] / "config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"path: .*tokenizer"):
        load_tokenizer(Encoder(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("family", "positions", "longest"), [("roberta", 64, 62), ("roberta", 66, 64), ("bert", 64, 64)]
)
def test_no_text_is_longer_than_the_encoder_has_positions(
    family: Family, positions: int, longest: int, tmp_path: Path
) -> None:
    """Some count from their padding's id on."""
    folder = make_tiny_encoder(tmp_path / "base", family=family)
    shape = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": positions}))
    config = Encoder(path=str(folder), initial="random")
    tokens = Tokens.of(load_tokenizer(config), [["the film is " * 60]], 500)
    assert len(tokens.ids) == longest
    assert build_encoder(config, outputs=2, seed=0)(tokens.batch(torch.tensor([0]))).isfinite().all()
