"""A bundle may come from anywhere: its own data set is read only as far as that fetches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autockd.config.tasks import Glue, HuggingFace, TaskConfig, Text, Torchvision
from autockd.data import Split
from autockd.errors import DataError, ExportError
from autockd.exporting import _in_order_of, _trusted


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


def test_a_class_that_the_bundle_does_not_know_is_refused() -> None:
    samples = Split(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="knows none that is called 'maybe', but 'entailment'"):
        _in_order_of(CLASSES, ("maybe", "neutral"), samples)
