from __future__ import annotations

import copy
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import SENTENCES, Family, make_tiny_encoder
from pydantic import ValidationError

from autockd.config.models import Encoder
from autockd.errors import EnvironmentProblem, ModelError
from autockd.models.encoder import (
    ENCODER_WEIGHTS,
    WHOLE_MASKS,
    TextEncoder,
    build_encoder,
    reading_hash,
    save_encoder,
    whole_mask,
)
from autockd.models.encoder_shape import kept_layers
from autockd.models.tokens import Tokens, load_tokenizer
from autockd.models.weights import load_weights, read_state, save_weights

FAMILIES: tuple[Family, ...] = ("bert", "roberta", "distilbert")


@pytest.fixture(scope="module")
def bases(tiny_encoder: Callable[..., Path]) -> dict[str, Path]:
    return {family: tiny_encoder(family=family) for family in FAMILIES}


@pytest.fixture(scope="module")
def bert(bases: dict[str, Path]) -> Path:
    return bases["bert"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned classifier of three classes."""
    folder = make_tiny_encoder(tmp_path_factory.mktemp("fine-tuned"), outputs=3, seed=5)
    settings = json.loads((folder / "config.json").read_text())
    names = {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}
    settings |= {"id2label": names, "label2id": {name: int(index) for index, name in names.items()}}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def build(base: Path, *, outputs: int = 2, seed: int = 0, labels: tuple[str, ...] = (), **changes: Any) -> TextEncoder:
    return build_encoder(Encoder(path=str(base), **changes), outputs=outputs, seed=seed, labels=labels)


def batch_of(base: Path) -> dict[str, torch.Tensor]:
    tokens = Tokens.of(load_tokenizer(Encoder(path=str(base))), [SENTENCES], 128)
    return tokens.batch(torch.arange(len(tokens)))


def logits_of(model: torch.nn.Module, base: Path) -> torch.Tensor:
    with torch.no_grad():
        logits = model.eval()(batch_of(base))
    assert isinstance(logits, torch.Tensor)
    return logits


def same_states(first: TextEncoder, second: TextEncoder) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][n], states[1][n]) for n in states[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_student_is_the_base_without_the_other_layers(bases: dict[str, Path], family: Family) -> None:
    whole, cut = build(bases[family]).hf, build(bases[family], layers=[0, 3]).hf
    assert cut.config.num_hidden_layers == 2
    stacks = [next(part for part in hf.modules() if isinstance(part, torch.nn.ModuleList)) for hf in (whole, cut)]
    assert len(stacks[1]) == 2
    for place, index in enumerate((0, 3)):
        for name, tensor in stacks[1][place].state_dict().items():
            assert torch.equal(tensor, stacks[0][index].state_dict()[name])
    # The whole one answers like the cut one once its middle layers are taken out of the computation.
    cut.load_state_dict({**cut.state_dict(), **{n: t for n, t in whole.state_dict().items() if "classifier" in n}})
    stack = next(name for name, part in whole.named_modules() if part is stacks[0])
    whole.set_submodule(stack, torch.nn.ModuleList([stacks[0][0], stacks[0][3]]))
    assert torch.equal(logits_of(TextEncoder(whole), bases[family]), logits_of(TextEncoder(cut), bases[family]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changes", [{"layers": 2}, {"initial": "random", "hidden_size": 24, "heads": 3, "layers": 5}])
def test_a_saved_encoder_loads_without_this_package(
    bases: dict[str, Path], family: Family, changes: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = build(bases[family], outputs=3, labels=("no", "maybe", "yes"), **changes)
    tokenizer = load_tokenizer(Encoder(path=str(bases[family])))
    tokenizer("Cut.", truncation=True, max_length=4, padding="max_length")
    save_encoder(model, tmp_path, tokenizer)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    encoded = AutoTokenizer.from_pretrained(tmp_path)(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = again(**encoded).logits
    torch.testing.assert_close(logits, logits_of(model, bases[family]))
    assert again.config.id2label == {0: "no", 1: "maybe", 2: "yes"}
    assert again.state_dict().keys() == model.state_dict().keys()
    written = "".join(file.read_text() for file in tmp_path.glob("*.json"))
    assert str(bases[family]) not in written
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"] is None
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_machine(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EnvironmentProblem, match="taken"):
        save_encoder(build(bert), tmp_path / "taken", load_tokenizer(Encoder(path=str(bert))))


def test_the_seed_decides_all_that_is_fresh_and_nothing_else(bert: Path) -> None:
    before = torch.random.get_rng_state()
    for changes in ({}, {"initial": "random"}):
        first, again, other = (build(bert, seed=seed, **changes) for seed in (3, 3, 4))
        assert same_states(first, again)
        assert not torch.equal(first.state_dict()["classifier.weight"], other.state_dict()["classifier.weight"])
        words = [model.state_dict()["bert.embeddings.word_embeddings.weight"] for model in (first, other)]
        assert torch.equal(*words) == (not changes)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_go_to_a_file_and_back(bert: Path, tmp_path: Path) -> None:
    first, other = build(bert, layers=2, seed=0), build(bert, layers=2, seed=1)
    save_weights(first, tmp_path / "student.safetensors")
    load_weights(other, tmp_path / "student.safetensors")
    assert same_states(first, other)
    assert same_states(first, build(bert, layers=2, seed=2, weights=tmp_path / "student.safetensors"))


def with_first_names(base: Path, folder: Path) -> Path:
    """A copy whose layer norms are named as in BERT's first weights, those of google-bert/bert-base-uncased."""
    shutil.copytree(base, folder)
    state = read_state(base / ENCODER_WEIGHTS)
    first = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    for now, name in first.items():
        state = {known.replace(now, name): tensor for known, tensor in state.items()}
    save_weights(state, folder / ENCODER_WEIGHTS)
    return folder


def test_an_encoder_with_the_names_of_berts_first_weights_is_kept_under_its_own(
    bert: Path, classifier: Path, tmp_path: Path
) -> None:
    base = with_first_names(bert, tmp_path / "base")
    model = build(base)
    assert same_states(model, build(bert))
    save_encoder(model, tmp_path / "teacher", load_tokenizer(Encoder(path=str(base))))
    weights = tmp_path / "teacher" / ENCODER_WEIGHTS
    assert read_state(weights).keys() == model.state_dict().keys()
    again = build(base, seed=1)
    load_weights(again, weights)
    assert same_states(again, model)
    given = with_first_names(classifier, tmp_path / "given") / ENCODER_WEIGHTS
    assert same_states(build(bert, outputs=3, weights=given), build(classifier, outputs=3))


def test_its_modules_are_those_of_transformers(bert: Path) -> None:
    model = build(bert)
    assert model.training
    assert all(part.training for part in model.hf.modules())
    assert not any(part.training for part in [*model.eval().modules(), *model.hf.modules()])
    assert dict(model.named_parameters()).keys() == dict(model.hf.named_parameters()).keys()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_submodule("classifier").weight.zero_()  # type: ignore[operator]
    assert not torch.equal(logits_of(twin, bert), logits_of(model, bert))
    assert torch.equal(twin.hf.classifier.weight, torch.zeros(2, 16))


def test_dropout_is_everywhere_or_as_the_base_has_it(bases: dict[str, Path]) -> None:
    def probabilities(model: TextEncoder) -> set[float]:
        return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}

    for family, base in bases.items():
        assert probabilities(build(base)) == ({0.1, 0.2} if family == "distilbert" else {0.1})
        assert probabilities(build(base, dropout=0.3)) == {0.3}
        bare = build(base, dropout=0)
        assert torch.equal(bare.train()(batch_of(base)), bare(batch_of(base)))


def test_a_head_of_as_many_outputs_is_kept_and_another_is_fresh(classifier: Path) -> None:
    kept = [build(classifier, outputs=3, seed=seed, layers=2) for seed in (0, 1)]
    assert same_states(*kept)
    fresh = [build(classifier, outputs=2, seed=seed).state_dict()["classifier.weight"] for seed in (0, 1)]
    assert fresh[0].shape == (2, 16)
    assert not torch.equal(*fresh)


def test_outputs_come_in_the_order_of_the_tasks_classes(classifier: Path) -> None:
    kept = logits_of(build(classifier, outputs=3), classifier)
    renamed = build(classifier, outputs=3, labels=("left", "middle", "right"))
    assert torch.equal(logits_of(renamed, classifier), kept)
    ordered = build(classifier, outputs=3, labels=("entailment", "neutral", "contradiction"))
    torch.testing.assert_close(logits_of(ordered, classifier), kept.flip(1))
    assert ordered.hf.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}


def test_how_an_encoder_reads_texts_has_a_name(bert: Path, tmp_path: Path) -> None:
    """The same for the same folder, wherever it lies and whatever was done with it before; another after a change."""

    def name_of(folder: Path, *, used: bool = False) -> str:
        tokenizer = load_tokenizer(Encoder(path=str(folder)))
        if used:
            tokenizer(["a film", "a very good film"], padding=True, truncation=True, max_length=5)
            tokenizer = load_tokenizer(Encoder(path=str(folder)))
        return reading_hash(build(folder), tokenizer)

    copy = tmp_path / "elsewhere"
    shutil.copytree(bert, copy)
    first = name_of(bert)
    assert first == name_of(bert, used=True) == name_of(copy)
    for file, change in (
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("config.json", {"layer_norm_eps": 1e-3}),
    ):
        text = (copy / file).read_text()
        (copy / file).write_text(json.dumps(json.loads(text) | change))
        assert name_of(copy) != first, change
        (copy / file).write_text(text)


def test_one_output_is_regression(bert: Path) -> None:
    model = build(bert, outputs=1)
    assert model.hf.config.problem_type == "regression"
    assert logits_of(model, bert).shape == (len(SENTENCES), 1)


@pytest.mark.parametrize(
    ("layers", "total", "kept"),
    [
        (1, 6, (0,)),
        (2, 6, (0, 5)),
        (3, 6, (0, 2, 5)),
        (6, 12, (0, 2, 4, 7, 9, 11)),
        (4, 4, (0, 1, 2, 3)),
        ((1, 2), 4, (1, 2)),
    ],
)
def test_layers_are_spread_from_first_to_last(layers: int | tuple[int, ...], total: int, kept: tuple[int, ...]) -> None:
    assert kept_layers(layers, total) == kept


def test_an_encoder_without_a_base_is_refused() -> None:
    with pytest.raises(ModelError, match=r"path: .* name a local folder or a hub id"):
        build_encoder(Encoder(layers=2), outputs=2, seed=0)


def test_nothing_is_fetched_for_a_folder(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert logits_of(build(bert), bert).isfinite().all()


def test_a_hub_model_that_is_not_here_is_refused_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = r"path: nobody/nothing is no folder here and not in the hub's cache.*-> name a local folder"
    for use in (lambda config: build_encoder(config, outputs=2, seed=0), load_tokenizer):
        with pytest.raises(ModelError, match=message):
            use(Encoder(path="nobody/nothing", revision="0" * 40))


def test_a_hub_model_in_the_cache_is_used_offline(bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit, cached = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--somebody--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / commit).symlink_to(bert)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, commit):
        hub = build_encoder(Encoder(path="somebody/tiny", revision=revision), outputs=2, seed=0)
        assert same_states(hub, build(bert))


def test_pickles_are_refused(bert: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((bert / name).read_bytes())
    torch.save(build(bert).hf.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"path: .* has no model.safetensors; pytorch_model.bin is a pickle"):
        build(tmp_path)
    assert build(tmp_path, initial="random").hf.config.num_hidden_layers == 4  # needs no weights


def test_weights_that_are_not_of_this_encoder_are_refused(
    bert: Path, tiny_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_encoder(layers=2), tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_bytes((bert / "config.json").read_bytes())
    with pytest.raises(ModelError, match=r"path: the weights .* 32 tensors are missing"):
        build(tmp_path)
    (tmp_path / ENCODER_WEIGHTS).write_bytes((bert / ENCODER_WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"path: .* cannot be read as an encoder"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "gpt2"}, "gpt2 is no encoder"),
        ({"model_type": "t5"}, "t5 is no encoder"),
        ({"model_type": "fnet"}, "fnet is no encoder"),  # its answers would depend on padding
        ({"model_type": "convbert"}, "depends on how far it is padded"),
        ({"model_type": "nystromformer"}, "depends on how far it is padded"),
        ({"model_type": "yoso"}, "depends on how far it is padded"),
        ({"model_type": "nonsense"}, "cannot be read as an encoder"),
        ({"auto_map": {"AutoConfig": "code.Config"}, "model_type": "unheard_of"}, "cannot be read as an encoder"),
    ],
)
def test_what_is_no_encoder_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "code.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(ModelError, match=rf"path: .*{message}.*->"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 5}, "layers: the encoder has 4 layers, 5 cannot be kept"),
        ({"layers": [0, 4]}, "layers: the encoder has layers 0 to 3, and none 4"),
        ({"initial": "random", "hidden_size": 15}, "heads: 2 heads do not divide the hidden size 15"),
        ({"revision": "main"}, "revision: .* is a local folder"),
    ],
)
def test_what_the_base_cannot_be_is_refused(bert: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(bert, **changes)


@pytest.mark.parametrize("path", ["./missing", "/missing/folder", "a/b/c", "../up", "model.safetensors/"])
def test_a_path_that_is_no_hub_id_must_be_a_folder(path: str) -> None:
    with pytest.raises(ModelError, match=r"path: .* is no folder"):
        build_encoder(Encoder(path=path), outputs=2, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "at least one layer, not 0"),
        ({"layers": [2, 1]}, r"must rise, such as \[0, 2, 5\], not \[2, 1\]"),
        ({"layers": [1, 1]}, "must rise"),
        ({"layers": []}, "must rise"),
        ({"layers": [-1, 2]}, "counted from 0"),
        ({"hidden_size": 64, "heads": 2}, "hidden_size, heads cannot be set for pretrained weights"),
        ({"initial": "random", "layers": [0, 2]}, "give their number, layers: 2"),
        ({"revision": "main"}, "name that by path"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Encoder.model_validate(settings)


@pytest.mark.parametrize("architecture", WHOLE_MASKS)
def test_a_mask_for_each_pair_of_tokens_means_the_same(architecture: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 40}
    config = AutoConfig.for_model(architecture, vocab_size=30, **sizes)
    hf = AutoModelForSequenceClassification.from_config(config).eval()
    assert hf.config._attn_implementation == "sdpa"
    ids, lengths = torch.randint(5, 30, (3, 9)), torch.tensor([9, 4, 1])
    mask = (torch.arange(9) < lengths[:, None]).long()
    expected = hf(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(hf(input_ids=ids, attention_mask=whole_mask(mask)).logits, expected)
    assert not torch.allclose(hf(input_ids=ids).logits, expected), "the mask matters"


def test_a_shape_that_an_architecture_does_not_let_be_set_is_refused(tmp_path: Path) -> None:
    from transformers import FunnelConfig

    FunnelConfig(vocab_size=30, d_model=16, n_head=2, d_head=8, d_inner=32).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"path: .* cannot be read as an encoder"):
        build(tmp_path, initial="random", layers=2)


def test_outputs_of_given_weights_come_in_that_order_too(classifier: Path, tmp_path: Path) -> None:
    """By the config.json that lies beside them; a file that lies alone is in the task's order already."""
    labels = ("entailment", "neutral", "contradiction")
    expected = logits_of(build(classifier, outputs=3, labels=labels), classifier)
    beside = build(classifier, outputs=3, labels=labels, weights=classifier / "model.safetensors")
    assert torch.equal(logits_of(beside, classifier), expected)
    save_encoder(beside, tmp_path / "own", load_tokenizer(Encoder(path=str(classifier))))
    for folder in ("own", "alone"):
        weights = tmp_path / folder / "model.safetensors"
        if folder == "alone":
            weights.parent.mkdir()
            shutil.copy(tmp_path / "own" / "model.safetensors", weights)
        again = build(classifier, outputs=3, labels=labels, weights=weights)
        assert torch.equal(logits_of(again, classifier), expected)


def test_an_encoder_whose_layers_have_windows_of_their_own_is_cut(bert: Path, tmp_path: Path) -> None:
    from transformers import LongformerConfig, LongformerModel

    words = json.loads((bert / "tokenizer.json").read_text())["model"]["vocab"]
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    (tmp_path / ENCODER_WEIGHTS).unlink()
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
    config = LongformerConfig(vocab_size=len(words), attention_window=[4, 8, 16], **sizes)
    LongformerModel(config).save_pretrained(tmp_path)
    student = build(tmp_path, layers=(0, 2))
    assert student.hf.config.attention_window == [4, 16]
    again = build(tmp_path, layers=2, initial="random")
    assert again.hf.config.attention_window == [4, 8]


def test_one_that_cannot_be_cut_is_refused_in_words(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(self: Any, config: Any) -> None:
        assert config.num_hidden_layers == 4, "expected 2 windows, given 4"
        init(self, config)

    from transformers import BertForSequenceClassification

    init = BertForSequenceClassification.__init__
    monkeypatch.setattr(BertForSequenceClassification, "__init__", stubborn)
    with pytest.raises(ModelError, match=r"layers: .*\(bert\) cannot be cut \(.*2 windows.*-> leave layers out"):
        build(bert, layers=(0, 2))
