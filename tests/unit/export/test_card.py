"""Model cards: metadata that huggingface_hub reads back, and names that cannot break out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from pydantic import ValidationError
from sample_records import PROVENANCE

from autockd.config.methods import ContinuationKD
from autockd.config.models import CifarResNet, Encoder
from autockd.config.tasks import Digits, Glue, ImageFolder, Npz, TaskConfig, Text, Torchvision
from autockd.config.training import TrainingConfig
from autockd.data.sources.images import resize
from autockd.export import ImageBundleConfig, TextBundleConfig
from autockd.export.card import model_card
from autockd.export.card_metadata import is_hub_id
from autockd.export.card_usage import preprocessing_text
from autockd.export.description import BUNDLE_CONFIG, Budget, Preprocessing, SeedSummary, TeacherSummary
from autockd.export.figures import Figures, ModelFigures
from autockd.export.latency import CallTime

SEEDS = SeedSummary(
    seeds=(5, 6, 7), validation_mean=0.95, validation_deviation=0.01, test_mean=0.94, test_deviation=0.02
)
FIGURES = Figures(
    runtime="onnxruntime 1.22.0",
    metric="accuracy",
    examples=100,
    shapes={size: {"pixels": (size, 1, 8, 8)} for size in (1, 32)},
    models=tuple(
        ModelFigures(
            precision=precision,  # type: ignore[arg-type]
            file=f"{precision}.onnx",
            bytes=30_000,
            latency={size: CallTime(median=size / 10, p95=size / 5) for size in (1, 32)},
            validation=validation,
            agreement=0.96,
        )
        for precision, validation in (("fp32", 0.96), ("int8", 0.9))
    ),
    warnings=("the int8 model loses much",),
)


def image_config(**changes: Any) -> ImageBundleConfig:
    fields: dict[str, Any] = {
        "architecture": CifarResNet(depth=8, width=4),
        "classes": ("a", "b"),
        "channels": 1,
        "image_size": (8, 8),
        "mean": (0.5,),
        "std": (0.5,),
        "validation": 0.96,
        "test": 0.93,
        "study": "digits",
        "trial": 7,
        "seed": 3,
        "seeds": SEEDS,
        "method": "continuation",
        "conventions": "mean over classes",
        "plan": ContinuationKD(smoothing_start=12),
        "training": TrainingConfig(epochs=10),
        "teacher": TeacherSummary(model="CIFAR ResNet-20", parameters=1000, validation=0.99, test=0.98),
        "budget": Budget(trials=24, fresh_runs=9, epochs=240, trial_seconds=100.0),
        "licence": "apache-2.0",
        "task": Digits(),
        "provenance": PROVENANCE,
    }
    return ImageBundleConfig(**fields | changes)


def metadata(text: str) -> dict[str, Any]:
    return dict(ModelCard(text).data.to_dict())


def test_metadata_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(model_card(image_config(), parameters=4934, figures=FIGURES), encoding="utf-8")
    card = ModelCard.load(path)
    data = card.data.to_dict()
    assert metadata(str(card)) == data
    assert (data["license"], data["pipeline_tag"]) == ("apache-2.0", "image-classification")
    results = {(found.dataset_split, found.metric_name): found for found in card.data.eval_results}
    assert results["test", "accuracy"].metric_value == 0.93
    assert results["validation", "accuracy"].metric_value == 0.96
    assert results["test", "accuracy, mean of 3 seeds"].metric_value == 0.94
    assert results["test", "accuracy, mean of 3 seeds"].metric_args == {"seeds": 3, "sd": 0.02}
    assert "base_model" not in data


def test_text_says_where_the_model_comes_from() -> None:
    text = model_card(image_config(), parameters=4934, figures=FIGURES)
    for said in (
        "4,934 parameters",
        "CIFAR ResNet-20, 1,000 parameters; accuracy 0.9900 on the validation split, 0.9800 on the test split",
        "smoothing\\_start 12",
        "Mean over classes",
        "24 trials and 9 runs with fresh seeds, of 240 epochs",
        "mean ± sd of 3 seeds | 0.9500 ± 0.0100 | 0.9400 ± 0.0200",
        "this one, seed 3 | 0.9600 | 0.9300",
        "| int8, int8.onnx | 30,000 | 0.100 (0.200) | 3.200 (6.400) | 0.9000 | not measured | 96.0% |",
        "**Note:** the int8 model loses much.",
        "Latency is that of a single machine",
    ):
        assert said in text
    assert "not stated" not in text
    assert "Licence: not stated" in model_card(image_config(licence=None), parameters=1, figures=None)


def test_text_says_no_more_than_was_measured() -> None:
    timed = tuple(model.model_copy(update={"validation": None, "agreement": None}) for model in FIGURES.models)
    judged, unjudged = FIGURES, FIGURES.model_copy(update={"models": timed, "warnings": ()})
    for figures, config, own, test in (
        (judged, image_config(), True, True),
        (judged, image_config(test=None), True, False),
        (unjudged, image_config(), False, True),
    ):
        text = model_card(config, parameters=1, figures=figures)
        assert ("Each metric is of the model itself" in text) is own
        assert ("a little too good; the test metric is not." in text) is test
        assert ("a little too good." in text) is not test


def test_an_int8_model_of_texts_depends_on_the_batch() -> None:
    judged = FIGURES.model_copy(update={"batch_size": 64})
    said = "its logits change a little with the texts beside; it was judged in batches of 64."
    assert said in model_card(text_config(), parameters=1, figures=judged)
    assert said not in model_card(image_config(), parameters=1, figures=judged), "its ranges are fixed"
    assert "texts beside" not in model_card(text_config(), parameters=1, figures=FIGURES), "there is none"


def text_config() -> TextBundleConfig:
    return TextBundleConfig(
        architecture=Encoder(path="distilbert/distilroberta-base"),
        metric="matthews",
        classes=("no", "yes"),
        validation=0.5,
        pairs=False,
        max_length=64,
        study="cola",
        method="kd",
        task=Glue(source="glue", task="cola"),
        hub_id="distilbert/distilroberta-base",
        teacher=TeacherSummary(model="an encoder", hub_id="FacebookAI/roberta-large", parameters=1, validation=0.6),
        provenance=PROVENANCE,
    )


def test_a_text_model_of_the_hub_names_its_base_and_its_data() -> None:
    data = metadata(model_card(text_config(), parameters=1, figures=None))
    assert data["base_model"] == ["distilbert/distilroberta-base", "FacebookAI/roberta-large"]
    assert data["datasets"] == ["nyu-mll/glue"]
    assert (data["library_name"], data["metrics"]) == ("transformers", ["matthews_correlation"])
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"] == {"name": "GLUE cola", "type": "nyu-mll/glue", "split": "validation"}


HOSTILE = [
    "x\n---\nlicense: mit\n---\n# gone",
    "x\r\n---\r\ntags: [evil]",
    "---",
    "x: !!python/object/apply:os.system [id]",
    "<script>alert(1)</script> [a](javascript:b) `c` | d",
    "\u2028---\u2028license: mit",
    "{{ 7 * 7 }} {0} %s",
    "y" * 5000,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_name(name: str) -> None:
    config = image_config(
        study=name,
        method=name,
        conventions=name,
        classes=(name, "b"),
        others={name: 0.5},
        teacher=TeacherSummary(model=name, hub_id=name, parameters=1, validation=0.5),
        hub_id=name,
        task=ImageFolder(source="folder", path=Path(name)),
    )
    text = model_card(config, parameters=1, figures=FIGURES)
    plain, own = metadata(model_card(image_config(), parameters=1, figures=FIGURES)), metadata(text)
    assert own.keys() == plain.keys()
    for key in plain.keys() - {"model-index"}:
        assert own[key] == plain[key]
    line = " ".join(name.split())[:100]
    assert own["model-index"][0]["name"] == line
    splits = [result["dataset"]["split"] for result in own["model-index"][0]["results"]]
    assert sorted(splits) == sorted({"validation", "test", line})
    assert "<script>" not in text.partition("\n---\n")[2]
    assert text.count("\n---\n") == 1
    assert text.count("\n# ") == 1


def test_numbers_that_are_none_are_left_out() -> None:
    data = metadata(
        model_card(image_config(validation=float("nan"), test=None, seeds=None), parameters=1, figures=None)
    )
    assert "model-index" not in data


def test_a_description_is_read_back_whole() -> None:
    config = image_config()
    assert BUNDLE_CONFIG.validate_python(json.loads(config.to_json())) == config


@pytest.mark.parametrize("name", ["a", "/etc/passwd", "../x/y", "a/b/c", "a/..", "a b/c", "", "a/b\n"])
def test_paths_are_no_hub_ids(name: str) -> None:
    assert not is_hub_id(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "RGB"}, "RGB of 8 x 8, where channels and image_size say 1 x 8 x 8"),
        ({"height": 9}, "L of 9 x 8, where"),
        ({"resampling": "nearest"}, "Input should be 'bilinear'"),
        ({"code": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_preprocessing_is_data_that_fits_the_model(changes: dict[str, Any], said: str) -> None:
    made = Preprocessing.to(1, (8, 8)).model_dump()
    assert image_config(preprocessing=made).preprocessing == Preprocessing.to(1, (8, 8))
    with pytest.raises(ValidationError, match=said):
        image_config(preprocessing=made | changes)


def test_a_card_says_how_images_are_made_if_its_bundle_does() -> None:
    silent, said = (
        model_card(image_config(preprocessing=made), parameters=1, figures=None)
        for made in (None, Preprocessing.to(1, (8, 8)))
    )
    assert "Preprocessing" not in silent
    assert "np.zeros((1, 1, 8, 8), dtype=np.uint8)  # your images" in silent
    assert "- Preprocessing: files are turned as EXIF says, converted to grey and resized to 8 x 8 (height, w" in said
    assert "np.zeros" not in said


ARRAYS = "arrays in its own data were resized by torch"
ONE_SIZE = "its own data had this size, and none were resized"


@pytest.mark.parametrize(
    ("task", "said", "unsaid"),
    [
        (None, (), (ARRAYS, ONE_SIZE)),
        (ImageFolder(source="folder", path=Path("x"), image_size=8), (), (ARRAYS, ONE_SIZE)),
        (ImageFolder(source="folder", path=Path("x")), (ONE_SIZE,), (ARRAYS,)),
        (Npz(source="npz", path=Path("x"), image_size=8), (ARRAYS,), (ONE_SIZE, "0..16")),
        (Torchvision(source="torchvision", dataset="MNIST", root=Path("x")), (ONE_SIZE,), (ARRAYS,)),
        (Digits(image_size=8), (ARRAYS, "values of 0..16 in its own data were scaled"), (ONE_SIZE,)),
    ],
)
def test_a_card_says_what_its_own_data_went_through(
    task: TaskConfig | None, said: tuple[str, ...], unsaid: tuple[str, ...]
) -> None:
    text = preprocessing_text(Preprocessing.to(3, (8, 8)), task)
    assert "converted to RGB (grey ones too) and" in text
    assert all(part in text for part in said)
    assert not any(part in text for part in unsaid)


@pytest.mark.parametrize("size", [4, 8, 33])
@pytest.mark.parametrize("shape", [(10, 17), (40, 30), (211, 90)])
def test_arrays_are_resized_as_files_are_but_for_rounding(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8)
    of_arrays = resize(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], size)[0].permute(1, 2, 0)
    of_files = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(of_arrays.numpy().astype(int) - of_files).max() <= 1


HERE = Path("/home/ann/photos")


@pytest.mark.parametrize(
    "task",
    [
        ImageFolder(source="folder", path=HERE),
        Npz(source="npz", path=HERE / "x.npz"),
        Torchvision(source="torchvision", dataset="MNIST", root=HERE),
    ],
    ids=lambda task: task.source,
)
def test_a_card_of_images_names_no_path_of_the_machine(task: TaskConfig) -> None:
    architecture = CifarResNet(depth=8, width=4, weights=HERE / "w.safetensors")
    text = model_card(image_config(task=task, architecture=architecture), parameters=1, figures=FIGURES)
    assert "/home" not in text


def test_a_card_of_texts_names_no_path_of_the_machine() -> None:
    task = Text(source="text", path=str(HERE / "x.csv"), test_file=HERE / "y.csv")
    encoder = Encoder(path=str(HERE), weights=HERE / "w.safetensors", layers=(0,))
    config = text_config().model_copy(update={"task": task, "architecture": encoder, "hub_id": None})
    assert "/home" not in model_card(config, parameters=1, figures=None)


def test_a_description_names_no_machine_and_one_that_does_is_read() -> None:
    config = image_config()
    written = json.loads(config.to_json())
    assert "host" not in written["provenance"]
    assert PROVENANCE.host == "ada"
    written["provenance"]["host"] = "ada"
    assert BUNDLE_CONFIG.validate_json(json.dumps(written)) == config
