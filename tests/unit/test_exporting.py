"""What a bundle says of its student; and of a bundle, which may come from anywhere, what is read unasked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from encoders import make_text_task
from sample_records import PROVENANCE
from torch import nn

from autockd.config.models import CifarResNet, Encoder
from autockd.config.tasks import Digits, Glue, HuggingFace, ImageFolder, Npz, TaskConfig, Text, Torchvision
from autockd.config.trial import TrialConfig
from autockd.data import ImageTask, Split, Task
from autockd.errors import DataError, ExportError, StudyError
from autockd.export import ImageBundleConfig, TextBundleConfig, write_bundle
from autockd.export.description import Preprocessing
from autockd.exporting import (
    _are_matched_by_number,
    _in_order_of,
    _trained,
    _trusted,
    chosen_row,
    evaluate_on,
    student_of,
)
from autockd.models import build_encoder, build_model
from autockd.records import FinalistFinished
from autockd.summary import StudySummary, TrialRow


@pytest.mark.parametrize(
    "task",
    [
        HuggingFace(source="huggingface", path="owner/set"),
        Glue(source="glue", task="rte", path="nyu-mll/glue"),
        Text(source="text", path="owner/texts"),
    ],
    ids=lambda task: task.source,
)
def test_a_bundles_own_data_are_never_fetched(task: TaskConfig) -> None:
    remedy = r"autockd evaluate 'my bundle' --data FILE, a study file whose `task` names it$"
    with pytest.raises(ExportError, match=rf"its data set .* is not on this machine, and nothing .* -> {remedy}"):
        _trusted(task, Path("my bundle"))


def test_nor_downloaded(tmp_path: Path) -> None:
    task = Torchvision(source="torchvision", dataset="CIFAR10", root=tmp_path, download=True)
    trusted = _trusted(task, Path("bundle"))
    assert isinstance(trusted, Torchvision)
    assert not trusted.download


def test_what_is_here_may_be_read(tmp_path: Path) -> None:
    for task in (
        HuggingFace(source="huggingface", path=str(tmp_path)),
        ImageFolder(source="folder", path=tmp_path),
        Digits(),
    ):
        assert _trusted(task, Path("bundle")) == task


GONE = "/home/nobody here/data"
FAR = "/" + "x" * 5000
"""A path that no machine has, nor can be asked for."""


@pytest.mark.parametrize(
    ("task", "place"),
    [
        (ImageFolder(source="folder", path=Path(GONE)), GONE),
        (Npz(source="npz", path=Path(GONE)), GONE),
        (Torchvision(source="torchvision", dataset="CIFAR10", root=Path(GONE)), GONE),
        (HuggingFace(source="huggingface", path=GONE), GONE),
        (HuggingFace(source="huggingface", path="~/nothing-is-here"), "~/nothing-is-here"),
        (Glue(source="glue", task="rte", path=GONE), GONE),
        (Text(source="text", path=GONE), GONE),
        (Text(source="text", path=__file__.removesuffix(".py") + ".csv"), "test_exporting.csv"),
        (ImageFolder(source="folder", path=Path(FAR)), FAR),
    ],
)
def test_data_that_stayed_on_another_machine_are_named_with_what_can_be_done(task: TaskConfig, place: str) -> None:
    """No loader asks for a folder to be made where a home was that is not here."""
    with pytest.raises(ExportError) as caught:
        _trusted(task, "my bundle")
    message = str(caught.value)
    assert place in message
    assert message.startswith("my bundle: its data were at '")
    assert message.endswith(
        "' on the machine that made it -> autockd evaluate 'my bundle' --data FILE, a study file whose `task` names "
        "them here"
    )


def test_so_is_a_test_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    task = Text(source="text", path=str(tmp_path / "x.csv"), test_file=tmp_path / "y.csv")
    with pytest.raises(ExportError, match=rf"its data were at '{tmp_path}/y\.csv' on the machine that made it"):
        _trusted(task, "bundle")


def test_a_bundle_whose_data_are_gone_says_so_to_who_names_it_by_a_string(task: Task, tmp_path: Path) -> None:
    """Before anything is read; and a bundle without data asks for some."""
    architecture = CifarResNet(depth=8, width=4)
    assert isinstance(task, ImageTask)
    model = build_model(
        architecture, classes=len(task.classes), channels=task.channels, image_size=task.image_size, seed=0
    )
    said = {"architecture": architecture, "classes": task.classes, "study": "s", "method": "kd"}
    said |= {"provenance": PROVENANCE}
    for data, message in (
        (ImageFolder(source="folder", path=Path(GONE)), f"its data were at '{GONE}' on the machine that made it -> "),
        (None, "names no data set -> autockd evaluate .* --data FILE, a study file whose `task` names one$"),
    ):
        student = student_of(architecture, model, task, said | {"task": data})
        write_bundle(tmp_path / "bundle", student, examples=task.validation, onnx=False, force=True)
        with pytest.raises(ExportError, match=message):
            evaluate_on(str(tmp_path / "bundle"), None, "test", "torch")


def test_a_bundle_of_images_says_how_they_are_made(task: Task) -> None:
    architecture = CifarResNet(depth=8, width=4)
    assert isinstance(task, ImageTask)
    said = {"architecture": architecture, "classes": task.classes, "study": "s", "method": "kd"}
    config = student_of(architecture, nn.Identity(), task, said | {"provenance": PROVENANCE}).config
    assert isinstance(config, ImageBundleConfig)
    assert config.preprocessing == Preprocessing(mode="L", height=task.image_size[0], width=task.image_size[1])


CLASSES = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize(
    ("own", "targets", "expected"),
    [
        (CLASSES, [0, 1, 2], [0, 1, 2]),
        (("contradiction", "entailment", "neutral"), [0, 1, 2], [2, 0, 1]),
        (("contradiction", "entailment"), [0, 1, 1], [2, 0, 0]),
        (("0", "1", "2"), [2, 0], [2, 0]),
        ((), [0, 1], [0, 1]),
    ],
)
def test_targets_number_the_bundles_classes_by_their_names(
    own: tuple[str, ...], targets: list[int], expected: list[int]
) -> None:
    samples = Split(torch.zeros(len(targets), 1), torch.tensor(targets))
    assert _in_order_of(CLASSES, own, samples).targets.tolist() == expected


@pytest.mark.parametrize("own", [("0", "1", "3"), ("3", "1", "0")])
def test_classes_that_numbers_name_are_told_by_their_names_too(own: tuple[str, ...]) -> None:
    samples = Split(torch.zeros(3, 1), torch.tensor([0, 1, 2]))
    targets = _in_order_of(("0", "1", "2", "3"), own, samples).targets
    assert targets.tolist() == [int(name) for name in own]
    assert _in_order_of(("0", "1", "2", "3"), ("cat", "cow", "dog"), samples).targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("classes", "own", "by_number"),
    [
        (("bad", "good"), ("0", "1"), True),
        (("0", "1"), ("bad", "good"), True),
        (("bad", "good"), ("good", "bad"), False),
        (("0", "1", "2"), ("2", "0"), False),
        ((), ("0", "1"), False),
        ((), (), False),
    ],
)
def test_who_evaluates_is_told_where_classes_are_matched_by_their_numbers(
    classes: tuple[str, ...], own: tuple[str, ...], by_number: bool
) -> None:
    assert _are_matched_by_number(classes, own) == by_number


def test_a_class_that_the_bundle_does_not_know_is_refused() -> None:
    samples = Split(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="knows none that is called 'maybe', but 'entailment'"):
        _in_order_of(CLASSES, ("maybe", "neutral"), samples)


@pytest.mark.parametrize(("limit", "expected"), [(16, 16), (100, 32)])
def test_a_bundle_names_the_length_that_its_student_has_read(
    limit: int, expected: int, tiny_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    """The task's, unless the tokenizer's is less."""
    base = Path(shutil.copytree(tiny_encoder(), tmp_path / "base"))
    options = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(options | {"model_max_length": limit}))
    task, encoder = make_text_task(), Encoder(path=str(base))
    description = {"architecture": encoder, "study": "s", "method": "kd", "provenance": PROVENANCE}
    config = student_of(encoder, build_encoder(encoder, outputs=2, seed=0), task, description).config
    assert isinstance(config, TextBundleConfig)
    assert config.max_length == expected


def test_who_asks_for_a_student_that_is_not_there_is_sent_to_the_study(
    make_trial: Callable[..., TrialConfig], task: Task, tmp_path: Path
) -> None:
    facts = {"study": "s", "asked": 2, "metric": "accuracy", "direction": "maximize", "finished": True, "started": 0.0}
    failed = TrialRow(trial=0, role="sampled", method="kd", params={}, started=0.0, state="failed")
    summary = StudySummary.model_validate({**facts, "folder": "my study", "trials": [failed]})
    with pytest.raises(StudyError, match=r"^s: there is no trial 99, the last one is 0$"):
        chosen_row(summary, 99)
    folder = tmp_path / "mine"
    with pytest.raises(StudyError, match=rf"trial 0 is failed and left no .*`autockd status {folder}` lists"):
        _trained(folder, make_trial("kd"), failed, None, task)


def test_a_student_whose_file_is_gone_is_named_with_the_place_that_it_is_put_back_to(
    make_trial: Callable[..., TrialConfig], task: Task, tmp_path: Path
) -> None:
    weights = "trials/0003/best.safetensors"
    row = TrialRow(trial=3, role="sampled", method="kd", params={}, started=0.0, state="complete", weights=weights)
    with pytest.raises(
        StudyError, match=rf"^the weights of trial 3 are gone: {tmp_path / weights} is no .* put it back"
    ):
        _trained(tmp_path, make_trial("kd"), row, None, task)
    run = FinalistFinished(time=1.0, trial=3, seed=7, state="complete", value=0.9, weights="finalists/0003-7/b")
    with pytest.raises(StudyError, match=rf"of trial 3, seed 7 are gone: {tmp_path}/finalists/0003-7/b is no file"):
        _trained(tmp_path, make_trial("kd"), row, run, task)
