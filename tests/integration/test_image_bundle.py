"""A small student of the digits, exported once: what is in its bundle, and that every way to run it agrees."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sample_records import PROVENANCE
from torch import nn

from autockd.config.models import CifarResNet
from autockd.config.tasks import Digits
from autockd.data.image_feed import ImageFeed, Normalisation
from autockd.data.task import Split
from autockd.data.texts import Texts
from autockd.data.views import Views
from autockd.errors import DataError, ExportError
from autockd.export import (
    Bundle,
    BundleInfo,
    ImageBundleConfig,
    ImageStudent,
    evaluate_bundle,
    load_bundle,
    write_bundle,
)
from autockd.export.description import Preprocessing
from autockd.export.images import PixelModel
from autockd.hashing import file_hash
from autockd.models import build_model, count_parameters
from autockd.training.evaluation import evaluate, predict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ARCHITECTURE = CifarResNet(depth=8, width=4)
CLASSES = tuple(f"digit {index}" for index in range(10))
JSONS = ("autockd", "figures", "manifest", "parity")
TRAINING, VALIDATION, TEST = slice(1000), slice(1000, 1200), slice(1200, 1797)


def _images(split: Split) -> torch.Tensor:
    assert isinstance(split.inputs, torch.Tensor)
    return split.inputs


def _part(split: Split, rows: slice) -> Split:
    return split.take(torch.arange(len(split))[rows])


@pytest.fixture(scope="module")
def digits() -> Split:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy((data.images * (255 / 16)).round().astype(np.uint8))
    return Split(images[:, None], torch.from_numpy(data.target.astype(np.int64)))


@pytest.fixture(scope="module")
def student(digits: Split) -> nn.Module:
    """Trained for three epochs, so that its batch norms and logits are those of a real student."""
    model = build_model(ARCHITECTURE, classes=10, channels=1, image_size=(8, 8), seed=0)
    normalised = PixelModel(model, (0.3,), (0.4,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for start in range(0, 1000, 50):
            logits = normalised(_images(digits)[start : start + 50] / 255)
            optimizer.zero_grad()
            F.cross_entropy(logits, digits.targets[start : start + 50]).backward()
            optimizer.step()
    return model


@pytest.fixture(scope="module")
def recorded(student: nn.Module, digits: Split) -> float:
    """The test metric as training code computes and records it."""
    mean, std = torch.tensor([[[[0.3]]]]), torch.tensor([[[[0.4]]]])
    feed = ImageFeed(_images(digits)[TEST], Views(), Normalisation(1 / (255 * std), -mean / std))
    return evaluate(student, feed, digits.targets[TEST], "accuracy")


@pytest.fixture(scope="module")
def card(recorded: float) -> ImageBundleConfig:
    return ImageBundleConfig(
        architecture=ARCHITECTURE,
        classes=CLASSES,
        channels=1,
        image_size=(8, 8),
        mean=(0.3,),
        std=(0.4,),
        validation=0.9,
        test=recorded,
        study="digits",
        trial=7,
        method="continuation",
        conventions="mean over classes",
        task=Digits(),
        provenance=PROVENANCE,
        preprocessing=Preprocessing.to(1, (8, 8)),
    )


@pytest.fixture(scope="module")
def said() -> io.StringIO:
    """What the export of `exported` printed."""
    return io.StringIO()


@pytest.fixture(scope="module")
def exported(
    student: nn.Module,
    card: ImageBundleConfig,
    digits: Split,
    said: io.StringIO,
    tmp_path_factory: pytest.TempPathFactory,
) -> BundleInfo:
    folder = tmp_path_factory.mktemp("export") / "bundle"
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return write_bundle(
            folder,
            ImageStudent(card, student),
            examples=_part(digits, VALIDATION),
            onnx=True,
            int8=_part(digits, TRAINING),
            test=_part(digits, TEST),
        )


@pytest.fixture(scope="module")
def bundle(exported: BundleInfo) -> Bundle:
    return load_bundle(exported.folder)


def test_holds_its_files_and_nothing_else(exported: BundleInfo) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {
        *("model.safetensors", "model.onnx", "model.int8.onnx", "README.md"),
        *(f"{n}.json" for n in JSONS),
    }
    assert exported.manifest_hash == file_hash(exported.folder / "manifest.json")
    assert [path.name for path in exported.folder.parent.iterdir()] == ["bundle"]


def test_config_says_what_the_card_said_without_a_weights_path(exported: BundleInfo, card: ImageBundleConfig) -> None:
    written = json.loads((exported.folder / "autockd.json").read_text())
    assert written["architecture"] == {
        "family": "cifar_resnet",
        "depth": 8,
        "width": 4,
        "widths": None,
        "shortcut": "A",
    }
    assert ImageBundleConfig.model_validate(written) == card


def test_exporting_leaves_the_student_as_it_was(student: nn.Module, exported: BundleInfo) -> None:
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_loaded_student_is_the_student(bundle: Bundle, student: nn.Module) -> None:
    assert not bundle.model.training
    expected = student.state_dict()
    found = bundle.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize("batch_size", [512, 100])
def test_evaluation_gives_the_recorded_test_metric(
    bundle: Bundle, digits: Split, recorded: float, runtime: str, batch_size: int
) -> None:
    split = _part(digits, TEST)
    metric = evaluate_bundle(bundle, split, batch_size, runtime=runtime)  # type: ignore[arg-type]
    assert metric == recorded
    assert metric == bundle.config.test
    assert 0.5 < metric < 1


def test_parity_is_recorded_for_every_runtime(exported: BundleInfo) -> None:
    written = json.loads((exported.folder / "parity.json").read_text())
    assert written == json.loads(exported.parity.model_dump_json())
    assert exported.parity.examples == 200
    runtimes = [comparison.runtime.split()[0] for comparison in exported.parity.comparisons]
    assert runtimes == ["torch", "onnxruntime"]
    for comparison in exported.parity.comparisons:
        assert comparison.batch_sizes == (1, 64)
        assert comparison.agreement == 1
        assert comparison.max_difference < 1e-4
        assert comparison.value == exported.parity.value


def test_int8_model_has_figures_of_its_own(exported: BundleInfo, bundle: Bundle, digits: Split) -> None:
    figures = bundle.figures
    assert figures is not None
    assert figures == exported.figures
    fp32, int8 = figures.models
    assert (fp32.precision, int8.precision, figures.examples) == ("fp32", "int8", 200)
    for model, runtime in ((fp32, "onnx"), (int8, "int8")):
        assert model.bytes == (exported.folder / model.file).stat().st_size
        assert model.validation == evaluate_bundle(bundle, _part(digits, VALIDATION), runtime=runtime)  # type: ignore[arg-type]
        assert model.test == evaluate_bundle(bundle, _part(digits, TEST), runtime=runtime)  # type: ignore[arg-type]
        assert set(model.latency) == {1, 32}
        assert all(0 < time.median <= time.p95 for time in model.latency.values())
    assert fp32.test == bundle.config.test
    assert fp32.agreement == 1
    assert 0.9 < int8.agreement <= 1  # type: ignore[operator]
    assert int8.max_difference > 10 * fp32.max_difference  # type: ignore[operator]
    text = (exported.folder / "README.md").read_text()
    assert f"| int8, model.int8.onnx | {int8.bytes:,} |" in text
    assert f"{int8.test:.4f}" in text


def test_int8_weights_are_int8(exported: BundleInfo) -> None:
    import onnx

    def types(name: str) -> set[int]:
        model = onnx.load(exported.folder / name, load_external_data=False)
        return {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4 and tensor.dims[3] == 3}

    assert types("model.onnx") == {onnx.TensorProto.FLOAT}
    assert types("model.int8.onnx") == {onnx.TensorProto.INT8}


def test_int8_export_is_the_same_again(bundle: Bundle, digits: Split, tmp_path: Path) -> None:
    assert bundle.onnx_path is not None
    training = _part(digits, TRAINING).inputs
    for name in ("one.onnx", "two.onnx"):
        bundle.student.save_int8(bundle.onnx_path, tmp_path / name, training)
    runs = [bundle.student.in_onnx(tmp_path / name)(_images(digits)[TEST], 512) for name in ("one.onnx", "two.onnx")]
    assert torch.equal(*runs)


def test_export_is_quiet(exported: BundleInfo, said: io.StringIO) -> None:
    assert said.getvalue() == ""


def test_graph_is_one_file_with_a_free_batch(exported: BundleInfo) -> None:
    import onnx

    model = onnx.load(exported.folder / "model.onnx", load_external_data=False)
    shapes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["pixels", "logits"]
    assert shapes == [["batch", 1, 8, 8], ["batch", 10]]
    assert not any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer)


def test_files_hold_no_path_of_this_machine(exported: BundleInfo) -> None:
    for path in exported.folder.iterdir():
        content = path.read_bytes()
        assert b"stack_trace" not in content
        assert str(Path.cwd()).encode() not in content
        assert str(exported.folder.parent).encode() not in content


def _python(folder: Path) -> list[str]:
    """The pieces of Python in a bundle's README."""
    return [piece.partition("```")[0] for piece in (folder / "README.md").read_text().split("```python\n")[1:]]


def test_readme_states_the_metrics_and_runs_with_onnxruntime_alone(
    exported: BundleInfo, bundle: Bundle, digits: Split, tmp_path: Path
) -> None:
    """The README's own code, with files of real images, in a process that never sees autockd or torch."""
    text = (exported.folder / "README.md").read_text()
    assert f"Accuracy, test split: {bundle.config.test:.4f}" in text
    assert f"{count_parameters(bundle.model):,} parameters" in text
    images = _images(digits)[TEST][:100]
    files = [str(tmp_path / f"{place}.png") for place in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    code = next(piece for piece in _python(exported.folder) if "onnxruntime" in piece)
    assert '["../photo.png"]' in code
    code = code.replace('["../photo.png"]', repr(files))
    code += "import sys; assert not {'autockd', 'torch'} & set(sys.modules)\nprint(json.dumps(names))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=exported.folder, check=True, timeout=60, stdout=subprocess.PIPE
    )
    assert json.loads(done.stdout) == [CLASSES[index] for index in bundle.predict(images).argmax(1)]


def test_images_are_fed_as_to_trials(bundle: Bundle, digits: Split) -> None:
    student = bundle.student
    assert isinstance(student, ImageStudent)
    images = _images(digits)[:200]
    assert student.batch_size == 64
    feed = ImageFeed(images, Views(), Normalisation.of(student.config, torch.device("cpu")))
    assert torch.equal(bundle.predict(images), predict(bundle.model, feed))


def test_predict_takes_any_number_of_images_and_batches(bundle: Bundle, digits: Split) -> None:
    images = _images(digits)[:7]
    whole = bundle.predict(images)
    assert whole.shape == (7, 10)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(bundle.predict(images, batch_size=3), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 1, 9, 8, dtype=torch.uint8),
        torch.zeros(1, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 1, 8, 8, dtype=torch.uint8),
    ],
)
def test_predict_refuses_other_images(bundle: Bundle, images: torch.Tensor) -> None:
    with pytest.raises(ExportError, match=r"takes uint8 \[N, 1, 8, 8\].*, as `read` in the bundle's README\.md does"):
        bundle.predict(images)


def test_predict_refuses_arrays_and_says_how_they_become_tensors(bundle: Bundle, digits: Split) -> None:
    array: Any = _images(digits)[:3].numpy()
    message = r"N >= 1 as a torch tensor, not a numpy array, uint8 \[3, 1, 8, 8\] -> .* torch\.from_numpy$"
    with pytest.raises(ExportError, match=message):
        bundle.predict(array)
    with pytest.raises(ExportError, match="as a torch tensor, not a list -> "):
        bundle.predict(array.tolist())


def test_evaluation_refuses_labels_of_another_data_set(bundle: Bundle, digits: Split) -> None:
    with pytest.raises(DataError, match="labels run from 0 to 10"):
        evaluate_bundle(bundle, Split(_images(digits)[:11], torch.arange(11)))
    with pytest.raises(DataError, match="trained for classes, and these are scores"):
        evaluate_bundle(bundle, Split(_images(digits)[:11], torch.rand(11)))


def test_texts_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ExportError, match=r"takes uint8 \[N, 1, 8, 8\] .* not Texts\(1 sentences\)"):
        bundle.predict(Texts(("a text",)))


def test_taken_folder_is_refused_and_replaced_by_force(
    student: nn.Module, card: ImageBundleConfig, digits: Split, tmp_path: Path
) -> None:
    def write(study: str, *, force: bool) -> BundleInfo:
        new = card.model_copy(update={"study": study})
        examples = _part(digits, slice(2))
        return write_bundle(tmp_path / "b", ImageStudent(new, student), examples=examples, onnx=False, force=force)

    first = write("first", force=False)
    with pytest.raises(ExportError, match="exists already"):
        write("second", force=False)
    assert load_bundle(tmp_path / "b").config.study == "first"
    second = write("third", force=True)
    reread = load_bundle(tmp_path / "b")
    assert (reread.config.study, reread.manifest_hash) == ("third", second.manifest_hash)
    assert first.manifest_hash != second.manifest_hash
    assert reread.onnx_path is None
    with pytest.raises(ExportError, match=r"has no model\.onnx"):
        evaluate_bundle(reread, digits, runtime="onnx")


def test_model_of_another_architecture_leaves_nothing_behind(
    card: ImageBundleConfig, digits: Split, tmp_path: Path
) -> None:
    wider = build_model(CifarResNet(depth=8, width=5), classes=10, channels=1, image_size=(8, 8), seed=0)
    with pytest.raises(ExportError, match=r"does not fit ResNet6n2"):
        write_bundle(tmp_path / "b", ImageStudent(card, wider), examples=_part(digits, slice(2)), onnx=False)
    assert list(tmp_path.iterdir()) == []


def test_examples_need_a_target_each(
    student: nn.Module, card: ImageBundleConfig, digits: Split, tmp_path: Path
) -> None:
    for images, labels in ((_images(digits)[:1], digits.targets[:1]), (_images(digits)[:3], digits.targets[:2])):
        with pytest.raises(ExportError, match="at least 2 samples with a target each"):
            write_bundle(tmp_path / "b", ImageStudent(card, student), examples=Split(images, labels), onnx=False)
