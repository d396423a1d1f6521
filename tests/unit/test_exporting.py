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

from autockd.config.models import Encoder
from autockd.config.tasks import Glue, HuggingFace, TaskConfig, Text, Torchvision
from autockd.config.trial import TrialConfig
from autockd.data import Split, Task
from autockd.errors import DataError, ExportError, StudyError
from autockd.export import TextBundleConfig
from autockd.exporting import _are_matched_by_number, _in_order_of, _trained, _trusted, chosen_row, student_of
from autockd.models import build_encoder
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
    with pytest.raises(ExportError, match=r"its data set .* is not on this machine; name it yourself"):
        _trusted(task, Path("bundle"))


def test_nor_downloaded() -> None:
    task = Torchvision(source="torchvision", dataset="CIFAR10", root=Path("here"), download=True)
    trusted = _trusted(task, Path("bundle"))
    assert isinstance(trusted, Torchvision)
    assert not trusted.download


def test_what_is_here_may_be_read(tmp_path: Path) -> None:
    task = HuggingFace(source="huggingface", path=str(tmp_path))
    assert _trusted(task, Path("bundle")) == task


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
