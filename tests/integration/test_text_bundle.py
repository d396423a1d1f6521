"""Tiny text encoders, exported: every way to run them agrees, transformers loads them alone, forgeries are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import SENTENCES, Family, make_tiny_encoder
from hub_folders import through_the_hub
from sample_records import PROVENANCE

from autockd.config.models import Encoder
from autockd.data.task import Split
from autockd.data.texts import Texts
from autockd.errors import DataError, ExportError
from autockd.export import (
    Bundle,
    BundleInfo,
    TextBundleConfig,
    TextStudent,
    evaluate_bundle,
    load_bundle,
    write_bundle,
)
from autockd.export.manifest import write_manifest
from autockd.models import TextEncoder, Tokens, build_encoder, load_tokenizer
from autockd.training.evaluation import evaluate
from autockd.training.text_feed import TextFeed

LABELS = ("negative", "positive")
SINGLES = Split(Texts(SENTENCES * 12), torch.arange(72) % 2)
PAIRS = Split(Texts(SENTENCES * 12, SENTENCES[::-1] * 12), torch.linspace(0, 5, 72))


def _student(base: Path, *, pairs: bool = False, **changes: Any) -> TextStudent:
    classes = () if pairs else LABELS
    encoder = Encoder(path=str(base), layers=(0, 2))
    config = TextBundleConfig(
        architecture=encoder,
        classes=classes,
        metric="pearson" if pairs else "accuracy",
        pairs=pairs,
        score_range=(0, 5) if pairs else None,
        max_length=32,
        study="s",
        method="continuation",
        provenance=PROVENANCE,
        **changes,
    )
    model = build_encoder(encoder, outputs=config.outputs, labels=classes, seed=3)
    return TextStudent(config, model, load_tokenizer(encoder))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> TextStudent:
    base = make_tiny_encoder(tmp_path_factory.mktemp("base"))
    bare = _student(base)
    feed = TextFeed(Tokens.of(bare.tokenizer, SINGLES.inputs.columns, 32))  # type: ignore[union-attr]
    recorded = evaluate(bare.model, feed, SINGLES.targets, "accuracy")
    return _student(base, validation=0.5, test=recorded, others={"mismatched": 0.25})


@pytest.fixture(scope="module")
def exported(student: TextStudent, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    return write_bundle(
        tmp_path_factory.mktemp("export") / "bundle", student, examples=SINGLES, onnx=True, int8=SINGLES
    )


@pytest.fixture(scope="module")
def bundle(exported: BundleInfo) -> Bundle:
    return load_bundle(exported.folder)


def test_holds_what_transformers_and_autockd_need(exported: BundleInfo) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    assert names >= {"autockd.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names >= {"model.onnx", "model.int8.onnx", "parity.json", "figures.json", "README.md", "manifest.json"}
    for path in exported.folder.iterdir():
        if path.name != "autockd.json":  # which names the base, for the record
            assert str(exported.folder.parent.parent).encode() not in path.read_bytes()


def test_graph_is_one_file_with_free_batch_and_length(exported: BundleInfo) -> None:
    import onnx

    model = onnx.load(exported.folder / "model.onnx", load_external_data=False)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    free = ["batch", "length"]
    assert shapes == {"input_ids": free, "attention_mask": free, "token_type_ids": free, "logits": ["batch", 2]}
    assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)


def test_loaded_student_is_the_student(bundle: Bundle, student: TextStudent) -> None:
    assert bundle.config == student.config
    expected, found = student.model.state_dict(), bundle.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert student.model.training
    assert not bundle.model.training


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_evaluation_gives_the_recorded_metric(bundle: Bundle, runtime: Any) -> None:
    assert evaluate_bundle(bundle, SINGLES, runtime=runtime) == bundle.config.test


def test_int8_model_is_smaller_and_has_figures_of_its_own(bundle: Bundle) -> None:
    assert bundle.figures is not None
    fp32, int8 = bundle.figures.models
    assert int8.bytes < fp32.bytes
    assert int8.validation == evaluate_bundle(bundle, SINGLES, runtime="int8")
    assert (fp32.agreement, fp32.test, int8.test) == (1, None, None)
    assert 0 < int8.max_difference < 0.5  # type: ignore[operator]
    assert bundle.figures.shapes[32]["input_ids"][0] == 32
    text = (bundle.folder / "README.md").read_text()
    assert "int8, model.int8.onnx" in text
    assert bundle.int8_path is not None
    run = bundle.student.in_onnx(bundle.int8_path)
    assert not torch.equal(run(SINGLES.inputs, 64), run(SINGLES.inputs, 8)), "ranges are taken from each batch"
    assert "its logits change a little with the texts beside; it was judged in batches of 64." in text


def test_order_and_batches_do_not_matter(bundle: Bundle) -> None:
    texts = Texts(SENTENCES)
    whole = bundle.predict(texts)
    assert whole.shape == (6, 2)
    assert len(torch.unique(whole[:, 0])) == 6
    torch.testing.assert_close(bundle.predict(texts, batch_size=1), whole, rtol=0, atol=1e-5)
    turned = bundle.predict(Texts(SENTENCES[::-1]), batch_size=4)
    torch.testing.assert_close(turned.flip(0), whole, rtol=0, atol=1e-5)


IN_TRANSFORMERS = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.modules["autockd"] = None
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
with torch.inference_mode():
    logits = [model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits for text in texts]
print(json.dumps({"logits": torch.cat(logits).tolist(), "labels": model.config.id2label}))
"""


def test_transformers_loads_it_alone(bundle: Bundle, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_TRANSFORMERS, str(bundle.folder), json.dumps(SENTENCES)],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    said = json.loads(done.stdout)
    assert said["labels"] == {"0": "negative", "1": "positive"}
    torch.testing.assert_close(torch.tensor(said["logits"]), bundle.predict(Texts(SENTENCES)), rtol=0, atol=1e-5)
    assert "newly initialized" not in done.stderr


ONE_BY_ONE = "import json, sys\nfor code in json.loads(sys.argv[1]):\n    exec(code, {})\n"
"""Runs pieces of code in one process, for it takes seconds to import torch; none sees names of the others."""


def test_readme_runs_as_it_stands(bundle: Bundle, tmp_path: Path) -> None:
    text = (bundle.folder / "README.md").read_text()
    assert f"Accuracy, test split: {bundle.config.test:.4f}" in text
    assert "Accuracy, mismatched split: 0.2500" in text
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    assert len(blocks) == 3
    results = [tmp_path / f"{place}.npy" for place in range(3)]
    codes = [
        block.replace("A text.", SENTENCES[1])
        + f"import numpy; numpy.save({str(result)!r}, getattr(logits, 'detach', lambda: logits)())\nprint(name)\n"
        for block, result in zip(blocks, results, strict=True)
    ]
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps(codes)]
    done = subprocess.run(command, cwd=bundle.folder, check=True, timeout=120, capture_output=True, text=True)
    expected = bundle.predict(Texts(SENTENCES[1:2]))
    assert done.stdout.split() == [LABELS[int(expected.argmax())]] * 3
    for result in results:
        torch.testing.assert_close(torch.from_numpy(np.load(result)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_pairs_with_a_score_of_any_family(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = _student(make_tiny_encoder(tmp_path / "base", family=family), pairs=True)
    info = write_bundle(tmp_path / "bundle", student, examples=PAIRS, onnx=True)
    assert [comparison.runtime.split()[0] for comparison in info.parity.comparisons] == ["torch", "onnxruntime"]
    assert info.parity.metric == "pearson"
    assert all(comparison.batch_sizes == (1, 64) for comparison in info.parity.comparisons)
    assert all(comparison.max_difference < 1e-4 for comparison in info.parity.comparisons)
    bundle = load_bundle(info.folder)
    assert evaluate_bundle(bundle, PAIRS) == pytest.approx(info.parity.value, abs=1e-6)
    assert evaluate_bundle(bundle, PAIRS, runtime="onnx") == pytest.approx(info.parity.value, abs=1e-5)
    text = (info.folder / "README.md").read_text()
    assert "scores of 0 to 5" in text
    monkeypatch.chdir(info.folder)
    for block in text.split("```python\n")[1:]:
        names: dict[str, Any] = {}
        exec(block.partition("```")[0], names)
        expected = bundle.predict(Texts(("The first text of a pair.",), ("The second.",)))
        torch.testing.assert_close(torch.as_tensor(names["logits"]).detach(), expected, rtol=0, atol=1e-5)
        assert names["score"] == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(ExportError, match=r"takes Texts of pairs, at least one, not Texts\(6 sentences\)"):
        bundle.predict(Texts(SENTENCES))
    with pytest.raises(DataError, match="trained for scores, and these are classes"):
        evaluate_bundle(bundle, Split(PAIRS.inputs, SINGLES.targets))


@pytest.mark.parametrize("inputs", [torch.zeros(1, 4), Texts(()), PAIRS.inputs])
def test_other_inputs_are_refused(bundle: Bundle, inputs: Any) -> None:
    with pytest.raises(ExportError, match=r"takes Texts of single sentences, at least one, not .* -> "):
        bundle.predict(inputs)


def test_what_git_and_the_hub_leave_is_never_looked_at(bundle: Bundle, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    through_the_hub(copied)
    assert torch.equal(load_bundle(copied).predict(SINGLES.inputs), bundle.predict(SINGLES.inputs))


Harm = Callable[[Path], object]


def _edit(name: str, **changes: Any) -> Harm:
    def harm(folder: Path) -> None:
        settings = json.loads((folder / name).read_text())
        settings.update(changes)
        (folder / name).write_text(json.dumps(settings))

    return harm


FORGED: dict[str, tuple[Harm, str]] = {
    "no shape": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "shape no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: cannot be read"),
    "shape nested": (lambda f: (f / "config.json").write_text('{"a":' + "[" * 10**5), r"config\.json: cannot be read"),
    "layers beyond memory": (_edit("config.json", num_hidden_layers=10**9), "num_hidden_layers is 1000000000, too mu"),
    "layers as a fraction": (_edit("config.json", num_hidden_layers=1e9), "num_hidden_layers is 1000000000, too mu"),
    "words beyond memory": (_edit("config.json", vocab_size=10**12), "vocab_size is 1000000000000, too much"),
    "width beyond the weights": (_edit("config.json", hidden_size=100_000), r"is not of the encoder in config\.json"),
    "a layer more": (_edit("config.json", num_hidden_layers=3), r"tensors differ, such as bert\.encoder\.layer\.2"),
    "another head": (_edit("autockd.json", classes=["a", "b", "c"]), r"such as classifier\.bias, \[2\] and not \[3\]"),
    "one class": (_edit("autockd.json", classes=["a"]), r"autockd\.json: text\.classes"),
    "another architecture": (_edit("config.json", model_type="gpt2"), "is no encoder"),
    "kernels of a hub": (_edit("config.json", _attn_implementation="evil/kernels"), "sets _attn_implementation, for w"),
    "quantised": (_edit("config.json", quantization_config={"quant_method": "x"}), "sets quantization_config"),
    "pickle": (lambda f: (f / "training_args.bin").write_bytes(b""), r"training_args\.bin: a bundle holds only"),
    "code": (lambda f: (f / "modeling.py").write_text("1 / 0"), r"modeling\.py: a bundle holds only"),
}


@pytest.mark.parametrize(("harm", "message"), FORGED.values(), ids=FORGED.keys())
def test_refuses_what_a_forged_manifest_covers(bundle: Bundle, tmp_path: Path, harm: Harm, message: str) -> None:
    copied = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    harm(copied)
    write_manifest(copied)
    with pytest.raises(ExportError, match=message) as caught:
        load_bundle(copied)
    assert " -> " in str(caught.value)


def test_code_of_the_folder_is_never_run(bundle: Bundle, tmp_path: Path) -> None:
    """A config.json may name a class in a .py file beside it; none can be there, and none would be asked for."""
    copied = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    _edit("config.json", auto_map={"AutoModelForSequenceClassification": "modeling.Evil"})(copied)
    write_manifest(copied)
    assert type(load_bundle(copied).model) is TextEncoder


def test_a_foreign_vocabulary_is_refused(student: TextStudent, bundle: Bundle, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    words = json.loads((copied / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary["more"] = len(vocabulary)
    (copied / "tokenizer.json").write_text(json.dumps(words))
    write_manifest(copied)
    with pytest.raises(ExportError, match=r"its tokenizer knows \d+ words and its encoder only \d+"):
        load_bundle(copied)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_an_encoder_with_rotary_positions_is_exported_and_read_again(tmp_path: Path) -> None:
    """The base of its angles, 160,000, is the size of nothing."""
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    base = make_tiny_encoder(tmp_path / "base")
    words = len(AutoTokenizer.from_pretrained(base))
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = ModernBertConfig(vocab_size=words, pad_token_id=0, max_position_embeddings=128, **sizes)
    ModernBertModel(config).save_pretrained(base)
    student = _student(base)
    info = write_bundle(tmp_path / "bundle", student, examples=SINGLES, onnx=False)
    found = load_bundle(info.folder).model.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in student.model.state_dict().items())


def test_a_class_may_be_called_as_a_setting(tmp_path: Path) -> None:
    """Of more classes than the encoder has tensors, so that the number of one is beyond any number of layers."""
    classes = (*(f"class {number}" for number in range(60)), "VolleyballPlayer", "group", "num_hidden_layers")
    encoder = Encoder(path=str(make_tiny_encoder(tmp_path / "base")), layers=1)
    model = build_encoder(encoder, outputs=len(classes), labels=classes, seed=0)
    bare = _student(tmp_path / "base")
    config = bare.config.model_copy(update={"classes": classes})
    info = write_bundle(tmp_path / "bundle", TextStudent(config, model, bare.tokenizer), examples=SINGLES, onnx=False)
    assert load_bundle(info.folder).config.classes == classes
